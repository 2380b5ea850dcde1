"""The reader: one message, one page. Asks the ERP, stores the answer with what follows from it, sends that on.

How to ask is asker.py's, when to try again retry_policy.py's. The truth of where a run stands is in the store: a message only
says that it is time to look. So a message that comes twice, late, or after a crash anywhere below does no harm: a page is
stored once, with its messages, or not at all.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import NamedTuple

import msgspec
import structlog

from imageflow.broker import Broker, Outgoing
from imageflow.clock import Clock
from imageflow.errors import (
    ImageFlowError,
    LoginError,
    NotFoundError,
    Postponed,
    ReadError,
    SecretError,
    StageError,
    TransportError,
)
from imageflow.http.client import Transport
from imageflow.http.omnitron import OmnitronSessions
from imageflow.model import messages
from imageflow.model.flow import Definition, Erp
from imageflow.model.messages import ReadPage
from imageflow.model.pagination import cursor as cursors
from imageflow.model.pagination.contract import More, Turn
from imageflow.model.pagination.cursor import Cursor
from imageflow.model.run import Run
from imageflow.read import request, retry_policy
from imageflow.read.asker import Asker, Read, Wanted
from imageflow.read.login import with_secrets
from imageflow.runtime.bounded import Recent
from imageflow.runtime.flow_cache import FlowCache
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.runtime.step_keeper import StepKeeper
from imageflow.store import Store, Unsent
from imageflow.telemetry import message_headers, metrics

log = structlog.get_logger()

DEPTH_SECONDS = 0.5
CROWDED_SECONDS = 1.0
LEFT_BEHIND_SECONDS = 1.0
"""A stored page's message that is unsent for longer was left by a crash or an outage; until then its reader sends it."""

ERROR_CHARS = 1000
TIMES_ASKED_AT_KEPT = 1024


class _Page(NamedTuple):
    """A page that is being read: the message that asked for it and what it takes to ask. `hidden`: secrets among it."""

    message: ReadPage
    run: Run
    definition: Definition
    erp: Erp
    cursor: Cursor
    hidden: frozenset[str]


class _Failures(NamedTuple):
    """Failed tries for one page: how many, since when (Unix time)."""

    times: int
    since: float


