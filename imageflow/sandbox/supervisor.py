"""The keeper of the jail: starts worker processes, feeds them pages, kills and replaces them. See `jail.py` for the inside.

One worker per flow version, started with exec, never fork: nothing of the service's memory is in it. Nothing that comes
out of a worker is trusted: frames are bounded in bytes and in objects before they are decoded, into fixed types; the
answer must carry the page's own id; the wall clock is ours and ends in SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import secrets
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

from imageflow.errors import Problem, SandboxError
from imageflow.model.flow import Definition
from imageflow.sandbox.answer import rows_at
from imageflow.sandbox.worker import MAX_TEXT, SCRIPT, Answer, Ask, Config, Failure, Hello
from imageflow.telemetry import metrics

MEMORY_BYTES = 512 << 20
MAX_ANSWER_BYTES = 16 << 20
MAX_ANSWER_OBJECTS = 500_000
MAX_ANSWER_VALUES = 2_000_000
"""Decoding multiplies: 16 MB of `[],[],…` would take 420 MB of the service's memory, of `"ab","ab",…` 200 MB."""
MAX_PRINT_CHARS = 64 * 1024
GRACE_SECONDS = 0.5
BYTES_PER_SECOND = 10e6
"""A page may take so much longer as it takes to be passed on and parsed on a slow machine."""
START_SECONDS = 30.0
EXAMINE_SECONDS = 10.0
IDLE_SECONDS = 60.0
MAX_WORKERS = 8
PAGES_PER_WORKER = 10_000
WORKER_SECONDS = 3600.0
FIRST_UID = 61_184
"""As root, each worker becomes a user of its own, out of a range that systems leave free."""

_BOOT = "import sys; sys.path += sys.argv[1:]; from imageflow.sandbox.worker import main; main()"


class Program(msgspec.Struct, frozen=True):
    """What a worker runs: everything in a flow that says how an answer becomes rows. `mapping` is JSON text. `trace`:
    outcomes are to hold what the mapping was given.
    """

    script: str | None = None
    mapping: bytes | None = None
    rows_path: str = ""
    timeout: float = 10.0
    trace: bool = False

    @classmethod
    def of(cls, definition: Definition) -> Program:
        script = definition.script if definition.script and definition.script.strip() else None
        mapping = msgspec.json.encode(definition.mapping) if definition.mapping else None
        return cls(script, mapping, definition.rows_path, float(definition.script_timeout))

    @property
    def idle(self) -> bool:
        """Whether there is nothing to run: no worker is needed."""
        return self.script is None and self.mapping is None


class FailedRow(msgspec.Struct, frozen=True):
    """An element for which process_row failed."""

    index: int
    reason: str
    element: Any


class Ran(msgspec.Struct, frozen=True):
    """A page went through script and mapping: what came out, and which elements failed alone. `between`: what the mapping
    was given, in a trace (None: too large to show).
    """

    result: Any
    failed: tuple[FailedRow, ...] = ()
    prints: str = ""
    between: Any = None


class Broken(msgspec.Struct, frozen=True):
    """A page failed as a whole."""

    stage: Literal["script", "mapping", "rows"]
    reason: str
    prints: str = ""
    between: Any = None


Outcome = Ran | Broken


# what is said about failures: pure ---------------------------------------------------------------------------------------


def run_idle(program: Program, body: bytes) -> Outcome:
    """The rows of a page that neither script nor mapping touches."""
    try:
        return Ran(rows_at(msgspec.json.decode(body), program.rows_path))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Broken("rows", f"the page is unusable: {error}")


def told(program: Program, failure: Failure, stage: str, memory: int = MEMORY_BYTES) -> str:
    """A failure in one line: limits by their names, exceptions with the script's line, its number and its text."""
    what = "mapping" if stage == "mapping" else "script"
    if failure.timeout:
        return f"the {what} ran longer than {program.timeout:g}s{_at(failure.line)}"
    if failure.memory:
        return f"the {what} used more than {memory >> 20} MB{_at(failure.line)}"
    error = printable(
        f"{failure.type}: {failure.message}" if failure.message and failure.type else failure.message or failure.type
    )
    if failure.line is None:
        return error
    text = source_line(program, failure.line)
    return f"line {failure.line}: {error}" + (f" (in `{text}`)" if text else "")


