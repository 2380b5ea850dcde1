"""The supervisor: starts worker processes, feeds them pages, kills and replaces them. See `worker.py` for their inside.

One worker per flow version, started with exec, never fork: it has nothing of the service's memory. The supervisor trusts
nothing that a worker sends. It bounds frames in bytes and in objects before it decodes them, into fixed types; an answer
must carry its page's own id; the supervisor keeps the wall clock, which ends in SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import secrets
import signal
import struct
import subprocess
import sys
from asyncio.subprocess import Process, SubprocessStreamProtocol
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from imageflow.errors import SandboxError
from imageflow.sandbox import outcome
from imageflow.sandbox.outcome import MAX_ANSWER_BYTES, MAX_PRINT_CHARS, MEMORY_BYTES, Broken, Outcome, Program, Trace
from imageflow.sandbox.protocol import Answer, Ask, Config, Hello, framed
from imageflow.telemetry import metrics

GRACE_SECONDS = 0.5
BYTES_PER_SECOND = 10e6
"""A page's time grows by what passing it on and parsing it takes on a slow machine."""
START_SECONDS = 30.0
IDLE_SECONDS = 60.0
MAX_WORKERS = 8
PAGES_PER_WORKER = 10_000
WORKER_SECONDS = 3600.0
LADEN = 0.5
"""A worker that holds more than this part of its memory between two pages is recycled: the next page would not have enough."""
FIRST_UID = 61_184
UIDS = 4096
"""As root, each worker becomes a user of its own, out of a range that systems leave free."""
STDERR_BYTES = 64 * 1024

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_BOOT = "import sys; sys.path += sys.argv[1:]; from imageflow.sandbox.worker import main; main()"


# one worker --------------------------------------------------------------------------------------------------------------


class _FailedError(Exception):
    """The worker gave no answer to a page. `broken`: the page's outcome. `suspect`: an earlier page or the machine may be
    the cause, so the page deserves another attempt in a new worker.
    """

    def __init__(self, broken: Broken, *, suspect: bool) -> None:
        self.broken = broken
        self.suspect = suspect
        super().__init__(broken.reason)


class _GoneError(Exception):
    """The worker closed its end of the pipe."""


class _ProtocolError(Exception):
    """What the worker sent is no answer to what it was asked."""


class _Given(NamedTuple):
    """A page: its JSON text, and what the mapping finds by `^`."""

    body: bytes
    context: dict[str, Any]


