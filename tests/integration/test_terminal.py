"""Commands on a terminal: colours, widths, a progress line beside logs, and Ctrl-C."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.harness import Site, site

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SECONDS = 60.0


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, here: Site, *args: str, columns: int = 80, **environ: str) -> None:
        self.text = ""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            with contextlib.suppress(BaseException):
                os.chdir(here.folder)
                command = [sys.executable, "-m", "imageflow", *args]
                inherited = {name: value for name, value in here.environ.items() if name not in ("COLUMNS", "LINES")}
                os.execve(command[0], command, {**inherited, "TERM": "xterm", **environ})
            os._exit(127)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def until(self, condition: Callable[[str], object]) -> None:
        """Read until what came fulfils the condition, or the command has ended."""
        deadline = time.monotonic() + SECONDS
        while not condition(self.text):
            assert time.monotonic() < deadline, self.text
            if select.select([self._fd], [], [], 0.5)[0] and not self._more():
                return

    def _more(self) -> bool:
        try:
            part = os.read(self._fd, 65536)
        except OSError:  # Linux says so at the end of a terminal
            return False
        self.text += part.decode("utf-8", "replace")
        return bool(part)

    def ended(self) -> int:
        """The exit status."""
        self.until(lambda _: False)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.write(self._fd, b"\x03")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)


@contextmanager
def terminal(here: Site, *args: str, columns: int = 80, **environ: str) -> Iterator[Terminal]:
    opened = Terminal(here, *args, columns=columns, **environ)
    try:
        yield opened
    finally:
        opened.close()


def screen(text: str) -> list[str]:
    """The lines as they stand in the end: what is written over is gone."""
    text = re.sub(r"[^\n]*\n(\r|\x1b\[\?25h)*\x1b\[1A\r?\x1b\[2K", "", text)  # a line up, and away with it
    shown = ESCAPES.sub("", text.replace("\x1b[2K", "\r"))
    return [line.rstrip("\r").rpartition("\r")[2] for line in shown.split("\n")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A flow that has run, with rows that failed."""
    with site(tmp_path_factory.mktemp("place")) as here:
        here.emulators(60, omnitron=("status=400,every=7",))
        here.flow("winter", timezone="Europe/Istanbul")
        here.call("run", "winter", "--flows", "flows", "--wait", "-q", check=False)
        yield here


@pytest.mark.parametrize("columns", [80, 140])
def test_a_table_fits_the_terminal(place: Site, columns: int) -> None:
    """No line is longer than the terminal is wide; states have colours, headings are bold."""
    with terminal(place, "runs", columns=columns) as shown:
        assert shown.ended() == 0
    assert "\x1b[33mpartial\x1b[0m" in shown.text
    assert shown.text.startswith("\x1b[1mRUN")
    lines = screen(shown.text)
    assert max(map(len, lines)) <= columns
    assert ("WRITTEN" in lines[0]) == (columns == 140)


def test_hints_fit_the_terminal(place: Site) -> None:
    """Hints and errors break between words, and commands stay whole."""
    data = {"IMAGEFLOW_DATA_DIR": "elsewhere"}
    with terminal(place, "flow", "list", columns=60, **data) as hinted, terminal(place, "run", "x", **data) as refused:
        assert (hinted.ended(), refused.ended()) == (0, 2)
    assert screen(hinted.text)[-4:-1] == [
        "no flows:",
        "    imageflow flow new NAME writes a file to begin with,",
        "    imageflow flow apply FILE saves it",
    ]
    assert " ".join(refused.text.split()).endswith("elsewhere yet; IMAGEFLOW_DATA_DIR says which folder is meant")
    assert refused.text.splitlines()[-1].startswith("    ")
    assert refused.text.rstrip().endswith(" is meant")


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color(place: Site, environ: dict[str, str]) -> None:
    """NO_COLOR and a dumb terminal: not one escape, in tables, progress and logs."""
    for args in (["runs"], ["run", "winter", "--since", "2020-01-01", "--wait", "-v"]):
        with terminal(place, *args, **environ) as shown:
            shown.ended()
        without = re.sub(r"\x1b\[(\?25[hl]|2K|1A)", "", shown.text) if "NO_COLOR" in environ else shown.text
        assert "\x1b" not in without