def source_line(program: Program, line: int) -> str:
    """The text of a line of the script, without its indentation; empty where there is no such line."""
    lines = (program.script or "").splitlines()
    return printable(lines[line - 1].strip()[:200]) if 0 < line <= len(lines) else ""


def line_in(reason: str) -> int | None:
    """The script's line that a failure's text names (see `told`, `end_of` and the jail's problems)."""
    found = re.search(r"^line (\d{1,7}): |(?: at line | \(line )(\d{1,7})\)?$", reason)
    return int(found[1] or found[2]) if found else None


def printable_lines(text: str) -> str:
    """What a script printed, fit for a log."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "\ufffd", text[: MAX_PRINT_CHARS + 100])


def _at(line: int | None) -> str:
    return "" if line is None else f" (line {line})"


def printable(text: str) -> str:
    """Without control characters and lone surrogates: fit for a log, a database and a page."""
    cleaned = re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", "\ufffd", text[: MAX_TEXT + 300])
    return cleaned.strip()


def end_of(program: Program, code: int | None, trace: str) -> Broken:
    """Why a worker ended by itself: its exit status, and the line that faulthandler wrote down."""
    line, stage = last_line(trace), _guess_stage(program, trace)
    what = "mapping" if stage == "mapping" else "script"
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return Broken(
                stage,
                f"the {what} crashed with {signal.Signals(-code).name}{'' if line is None else f' at line {line}'}",
            )
    return Broken(stage, f"the {what} ended its process (exit status {code})")


def last_line(trace: str) -> int | None:
    """The script's innermost line in a trace of faulthandler, which names the innermost frame first."""
    found = re.search(rf'File "{SCRIPT}", line (\d{{1,7}})\b', trace)
    return int(found[1]) if found else None


def _guess_stage(program: Program, trace: str) -> Literal["script", "mapping"]:
    if program.script is None or (program.mapping is not None and last_line(trace) is None and "pyjolt" in trace):
        return "mapping"
    return "script"


def too_much(body: bytes) -> str | None:
    """What of an answer would become more than the service wants to hold (counted generously); None if it is all right."""
    if body.count(b"{") + body.count(b"[") > MAX_ANSWER_OBJECTS:
        return f"{MAX_ANSWER_OBJECTS:,} objects and lists"
    return f"{MAX_ANSWER_VALUES:,} values" if body.count(b",") > MAX_ANSWER_VALUES else None


# one worker --------------------------------------------------------------------------------------------------------------


class _FailedError(Exception):
    """The worker gave no answer to a page; `broken` is what is to be said of the page. `suspect`: it may well have been
    the fault of a page before, or of the machine.
    """

    def __init__(self, broken: Broken, *, suspect: bool) -> None:
        self.broken = broken
        self.suspect = suspect
        super().__init__(broken.reason)


class _GoneError(Exception):
    """The worker closed its end of the pipe."""


class _DeceitError(Exception):
    """What the worker sent is no answer to what it was asked."""


