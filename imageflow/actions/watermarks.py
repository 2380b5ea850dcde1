"""The watermark: the instant since which an inbound flow asks for changes."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from imageflow.actions.actor import Actor
from imageflow.actions.runs import check_takes_since, inbound, moment
from imageflow.errors import ParameterError
from imageflow.model.flow import Flow
from imageflow.read import request
from imageflow.store import Store
from imageflow.text.instant import iso

FIRST_YEAR = 1970


class Standing(NamedTuple):
    """A flow's watermark. `asks_since`: the overlap before it, or the flow's initial_since; None: everything.

    `reading` are the ids of active runs that move it when their read is complete.
    """

    flow: str
    watermark: datetime | None
    asks_since: datetime | None
    reading: list[str]


async def show(store: Store, name: str) -> Standing:
    """The watermark of a flow. Raises NotFoundError, NotRunnable for an outbound flow."""
    return await _standing(store, inbound(await store.flow(name)), await store.watermark(name))


async def set_to(
    store: Store, name: str, since: str | None, actor: Actor, now: datetime, *, sure: bool = True
) -> Standing:
    """Set the watermark to an instant as people give it (without an offset: in the flow's timezone) or None, backwards
    too. Unless `sure`, the watermark stays as it is, and the result says what it would be.

    Raises NotFoundError, NotRunnable for an outbound flow or one that always asks for everything, ParameterError for a
    text that is no instant, or names one in the future or before FIRST_YEAR.
    """
    flow = inbound(await store.flow(name))
    instant = None if since is None else _instant(since, flow, now)
    if sure:
        before = await store.watermark(name)
        entry = actor.entry("watermark.set", f"flow {name}", since=iso(instant), before=iso(before))
        await store.set_watermark(name, instant, audit=entry)
    return await _standing(store, flow, instant)


def _instant(text: str, flow: Flow, now: datetime) -> datetime:
    check_takes_since(flow)
    instant = moment("since", text, flow, now)
    if instant > now:
        raise ParameterError(
            "since", f"{text} is in the future: until then each run would find nothing that has changed"
        )
    if instant.year < FIRST_YEAR:
        raise ParameterError("since", f"a watermark before {FIRST_YEAR} is none")
    return instant


async def _standing(store: Store, flow: Flow, watermark: datetime | None) -> Standing:
    active = await store.runs(flow.name, active=True)
    reading = [run.run_id for run in active if not run.read_complete]
    return Standing(flow.name, watermark, request.since(flow.definition, watermark), reading)
