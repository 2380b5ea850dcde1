"""The transformer: puts pages through script and mapping, registers their rows and sends them on.

Everything may be repeated after a crash: numbers stay the same, and writers recognise rows that they have seen. `plan.py` and
`rows.py` decide what a page becomes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from imageflow.broker import Broker, Outgoing
from imageflow.clock import Clock
from imageflow.errors import MessageError, NotFoundError, Postponed, QueueFullError
from imageflow.model.flow import Definition
from imageflow.model.messages import PageRead, ReplayPage, RowsReady, RunRead, chunked, encode, write_queue
from imageflow.model.row import CANCELLED, Row, RowLog, StageName
from imageflow.model.run import Run
from imageflow.runtime.bounded import Recent
from imageflow.runtime.flow_cache import FlowCache
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.runtime.step_keeper import StepKeeper
from imageflow.sandbox.outcome import Program
from imageflow.sandbox.supervisor import Sandbox
from imageflow.store import Registered, Store
from imageflow.telemetry import message_headers, metrics
from imageflow.transform import replay
from imageflow.transform.joining import Joined, beside, join
from imageflow.transform.plan import (
    REPLACED,
    WARNING,
    Plan,
    Printed,
    Sightings,
    broken_page,
    cancelled_page,
    first_stage,
    given_up,
    plan_page,
    plan_part,
    unwritten_part,
)
from imageflow.transform.unchanged import Unchanged

log = structlog.get_logger()

ENOUGH_MESSAGES = 2000
"""A flow's pages wait while more chunks than this wait to be written."""
ROOM_SECONDS = 0.25
CANCEL_SECONDS = 0.25
PAUSE_SECONDS = 1.0
JOIN_ROOM_SECONDS = 300.0
"""How long a join waits for room with its message unacknowledged. After that the message is redelivered, and the join goes on
where it was.
"""
JOINS_REMEMBERED = 1000
FLOWS_REMEMBERED = 1000
RUNS_REMEMBERED = 1000
PRODUCTS_PER_PART = 500
LARGE_BODY_BYTES = 256 * 1024
"""Larger pages are planned in a thread: other messages need the event loop."""


