"""Settles chunks: the rows' logs, the ledger and the claims in one transaction, and then the rows that come again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
import structlog

from imageflow.broker import Broker, Outgoing
from imageflow.clock import Clock
from imageflow.errors import StoreError
from imageflow.model import messages, retry_ladder
from imageflow.model.row import Row, State
from imageflow.runtime.run_end import log_ended
from imageflow.store import LedgerEntry, Store
from imageflow.telemetry import message_headers, metrics
from imageflow.write import lease, row_work
from imageflow.write.chunk import Chunk

_log = structlog.get_logger()

SETTLE_PAUSE_SECONDS = 1.0


class OrphanedClaims(NamedTuple):
    """What the database has yet to be told of a chunk that broke off: what its rows wrote, and which claims end."""

    token: str
    written: Sequence[LedgerEntry]
    release: Sequence[tuple[str, str]]
    since: datetime
    doubt_seconds: float


class Settler:
    """`run` must run beside the chunks: it settles orphaned claims."""

    def __init__(self, store: Store, broker: Broker, clock: Clock) -> None:
        self._store = store
        self._broker = broker
        self._clock = clock
        self._orphaned: list[OrphanedClaims] = []

    async def settle(self, chunk: Chunk) -> None:
        """Settle a chunk. While the database is away this waits: what Omnitron took must be in the ledger."""
        if not chunk.works:
            return
        run_id = chunk.message.run_id
        logs = [] if chunk.message.rewrite else row_work.logs(run_id, chunk.works)
        written = [entry for work in chunk.works for entry in row_work.entries(chunk.domain, run_id, work)]
        release = _released(chunk)
        while True:
            try:
                ended = await self._store.settle(
                    chunk.token,
                    logs,
                    written=written,
                    release=release,
                    since=chunk.since,
                    doubt_seconds=chunk.doubt_seconds,
                )
                break
            except StoreError as away:
                _log.warning("database away: rows wait to be settled", rows=len(logs), error=str(away))
                await asyncio.sleep(SETTLE_PAUSE_SECONDS)
        self.count(chunk.message.flow, [entry.state for entry in logs])
        log_ended(ended)

    def count(self, flow: str, states: Sequence[State]) -> None:
        """Count rows of the chunk in hand as settled, in the metrics."""
        metrics.rows_settled(flow, states, self._clock.now(), message_headers.read_at())

    async def break_off(self, chunk: Chunk) -> None:
        """After an error, or when this process stops: enter what Omnitron answered, and release all claims except those of
        requests still in flight; those expire with this process's lease. While the database is away, `run` tries again."""
        written = row_work.broken_off(chunk.domain, chunk.message.run_id, chunk.works)
        orphaned = OrphanedClaims(chunk.token, written, _released(chunk), chunk.since, chunk.doubt_seconds)
        try:
            await self._settle_orphaned(orphaned)
        except StoreError:
            self._orphaned.append(orphaned)

    async def publish_again(self, chunk: Chunk) -> None:
        """Publish the rows that come again, in chunks of one delay each. Raises BrokerError."""
        later: dict[int, list[Row]] = {}
        for work in chunk.works:
            if (again := row_work.again(work)) is not None:
                later.setdefault(retry_ladder.step(again.seconds), []).append(again.row)
        if not later:
            return
        queue, headers = messages.write_queue(chunk.message.flow), message_headers.following()
        outgoing = [
            Outgoing(queue, messages.encode(msgspec.structs.replace(chunk.message, rows=rows)), seconds, headers)
            for seconds, delayed in later.items()
            for rows in messages.chunked(delayed)
        ]
        await self._broker.publish(*outgoing)

    async def run(self) -> None:
        """Settle orphaned claims until cancelled: a leaked claim would block its product until this process exits.

        This is a task of its own because the lease must not wait for it.
        """
        while True:
            await asyncio.sleep(lease.HEARTBEAT_SECONDS)
            for orphaned in list(self._orphaned):
                try:
                    await self._settle_orphaned(orphaned)
                except StoreError:
                    continue
                except Exception:  # noqa: BLE001 - it would come again each time, and end the lease with this task
                    _log.exception("claims cannot be ended while this process lives", products=len(orphaned.release))
                self._orphaned.remove(orphaned)

    async def _settle_orphaned(self, orphaned: OrphanedClaims) -> None:
        await self._store.settle(
            orphaned.token,
            [],
            written=orphaned.written,
            release=orphaned.release,
            since=orphaned.since,
            doubt_seconds=orphaned.doubt_seconds,
        )


def _released(chunk: Chunk) -> list[tuple[str, str]]:
    return [(chunk.domain, product) for product in row_work.released(chunk.works)]