class _Worker:
    """A worker process. One page at a time; after an error it is dead."""

    def __init__(
        self, transport: asyncio.SubprocessTransport, process: Process, program: Program, config: Config
    ) -> None:
        self._transport = transport
        self._process = process
        self._program = program
        self._max_answer = config.max_answer
        self._memory = config.memory
        self._pages = 0
        self._started = _now()
        self._spent = False
        self._killed = False
        self.busy = True
        self.last_used = self._started
        self.hello = Hello({}, [])

    @classmethod
    async def start(cls, program: Program, config: Config) -> Self:
        """Raises SandboxError if no worker can be started, _FailedError if compiling the program crashed it."""
        loop = asyncio.get_running_loop()
        try:
            transport, protocol = await loop.subprocess_exec(
                lambda: SubprocessStreamProtocol(limit=1 << 20, loop=loop),
                *command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise SandboxError(f"the process for scripts cannot be started: {error}") from error
        worker = cls(transport, Process(transport, protocol, loop), program, config)
        try:
            await worker._handshake(opening(program, config))
        except BaseException:
            worker.kill()
            raise
        return worker

    async def _handshake(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._send(data)
                self.hello = msgspec.json.decode(await self._receive(), type=Hello)
        except (_GoneError, _ProtocolError, TimeoutError, msgspec.MsgspecError) as error:
            status, stderr = await self._reap()
            if isinstance(error, _GoneError) and outcome.crashed(status):
                raise self._ended(status, stderr) from error
            why = outcome.printable(stderr[-500:]) or type(error).__name__
            raise SandboxError(f"the process for scripts did not start: {why}") from error

    @property
    def usable(self) -> bool:
        """Whether it may take another page, or is to be recycled."""
        young = self._pages < PAGES_PER_WORKER and _now() - self._started < WORKER_SECONDS
        return self.alive and young and not self._spent

    @property
    def alive(self) -> bool:
        return not self._killed and not self.reaped

    @property
    def reaped(self) -> bool:
        """Whether it has ended and the event loop has its status."""
        return self._process.returncode is not None

    async def answer(self, given: _Given) -> Answer:
        """The answer to a page. Raises _FailedError, and then the worker is dead; so it is after a cancellation."""
        try:
            async with asyncio.timeout(self._program.timeout + GRACE_SECONDS + len(given.body) / BYTES_PER_SECOND):
                answer = await self._ask(given)
        except TimeoutError as error:
            raise self._failed(outcome.late(self._program, await self._stop())) from error
        except _ProtocolError as error:
            self.kill()
            raise self._failed(Broken(outcome.last_stage(self._program), str(error))) from error
        except _GoneError as error:
            killed = self._killed  # before the page had an answer: by the pool
            raise self._ended(*await self._reap(), killed=killed) from error
        except BaseException:
            self.kill()
            raise
        self._pages += 1
        self._spent = outcome.out_of_memory(answer) or _resident(self._process.pid) > self._memory * LADEN
        self.last_used = _now()
        return answer

    def _ended(self, status: int | None, stderr: str, *, killed: bool = False) -> _FailedError:
        broken = outcome.ended(self._program, status, Trace.of(stderr))
        return self._failed(broken, innocent=killed or outcome.by_the_system(status))

    def _failed(self, broken: Broken, *, innocent: bool = False) -> _FailedError:
        return _FailedError(broken, suspect=innocent or self._pages > 0)

    async def _ask(self, given: _Given) -> Answer:
        ask = Ask(secrets.token_hex(16), given.context)
        await self._send(framed(msgspec.json.encode(ask)) + framed(given.body))
        data = await self._receive()
        if too_many := outcome.too_much(data):
            raise _ProtocolError(f"the result has more than {too_many}")
        try:
            answer = msgspec.json.decode(data, type=Answer)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise _ProtocolError(f"the result cannot be read: {outcome.printable(str(error))}") from error
        if answer.id != ask.id:
            raise _ProtocolError("the script wrote an answer of its own into the pipe")
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
                raise _ProtocolError(f"the result is larger than {self._max_answer >> 20} MB")
            return await self._process.stdout.readexactly(length)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise _GoneError from error

    async def _stop(self) -> Trace:
        """Kill a worker that is late. faulthandler names the line it is at, within C code as well."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self._process.send_signal(signal.SIGUSR1)
        await asyncio.sleep(0.05)
        self._sigkill()
        _, stderr = await self._reap()
        return Trace.of(stderr)

    async def _reap(self) -> tuple[int | None, str]:
        """Wait for its end, a moment for one of its own. Returns the exit status (None: it had to be killed) and stderr,
        which is not to be trusted either.
        """
        status: int | None = None
        try:
            async with asyncio.timeout(0.5):
                status = await self._process.wait()
        except TimeoutError:
            self._sigkill()
            await self._process.wait()
        assert self._process.stderr is not None
        try:
            return status, (await self._process.stderr.read(STDERR_BYTES)).decode(errors="replace")
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill it now, with all its process group, and close its pipes. The event loop reaps it.

        Closing polls the process. If that reaps it before asyncio's watcher thread does, asyncio reports LOST_STATUS.
        """
        self._sigkill()
        self._transport.close()

    def _sigkill(self) -> None:
        self._killed = True
        if not self.reaped:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def wait(self) -> None:
        await self._process.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _resident(pid: int) -> int:
    """How many bytes of memory a process has; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0


def command() -> list[str]:
    """How a worker is started: nothing of the environment, no site packages but where ours are, no bytecode written."""
    found = (importlib.util.find_spec(name) for name in ("imageflow", "msgspec"))
    places = {str(Path(spec.origin).parent.parent) for spec in found if spec is not None and spec.origin}
    return [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _BOOT, *sorted(places)]


def opening(program: Program, config: Config) -> bytes:
    """The three frames that a worker needs first."""
    script = (program.script or "").encode(errors="replace")
    return framed(msgspec.json.encode(config)) + framed(script) + framed(program.mapping or b"null")


# all workers -------------------------------------------------------------------------------------------------------------


class _Slot:
    """The place of one flow version's worker. A page takes the lock."""

    def __init__(self, flow: str) -> None:
        self.flow = flow
        self.lock = asyncio.Lock()
        self.waiting = 0
        self.worker: _Worker | None = None


class Sandbox:
    """All workers of a service. At most `max_workers` live at a time: the one unused for longest makes room, and idle ones
    end after `idle_seconds`. Use as an async context manager: leaving it ends them all.

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
        self._slots: dict[tuple[str, Program], _Slot] = {}
        self._room = asyncio.Semaphore(max_workers)
        self._workers: set[_Worker] = set()
        self._starts = 0
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

    async def run(self, flow: str, program: Program, body: bytes, context: Mapping[str, Any] | None = None) -> Outcome:
        """Put a page through a flow's script and mapping. Once its turn has come it takes at most the flow's time-out and
        a little. `context`: what the mapping finds by `^`, beside `^flow`. Raises SandboxError where no worker can be had.

        A page whose worker failed under suspicion gets a second attempt in a new worker.
        """
        if program.idle:
            return outcome.run_idle(program, body)
        slot = self._slots.setdefault((flow, program), _Slot(flow))
        slot.waiting += 1
        try:
            async with slot.lock, self._room:
                return await self._run(slot, program, _Given(body, {"flow": flow, **(context or {})}))
        finally:
            slot.waiting -= 1
            self._plan_sweep()

    async def _run(self, slot: _Slot, program: Program, given: _Given) -> Outcome:
        try:
            return await self._attempt(slot, program, given)
        except _FailedError as failed:
            if not failed.suspect:
                return failed.broken
        try:
            return await self._attempt(slot, program, given)
        except _FailedError as failed:
            return failed.broken

    async def _attempt(self, slot: _Slot, program: Program, given: _Given) -> Outcome:
        worker = await self._worker(slot, program)
        if worker.hello.problems:
            return outcome.refused(worker.hello.problems, worker.hello.line)
        return outcome.outcome_of(program, await self._page(slot, worker, given), self._memory)

    @staticmethod
    async def _page(slot: _Slot, worker: _Worker, given: _Given) -> Answer:
        worker.busy = True
        try:
            return await worker.answer(given)
        except _FailedError:
            metrics.SANDBOX_FAILURES.labels(slot.flow).inc()
            raise
        finally:
            worker.busy = False

    async def _worker(self, slot: _Slot, program: Program) -> _Worker:
        """The slot's worker, or a new one. The caller holds `_room`: if all workers live, one of them is idle."""
        if slot.worker is not None and slot.worker.usable:
            return slot.worker
        if slot.worker is not None:
            slot.worker.kill()
            slot.worker = None
        self._make_room()
        slot.worker = await self._start(slot.flow, program)
        return slot.worker

    async def _start(self, flow: str, program: Program) -> _Worker:
        self._starts += 1
        metrics.SANDBOX_STARTS.labels(flow).inc()
        worker = await _Worker.start(program, self._config(program))
        self._workers.add(worker)
        worker.busy = False
        if not self._best_effort and (why := outcome.no_wall(worker.hello.layers)):
            worker.kill()
            raise SandboxError(
                f"scripts are not run: {why} (IMAGEFLOW_JAIL=best-effort runs them, held against mistakes only)"
            )
        return worker

    def _config(self, program: Program) -> Config:
        return Config(
            timeout=program.timeout,
            memory=self._memory,
            max_answer=self._max_answer,
            max_prints=MAX_PRINT_CHARS,
            uid=FIRST_UID + self._starts % UIDS,
            rows_path=program.rows_path,
            trace=program.trace,
            strict=program.strict,
        )

    def _make_room(self) -> None:
        self._forget_reaped()
        alive = [worker for worker in self._workers if worker.alive]
        idle = sorted((worker for worker in alive if not worker.busy), key=lambda worker: worker.last_used)
        for worker in idle[: max(0, len(alive) - self._max_workers + 1)]:
            worker.kill()

    def _forget_reaped(self) -> None:
        self._workers = {worker for worker in self._workers if not worker.reaped}

    def _plan_sweep(self) -> None:
        if self._sweep is None and self._workers:
            self._sweep = asyncio.get_running_loop().call_later(max(self._idle_seconds / 4, 0.05), self._end_idle)

    def _end_idle(self) -> None:
        self._sweep = None
        for worker in self._workers:
            if not worker.busy and _now() - worker.last_used >= self._idle_seconds:
                worker.kill()
        self._forget_reaped()
        for key, slot in list(self._slots.items()):
            if not slot.waiting and (slot.worker is None or not slot.worker.alive):
                del self._slots[key]
        self._plan_sweep()
