"""What becomes of a page: what is said about failures, and what the supervisor believes of a worker."""

from __future__ import annotations

import pytest

from imageflow.errors import Problem
from imageflow.sandbox import outcome
from imageflow.sandbox.outcome import (
    Broken,
    FailedRow,
    Program,
    Ran,
    Trace,
    failure_text,
    printable,
    run_idle,
    too_much,
)
from imageflow.sandbox.protocol import Answer, Failure, RowError
from tests.unit.transform.flows import definition

SCRIPT = "def process(r):\n    return r['x']\n"
BOTH = Program(SCRIPT, b"[]")
IN_SCRIPT = Trace(3, 2)
IN_MAPPING = Trace(5)
NO_TRACE = Trace()


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
def test_failures_are_one_line(failure: Failure, stage: str, text: str) -> None:
    """Limits by their names, exceptions with the script's line and its text, nothing unprintable."""
    assert failure_text(Program(SCRIPT), failure, stage) == text


@pytest.mark.parametrize(
    ("program", "status", "trace", "broken"),
    [
        (Program(SCRIPT), -11, IN_SCRIPT, Broken("script", "the script crashed with SIGSEGV at line 2", line=2)),
        (Program(SCRIPT), -11, NO_TRACE, Broken("script", "the script crashed with SIGSEGV")),
        (Program(SCRIPT), 0, NO_TRACE, Broken("script", "the script ended its process (exit status 0)")),
        (Program(mapping=b"[]"), -6, NO_TRACE, Broken("mapping", "the mapping crashed with SIGABRT")),
        (BOTH, -11, IN_MAPPING, Broken("mapping", "the mapping crashed with SIGSEGV")),
        (BOTH, -11, IN_SCRIPT, Broken("script", "the script crashed with SIGSEGV at line 2", line=2)),
        (Program(SCRIPT), -999, NO_TRACE, Broken("script", "the script ended its process (exit status -999)")),
        (
            Program(SCRIPT),
            None,
            NO_TRACE,
            Broken("script", "the process of the script closed its connection to the service"),
        ),
        (
            Program(SCRIPT),
            -9,
            NO_TRACE,
            Broken("script", "the process of the script was killed by the system (SIGKILL)"),
        ),
        (BOTH, -15, IN_MAPPING, Broken("mapping", "the process of the mapping was killed by the system (SIGTERM)")),
        (
            Program(SCRIPT),
            255,
            NO_TRACE,
            Broken("script", "the process of the script ended (exit status 255, or one that got lost)"),
        ),
    ],
)
def test_says_how_a_worker_ended(program: Program, status: int | None, trace: Trace, broken: Broken) -> None:
    """A crash names its signal and line; what the system killed is not called a crash of the script."""
    assert outcome.ended(program, status, trace) == broken


@pytest.mark.parametrize(
    ("status", "by_the_system", "crashed"),
    [
        (-9, True, True),
        (-15, True, True),
        (255, True, True),
        (None, True, True),
        (-11, False, True),
        (-6, False, True),
        (0, False, False),
        (1, False, False),
    ],
)
def test_suspects_the_system(status: int | None, by_the_system: bool, crashed: bool) -> None:
    """A kill from outside, a lost status and a process that never ended may be the system's doing; a crash is not."""
    assert outcome.by_the_system(status) == by_the_system
    assert outcome.crashed(status) == crashed


@pytest.mark.parametrize(
    ("program", "trace", "stage"),
    [
        (Program(SCRIPT), IN_MAPPING, "script"),
        (Program(mapping=b"[]"), IN_SCRIPT, "mapping"),
        (BOTH, IN_SCRIPT, "script"),
        (BOTH, IN_MAPPING, "mapping"),
        (BOTH, NO_TRACE, "script"),
    ],
)
def test_knows_the_stage_of_a_dead_worker(program: Program, trace: Trace, stage: str) -> None:
    """With both, it was the mapping if Python ran without a line of the script in it."""
    assert outcome.stage_of(program, trace) == stage


def test_a_late_page_has_its_line() -> None:
    """A page that was killed for its time says where it was."""
    assert outcome.late(BOTH, IN_SCRIPT) == Broken("script", "the script ran longer than 10s (line 2)", line=2)
    assert outcome.late(BOTH, IN_MAPPING) == Broken("mapping", "the mapping ran longer than 10s")


def test_reads_traces() -> None:
    """faulthandler names the innermost frame first."""
    text = """Current thread 0x00007f (most recent call first):
  File "/x/re.py", line 7 in match
  File "script", line 2 in process
  File "script", line 9 in f
  File "/x/worker.py", line 500 in _page
"""
    assert Trace.of(text) == Trace(4, 2)
    assert Trace.of(text.replace('"script"', '"/x/jolt.py"')) == Trace(4)


def test_traces_are_not_trusted() -> None:
    """A line number in a forged trace is a small number or nothing."""
    assert Trace.of('File "script", line 99999999999999999999 in f') == NO_TRACE
    assert Trace.of("x" * 100_000) == NO_TRACE
    assert Trace.of("") == NO_TRACE


def test_answers_become_outcomes() -> None:
    """Failures have their text and line, of the page or of an element; prints are made printable."""
    failure = Failure("KeyError", "'x'", 2)
    reason = "line 2: KeyError: 'x' (in `return r['x']`)"
    broken = Answer("1", failure=failure, stage="script", prints="a\x1b")
    assert outcome.outcome_of(BOTH, broken) == Broken("script", reason, "a\ufffd", line=2)
    assert outcome.outcome_of(BOTH, Answer("1", failure=Failure("", "no"), stage="mapping")) == Broken("mapping", "no")
    ran = Answer("1", [1], [RowError(3, failure, {"a": 1})])
    assert outcome.outcome_of(BOTH, ran) == Ran([1], (FailedRow(3, reason, {"a": 1}, 2),))


def test_refusals_have_their_stage_and_line() -> None:
    """A program that does not compile fails each page with all its problems."""
    script = Problem("script", "line 1: SyntaxError")
    mapping = Problem("mapping[1]", "sort: no")
    assert outcome.refused([script, mapping], 1) == Broken(
        "script", "line 1: SyntaxError; mapping[1]: sort: no", line=1
    )
    assert outcome.refused([mapping], None) == Broken("mapping", "mapping[1]: sort: no")


def test_notices_memory_errors() -> None:
    """The page's failure counts, and an element's."""
    full = Failure("MemoryError", memory=True)
    assert outcome.out_of_memory(Answer("1", failure=full))
    assert outcome.out_of_memory(Answer("1", row_errors=[RowError(0, Failure("E")), RowError(1, full)]))
    assert not outcome.out_of_memory(Answer("1", row_errors=[RowError(0, Failure("E"))]))


def test_says_why_there_is_no_wall() -> None:
    """Without seccomp there is none, whatever else holds."""
    assert outcome.no_wall({"seccomp": None}) is None
    assert "not on this system" in str(outcome.no_wall({"landlock": None}))
    assert "KeyError" in str(outcome.no_wall({"seccomp": "KeyError: 'riscv64'"}))


def test_texts_are_cut_and_cleaned() -> None:
    """A worker's texts become short and printable."""
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
    """A worker gets all that makes rows of an answer, and nothing else of the flow."""
    program = Program.of(definition(script=SCRIPT, mapping=[{"operation": "sort"}], script_timeout="3s"))
    assert program == Program(SCRIPT, b'[{"operation":"sort"}]', "", 3.0)