class _Worker:
    """A worker process. One page at a time; after an error it is dead."""

    def __init__(self, process: asyncio.subprocess.Process, program: Program, max_answer: int) -> None:
        self._process = process
        self._program = program
        self._max_answer = max_answer
        self._pages = 0
        self._born = _now()
        self._worn = False
        self._killed = False
        self.busy = True
        self.last_used = self._born
        self.hello = Hello({}, [])

    @classmethod
    async def start(cls, program: Program, config: Config) -> Self:
        """Raises SandboxError when no worker can be had, _FailedError when the program crashed it already."""
        try:
            process = await asyncio.create_subprocess_exec(
                *command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={},
                cwd="/",
                start_new_session=True,
                limit=1 << 20,
            )
        except OSError as error:
            raise SandboxError(f"the process for scripts cannot be started: {error}") from error
        worker = cls(process, program, config.max_answer)
        try:
            await worker._greet(opening(program, config))
        except BaseException:
            worker.kill()
            raise
        return worker

    async def _greet(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._send(data)
                self.hello = msgspec.json.decode(await self._receive(), type=Hello)
        except (_GoneError, _DeceitError, TimeoutError, msgspec.MsgspecError) as error:
            trace = await self._bury()
            code = self._process.returncode
            if isinstance(error, _GoneError) and code is not None and code < 0:  # compiling it crashed the worker
                raise self._failed(end_of(self._program, code, trace)) from error
            why = printable(trace[-500:]) or type(error).__name__
            raise SandboxError(f"the process for scripts did not start: {why}") from error

    @property
    def usable(self) -> bool:
        return self.alive and not self._worn and self._pages < PAGES_PER_WORKER and _now() - self._born < WORKER_SECONDS

    @property
    def alive(self) -> bool:
        return not self._killed and not self.reaped

    @property
    def reaped(self) -> bool:
        """Whether it has ended and the event loop knows."""
        return self._process.returncode is not None

    async def answer(self, body: bytes) -> Answer:
        """The answer to a page. Raises _FailedError, and then the worker is dead; so it is after a cancellation."""
        try:
            async with asyncio.timeout(self._program.timeout + GRACE_SECONDS + len(body) / BYTES_PER_SECOND):
                answer = await self._ask(body)
        except TimeoutError as error:
            raise self._failed(await self._late()) from error
        except _DeceitError as error:
            self.kill()
            raise self._failed(Broken(_last_stage(self._program), str(error))) from error
        except _GoneError as error:
            trace = await self._bury()
            raise self._failed(end_of(self._program, self._process.returncode, trace)) from error
        except BaseException:
            self.kill()
            raise
        self._pages += 1
        self._worn = _out_of_memory(answer)
        self.last_used = _now()
        return answer

    def _failed(self, broken: Broken) -> _FailedError:
        killed = self._process.returncode in (-signal.SIGKILL, -signal.SIGTERM) and "longer" not in broken.reason
        return _FailedError(broken, suspect=self._pages > 0 or killed)

    async def _ask(self, body: bytes) -> Answer:
        ask = Ask(secrets.token_hex(16))
        await self._send(framed(msgspec.json.encode(ask)) + framed(body))
        data = await self._receive()
        if too_many := too_much(data):
            raise _DeceitError(f"the result has more than {too_many}")
        try:
            answer = msgspec.json.decode(data, type=Answer)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise _DeceitError(f"the result cannot be read: {printable(str(error))}") from error
        if answer.id != ask.id:
            raise _DeceitError("the script wrote an answer of its own into the pipe")
        return answer

    async def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (OSError, RuntimeError) as error:
            raise _GoneError from error

    async def _receive(self) -> bytes:
        assert self._process.stdout is not None
        try:
            (length,) = struct.unpack("<I", await self._process.stdout.readexactly(4))
            if length > self._max_answer:
                raise _DeceitError(f"the result is larger than {self._max_answer >> 20} MB")
            return await self._process.stdout.readexactly(length)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise _GoneError from error

    async def _late(self) -> Broken:
        """Kill a worker that overran its time. faulthandler tells where it was, even where that was within C code."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self._process.send_signal(signal.SIGUSR1)
        await asyncio.sleep(0.05)
        self._end()
        trace = await self._bury()
        stage = _guess_stage(self._program, trace)
        return Broken(stage, told(self._program, Failure("", line=last_line(trace), timeout=True), stage))

    async def _bury(self) -> str:
        """See it end, after a moment to do so by itself; what it left on stderr, which is not to be trusted either."""
        try:
            async with asyncio.timeout(0.5):
                await self._process.wait()
        except TimeoutError:
            self._end()
            await self._process.wait()
        assert self._process.stderr is not None
        try:
            return (await self._process.stderr.read(64 * 1024)).decode(errors="replace")
        finally:
            self.kill()

    def kill(self) -> None:
        """End it and whatever it may have started, now, and let go of its pipes. The event loop reaps it."""
        self._end()
        self._process._transport.close()  # type: ignore[attr-defined]

    def _end(self) -> None:
        self._killed = True
        if not self.reaped:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def wait(self) -> None:
        await self._process.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _out_of_memory(answer: Answer) -> bool:
    return any(f is not None and f.memory for f in (answer.failure, *(error.failure for error in answer.row_errors)))


def _last_stage(program: Program) -> Literal["script", "mapping"]:
    return "script" if program.mapping is None else "mapping"


def command() -> list[str]:
    """How a worker is started: nothing of the environment, no site packages but where ours are, no bytecode written."""
    found = (importlib.util.find_spec(name) for name in ("imageflow", "msgspec", "pyjolt"))
    places = {str(Path(spec.origin).parent.parent) for spec in found if spec is not None and spec.origin}
    return [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _BOOT, *sorted(places)]


def framed(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def opening(program: Program, config: Config) -> bytes:
    """The three frames that a worker wants first."""
    script = (program.script or "").encode(errors="replace")
    return framed(msgspec.json.encode(config)) + framed(script) + framed(program.mapping or b"null")


# all workers -------------------------------------------------------------------------------------------------------------


class _Cell:
    """The place of one flow version's worker. The lock is held while a page is in it."""

    def __init__(self, flow: str) -> None:
        self.flow = flow
        self.lock = asyncio.Lock()
        self.waiting = 0
        self.worker: _Worker | None = None


class Sandbox:
    """All workers of a service: at most `max_workers` live ones, the longest unused makes room; idle ones end by
    themselves. Use as an async context manager: leaving ends them all.

    `best_effort`: run scripts even where the kernel offers no wall (no seccomp): good against mistakes, not malice.
    """

    def __init__(
        self,
        *,
        best_effort: bool = False,
        max_workers: int = MAX_WORKERS,
        idle_seconds: float = IDLE_SECONDS,
        memory: int = MEMORY_BYTES,
        max_answer: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._best_effort = best_effort
        self._max_workers = max_workers
        self._idle_seconds = idle_seconds
        self._memory = memory
        self._max_answer = max_answer
        self._cells: dict[tuple[str, Program], _Cell] = {}
        self._room = asyncio.Semaphore(max_workers)
        self._workers: set[_Worker] = set()
        self._started = 0
        self._sweep: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            await worker.wait()
        self._workers.clear()
        await asyncio.sleep(0)  # closing transports takes the event loop one more turn

    @property
    def live(self) -> int:
        """How many worker processes there are."""
        return sum(worker.alive for worker in self._workers)

    async def run(self, flow: str, program: Program, body: bytes) -> Outcome:
        """Put a page through a flow's script and mapping. Never waits longer than the flow's time-out and a little,
        once it is its turn. Raises SandboxError where there is no jail to be had.

        A worker that fails in the middle of its career is not believed: its page gets a second try in a new one.
        """
        if program.idle:
            return run_idle(program, body)
        key = (flow, program)
        cell = self._cells.setdefault(key, _Cell(flow))
        cell.waiting += 1
        try:
            async with cell.lock, self._room:
                return await self._run(cell, program, body)
        finally:
            cell.waiting -= 1
            self._plan_sweep()

    async def _run(self, cell: _Cell, program: Program, body: bytes) -> Outcome:
        try:
            return await self._attempt(cell, program, body)
        except _FailedError as failed:
            if not failed.suspect:
                return failed.broken
        try:
            return await self._attempt(cell, program, body)
        except _FailedError as failed:
            return failed.broken

    async def _attempt(self, cell: _Cell, program: Program, body: bytes) -> Outcome:
        worker = await self._worker(cell, program)
        if worker.hello.problems:
            return _refused(worker.hello.problems)
        return self._outcome(program, await self._page(cell, worker, body))

    @staticmethod
    async def _page(cell: _Cell, worker: _Worker, body: bytes) -> Answer:
        worker.busy = True
        try:
            return await worker.answer(body)
        except _FailedError:
            metrics.JAIL_FAILURES.labels(cell.flow).inc()
            raise
        finally:
            worker.busy = False

    async def _worker(self, cell: _Cell, program: Program) -> _Worker:
        """The cell's worker, or a new one. Where `_room` is ours and all workers live, one of them is idle."""
        if cell.worker is not None and cell.worker.usable:
            return cell.worker
        if cell.worker is not None:
            cell.worker.kill()
            cell.worker = None
        self._make_room()
        self._started += 1
        metrics.JAIL_STARTS.labels(cell.flow).inc()
        worker = await _Worker.start(program, self._config(program))
        self._workers.add(worker)
        worker.busy = False
        if not self._best_effort and worker.hello.layers.get("seccomp", "not on this system") is not None:
            worker.kill()
            raise SandboxError(
                f"scripts are not run: {no_wall(worker.hello.layers)} "
                "(IMAGEFLOW_JAIL=best-effort runs them, held against mistakes only)"
            )
        cell.worker = worker
        return worker

    def _config(self, program: Program) -> Config:
        return Config(
            timeout=program.timeout,
            memory=self._memory,
            max_answer=self._max_answer,
            max_prints=MAX_PRINT_CHARS,
            uid=FIRST_UID + self._started % 4096,
            rows_path=program.rows_path,
            trace=program.trace,
        )

    def _make_room(self) -> None:
        self._workers = {worker for worker in self._workers if not worker.reaped}
        alive = [worker for worker in self._workers if worker.alive]
        idle = sorted((worker for worker in alive if not worker.busy), key=lambda worker: worker.last_used)
        for worker in idle[: max(0, len(alive) - self._max_workers + 1)]:
            worker.kill()

    def _plan_sweep(self) -> None:
        if self._sweep is None and self._workers:
            self._sweep = asyncio.get_running_loop().call_later(max(self._idle_seconds / 4, 0.05), self._end_idle)

    def _end_idle(self) -> None:
        self._sweep = None
        for worker in self._workers:
            if not worker.busy and _now() - worker.last_used >= self._idle_seconds:
                worker.kill()
        self._workers = {worker for worker in self._workers if not worker.reaped}
        for key, cell in list(self._cells.items()):
            if not cell.waiting and (cell.worker is None or not cell.worker.alive):
                del self._cells[key]
        self._plan_sweep()

    def _outcome(self, program: Program, answer: Answer) -> Outcome:
        prints = printable_lines(answer.prints)
        if answer.failure is not None:
            stage: Literal["script", "mapping"] = "mapping" if answer.stage == "mapping" else "script"
            return Broken(stage, told(program, answer.failure, stage, self._memory), prints, answer.between)
        failed = (
            FailedRow(error.index, told(program, error.failure, "script", self._memory), error.element)
            for error in answer.row_errors
        )
        return Ran(answer.result, tuple(failed), prints, answer.between)


def _refused(problems: list[Problem]) -> Broken:
    stage: Literal["script", "mapping"] = "script" if problems[0].path == "script" else "mapping"
    texts = [problem.message if problem.path == "script" else str(problem) for problem in problems]
    return Broken(stage, printable("; ".join(texts)))


def no_wall(layers: Mapping[str, str | None]) -> str:
    """Why the jail has no wall here, and what can be done."""
    why = layers.get("seccomp", "not on this system")
    return f"this system offers no seccomp filter ({why}), and without it a script could reach files and the network"


# without an event loop: for `flow lint`, `flow apply` and `doctor` -----------------------------------------------------


def check_script(source: str) -> list[Problem]:
    """What is wrong with a script: syntax, imports that will fail, neither function defined. Blocks; a jail compiles it."""
    return examine(Program(script=source)) if source.strip() else []


def examine(program: Program) -> list[Problem]:
    """What does not compile in a program. Blocks for up to 10 seconds: compiling may be made to take for ever."""
    where = "script" if program.mapping is None else "mapping"
    try:
        return [Problem(problem.path, printable(problem.message)) for problem in _greeting(program).problems]
    except TimeoutError:
        return [Problem(where, f"compiling it takes longer than {EXAMINE_SECONDS:g}s")]
    except SandboxError as error:
        return [Problem(where, f"cannot be compiled: {error}")]


def layers() -> dict[str, str | None]:
    """The layers that hold on this machine, each with None, or why it could not be had. Blocks. Raises SandboxError."""
    try:
        return _greeting(Program()).layers
    except TimeoutError as error:
        raise SandboxError("the process for scripts did not start in time") from error


def _greeting(program: Program) -> Hello:
    config = Config(program.timeout, MEMORY_BYTES, MAX_ANSWER_BYTES, MAX_PRINT_CHARS, FIRST_UID + 4096)
    try:
        done = subprocess.run(  # noqa: S603 - the command is our own
            command(),
            input=opening(program, config),
            capture_output=True,
            check=False,
            timeout=EXAMINE_SECONDS,
            env={},
            cwd="/",
            start_new_session=True,
        )
        return msgspec.json.decode(done.stdout[4:], type=Hello)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    except (OSError, msgspec.MsgspecError) as error:
        raise SandboxError(f"the process for scripts did not start: {error}") from error
