"""What commands print: whole to any pipe, and nothing in it that steers a terminal."""

import json
import os
import subprocess
import sys
import time

import pytest

PROGRAM = """
import fcntl, os, sys
from imageflow.commands import stdout
from imageflow.commands.shell import print_json
import click
if sys.argv[1] == "nonblocking":
    fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_NONBLOCK)
stdout.install()
click.echo("title \\x1b]0;x\\x07 \\u202e \\x9b31m")
print_json({"rows": ["\\u202e" + "ç" * 100] * 20_000})
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("kind", ["blocking", "nonblocking"])
def test_slow_readers_get_all(kind, unbuffered):
    """Four megabytes of JSON to a pipe whose reader takes its time, whether Python buffers or not and the pipe blocks or not."""
    environ = os.environ | {"PYTHONUNBUFFERED": unbuffered, "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, kind], stdout=subprocess.PIPE, env=environ)
    parts = [os.read(process.stdout.fileno(), 1000)]
    time.sleep(0.3)
    while part := os.read(process.stdout.fileno(), 50_000):
        parts.append(part)
    process.stdout.close()
    assert process.wait() == 0
    title, text = b"".join(parts).decode().split("\n", 1)
    assert title == "title \ufffd]0;x\ufffd \ufffd \ufffd31m"
    assert json.loads(text) == {"rows": ["\u202e" + "ç" * 100] * 20_000}
    assert "\u202e" not in text


def test_a_reader_that_goes_away():
    """Is no traceback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "imageflow", "flow", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() in (0, 1)
