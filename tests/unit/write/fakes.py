"""What the writer's parts stand on, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from imageflow.clock import SystemClock
from imageflow.errors import StoreError
from imageflow.model.flow import Definition, decode_custom
from imageflow.model.imageset import Image
from imageflow.model.messages import RowsReady
from imageflow.model.row import Row
from imageflow.store import Claim
from imageflow.write import row_work
from imageflow.write.chunk import Chunk
from imageflow.write.lease import Lease

DOMAIN = "https://omnitron.example"
IMAGES = (Image("https://images.example/a.jpg"),)


class ManualClock:
    """Shows the time that it is set to."""

    def __init__(self) -> None:
        self.time = 100.0

    def monotonic(self) -> float:
        return self.time


class RecordingStore:
    """Keeps what it is called with, and raises StoreError while it is `away`."""

    def __init__(self) -> None:
        self.away = False
        self.calls: list[tuple[Any, ...]] = []

    def _record(self, *call: Any) -> None:
        self.calls.append(call)
        if self.away:
            raise StoreError("away")

    async def alive(self, owner: str, seconds: float) -> None:
        self._record("alive", owner, seconds)

    async def gone(self, owner: str) -> None:
        self._record("gone", owner)

    async def hold(self, owner: str, domains: dict[str, str], seconds: float) -> None:
        self._record("hold", owner, domains, seconds)

    async def warn(self, run_id: str, text: str) -> None:
        self._record("warn", run_id, text)

    async def settle(
        self, token: str, logs: Sequence[Any], *, written: Any = (), release: Any = (), **fence: Any
    ) -> list[Any]:
        self._record("settle", token, len(logs), [entry.product for entry in written], [one for _, one in release])
        return []


def definition(**write: Any) -> Definition:
    omnitron = {"domain_url": DOMAIN, "username": "u", "password": {"env": "P"}}
    document = {"name": "f", "direction": "outbound", "omnitron": omnitron, "write": write}
    return msgspec.convert(document, Definition, dec_hook=decode_custom)


def chunk(products: Sequence[str], **write: Any) -> Chunk:
    """A chunk of rows that are `waiting`, claimed with the token `t`."""
    rows = tuple(Row(n, n, product, IMAGES) for n, product in enumerate(products))
    works = [row_work.targeted(row, [row.product], 1.0) for row in rows]
    claims = [Claim(product, True, False, -1, None) for product in products]
    works = row_work.decided(works, claims, skip_unchanged=True)
    lease = Lease(SystemClock(), "owner", 30.0)
    return Chunk(RowsReady("r", "f", 1, rows), definition(**write), lease, "t", SystemClock().now(), works)
