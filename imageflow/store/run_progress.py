"""How a run moves on: the join of held rows, and its end.

Whatever settles a run's last row, in whatever transaction, ends the run: settling calls `finish`, reading and joining
call `advance`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from sqlalchemy import bindparam, select, update

from imageflow.errors import NotFoundError
from imageflow.model import messages
from imageflow.model.run import Run, final_status
from imageflow.store.database import Tx
from imageflow.store.outbox import Unsent, post
from imageflow.store.prepared import Fixed
from imageflow.store.run_record import to_run
from imageflow.store.tables import held_rows, runs
from imageflow.store.text import clean, to_json
from imageflow.store.watermarks import move_watermark
from imageflow.telemetry import metrics
from imageflow.text.masking import mask
from imageflow.text.printable import one_line

MAX_WARNINGS = 20

_BY_ID = select(runs).where(runs.c.run_id == bindparam("wanted"))
_LOAD = {False: Fixed(_BY_ID), True: Fixed(_BY_ID.with_for_update())}
"""Locked, or not."""


async def load(tx: Tx, run_id: str, *, lock: bool = False) -> Run:
    """The run, if wanted locked until the transaction ends. Raises NotFoundError."""
    row = await tx.run_one(_LOAD[lock].bind(tx, wanted=clean(run_id)))
    if row is None:
        raise NotFoundError(f"there is no run {run_id!r}")
    return to_run(row)


async def change(tx: Tx, run: Run, **values: Any) -> Run:
    """Change columns of a locked run to these values, which are no expressions."""
    row = await tx.run_one(_changing(*sorted(values)).bind(tx, wanted=run.run_id, **values))
    assert row is not None, "the run is locked"
    return to_run(row)


@functools.cache
def _changing(*columns: str) -> Fixed:
    """The statement for these columns."""
    changed: dict[str, Any] = {column: bindparam(column) for column in columns}
    return Fixed(update(runs).where(runs.c.run_id == bindparam("wanted")).values(changed).returning(runs))


async def warned(tx: Tx, run: Run, texts: Iterable[str]) -> Run:
    """Add warnings to a locked run, each text once, at most MAX_WARNINGS."""
    shown = [clean(one_line(mask(text))) for text in texts]
    added = [text for text in dict.fromkeys(shown) if text not in run.warnings]
    added = added[: max(0, MAX_WARNINGS - len(run.warnings))]
    return await change(tx, run, warnings=to_json((*run.warnings, *added))) if added else run


async def finish(tx: Tx, run: Run) -> Run | None:
    """End a run that is locked and has nothing more to come; the ended run, None where it did not end now."""
    status = final_status(run)
    if status is None or run.ended:
        return None
    seconds = (tx.now - run.created_at).total_seconds()
    tx.committed.append(functools.partial(metrics.run_ended, run.flow, status, seconds))
    return await change(tx, run, status=status, finished_at=tx.now)


async def move_if_read(tx: Tx, run: Run) -> None:
    """Move the flow's watermark to the bound of a locked run that is read, once it is known of every page that it did
    not fail as a whole. Moving it again changes nothing.
    """
    known = run.read_complete and run.pages_done >= run.pages and not run.ended
    if run.moves_watermark and known and run.until is not None:
        await move_watermark(tx, run.flow, run.until)


async def advance(tx: Tx, run: Run) -> tuple[Run, tuple[Unsent, ...]]:
    """Take a locked run as far as it goes: once everything is read and registered, held rows are to be joined (their
    message comes once), else the run may end.
    """
    if run.ended or not run.read_complete or run.pages_done < run.pages:
        return run, ()
    await move_if_read(tx, run)
    if not run.joining:
        return await finish(tx, run) or run, ()
    if await tx.value(select(held_rows.c.id).where(held_rows.c.run_id == run.run_id).limit(1)) is None:
        joined = await change(tx, run, joining=False)
        return await finish(tx, joined) or joined, ()
    first = update(runs).where(runs.c.run_id == run.run_id, runs.c.join_sent.is_(False)).values(join_sent=True)
    if not await tx.count(first):
        return run, ()
    return run, (await post(tx, messages.RunRead(run.run_id, run.flow, run.version)),)