def test_progress_beside_logs(place: Site) -> None:
    """The progress line stays below what is logged, and is gone in the end."""
    with terminal(place, "run", "winter", "--since", "2020-01-01", "--wait", "--verbose", columns=200) as shown:
        shown.ended()
    assert "winter: reading" in shown.text or "winter: draining" in shown.text or "winter: queued" in shown.text
    logged = [line for line in screen(shown.text) if "[info" in line]
    assert any("run ended" in line for line in logged)
    assert all(line.startswith("20") for line in logged)
    assert not any(line.startswith("winter: ") for line in screen(shown.text))


def test_quiet_and_the_usual(place: Site) -> None:
    """Without --verbose nothing is logged that is not wrong; --quiet leaves the result alone."""
    usual, quiet = (place.call("run", "winter", "--wait", *more) for more in ([], ["--quiet"]))
    assert usual.stderr == quiet.stderr == ""
    assert "winter  empty" in quiet.stdout


def test_the_first_ctrl_c_says_what_happens(tmp_path: Path) -> None:
    """It says what is finished first, how long that may take, and what a second one does; the second ends at once."""
    with site(tmp_path) as here:
        here.emulators(400, omnitron=("latency=20s",))
        here.flow("slow")
        with terminal(here, "run", "slow", "--flows", "flows", "--wait") as shown:
            shown.until(lambda text: "draining" in text)
            shown.interrupt()
            shown.until(lambda text: "stopping: what is in hand" in text)
            shown.interrupt()
            assert shown.ended() == 1
        said = " ".join(" ".join(screen(shown.text)).split())
        assert "stopping: what is in hand is finished first, in up to 30 s; Ctrl-C again stops at once" in said
        assert "second signal: stopping at once" in said
        assert shown.text.rfind("\x1b[?25h") > shown.text.rfind("\x1b[?25l")  # the cursor is there


def test_a_run_that_ends_while_it_is_stopped(tmp_path: Path) -> None:
    """One Ctrl-C while its last rows are at Omnitron: what came of the run is said, and its exit status is that of the run."""
    with site(tmp_path / "site", IMAGEFLOW_STOP_SECONDS="60") as here:
        here.emulators(20, omnitron=("latency=3s",))
        here.flow("winter")
        with terminal(here, "run", "winter", "--wait", "--flows", "flows", columns=200) as running:
            running.until(lambda text: text.count("0 of 20 rows") > 5)  # a second later: they are on their way
            running.interrupt()
            status = running.ended()
            lines = screen(running.text)
        assert any(line.endswith("winter  success  1 page, 20 rows (20 written)") for line in lines), running.text
        assert status == 0
        assert "stopped before the end" not in running.text


def test_a_run_that_waits_and_is_stopped_goes_on_alone(tmp_path: Path) -> None:
    """The progress line, or a line on stderr, says what the run waits for; Ctrl-C names the command with which that very run goes
    on, on a line of its own. It fires nothing else."""
    with site(tmp_path) as here:
        here.emulators(20, erp=("status=503,retry_after=6,first=2",))
        here.flow("away", schedule={"every": "1s"})
        here.call("flow", "apply", "flows")
        with terminal(here, "run", "away", "--wait", columns=250) as shown:
            shown.until(lambda text: "the ERP gave no page" in text)
            assert "503" in shown.text
            assert "; asked again at 20" in shown.text
            shown.interrupt()
            assert shown.ended() == 1
        [run] = json.loads(here.call("runs", "--json").stdout)
        resume = ["resume", run["run_id"], "--wait"]
        [said] = [line for line in screen(shown.text) if "stopping: what is in hand" in line]
        assert said.startswith("stopping: ")
        assert f"goes on with `imageflow {' '.join(resume)}`, or the next `imageflow up`" in said
        told = here.call("log", run["run_id"])
        assert re.search(r" waits +the ERP gave no page: .*503", told.stdout, re.DOTALL)
        assert f"imageflow {' '.join(resume)}" in told.stderr
        later = here.call("run", "away").stdout.split()[0]
        waits = " ".join(here.call("log", later).stdout.split())
        assert f"an older run of away is not done: {run['run_id']}, reading" in waits

        done = here.call(*resume)
        assert done.stderr.count("away: reading: the ERP gave no page: ") == 1
        assert f"{run['run_id']}  away  success  1 page, 20 rows" in done.stdout
        assert {one["run_id"] for one in json.loads(here.call("runs", "--json").stdout)} == {run["run_id"], later}
