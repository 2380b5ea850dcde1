"""What is said about failures, and what is believed of a worker."""

from __future__ import annotations

import pytest

from imageflow.sandbox.supervisor import Broken, Program, Ran, end_of, last_line, printable, run_idle, told, too_much
from imageflow.sandbox.worker import Failure
from tests.unit.transform.flows import definition

SCRIPT = "def process(r):\n    return r['x']\n"
TRACE = (
    'Current thread:\n  File "script", line 2 in process\n  File "script", line 9 in f\n  File "/x/jail.py", line 500'
)


@pytest.mark.parametrize(
    ("failure", "stage", "text"),
    [
        (Failure("ScriptTimeout", timeout=True), "script", "the script ran longer than 10s"),
        (Failure("ScriptTimeout", line=2, timeout=True), "script", "the script ran longer than 10s (line 2)"),
        (Failure("ScriptTimeout", timeout=True), "mapping", "the mapping ran longer than 10s"),
        (Failure("MemoryError", memory=True), "script", "the script used more than 512 MB"),
        (Failure("KeyError", "'x'", 2), "script", "line 2: KeyError: 'x' (in `return r['x']`)"),
        (Failure("KeyError", "'x'", 99), "script", "line 99: KeyError: 'x'"),
        (Failure("Exit"), "script", "Exit"),
        (Failure("", "process() returned nothing"), "script", "process() returned nothing"),
        (Failure("E", "a\0b\x1b[31m"), "script", "E: a\ufffdb\ufffd[31m"),
    ],
)
def test_tells_failures_in_one_line(failure: Failure, stage: str, text: str) -> None:
    """Limits by their names, exceptions with the script's line and its text, nothing unprintable."""
    assert told(Program(SCRIPT), failure, stage) == text


@pytest.mark.parametrize(
    ("program", "code", "trace", "broken"),
    [
        (Program(SCRIPT), -11, TRACE, Broken("script", "the script crashed with SIGSEGV at line 2")),
        (Program(SCRIPT), -11, "", Broken("script", "the script crashed with SIGSEGV")),
        (Program(SCRIPT), 0, "", Broken("script", "the script ended its process (exit status 0)")),
        (Program(SCRIPT), None, "", Broken("script", "the script ended its process (exit status None)")),
        (Program(mapping=b"[]"), -6, "", Broken("mapping", "the mapping crashed with SIGABRT")),
        (Program(SCRIPT, b"[]"), -11, "pyjolt", Broken("mapping", "the mapping crashed with SIGSEGV")),
        (Program(SCRIPT), -999, "", Broken("script", "the script ended its process (exit status -999)")),
    ],
)
def test_tells_how_a_worker_ended(program: Program, code: int | None, trace: str, broken: Broken) -> None:
    """A crash is told by its signal and line."""
    assert end_of(program, code, trace) == broken


def test_traces_are_not_trusted() -> None:
    """A line number in a forged trace is a small number or nothing."""
    assert last_line('File "script", line 99999999999999999999') is None
    assert last_line("x" * 100_000) is None


def test_texts_are_cut_and_cleaned() -> None:
    """What a worker says is short and printable."""
    assert len(printable("x" * 10**6)) < 3000
    assert printable("a\ud800b") == "a\ufffdb"


def test_counts_objects_before_decoding() -> None:
    """An answer that would multiply in memory is refused by its brackets."""
    assert too_much(b'[{"a":[]}]' * 1000) is None
    assert too_much(b"[]," * 600_000) == "500,000 objects and lists"
    assert too_much(b'"ab",' * 2_100_000) == "2,000,000 values"


def test_no_worker_for_nothing() -> None:
    """Without script and mapping the answer's list is the result."""
    program = Program.of(definition(script="  \n", erp={"endpoint_url": "https://e.example/x", "rows_path": "r"}))
    assert program.idle
    assert run_idle(program, b'{"r":[1]}') == Ran([1])
    assert run_idle(program, b'{"x":1}') == Broken("rows", "the page is unusable: no list at 'r' but nothing")
    assert isinstance(run_idle(program, b"{"), Broken)


def test_program_of_a_flow() -> None:
    """A worker is told all that makes rows of an answer, and nothing else of the flow."""
    program = Program.of(definition(script=SCRIPT, mapping=[{"operation": "sort"}], script_timeout="3s"))
    assert program == Program(SCRIPT, b'[{"operation":"sort"}]', "", 3.0)
