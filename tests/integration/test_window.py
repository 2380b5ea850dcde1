"""A run that reads a window again: it asks for it, and neither uses nor moves the watermark."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from imageflow.actions import runs, shapes
from imageflow.actions.actor import Actor
from imageflow.actions.runs import NotRunnable, Window
from imageflow.errors import RequestError
from imageflow.model.run import Run
from tests.integration.pipeline import Pipeline, pipeline

ACTOR = Actor("ada", "test")
SINCE = datetime(2026, 1, 2, tzinfo=UTC)
UNTIL = datetime(2026, 1, 3, tzinfo=UTC)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with pipeline(tmp_path, rows=20) as running:
        yield running


def erp(here: Pipeline, **fields: Any) -> dict[str, Any]:
    made = {"endpoint_url": f"{here.erp.url}/images/next/", "rows_path": "results", "pagination": {"type": "next"}}
    return {**made, "modified_date_key": "modified_date__gt", "date_format": "%Y-%m-%dT%H:%M", **fields}


async def run(here: Pipeline, window: Window) -> Run:
    s = here.substrate
    begun = await runs.start(s.store, s.publisher, "main", (), ACTOR, s.clock.now(), window=window)
    return await here.follow(begun.run.run_id)


async def test_what_is_asked_for(here: Pipeline) -> None:
    """The window in the flow's timezone, without the overlap; the watermark stays; the run shows its bounds."""
    upper = {"modified_date__lt": {"key": "changed_before", "type": "datetime"}}
    await here.save(erp=erp(here, query_settings=upper), timezone="Europe/Istanbul")
    await here.store.set_watermark("main", UNTIL)
    ended = await run(here, Window("2026-01-02T03:00", "2026-01-03T03:00"))
    assert (ended.since, ended.until) == (SINCE, UNTIL)
    asked = here.erp.seen[0].params
    assert (asked["modified_date__gt"], asked["changed_before"]) == ("2026-01-02T03:00", "2026-01-03T03:00")
    assert await here.store.watermark("main") == UNTIL
    shown = shapes.run_shown(await runs.show(here.store, ended.run_id))
    assert (shown.since, shown.until) == ("2026-01-02T00:00:00.000000Z", "2026-01-03T00:00:00.000000Z")


async def test_the_watermark_is_set_meanwhile(here: Pipeline) -> None:
    """A window keeps its bounds when the watermark is set by hand; without an upper bound it has none."""
    await here.save(erp=erp(here))
    here.erp.set_faults(["latency=300ms"])
    s = here.substrate
    begun = await runs.start(s.store, s.publisher, "main", (), ACTOR, s.clock.now(), window=Window("2026-01-02"))
    await here.store.set_watermark("main", UNTIL)
    ended = await here.follow(begun.run.run_id)
    assert (ended.since, ended.until) == (SINCE, None)
    assert await here.store.watermark("main") == UNTIL


@pytest.mark.parametrize(
    ("window", "error", "text"),
    [
        (Window("2026-01-02", "2026-01-03"), NotRunnable, "no parameter for an upper bound"),
        (Window("yesterday"), RequestError, "since: must be an ISO date"),
    ],
)
async def test_windows_that_cannot_be_read(here: Pipeline, window: Window, error: type[Exception], text: str) -> None:
    """They are refused, and say why."""
    await here.save(erp=erp(here))
    with pytest.raises(error, match=text):
        await run(here, window)


async def test_a_flow_that_always_asks_for_everything(here: Pipeline) -> None:
    """It takes no window, and says what would."""
    await here.save()
    with pytest.raises(NotRunnable, match=r"erp\.modified_date_key"):
        await run(here, Window("2026-01-02"))


async def test_a_window_the_wrong_way_round(here: Pipeline) -> None:
    """The upper bound must be later; and an upper bound alone is none."""
    upper = {"modified_date__lt": {"key": "changed_before", "type": "datetime"}}
    await here.save(erp=erp(here, query_settings=upper))
    with pytest.raises(RequestError, match="later than since"):
        await run(here, Window("2026-01-02", "2026-01-01"))
    with pytest.raises(RequestError, match="needs since"):
        runs.window(None, "2026-01-01")
