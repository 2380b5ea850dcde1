"""The worker: the process in which a flow version's script and mapping run. `supervisor.py` starts and ends it.

Theory of operation. What a script may do in Python cannot be limited in Python: `().__class__.__base__.__subclasses__()`
reaches `os` and `ctypes`, and from there native code. So the kernel makes the whole process unable to do harm. The worker
first loads everything that a script may import, then locks itself down for good (`kernel.py`): it can open nothing any
more. Hello reports which layers hold; without `seccomp` the supervisor runs nothing.

The supervisor keeps the wall clock. SIGALRM in the worker interrupts an honest script and gives its line; SIGKILL from
outside ends the others. A script can still lie about its own flow's rows, over its own pipe. Each page's script starts in
a fresh namespace, with its own decimal and other contexts. After the page, `Untouched` puts back the names, classes,
instances and containers of the modules (without a script nobody can have changed them); the audit hook keeps frames, and with them the worker's own objects, out of the
script's reach (`audit.py`). State that C code holds (`random`'s generator, `csv`'s dialects) stays from page to page, and
native code can do anything within the process. A script that goes so far harms its own flow only.
"""

from __future__ import annotations

import builtins
import contextlib
import contextvars
import faulthandler
import fcntl
import gc
import io
import os
import signal
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

import msgspec

from imageflow.errors import Problem
from imageflow.jolt import Chain
from imageflow.jolt.errors import PatternTimeout
from imageflow.sandbox import audit, jolt, kernel
from imageflow.sandbox.answer import rows_at
from imageflow.sandbox.pipe import receive, send
from imageflow.sandbox.protocol import (
    MAX_TEXT,
    SCRIPT,
    Answer,
    Ask,
    Config,
    Failure,
    Hello,
    RowError,
    decode,
    frame,
)
from imageflow.sandbox.script import compile_script, guarded_import, preload
from imageflow.sandbox.untouched import Untouched

RAW_BYTES = 4 << 20
"""Limit of what an answer sends back of elements that failed in process_row, as JSON."""
TRACE_BYTES = 8 << 20
TRACE_OBJECTS = 200_000
"""Limits of what a trace sends back of the mapping's input."""

MAPPING_GC = (100_000, 20, 20)
"""When Python looks for garbage where no script runs. The engine leaves next to none, and each look goes through the page."""

NO_BUILTINS = ("open", "input", "breakpoint", "exit", "quit", "help", "copyright", "credits", "license")


class ScriptTimeout(BaseException):
    """The page's time is up."""


class PageError(Exception):
    """The script's result cannot be used; the text says why."""


def _take_pipes() -> tuple[int, int]:
    """Move the pipes away from where `print` and C code write; /dev/null takes their place. Returns (in, out)."""
    # On uvloop a child inherits each descriptor that the service inherited itself: libuv closes none.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    pipes = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    for pipe in pipes:
        with contextlib.suppress(
            OSError, AttributeError
        ):  # fewer switches between the processes, where the system allows
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)
    return pipes


class Prints(io.TextIOBase):
    """What the script prints, up to a number of characters; the rest is only counted."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[str] = []
        self._count = 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._count < self._limit:
            self._parts.append(text[: self._limit - self._count])
        self._count += len(text)
        return len(text)

    def take(self) -> str:
        """All since the last time."""
        text, cut = "".join(self._parts), self._count - self._limit
        self._parts, self._count = [], 0
        return plain(text) + (f"\n... and {cut} more characters" if cut > 0 else "")


class Alarm:
    """Interrupts the script when its time is up, and again where it swallows that. Ends an orphan.

    A second clock, which counts the processor's time only, ends regular expressions of the mapping.
    """

    def __init__(self) -> None:
        self._armed = False
        self._parent = os.getppid()
        signal.signal(signal.SIGALRM, self._ring)
        signal.signal(signal.SIGVTALRM, self._ring_pattern)

    def arm(self, seconds: float) -> None:
        self._armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.25)

    def disarm(self) -> None:
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    @contextlib.contextmanager
    def pattern(self, seconds: float) -> Iterator[None]:
        """End what runs here after so many seconds of work, by a PatternTimeout."""
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 0.25)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    def _ring_pattern(self, _signal: int, _frame: types.FrameType | None) -> None:
        raise PatternTimeout

    def _ring(self, _signal: int, _frame: types.FrameType | None) -> None:
        if os.getppid() != self._parent:
            os._exit(1)
        if self._armed:
            raise ScriptTimeout


def plain(text: str) -> str:
    """Text that every encoder takes: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode()


def failure_of(error: BaseException) -> Failure:
    """An exception as a Failure, with the innermost line that is the script's own."""
    try:
        message = plain(str(error)[:MAX_TEXT])
    except Exception:  # noqa: BLE001 - the script's own __str__ may raise anything
        message = ""
    return Failure(
        type=plain(type(error).__name__[:200]),
        message=message,
        line=_line_of(error),
        timeout=isinstance(error, ScriptTimeout),
        memory=isinstance(error, MemoryError),
    )