class Reader:
    """Handles ReadPage messages; any number at once, in any number of processes."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        publisher: OutboxPublisher,
        clock: Clock,
        environ: Mapping[str, str],
        transport: Transport,
        omnitron: OmnitronSessions,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        steps: StepKeeper | None = None,
    ) -> None:
        self._store = store
        self._steps = steps or StepKeeper(store, clock)
        self._broker = broker
        self._publisher = publisher
        self._clock = clock
        self._omnitron = omnitron
        self._environ = environ
        self._asker = Asker(transport, environ, clock)
        self._sleep = sleep
        self._chance = chance
        self._flows = FlowCache(store)
        self._asked_at: Recent[str, float] = Recent(TIMES_ASKED_AT_KEPT)
        self._crowded: dict[str, tuple[float, str | None]] = {}

    async def handle(self, message: ReadPage) -> None:
        """Read the run's next page. Whatever is wrong with the ERP or the flow ends the read as failed, here.

        Raises Postponed when it is not the time; BrokerError and StoreError when these are away: all three leave
        everything such that the message can simply come again.
        """
        run = await self._run(message.run_id)
        if run is None:
            return
        if message.page <= run.pages or run.ended or run.read_complete:
            await self._send_left(run.run_id, LEFT_BEHIND_SECONDS)
            return
        try:
            with self._steps.put_off(run.run_id, "read"):
                await self._read(message, run)
        except (StageError, SecretError, NotFoundError, TransportError) as error:
            await self._fail(run, error)

    async def give_up(self, message: ReadPage, reason: str) -> None:
        """End the read as failed: the message failed too often, for no reason that the reader knows."""
        run = await self._run(message.run_id)
        if run is not None and not run.ended and not run.read_complete:
            await self._fail(run, ReadError(f"page {message.page} could not be read: {reason}"))

    # one page -------------------------------------------------------------------------------------------------------

    async def _read(self, message: ReadPage, run: Run) -> None:
        await self._wait(message.not_before - self._now(), "the ERP is given time before it is asked again")
        await self._pause_if_crowded(run.flow)
        definition = await self._flows.definition(run.flow, run.version)
        run = await self._begun(run, definition)
        plain, definition = definition, with_secrets(definition, self._environ)
        if not run.pages and not message.failures:
            with self._steps.at_work(run.run_id, "login"):
                await self._check_omnitron(definition)
        cursor = _cursor(run, definition)
        erp = request.erp_of(definition)
        page = _Page(message, run, definition, erp, cursor, request.hidden(request.erp_of(plain), erp))
        await self._wait(self._wait_for_rate(page), "the flow's rate_limit")
        with self._steps.at_work(run.run_id, "read"):
            got = await self._with_retries(page)
            if got is not None:
                await self._keep(page, got)

    async def _begun(self, run: Run, definition: Definition) -> Run:
        """The run with its bounds, which are fixed before anything is asked, and only once."""
        if run.started_at is not None:
            return run
        if run.window:
            return await self._store.start_reading(run.run_id, run.since, run.until)
        if run.trigger.ids:
            return await self._store.start_reading(run.run_id, None, None)
        until = self._clock.now()
        since = request.since(definition, await self._store.watermark(run.flow))
        run = await self._store.start_reading(run.run_id, since, until)
        log.info("read begins", run=run.run_id, flow=run.flow, since=str(run.since), until=str(run.until))
        return run

    async def _check_omnitron(self, definition: Definition) -> None:
        """Wrong credentials show before the ERP is asked. An Omnitron that is away is the writer's to wait for."""
        try:
            await self._omnitron.token(definition)
        except TransportError:
            return
        except LoginError as error:
            if not error.transient:
                raise

    async def _keep(self, page: _Page, got: Read) -> None:
        """Store the page together with the messages that follow from it, then send these."""
        turn = _with_batches(page, got.turn)
        for warning in turn.warnings:
            await self._store.warn(page.run.run_id, warning)
        following = turn.cursor if isinstance(turn, More) else None
        if got.body is None or not got.turn.kept:
            await self._go_on_without(page, turn)
            return
        saved = await self._store.save_page(
            page.run.run_id,
            page.run.pages + 1,
            got.body,
            cursor=cursors.dump(self._paced(page.run.flow, following)) if following else None,
            last=following is None,
            moves_watermark=not page.run.trigger.ids and not page.run.window,
            incomplete=not isinstance(turn, More) and not turn.complete,
            asked=got.asked,
        )
        if saved is None:
            return
        metrics.PAGES_READ.labels(page.run.flow).inc()
        if following is None:
            log.info("read complete", run=page.run.run_id, flow=page.run.flow, pages=page.run.pages + 1)
        await self._publisher.send(saved.outbox, page=got.body)

    async def _go_on_without(self, page: _Page, turn: Turn) -> None:
        """The answer is no page: end the read, or go on with the next part of the rows, or batch of identifiers."""
        run = page.run
        if isinstance(turn, More):
            following = cursors.dump(self._paced(run.flow, turn.cursor))
            await self._publisher.send(await self._store.skip_page(run.run_id, run.cursor, following))
            return
        await self._store.end_read(
            run.run_id, error=None, moves_watermark=not run.trigger.ids, incomplete=not turn.complete
        )
        log.info("read complete", run=run.run_id, flow=run.flow, pages=run.pages)
        await self._send_left(run.run_id, 0.0)

    async def _fail(self, run: Run, error: ImageFlowError) -> None:
        stage = _stage_of(error)
        text = str(error)[:ERROR_CHARS]
        log.warning("read failed", run=run.run_id, flow=run.flow, stage=stage, error=text)
        await self._store.end_read(run.run_id, error=text, stage=stage)
        await self._send_left(run.run_id, 0.0)

    # asking ---------------------------------------------------------------------------------------------------------

    async def _with_retries(self, page: _Page) -> Read | None:
        """The page. Asks again after transient errors; raises the error when the policy ends that.

        None: the next try is too far off to wait for here, and the broker has a message for it.
        """
        failures = _Failures(page.message.failures, page.message.failing_since)
        while True:
            try:
                return await self._ask(page)
            except (StageError, TransportError) as error:
                if not error.transient:
                    raise
                failures = _Failures(failures.times + 1, failures.since if failures.times else self._now())
                seconds = self._again_in(page, failures, error)
                again_at = self._clock.now() + timedelta(seconds=seconds)
                await self._store.note_wait(page.run.run_id, str(error)[:ERROR_CHARS], again_at)
            if seconds > retry_policy.IN_PLACE_SECONDS:
                await self._later(page.message, failures, seconds)
                return None
            await self._wait_here(seconds)

    def _again_in(self, page: _Page, failures: _Failures, error: ImageFlowError) -> float:
        """Seconds until the next try. Raises the error, with how often it was tried, when there shall be none."""
        lasted = max(0.0, self._now() - failures.since)
        match retry_policy.after_failure(failures.times, lasted, error.retry_after, self._chance()):
            case retry_policy.Again(seconds):
                log.info(
                    "read retried", run=page.run.run_id, error=str(error), failures=failures.times, seconds=seconds
                )
                return max(seconds, self._wait_for_rate(page))
            case retry_policy.Enough(why):
                kind = LoginError if isinstance(error, LoginError) else ReadError
                raise kind(f"page {page.run.pages + 1}: {error} ({why})") from error

    async def _later(self, message: ReadPage, failures: _Failures, seconds: float) -> None:
        """Publish the message again, delayed, with the failures in it: any reader may take it."""
        again = msgspec.structs.replace(
            message, failures=failures.times, failing_since=failures.since, not_before=self._now() + seconds
        )
        delay, headers = retry_policy.rung(seconds), message_headers.beside()
        await self._broker.publish(Outgoing(messages.READ_QUEUE, messages.encode(again), delay, headers))

    async def _ask(self, page: _Page) -> Read:
        """Ask once, at the flow's turn. Raises what went wrong, transient or not."""

        async def pace() -> None:
            await self._wait_here(min(self._wait_for_rate(page), retry_policy.IN_PLACE_SECONDS))
            self._asked_at.put(page.run.flow, self._now())

        return await self._asker.ask(Wanted(page.run, page.definition, page.erp, page.cursor, page.hidden), pace)

    # waiting --------------------------------------------------------------------------------------------------------

    async def _wait(self, seconds: float, why: str) -> None:
        """Wait here if it is short; else raise Postponed."""
        if seconds > retry_policy.IN_PLACE_SECONDS:
            raise Postponed(retry_policy.rung(seconds), why)
        await self._wait_here(seconds)

    async def _wait_here(self, seconds: float) -> None:
        if seconds > 0:
            await self._sleep(seconds)

    def _wait_for_rate(self, page: _Page) -> float:
        """Seconds until the flow's turn under its rate_limit: since its last request here, or at the reader before."""
        last = max(self._asked_at.get(page.run.flow, 0.0), page.cursor.asked_at)
        return retry_policy.wait_for_rate(page.erp.rate_limit, last, self._now())

    def _paced(self, flow: str, cursor: Cursor) -> Cursor:
        return cursor.but(asked_at=self._asked_at.get(flow, 0.0))

    async def _pause_if_crowded(self, flow: str) -> None:
        """Raises Postponed while the stages after this one have enough to do."""
        checked, why = self._crowded.get(flow, (-DEPTH_SECONDS, None))
        if self._clock.monotonic() - checked >= DEPTH_SECONDS:
            pages = (await self._broker.depth(messages.transform_queue(flow))).ready
            chunks = (await self._broker.depth(messages.write_queue(flow))).ready
            why = retry_policy.crowded(pages, chunks)
            self._crowded[flow] = (self._clock.monotonic(), why)
        if why is not None:
            raise Postponed(CROWDED_SECONDS, why)

    # looking up -----------------------------------------------------------------------------------------------------

    async def _run(self, run_id: str) -> Run | None:
        try:
            return await self._store.run(run_id)
        except NotFoundError:
            log.warning("message of a run that is gone", run=run_id)
            return None

    async def _send_left(self, run_id: str, older_than: float) -> None:
        """Send what a crash or an absent broker left unsent of this run."""
        left = [item for item in await self._store.unsent(older_than) if _run_of(item) == run_id]
        await self._publisher.send(left)

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _cursor(run: Run, definition: Definition) -> Cursor:
    return cursors.load(run.cursor) or request.erp_of(definition).pagination.first()


def _with_batches(page: _Page, turn: Turn) -> Turn:
    """What follows: within the batch of identifiers as paging says, then the next batch."""
    if isinstance(turn, More):
        return turn
    short = page.cursor.short or not turn.complete
    batch = page.cursor.batch + 1
    if batch >= len(request.batches(page.definition, page.run.trigger.ids)):
        return turn._replace(complete=not short)
    return More(page.erp.pagination.first().but(batch=batch, short=short), turn.warnings)


def _stage_of(error: ImageFlowError) -> str:
    """The stage that the run shows for an error."""
    if isinstance(error, SecretError):
        return "login"
    return error.stage if isinstance(error, StageError) else "read"


def _run_of(item: Unsent) -> str:
    return messages.decode(item.body).run_id