class Transformer:
    """Handles PageRead, RunRead and ReplayPage. Raises Postponed while the flow's writers are behind."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        publisher: OutboxPublisher,
        clock: Clock,
        sandbox: Sandbox,
        steps: StepKeeper | None = None,
    ) -> None:
        self._store = store
        self._steps = steps or StepKeeper(store, clock)
        self._broker = broker
        self._publisher = publisher
        self._clock = clock
        self._sandbox = sandbox
        self._flows = FlowCache(store)
        self._unchanged = Unchanged(store, clock)
        self._sightings = Sightings()
        self._replaced: Recent[str, str] = Recent(RUNS_REMEMBERED)
        self._printed = Printed()
        self._roomy: Recent[str, None] = Recent(FLOWS_REMEMBERED, ROOM_SECONDS, clock.monotonic)
        self._uncancelled: Recent[str, None] = Recent(RUNS_REMEMBERED, CANCEL_SECONDS, clock.monotonic)
        self._progress: Recent[str, tuple[str, int]] = Recent(JOINS_REMEMBERED)

    async def handle(self, message: PageRead | RunRead | ReplayPage) -> None:
        """Returns when all that follows from the message is durable."""
        definition = await self._flows.definition(message.flow, message.version)
        with self._steps.at_work(message.run_id, "transform"):
            if isinstance(message, RunRead):
                await self._join(message)
            elif isinstance(message, ReplayPage):
                await self._replay(message, definition)
            else:
                await self._page(message, definition)

    async def give_up(self, message: PageRead | RunRead | ReplayPage, reason: str) -> None:
        """Settle as failed, with the reason, all rows of the message that were not sent on before."""
        if isinstance(message, RunRead):
            await self._join(message, give_up=reason)
        elif isinstance(message, ReplayPage):
            chosen = (await self._store.replayed(message.run_id, message.page)).chosen
            await self._replace(message, chosen, replay.failed_again(message, chosen, reason))
        else:
            await self._give_up_page(message, reason)

    # a page ----------------------------------------------------------------------------------------------------------

    async def _page(self, message: PageRead, definition: Definition) -> None:
        if await self._is_cancelled(message.run_id):
            plan = cancelled_page(message, definition.rows_path, await self._body(message))
            await self._register(message, message.page, plan)
            return
        if definition.holds_back != "all" and not await self._has_room(message.flow):
            raise Postponed(PAUSE_SECONDS, "the writers of the flow are behind")
        plan = await self._plan(message, definition, await self._body(message))
        await self._register(message, message.page, plan, definition, warnings=self._warnings(message, plan))

    async def _is_cancelled(self, run_id: str) -> bool:
        """A run that was not is not looked at again for CANCEL_SECONDS: the writers look, too."""
        if run_id in self._uncancelled:
            return False
        cancelled = bool(await self._store.cancelled([run_id]))
        if not cancelled:
            self._uncancelled.put(run_id, None)
        return cancelled

    async def _plan(self, message: PageRead, definition: Definition, body: bytes) -> Plan:
        """What becomes of the page, by script and mapping."""
        program = Program.of(definition)
        context: dict[str, Any] = {
            "run_id": message.run_id,
            "page": message.page,
            "now": self._clock.now().isoformat(),
        }
        if program.reads_parameters:
            context["parameters"] = (await self._store.page(message.run_id, message.page)).asked
        outcome = await self._sandbox.run(message.flow, program, body, context)
        if text := self._printed.of(message.run_id, outcome.prints):
            log.info("script printed", run=message.run_id, flow=message.flow, page=message.page, text=text)
            await self._store.keep_prints(message.run_id, message.page, text)
        if len(body) > LARGE_BODY_BYTES:
            return await asyncio.to_thread(plan_page, message, definition, body, outcome)
        return plan_page(message, definition, body, outcome)

    async def _body(self, message: PageRead) -> bytes:
        if message.body is not None:
            return message.body.encode()
        return (await self._store.page(message.run_id, message.page)).body

    async def _register(
        self,
        message: PageRead | RunRead,
        page: int,
        plan: Plan,
        definition: Definition | None = None,
        *,
        warnings: Sequence[str] = (),
    ) -> Registered:
        """Register the plan, and send its rows on. With the definition, those that are unchanged are settled first."""
        registered = await self._store.register_page(
            message.run_id,
            page,
            plan.total,
            plan.settled,
            held=plan.held,
            broken=plan.broken,
            encoded_urls=plan.encoded_urls,
            parts=plan.parts,
            warnings=warnings,
        )
        rows: Sequence[Row] = plan.numbered(registered.numbers)
        if definition is not None:
            rows = await self._unchanged.settle(message, definition, rows)
        await self._publish(message, rows)
        await self._publisher.send(registered.outbox)
        if registered.first_time:
            self._steps.count(message.run_id, "transform", plan.total)
            self._count(message, page, [*plan.settled, *registered.refused])
        return registered

    async def _publish(self, message: PageRead | RunRead, rows: Sequence[Row]) -> None:
        chunks = [RowsReady(message.run_id, message.flow, message.version, chunk) for chunk in chunked(rows)]
        if not chunks:
            return
        queue, headers = write_queue(message.flow), message_headers.following()
        try:
            await self._broker.publish(*(Outgoing(queue, encode(chunk), headers=headers) for chunk in chunks))
        except QueueFullError as error:
            raise Postponed(PAUSE_SECONDS, str(error)) from error

    def _count(self, message: PageRead | RunRead | ReplayPage, page: int, settled: Sequence[RowLog]) -> None:
        if page > 0:
            metrics.PAGES_TRANSFORMED.labels(message.flow).inc()
        states = (entry.state for entry in settled)
        metrics.rows_settled(message.flow, states, self._clock.now(), message_headers.read_at())

    def _warnings(self, message: PageRead, plan: Plan) -> list[str]:
        """Of products that have images in several rows or on two pages: most likely they are to be joined. Of a run they name
        the same product each time, so that the run keeps them once.
        """
        found = []
        if plan.displaced is not None:
            product = self._replaced.get(message.run_id) or self._replaced.put(message.run_id, plan.displaced)
            found.append(f"{product}: {REPLACED}")
        parts = {part.product for part in plan.parts}
        products = [row.product for _, row in plan.ready if row.product not in parts]
        if products and self._sightings.repeated(message.run_id, message.page, products):
            found.append(WARNING)
        return found

    async def _has_room(self, flow: str) -> bool:
        """Where there is much room the broker is not asked again for ROOM_SECONDS: small pages come by the hundred."""
        if flow in self._roomy:
            return True
        ready = (await self._broker.depth(write_queue(flow))).ready
        if ready < ENOUGH_MESSAGES // 2:
            self._roomy.put(flow, None)
        return ready <= ENOUGH_MESSAGES

    # the join of a run -----------------------------------------------------------------------------------------------

    async def _join(self, message: RunRead, *, give_up: str | None = None) -> None:
        """Send on the rows that were held back, a part at a time. The place is remembered for a redelivery, so that waiting
        for the writers does not send everything again; after a crash it is sent again, which is harmless.
        """
        run = await self._store.run(message.run_id)
        if not await self._store.join_begun(message.run_id):
            if run.counts.in_flight and give_up is None:
                raise Postponed(PAUSE_SECONDS, "image sets of the run are still being written")
            await self._look_beside(message.run_id)
        after, part = self._progress.get(message.run_id, (None, 0))
        while held := await self._store.held_rows(message.run_id, after, PRODUCTS_PER_PART):
            if give_up is None:
                await self._wait_for_room(message.flow)
            await self._part(message, run, part + 1, join(held), give_up)
            after, part = held[-1].product, part + 1
            self._progress.put(message.run_id, (after, part))
        await self._store.end_join(message.run_id)
        self._progress.forget(message.run_id)

    async def _look_beside(self, run_id: str) -> None:
        """Hold with the held rows what else the run says of their products: image sets, and rows that are wrong."""
        after = 0
        while logs := await self._store.rows_beside(run_id, after):
            await self._store.hold_more(run_id, [row for log in logs if (row := beside(log)) is not None])
            after = logs[-1].row

    async def _part(self, message: RunRead, run: Run, part: int, joined: Sequence[Joined], give_up: str | None) -> None:
        unwritten = unwritten_part(run, joined)
        registered = await self._register(message, -part, unwritten or plan_part(message.run_id, joined, give_up))
        if give_up is not None and unwritten is None and not registered.first_time:
            # It was registered to be written before, and sent or not: sending twice is harmless.
            await self._publish(message, plan_part(message.run_id, joined).numbered(registered.numbers))

    async def _wait_for_room(self, flow: str) -> None:
        try:
            async with asyncio.timeout(JOIN_ROOM_SECONDS):
                while not await self._has_room(flow):  # noqa: ASYNC110 - brokers do not announce that a queue drains
                    await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError as error:
            raise Postponed(PAUSE_SECONDS, "the writers of the flow are behind") from error

    # a replay --------------------------------------------------------------------------------------------------------

    async def _replay(self, message: ReplayPage, definition: Definition) -> None:
        """Put a page through this version, for the rows of it that were not written. It waits until the page's other rows have
        a log, for only then it is known which products have a row.
        """
        page = await self._store.replayed(message.run_id, message.page)
        if not page.chosen:
            return
        if page.run.flow != message.flow:
            raise MessageError(f"run {message.run_id} is not of the flow {message.flow}")
        if page.run.cancelled_at is not None:
            await self._store.settle(
                "", [msgspec.structs.replace(one, state="cancelled", reason=CANCELLED) for one in page.chosen]
            )
            return
        if page.waits:
            raise Postponed(PAUSE_SECONDS, "rows of the page are in flight")
        try:
            stored = await self._store.page(message.run_id, message.page)
        except NotFoundError as error:
            await self._replace(message, page.chosen, replay.failed_again(message, page.chosen, str(error)))
            return
        read = PageRead(message.run_id, message.flow, message.version, message.page, stored.seq)
        plan = await self._plan(read, definition, stored.body)
        if plan.held and (reason := replay.unjoinable(page.run)) is not None:
            replaced = replay.failed_again(message, page.chosen, reason)
        else:
            replaced = replay.replacement(message, plan, page.chosen, page.others)
        await self._replace(message, page.chosen, replaced)

    async def _replace(self, message: ReplayPage, chosen: Sequence[RowLog], replaced: replay.Replacement) -> None:
        if not chosen:
            return
        numbers = [one.row for one in chosen]
        unsent = await self._store.replace_rows(message, numbers, replaced.rows, replaced.logs)
        if unsent is None:
            return
        await self._publisher.send(unsent)
        self._count(message, 0, replaced.logs)

    # giving up -------------------------------------------------------------------------------------------------------

    async def _give_up_page(self, message: PageRead, reason: str) -> None:
        rows_path, stage = await self._where(message)
        try:
            body = await self._body(message)
        except NotFoundError:
            body = b"null"
        plan = broken_page(message, rows_path, body, stage, reason)
        registered = await self._register(message, message.page, plan)
        if not registered.first_time:
            await self._fail_in_flight(message, registered.numbers, stage, reason)

    async def _where(self, message: PageRead) -> tuple[str, StageName]:
        """The flow's rows_path, and the stage to blame."""
        try:
            definition = await self._flows.definition(message.flow, message.version)
        except NotFoundError:
            return "", "rows"
        return definition.rows_path, first_stage(definition)

    async def _fail_in_flight(self, message: PageRead, numbers: Sequence[int], stage: StageName, reason: str) -> None:
        """Fail the rows of a page that was registered before and perhaps never sent. A writer that has one of them all the
        same finds it settled.
        """
        numbers = [number for number in numbers if number]
        if not numbers:
            return
        first, last = min(numbers), max(numbers)
        known = await self._store.rows(message.run_id, after=first - 1, limit=last - first + 1)
        if logs := given_up(message, numbers, {entry.row for entry in known}, stage, reason):
            await self._store.settle(f"give-up/{message.run_id}/{message.page}", logs)
