"""The writer: takes a chunk of rows, sends each to Omnitron, settles all of them, and publishes those that come again.

What happens to a chunk: unchanged rows are settled at once (store, through batcher) -> the SKUs of the others (sku_lookup) ->
claims (store) -> decisions (claim_decision) -> preflight (image_check) -> requests, as many at once as the domain's queue
lets through (domain_queue, sender) -> outcomes (outcome) -> one settling transaction (settler) -> a new chunk, on the ladder
of delays, for the rows that come again. row_work says what becomes of each row.

The delivery is acknowledged after that. If it is redelivered, the ledger knows which of its rows are written.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec
import structlog

from imageflow.broker import Broker
from imageflow.clock import Clock
from imageflow.errors import Postponed, SecretError, StageError, StoreError, TransportError
from imageflow.http.omnitron import OmnitronSessions
from imageflow.model import messages
from imageflow.model.flow import Definition, Flow
from imageflow.model.imageset import NOT_CLEARED
from imageflow.model.messages import RowsReady
from imageflow.model.row import Row
from imageflow.runtime.flow_cache import FlowCache
from imageflow.runtime.run_end import log_ended
from imageflow.runtime.step_keeper import StepKeeper
from imageflow.store import InFlight, Store
from imageflow.write import lease, row_work
from imageflow.write.batcher import Batcher
from imageflow.write.cancels import Cancels
from imageflow.write.chunk import Chunk
from imageflow.write.domain_queue import DomainQueue
from imageflow.write.domains import Domains
from imageflow.write.image_check import ImageCheck
from imageflow.write.image_probe import ImageProbe
from imageflow.write.lease import Leases
from imageflow.write.outcome import Refused, Unavailable, no_answer
from imageflow.write.row_work import RowWork
from imageflow.write.sender import Sender
from imageflow.write.settler import Settler
from imageflow.write.sku_lookup import SkuLookup

_log = structlog.get_logger()


class Writer:
    """`run` must run beside the deliveries: it sends rows and renews the lease of this process. `close` ends its claims."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        clock: Clock,
        omnitron: OmnitronSessions,
        image_probe: ImageProbe | None = None,
        steps: StepKeeper | None = None,
    ) -> None:
        self._store = store
        self._steps = steps or StepKeeper(store, clock)
        self._clock = clock
        self._flows = FlowCache(store)
        self._leases = Leases(store, clock)
        self._domains = Domains(clock)
        self._sku_lookup = SkuLookup(omnitron, clock)
        self._image_check = ImageCheck(store, image_probe) if image_probe is not None else None
        self._sender = Sender(clock, omnitron)
        self._cancels = Cancels(store)
        self._settler = Settler(store, broker, clock)
        self._has_unchanged: dict[str, bool] = {}
        """By flow, whether the last chunk held rows that are on Omnitron already."""
        self._chunks = 0
        self._running = asyncio.Event()
        self._looking: Batcher[str, int, InFlight]
        """By run."""
        self._skipping: Batcher[tuple[str, str], Row, frozenset[int]]
        """By domain and run."""

    # the process -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send rows and renew the lease until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._domains.start(tasks)
            self._looking = Batcher(tasks, self._store.in_flight)
            self._skipping = Batcher(tasks, self._skip)
            self._running.set()
            tasks.create_task(self._settler.run())
            tasks.create_task(self._cancels.run())
            while True:
                await self._renew()
                await asyncio.sleep(lease.HEARTBEAT_SECONDS)

    async def _renew(self) -> None:
        """Renew the leases; without the database nothing more is sent, and the rows in the queues are requeued."""
        try:
            await self._leases.renew()
            await self._domains.announce(self._store, self._leases.process)
        except StoreError:
            self._domains.reject_all()
        except Exception:  # noqa: BLE001 - it must not end the tasks beside it, which send rows
            _log.exception("the leases could not be renewed")
            self._domains.reject_all()

    async def close(self) -> None:
        """End this process's connections and claims now."""
        self._sender.close()
        with contextlib.suppress(StoreError):
            await self._leases.end()
            await self._domains.withdraw(self._store, self._leases.process)

    def wind_up(self) -> None:
        """Send no more rows: chunks in hand are settled with what is written, and their other rows are published again."""
        self._domains.close()

    @property
    def open_circuits(self) -> dict[str, str]:
        """The domains whose circuit is open, and why."""
        return self._domains.open_circuits

    # a chunk ---------------------------------------------------------------------------------------------------------

    async def handle(self, message: RowsReady) -> None:
        """Write a chunk. Raises Postponed while its domain's circuit is open, unless this chunk is the probe."""
        await self._running.wait()
        with self._steps.at_work("" if message.rewrite else message.run_id, "write", len(message.rows)):
            await self._write(message)

    async def _write(self, message: RowsReady) -> None:
        definition = await self._flows.definition(message.flow, message.version)
        queue = self._domains.queue(definition.omnitron.domain)
        run = "" if message.rewrite else message.run_id  # what is written already is written again, cancelled or not
        with self._cancels.watching(run) as cancelled:
            if message.rewrite:
                message = await self._to_write_again(definition, message)
            else:
                message = self._in_flight(message, await self._looking.ask(message.run_id, _numbers(message)))
            if not message.rows:
                return
            probe = not cancelled.done() and self._admitted_as_probe(definition, queue)
            chunk = await self._begin(definition, message, look_up=not cancelled.done())
            try:
                await self._claim(chunk)
                _drop(chunk, cancelled)
                await self._preflight(chunk)
                await self._sender.send_all(chunk, queue, probe=probe, until=cancelled)
                await self._weigh(chunk, queue)
                _drop(chunk, cancelled)
                await self._settler.settle(chunk)
            except BaseException:  # cancellation, too: claims must not outlive their chunk
                await self._settler.break_off(chunk)
                raise
            await self._publish_again(chunk)

    async def give_up(self, message: RowsReady, reason: str) -> None:
        """Settle a chunk that cannot be handled: its rows fail with the reason, unless they are written already. Raises
        StoreError, and NotFoundError where there is no such run."""
        if message.rewrite:
            return
        at = self._clock.now().timestamp()
        rows = self._in_flight(message, await self._store.in_flight(message.run_id, _numbers(message))).rows
        works = [row_work.untargeted(row, Refused(reason), at) for row in rows]
        await self._store.settle(f"{self._leases.process}/give-up", row_work.logs(message.run_id, works))

    def _in_flight(self, message: RowsReady, found: InFlight) -> RowsReady:
        """The message with the rows that the store knows to be in flight: a queue may hold what came twice, or what nobody
        registered.
        """
        if found.cancelled:
            self._cancels.note(message.run_id)
        rows = {row.row: row for row in reversed(message.rows) if row.row in found.rows}
        if len(rows) == len(message.rows):
            return message
        dropped = len(message.rows) - len(rows)
        _log.warning("rows that are not in flight are not written", run=message.run_id, flow=message.flow, rows=dropped)
        return msgspec.structs.replace(message, rows=tuple(rows[number] for number in sorted(rows)))

    async def _to_write_again(self, definition: Definition, message: RowsReady) -> RowsReady:
        """The message with the rows that are still to be written once more, as the store has them."""
        asked = {row.product: row for row in message.rows}
        found = await self._store.to_write_again(definition.omnitron.domain, message.run_id, list(asked))
        rows = [
            msgspec.structs.replace(row, attempts=asked[row.product].attempts, tries=asked[row.product].tries)
            for row in found.values()
        ]
        return msgspec.structs.replace(message, rows=tuple(rows))

    def _admitted_as_probe(self, definition: Definition, queue: DomainQueue[int]) -> bool:
        """Whether a chunk is the probe of an open circuit. Raises Postponed if it is not."""
        if not queue.breaker.open:
            return False
        if queue.breaker.take_probe(self._clock.monotonic()):
            return True
        why = f"{definition.omnitron.domain} is held: {queue.breaker.reason}"
        raise Postponed(row_work.HELD_SECONDS, why)

    async def _begin(self, definition: Definition, message: RowsReady, *, look_up: bool) -> Chunk:
        """Settle what is unchanged, and find the SKUs of the other rows. Raises StoreError."""
        self._chunks += 1
        token = f"{self._leases.process}/{self._chunks}"
        at = self._clock.now().timestamp()
        rows = await self._changed(definition, message)
        works = [await self._targeted(definition, row, at, look_up=look_up) for row in rows]
        lease = await self._leases.lease(definition.write.timeout)  # look-ups may have taken long
        return Chunk(message, definition, lease, token, self._clock.now(), works)

    async def _targeted(self, definition: Definition, row: Row, at: float, *, look_up: bool) -> RowWork:
        if not row.images and not definition.write.allow_clear:
            return row_work.untargeted(row, Refused(NOT_CLEARED), at)
        if row.key == "sku" or not look_up:
            return row_work.targeted(row, [row.product], at)
        try:
            return row_work.targeted(row, await self._sku_lookup.skus(definition, row.product), at)
        except (StageError, TransportError, SecretError) as error:
            return row_work.untargeted(row, no_answer(error), at)

    async def _changed(self, definition: Definition, message: RowsReady) -> Sequence[Row]:
        """The rows without those whose image set is on Omnitron already; these are settled without a claim. Not tried while
        the flow has no such rows."""
        if message.rewrite or not definition.write.skip_unchanged or not self._has_unchanged.get(message.flow, True):
            return message.rows
        known = [row for row in message.rows if row.key == "sku"]
        if not known:
            return message.rows
        skipped = await self._skipping.ask((definition.omnitron.domain, message.run_id), known)
        changed = [row for row in message.rows if row.row not in skipped]
        self._settler.count(message.flow, ["unchanged"] * (len(message.rows) - len(changed)))
        return changed

    async def _skip(self, key: tuple[str, str], rows: Sequence[Row]) -> frozenset[int]:
        skipped, ended = await self._store.skip(*key, firsts(rows))
        log_ended(ended)
        return skipped

    async def _claim(self, chunk: Chunk) -> None:
        """Claim the products of all rows, and decide what to do with each. Raises StoreError."""
        if wanted := row_work.wanted(chunk.works):
            claims = await self._store.claim(
                chunk.domain, chunk.lease.owner, chunk.token, wanted, doubt_seconds=chunk.doubt_seconds
            )
            skip_unchanged = chunk.definition.write.skip_unchanged
            chunk.works = row_work.decided(chunk.works, claims, skip_unchanged=skip_unchanged)
        if chunk.message.rewrite:
            return
        skipped = len(chunk.works) < len(chunk.message.rows)
        self._has_unchanged[chunk.message.flow] = skipped or bool(chunk.places("unchanged"))

    async def _preflight(self, chunk: Chunk) -> None:
        looked_at = chunk.definition.write.preflight != "off" and not chunk.message.rewrite
        if looked_at and self._image_check is not None:
            await self._image_check.check(chunk)

    async def _weigh(self, chunk: Chunk, queue: DomainQueue[int]) -> None:
        """Decide of each failure whether it is the row's or an outage's. Settling and publishing must agree on that, so it is
        decided once."""
        if any(isinstance(work.answer, Unavailable) and work.answer.unreached for work in chunk.works):
            await queue.verdict()
        most = chunk.definition.write.max_attempts
        chunk.works = [
            row_work.weighed(work, outage=queue.breaker.is_outage(work.begun), max_attempts=most)
            for work in chunk.works
        ]

    async def _publish_again(self, chunk: Chunk) -> None:
        """Publish the rows that come again, unless the run is cancelled. That is asked once their claims have ended: the cancel
        leaves to this process what it has claimed, and nothing else."""
        left = [work for work in chunk.works if row_work.again(work) is not None]
        if left and not chunk.message.rewrite and await self._cancels.look(chunk.message.run_id):
            chunk.works = [row_work.cancelled(msgspec.structs.replace(work, skus=())) for work in left]
            await self._settler.settle(chunk)
        elif left:
            await self._settler.publish_again(chunk)


def firsts(rows: Sequence[Row]) -> list[Row]:
    """Of each product the first row: the store settles a product once in a statement."""
    return list({row.product: row for row in reversed(rows)}.values())


def _numbers(message: RowsReady) -> list[int]:
    return [row.row for row in message.rows]


def _drop(chunk: Chunk, cancelled: asyncio.Future[None]) -> None:
    """If the run is cancelled, its rows that are neither settled nor in flight are not sent."""
    if cancelled.done():
        chunk.works = [row_work.cancelled(work) for work in chunk.works]


def queues(flows: Sequence[Flow]) -> list[str]:
    """The queues that writers take from."""
    return [messages.write_queue(flow.name) for flow in flows]
