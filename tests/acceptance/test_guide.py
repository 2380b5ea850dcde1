"""docs/guide.md, walked as its reader does: every command, in its order, with the exit status that the page says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.harness import Site, free_port, get, site, wait_for

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"
BLOCKS = re.compile(r"(?:`([\w.]+\.yaml)`:\n\n)?```(sh|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
STATUS = re.compile(r"\s+# exit status (\d)")


class Reader:
    """Does what the page says, in an empty folder."""

    def __init__(self, here: Site) -> None:
        self._here = here
        self._folder = here.folder / "empty"
        self._folder.mkdir()
        self.ran: list[str] = []
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        here.environ = {**here.environ, "PATH": path}
        del here.environ["IMAGEFLOW_DATA_DIR"]

    def write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text)

    def type(self, line: str) -> None:
        """One line of a block."""
        status = int(found[1]) if (found := STATUS.search(line)) else 0
        line = STATUS.split(line)[0].rstrip()
        if line.startswith("export "):
            self._here.environ |= dict(pair.split("=", 1) for pair in line.split()[1:])
            return
        if line.endswith("&"):
            self._start(line[:-1].strip())
            return
        if re.search(r"\bRUN\b", line):
            line = re.sub(r"\bRUN\b", self._newest_run(), line)
        done = self._shell(line)
        assert done.returncode == status, f"{line} ended {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        self.ran.append(line)

    def _shell(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self._folder,
            env=self._here.environ,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def _newest_run(self) -> str:
        found = self._shell("imageflow runs --quiet --limit 1").stdout.splitlines()
        return found[1].split()[0]

    def _start(self, line: str) -> None:
        """A process that stays; it is there once its port answers."""
        words = shlex.split(line)
        self._here.folder, known = self._folder, self._here.folder
        try:
            self._here.spawn(*words[1:])
        finally:
            self._here.folder = known
        url = f"http://127.0.0.1:{words[words.index('--port') + 1]}/" + ("ready" if words[1] == "up" else "")
        wait_for(lambda: get(url)[0] == 200 or words[1] == "emulate", what=line)
        self.ran.append(line)


@pytest.mark.timeout(1800)
def test_the_guide(tmp_path: Path) -> None:
    """From an empty folder to a flow that is live, broken, mended, rolled back and deleted."""
    text = GUIDE.read_text()
    for port in ("8091", "8092", "8093"):
        text = text.replace(port, str(free_port()))
    with site(tmp_path) as here:
        reader = Reader(here)
        for name, language, body in BLOCKS.findall(text):
            if language == "yaml":
                reader.write(name, body)
                continue
            for line in body.strip().splitlines():
                reader.type(line)
    assert len(reader.ran) > 40
