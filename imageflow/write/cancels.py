"""Which of the runs in hand a person has cancelled. The store is asked once a second for all of them, not per row."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from imageflow.errors import StoreError
from imageflow.store import Store

LOOK_SECONDS = 1.0


class _Watched:
    """A run, the number of its chunks in hand, and what is done once it is cancelled."""

    def __init__(self) -> None:
        self.chunks = 0
        self.cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Cancels:
    """`run` must run beside the chunks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watched: dict[str, _Watched] = {}

    @contextlib.contextmanager
    def watching(self, run_id: str) -> Iterator[asyncio.Future[None]]:
        """A future that is done once the run is found cancelled."""
        watched = self._watched.setdefault(run_id, _Watched())
        watched.chunks += 1
        try:
            yield watched.cancelled
        finally:
            watched.chunks -= 1
            if not watched.chunks:
                del self._watched[run_id]

    async def look(self, *run_ids: str) -> bool:
        """Ask the store for these runs now; whether one of them is cancelled. Raises StoreError."""
        found = await self._store.cancelled(run_ids)
        for run_id in found:
            self.note(run_id)
        return bool(found)

    def note(self, run_id: str) -> None:
        """The run is cancelled."""
        watched = self._watched.get(run_id)
        if watched is not None and not watched.cancelled.done():
            watched.cancelled.set_result(None)

    async def run(self) -> None:
        """Look once a second at all runs in hand, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with contextlib.suppress(StoreError):
                if self._watched:
                    await self.look(*self._watched)