def _line_of(error: BaseException) -> int | None:
    """The only function that may look at frames (see `audit.install`): it must not call the script's code."""
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == SCRIPT else None
    trace = _TRACEBACK.__get__(error)
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == SCRIPT:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line if isinstance(line, int) else None


_TRACEBACK: Any = vars(BaseException)["__traceback__"]


# script and mapping ------------------------------------------------------------------------------------------------------


class Runner:
    """A flow's script and mapping, compiled, and all that a page needs around them."""

    def __init__(self, config: Config, source: str, spec: bytes, alarm: Alarm) -> None:
        self._config = config
        self._code, found, self.line = compile_script(source)
        self.problems, self.warnings = [*found], list[Problem]()
        self._chain: Chain | None = None
        self._compile_mapping(spec)
        self._prints = Prints(0)
        self._alarm = alarm
        self._builtins = {name: value for name, value in vars(builtins).items() if name not in NO_BUILTINS}
        self._builtins["__import__"] = guarded_import
        self._stage = ""
        self._between: msgspec.Raw | None = None
        self._explained: msgspec.Raw | None = None
        self._context: dict[str, Any] = {}
        sys.stdout = sys.stderr = self._silence = self._prints
        self._put_back = self._put_ours_back = _nothing
        if self._code is not None:
            untouched = Untouched()
            self._put_back, self._put_ours_back = untouched.restore, untouched.restore_ours

    def _compile_mapping(self, spec: bytes) -> None:
        try:
            mapping = decode(spec)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            self.problems.append(Problem("mapping", f"cannot be read: {error}"))
            return
        if mapping is not None:
            config = self._config
            try:
                self._chain, found = jolt.compile_chain(mapping, strict=config.strict, counting=config.trace)
            except MemoryError:
                found = [Problem("mapping", "takes too much memory to compile")]
            self.problems += found
            self.warnings = jolt.warnings(self._chain) if self._chain is not None else []

    def answer(self, ask: Ask, body: bytearray) -> bytearray:
        """The Answer's frame; whatever the script does, short of ending the process, becomes one."""
        ask_id, self._context = ask.id, ask.context
        self._between = self._explained = None
        sys.stdout = sys.stderr = self._prints = Prints(self._config.max_prints)
        try:
            self._alarm.arm(self._config.timeout)
            data = self._transformed(ask_id, body)
        except BaseException as error:  # noqa: BLE001 - what the script's own exception does while it is looked at
            self._alarm.disarm()
            failure = Failure(
                plain(type(error).__name__[:200]),
                timeout=isinstance(error, ScriptTimeout),
                memory=isinstance(error, MemoryError),
            )
            data = frame(Answer(ask_id, failure=failure, stage=self._stage))
        finally:
            self._alarm.disarm()
        sys.stdout = sys.stderr = self._silence
        self._put_back()
        return data

    def _transformed(self, ask_id: str, body: bytearray) -> bytearray:
        try:
            try:
                result, row_errors = contextvars.Context().run(self._page, body)
            finally:
                self._put_ours_back()
            answer = Answer(ask_id, result, row_errors, self._prints.take(), None, "", self._between, self._explained)
            data = frame(answer)
            if self._between is not None and len(data) > self._config.max_answer:
                data = frame(msgspec.structs.replace(answer, between=None, explained=None))
            if len(data) <= self._config.max_answer:
                return data
            failure = Failure("", f"the result is larger than {self._config.max_answer >> 20} MB")
        except BaseException as error:  # noqa: BLE001 - a script may raise anything
            if isinstance(error, ScriptTimeout):
                self._alarm.disarm()
            failure = Failure("", str(error)) if isinstance(error, PageError) else failure_of(error)
        prints = self._prints.take()
        return frame(Answer(ask_id, None, [], prints, failure, self._stage, self._between, self._explained))

    def _page(self, body: bytearray) -> tuple[Any, list[RowError]]:
        self._stage = "script" if self._code is not None else "mapping"
        document = decode(body)
        rows, row_errors = self._run_script(document, body)
        if self._chain is None:
            return rows, row_errors
        if self._code is not None:
            rows = decode(frame(rows)[4:])  # plain values, none in two places: a mapping works on JSON
        self._stage = "mapping"
        if self._config.trace:
            self._between = _between(rows)
        return self._map(rows), row_errors

    def _run_script(self, document: Any, body: bytearray) -> tuple[Any, list[RowError]]:
        if self._code is None:
            return _rows(document, self._config.rows_path, "the answer is"), []
        namespace: dict[str, Any] = {"__name__": "__flow__", "__builtins__": dict(self._builtins)}
        try:
            exec(self._code, namespace)  # noqa: S102 - the process is locked down
            process, process_row = namespace.get("process"), namespace.get("process_row")
            if process is None and process_row is None:
                raise PageError("the script defines neither process(response) nor process_row(row)")
            value = document if process is None else _listed(process(document))
            rows = _rows(value, self._config.rows_path, "the answer is" if process is None else "process() returned")
            if process_row is None:
                return rows, []
            before = _Before(body, self._config.rows_path) if process is None else _Before(_snapshot(rows), "")
            return _each_row(process_row, rows, before)
        finally:
            namespace.clear()  # so that a __del__ runs now, on the page's own time

    def _map(self, rows: Any) -> Any:
        empty = rows == []
        assert self._chain is not None
        try:
            result = self._explain(rows) if self._config.trace else jolt.apply(self._chain, rows, self._context)
        except RecursionError as error:
            raise PageError("mapping: the rows are nested too deeply") from error
        except ValueError as error:
            raise PageError(str(error)) from error
        return [] if result is None and empty else result

    def _explain(self, rows: Any) -> Any:
        """The result of the mapping, in a trace: what each line did is kept for the answer."""
        assert self._chain is not None
        explanation = jolt.explain(self._chain, rows, self._context)
        data = frame(explanation)
        self._explained = msgspec.Raw(bytes(data[4:])) if len(data) <= TRACE_BYTES else None
        return jolt.result_of(explanation)


