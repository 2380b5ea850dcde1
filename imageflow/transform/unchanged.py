"""Rows whose image set is on Omnitron already leave here: they are settled before they would be sent to the writers."""

from __future__ import annotations

from collections.abc import Sequence

from imageflow.clock import Clock
from imageflow.model.flow import Definition
from imageflow.model.messages import PageRead, RunRead
from imageflow.model.row import Row
from imageflow.runtime.bounded import Recent
from imageflow.runtime.run_end import log_ended
from imageflow.store import Store
from imageflow.telemetry import message_headers, metrics

REMEMBERED = 1000
WITHOUT_SECONDS = 10.0
"""So long a run, or an outbound flow, is not looked at again once a page of it had no such row."""


class Unchanged:
    """Asks the ledger page by page, but not while there are nothing but changes. What it leaves, the writer looks at once
    more: a row may be unchanged by the time that it gets there.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._without: Recent[str, None] = Recent(REMEMBERED, WITHOUT_SECONDS, clock.monotonic)

    async def settle(self, message: PageRead | RunRead, definition: Definition, rows: Sequence[Row]) -> Sequence[Row]:
        """Settle those of the registered rows that are unchanged; returns the others. Raises StoreError."""
        known = [row for row in rows if row.key == "sku"]
        source = message.run_id if definition.inbound else message.flow
        if not known or not definition.write.skip_unchanged or source in self._without:
            return rows
        skipped, ended = await self._store.skip(definition.omnitron.domain, message.run_id, known)
        if not skipped:
            self._without.put(source, None)
            return rows
        states = ["unchanged"] * len(skipped)
        metrics.rows_settled(message.flow, states, self._clock.now(), message_headers.read_at())
        log_ended(ended)
        return [row for row in rows if row.row not in skipped]
