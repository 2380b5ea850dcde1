"""What a worker runs, and what becomes of a page: data, and what is said about failures. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from imageflow.errors import Problem
from imageflow.model.flow import Definition
from imageflow.sandbox.answer import rows_at
from imageflow.sandbox.protocol import MAX_TEXT, SCRIPT, Answer, Failure
from imageflow.text.printable import lines, one_line

MEMORY_BYTES = 512 << 20
MAX_ANSWER_BYTES = 16 << 20
MAX_ANSWER_OBJECTS = 500_000
MAX_ANSWER_VALUES = 2_000_000
"""Decoding multiplies: 16 MB of `[],[],…` would take 420 MB of the service's memory, of `"ab","ab",…` 200 MB."""
MAX_PRINT_CHARS = 64 * 1024
KILLS = (-signal.SIGKILL, -signal.SIGTERM)
"""Exit statuses of a process that was killed from outside: seccomp lets no script send a signal."""
LOST_STATUS = 255
"""What asyncio reports as the exit status of a process that something else reaped first."""

Stage = Literal["script", "mapping"]


class Program(msgspec.Struct, frozen=True):
    """What a worker runs: everything in a flow that says how an answer becomes rows. `mapping` is JSON text. `trace`:
    outcomes hold the mapping's input. `strict`: the mapping may use nothing that only jolt-community has.
    """

    script: str | None = None
    mapping: bytes | None = None
    rows_path: str = ""
    timeout: float = 10.0
    trace: bool = False
    strict: bool = False

    @classmethod
    def of(cls, definition: Definition) -> Program:
        script = definition.script if definition.script and definition.script.strip() else None
        mapping = msgspec.json.encode(definition.mapping) if definition.mapping else None
        timeout = float(definition.script_timeout)
        return cls(script, mapping, definition.rows_path, timeout, strict=definition.jolt == "strict")

    @property
    def idle(self) -> bool:
        """Whether there is nothing to run: no worker is needed."""
        return self.script is None and self.mapping is None

    @property
    def reads_parameters(self) -> bool:
        """Whether the mapping may ask what the page's request asked for."""
        return self.mapping is not None and b"^parameters" in self.mapping


class FailedRow(msgspec.Struct, frozen=True):
    """An element for which process_row failed, with the script's line where that is known."""

    index: int
    reason: str
    element: Any
    line: int | None = None


class Ran(msgspec.Struct, frozen=True):
    """A page went through script and mapping: the result, and the elements that failed alone. In a trace `between` is the
    mapping's input, `explained` what each line of it did (None: too large to show).
    """

    result: Any
    failed: tuple[FailedRow, ...] = ()
    prints: str = ""
    between: Any = None
    explained: Any = None


class Broken(msgspec.Struct, frozen=True):
    """A page failed as a whole. `line`: the script's, where it is known."""

    stage: Literal["script", "mapping", "rows"]
    reason: str
    prints: str = ""
    between: Any = None
    line: int | None = None
    explained: Any = None


Outcome = Ran | Broken


class Trace(msgspec.Struct, frozen=True):
    """What faulthandler wrote about a worker that died or was late: how many frames, and the script's innermost line."""

    frames: int = 0
    line: int | None = None

    @classmethod
    def of(cls, stderr: str) -> Trace:
        """Frames come innermost first. The text is not to be trusted: a script can write to stderr."""
        found = re.findall(r'^ *File "([^"\n]*)", line (\d{1,7}) in ', stderr, re.MULTILINE)
        return cls(len(found), next((int(line) for file, line in found if file == SCRIPT), None))


# how a page ended --------------------------------------------------------------------------------------------------------


def run_idle(program: Program, body: bytes) -> Outcome:
    """The rows of a page that neither script nor mapping touches."""
    try:
        return Ran(rows_at(msgspec.json.decode(body), program.rows_path))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Broken("rows", f"the page is unusable: {error}")


def outcome_of(program: Program, answer: Answer, memory: int = MEMORY_BYTES) -> Outcome:
    """A worker's answer as an outcome, its texts made printable."""
    prints = printable_lines(answer.prints)
    if (failure := answer.failure) is not None:
        stage: Stage = "mapping" if answer.stage == "mapping" else "script"
        reason = failure_text(program, failure, stage, memory)
        return Broken(stage, reason, prints, answer.between, failure.line, answer.explained)
    failed = (
        FailedRow(
            error.index, failure_text(program, error.failure, "script", memory), error.element, error.failure.line
        )
        for error in answer.row_errors
    )
    return Ran(answer.result, tuple(failed), prints, answer.between, answer.explained)