def _nothing() -> None:
    """A mapping runs no code but the engine's: there is nothing to put back."""


def _listed(value: Any) -> Any:
    """Generators, tuples and the like count as lists."""
    if isinstance(value, (list, dict, str, bytes)) or not isinstance(value, Iterable):
        return value
    return list(value)


def _rows(value: Any, rows_path: str, subject: str) -> Any:
    try:
        return rows_at(value, rows_path)
    except ValueError as error:
        raise PageError(f"{subject} unusable: {error}" if subject.endswith("is") else f"{subject} {error}") from error


def _snapshot(rows: Any) -> bytearray | None:
    try:
        return frame(rows)[4:]
    except (TypeError, ValueError, RecursionError):
        return None


def _between(rows: Any) -> msgspec.Raw | None:
    """What a trace shows of a page halfway; None where that would burst the answer, or is no JSON."""
    data = _snapshot(rows)
    if data is None or len(data) > TRACE_BYTES or data.count(b"{") + data.count(b"[") > TRACE_OBJECTS:
        return None
    return msgspec.Raw(bytes(data))


class _Before:
    """The elements as they were before process_row got hold of them, decoded anew when the first one fails."""

    def __init__(self, data: bytearray | None, rows_path: str) -> None:
        self._data = data
        self._rows_path = rows_path
        self._rows: list[Any] | None = None
        self._left = RAW_BYTES

    def element(self, index: int) -> Any:
        """The element, or None if the rows are no JSON or RAW_BYTES are used up."""
        if self._data is None:
            return None
        if self._rows is None:
            rows = rows_at(decode(self._data), self._rows_path)
            self._rows = rows if isinstance(rows, list) else [rows]
        element = self._rows[index]
        self._left -= len(frame(element))
        return element if self._left >= 0 else None


def _each_row(process_row: Callable[[Any], Any], rows: Any, before: _Before) -> tuple[Any, list[RowError]]:
    """process_row's results (None drops), and where it failed. A lone object stays a lone object."""
    results: list[Any] = []
    errors: list[RowError] = []
    for index, row in enumerate(rows if isinstance(rows, list) else [rows]):
        try:
            result = process_row(row)
        except ScriptTimeout:
            raise
        except BaseException as error:  # noqa: BLE001 - a script may raise anything
            errors.append(RowError(index, failure_of(error), before.element(index)))
            continue
        if result is not None:
            results.append(result)
    return (results if isinstance(rows, list) or not results else results[0]), errors


def _audit() -> None:
    kernel.forget_ctypes()
    audit.install(_line_of.__code__)


def main() -> NoReturn:
    """Serve one flow version until the input ends."""
    asks, answers = _take_pipes()
    faulthandler.enable(2, all_threads=False)
    faulthandler.register(signal.SIGUSR1, 2, all_threads=False)
    config = msgspec.json.decode(receive(asks), type=Config)
    source, spec = bytes(receive(asks)), bytes(receive(asks))
    if spec != b"null":
        jolt.preload()
    preload(source)
    sys.unraisablehook = lambda _: None
    alarm = Alarm()
    jolt.keep_time(alarm.pattern)
    layers = kernel.lock_down(config, _audit)
    runner = Runner(config, source.decode(errors="replace"), spec, alarm)
    send(answers, frame(Hello(layers, runner.problems, runner.line, runner.warnings)))
    if not source:
        gc.set_threshold(*MAPPING_GC)
    gc.collect()
    gc.freeze()
    while True:
        ask = msgspec.json.decode(receive(asks), type=Ask)
        send(answers, runner.answer(ask, receive(asks)))
