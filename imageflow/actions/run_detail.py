"""A run as a picture: when its steps were at work, when writers were held meanwhile, what became of its pages, when it is
done, and what it left behind.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from imageflow.actions import left_behind
from imageflow.actions.run_waits import domain_of
from imageflow.inspect.stale import Stale
from imageflow.model import page_map
from imageflow.model.run import Counts, Run
from imageflow.model.run_step import Hold, RunStep, seconds_left
from imageflow.store import SavedVersion, Store


class Detail(NamedTuple):
    """A run with its flow's watermark. `pages`: a letter for each page, see page_map.LETTERS; empty where rows have no page.
    `left`: seconds until it is done, if that can be said. `saved`: versions of its flow that were saved meanwhile.
    """

    run: Run
    watermark: datetime | None
    steps: list[RunStep]
    holds: list[Hold]
    pages: str
    left: float | None
    saved: list[SavedVersion]
    page: Counts | None = None
    """How many rows of the page that was asked for are settled, by state."""
    stale: Stale | None = None
    """What is left of it by a version that was rolled back."""
    overtaken: int = 0
    """So many of its cancelled rows have come by a newer run."""


async def look(store: Store, run_id: str, now: datetime, *, page: int | None = None) -> Detail:
    """A run, and what is known of its course; of a page, how its rows are settled. Raises NotFoundError."""
    run = await store.run(run_id)
    steps = await store.run_steps(run_id)
    since = min((step.first_at for step in steps), default=run.started_at or run.created_at)
    until = run.finished_at or now
    holds = await _holds(store, run, since, until)
    saved = [one for one in await store.versions_since(since, run.flow) if one.saved_at <= until]
    left = seconds_left(run, steps, holds, now)
    counts = None if page is None else await store.page_counts(run_id, page)
    mark, pages = await store.watermark(run.flow), await _pages(store, run)
    stale, overtaken = await left_behind.of_run(store, run), await left_behind.overtaken(store, run)
    return Detail(run, mark, steps, holds, pages, left, saved, counts, stale, overtaken)


async def _holds(store: Store, run: Run, since: datetime, until: datetime) -> list[Hold]:
    """When writers held back from the run's domain."""
    domain = await domain_of(store, run)
    return [] if domain is None else await store.holds_between(since, until, domain)


async def _pages(store: Store, run: Run) -> str:
    packed = await store.page_map(run.run_id) if run.ended else None
    if packed is None:
        return page_map.so_far(run, await store.failed_pages(run.run_id) if run.counts.failed else ())
    letters = page_map.letters(packed)
    return "" if run.counts.total and not letters.strip(".") else letters