def refused(problems: Sequence[Problem], line: int | None) -> Broken:
    """A page of a program that does not compile."""
    stage: Stage = "script" if problems[0].path == "script" else "mapping"
    texts = [problem.message if problem.path == "script" else str(problem) for problem in problems]
    return Broken(stage, printable("; ".join(texts)), line=line)


def late(program: Program, trace: Trace) -> Broken:
    """A page whose worker was killed for its time."""
    stage = stage_of(program, trace)
    failure = Failure("", line=trace.line, timeout=True)
    return Broken(stage, failure_text(program, failure, stage), line=trace.line)


def ended(program: Program, status: int | None, trace: Trace) -> Broken:
    """A page whose worker ended over it, with this exit status (None: it only closed its pipe)."""
    stage = stage_of(program, trace)
    if status is None:
        reason = f"the process of the {stage} closed its connection to the service"
    elif status in KILLS:
        reason = f"the process of the {stage} was killed by the system ({signal_name(status)})"
    elif status == LOST_STATUS:
        reason = f"the process of the {stage} ended (exit status {status}, or one that got lost)"
    elif name := signal_name(status):
        reason = f"the {stage} crashed with {name}" + (f" at line {trace.line}" if trace.line is not None else "")
    else:
        reason = f"the {stage} ended its process (exit status {status})"
    return Broken(stage, reason, line=trace.line)


def by_the_system(status: int | None) -> bool:
    """Whether a worker's end may have nothing to do with its page: the system kills processes as well."""
    return status in (None, *KILLS, LOST_STATUS)


def crashed(status: int | None) -> bool:
    """Whether a worker died before its handshake, rather than Python saying that it cannot start."""
    return status is None or status < 0 or status == LOST_STATUS


def signal_name(status: int) -> str:
    """The name of the signal that a process died of; empty where there is none."""
    return next((number.name for number in signal.Signals if -number == status), "")


def stage_of(program: Program, trace: Trace) -> Stage:
    """Where a worker was that gives no answer any more: in the mapping, if Python ran and no line of the script did."""
    if program.script is None:
        return "mapping"
    return "mapping" if program.mapping is not None and trace.frames and trace.line is None else "script"


def last_stage(program: Program) -> Stage:
    """The stage whose result is sent."""
    return "script" if program.mapping is None else "mapping"


def out_of_memory(answer: Answer) -> bool:
    """Whether the page, or an element of it, met the limit of memory."""
    failures = (answer.failure, *(error.failure for error in answer.row_errors))
    return any(failure is not None and failure.memory for failure in failures)


def too_much(body: bytes) -> str | None:
    """What of an answer is more than the service holds in memory (counted generously); None if it is all right."""
    if body.count(b"{") + body.count(b"[") > MAX_ANSWER_OBJECTS:
        return f"{MAX_ANSWER_OBJECTS:,} objects and lists"
    return f"{MAX_ANSWER_VALUES:,} values" if body.count(b",") > MAX_ANSWER_VALUES else None


# texts -------------------------------------------------------------------------------------------------------------------


def failure_text(program: Program, failure: Failure, stage: str, memory: int = MEMORY_BYTES) -> str:
    """A failure in one line: limits by their names, exceptions with the script's line, its number and its text."""
    what = "mapping" if stage == "mapping" else "script"
    if failure.timeout:
        return f"the {what} ran longer than {program.timeout:g}s{_at(failure.line)}"
    if failure.memory:
        return f"the {what} used more than {memory >> 20} MB{_at(failure.line)}"
    error = printable(": ".join(part for part in (failure.type, failure.message) if part))
    if failure.line is None:
        return error
    text = source_line(program, failure.line)
    return f"line {failure.line}: {error}" + (f" (in `{text}`)" if text else "")


def _at(line: int | None) -> str:
    return "" if line is None else f" (line {line})"


def source_line(program: Program, line: int) -> str:
    """The text of a line of the script, without its indentation; empty where there is no such line."""
    source = (program.script or "").splitlines()
    return printable(source[line - 1].strip()[:200]) if 0 < line <= len(source) else ""


def printable(text: str) -> str:
    """In one line, without control characters and lone surrogates: fit for a log, a database and a page."""
    return one_line(text[: MAX_TEXT + 300]).strip()


def printable_lines(text: str) -> str:
    """What a script printed, fit for a log."""
    return lines(text[: MAX_PRINT_CHARS + 100])


def no_wall(layers: Mapping[str, str | None]) -> str | None:
    """Why the sandbox has no wall here; None if it has one."""
    why = layers.get("seccomp", "not on this system")
    if why is None:
        return None
    return f"this system offers no seccomp filter ({why}), and without it a script could reach files and the network"
