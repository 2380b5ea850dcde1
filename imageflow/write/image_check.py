"""Preflight: looks at the images of rows before they are sent, and fails or marks the rows."""

from __future__ import annotations

from imageflow.runtime.bounded import Recent
from imageflow.store import Store
from imageflow.write import row_work
from imageflow.write.chunk import Chunk
from imageflow.write.image_probe import ImageProbe
from imageflow.write.preflight import Found, explain, warning
from imageflow.write.row_work import RowWork

WARNED_LIMIT = 1000


class ImageCheck:
    """Looks at images through `probe`."""

    def __init__(self, store: Store, probe: ImageProbe) -> None:
        self._store = store
        self._probe = probe
        self._warned: Recent[tuple[str, str], bool] = Recent(WARNED_LIMIT)

    async def check(self, chunk: Chunk) -> None:
        """Look at the images of the rows that are to be sent. With `preflight: block` a row with faulty images fails, with
        `warn` the run is told. Raises StoreError."""
        places = chunk.places("waiting")
        block = chunk.definition.write.preflight == "block"
        codes: set[str] = set()
        findings = await self._probe.inspect([chunk.works[place].row.images for place in places])
        for place, found in zip(places, findings, strict=True):
            chunk.works[place] = _checked(chunk.works[place], found, block=block)
            if found and not block:
                codes.update(one.finding.code for one in found)
        for code in sorted(codes):
            await self._warn(chunk.message.run_id, code)

    async def _warn(self, run_id: str, code: str) -> None:
        """Warn a run once per code. This process may forget that it did; the store does not."""
        if (run_id, code) not in self._warned:
            await self._store.warn(run_id, warning(code))
            self._warned.put((run_id, code), True)


def _checked(work: RowWork, found: list[Found] | None, *, block: bool) -> RowWork:
    if found is None:
        return row_work.not_looked_at(work)
    if not found:
        return work
    return row_work.unsendable(work, explain(found)) if block else row_work.warned(work, explain(found))
