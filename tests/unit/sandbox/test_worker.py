"""The jail's pure parts: the filter's verdicts, what is compiled, what is put back. The walls: integration/test_jail.py."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path

import pytest

from imageflow.sandbox import worker
from imageflow.sandbox.worker import ALLOW, ARCHITECTURES, DENY, KILL, SYSCALLS

PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4


def verdict(machine: str, number: int, *, architecture: int | None = None, first: int = 14, prot: int = 0) -> int:
    """Run the filter as the kernel does: one accumulator, forward jumps."""
    program = worker.filter_program(machine)
    machines = ARCHITECTURES[machine][1] if architecture is None else architecture
    data = {0: number, 4: machines, 16: first, 32: prot}
    accumulator, place = 0, 0
    while True:
        code, if_true, if_false, operand = program[place]
        place += 1
        if code == 0x20:
            accumulator = data[operand]
        elif code == 0x06:
            return operand
        else:
            holds = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: bool(accumulator & operand)}[
                code
            ]
            place += if_true if holds else if_false


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_filter_allows_what_is_listed_and_nothing_else(machine: str) -> None:
    """Of all system calls of a machine exactly those of the table pass; the others answer EPERM."""
    column = ARCHITECTURES[machine][0]
    listed = {numbers[column] for name, numbers in SYSCALLS.items() if name != "rt_sigaction"}
    passed = {number for number in range(1000) if verdict(machine, number) == ALLOW}
    assert passed == listed
    assert {verdict(machine, number) for number in set(range(1000)) - listed} == {DENY}


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize("name", ["mmap", "mprotect"])
def test_filter_lets_no_memory_become_executable(machine: str, name: str) -> None:
    """Memory that would be executable is refused, whatever else it would be."""
    number = SYSCALLS[name][ARCHITECTURES[machine][0]]
    assert verdict(machine, number, prot=PROT_READ | PROT_WRITE) == ALLOW
    assert verdict(machine, number, prot=PROT_READ | PROT_EXEC) == DENY


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_filter_lets_no_signal_get_a_handler(machine: str) -> None:
    """Only the deadly signals may be handled otherwise, which faulthandler does: the alarm, and all others, may not."""
    number = SYSCALLS["rt_sigaction"][ARCHITECTURES[machine][0]]
    allowed = {signum for signum in range(65) if verdict(machine, number, first=signum) == ALLOW}
    assert allowed == {signal.SIGILL, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV}


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_filter_ends_foreign_calls(machine: str) -> None:
    """A call by another architecture's numbers, or by x32's, ends the process: its numbers mean something else."""
    assert verdict(machine, 0, architecture=0x40000003) == KILL
    assert verdict(machine, 0x40000000) == KILL
    assert verdict(machine, 0xFFFFFFFF) == KILL


def test_filter_knows_no_other_machine() -> None:
    """On an unknown machine there is no filter, and so no jail."""
    with pytest.raises(KeyError):
        worker.filter_program("riscv64")


@pytest.mark.parametrize(
    "name", ["open", "openat", "socket", "clone", "fork", "execve", "kill", "ptrace", "ioctl", "prctl"]
)
def test_dangerous_calls_are_not_listed(name: str) -> None:
    """Nothing that opens, starts, signals or watches is in the table."""
    assert name not in SYSCALLS


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def process(r:\n  pass", "line 1: SyntaxError"),
        ("def process(r):\n  x = 'a\n", "line 2: SyntaxError"),
        ("  def process(r): pass", "line 1: IndentationError"),
        ("x = 1", "defines neither process(response) nor process_row(row)"),
        ("import os\ndef process(r): pass", "line 1: the module 'os' is not available to scripts; there are: abc, "),
        ("from os.path import join\ndef process(r): pass", "line 1: the module 'os.path'"),
        ("import json.nothing\ndef process(r): pass", "line 1: the module 'json.nothing' is not available"),
        ("import json, requests\ndef process_row(r): pass", "line 1: the module 'requests'"),
        ("a\0b", "script"),
        ("(" * 5000, "script"),
        ("x = " + "-" * 200_000 + "1", "script"),
    ],
)
def test_says_what_is_wrong_with_a_script(source: str, words: str) -> None:
    """A script that cannot run is refused with its line, before any page."""
    code, problems = worker.compile_script(source)
    assert code is None
    assert problems
    assert words in f"{problems[0].path} {problems[0].message}"


@pytest.mark.parametrize(
    "source",
    [
        "def process(response):\n    return response",
        "def process_row(row): return row",
        "process = lambda r: r",
        "from __future__ import annotations\nimport json, re, urllib.parse\nfrom datetime import date\ndef process(r): pass",
        "try:\n    import numpy\nexcept ImportError:\n    numpy = None\ndef process(r): pass",
    ],
)
def test_takes_scripts_that_can_run(source: str) -> None:
    """One of the two functions is enough; an import that the script guards is its own affair."""
    code, problems = worker.compile_script(source)
    assert code is not None
    assert problems == []


def test_frames_are_length_and_json() -> None:
    """A frame is its length, little endian, and the JSON."""
    assert worker.frame({"a": [1]}) == b"\x09\x00\x00\x00" + b'{"a":[1]}'


def test_prints_are_bounded() -> None:
    """Prints over the limit are counted, not kept."""
    prints = worker.Prints(10)
    print("x" * 8, "y" * 8, file=prints)
    assert prints.take() == "x" * 8 + " y\n... and 8 more characters"
    assert prints.take() == ""


def test_failures_name_the_scripts_line() -> None:
    """The line is the script's innermost, also where the exception is raised further down."""
    names: dict[str, object] = {"loads": json.loads}
    exec(compile("def f():\n    return g()\ndef g():\n    return loads('x')\n", worker.SCRIPT, "exec"), names)
    try:
        names["f"]()  # type: ignore[operator]
    except ValueError as error:
        failure = worker.failure_of(error)
    assert (failure.type, failure.line) == ("JSONDecodeError", 4)


def test_failures_that_cannot_be_shown() -> None:
    """An exception whose text raises is told by its type."""

    class SilentError(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert worker.failure_of(SilentError()) == worker.Failure("SilentError")


def test_puts_modules_and_classes_back() -> None:
    """What a script changes in a module or one of its classes is gone with the page."""
    for name in (*worker.MODULES, *worker.LAZY_MODULES):
        __import__(name)
    untouched = worker.Untouched()
    loads, encode = json.loads, json.JSONEncoder.encode
    json.loads = lambda _: "poison"
    json.JSONEncoder.encode = lambda *_: "poison"  # type: ignore[method-assign]
    json.JSONEncoder.extra = 1  # type: ignore[attr-defined]
    sys.modules["builtins"].len = lambda _: 0  # type: ignore[attr-defined]
    untouched.restore()
    assert json.loads is loads
    assert json.JSONEncoder.encode is encode
    assert not hasattr(json.JSONEncoder, "extra")
    assert len("ab") == 2


def test_docs_list_the_modules_and_layers() -> None:
    """docs/scripts.md names what may be imported and which layers there are, no more and no less."""
    text = (Path(__file__).parents[3] / "docs" / "scripts.md").read_text()
    listed = text.partition("## What may be imported")[2].partition("and their submodules that")[0]
    assert re.findall(r"`(\w+)`", listed) == worker.MODULES
    table = text.partition("| layer | keeps |")[2].partition("\n\n")[0]
    layers = worker._layers(worker.Config(1, 1, 1, 1, 1)) if sys.platform == "linux" else {}
    assert set(layers) <= {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1] if row else "")
    }
