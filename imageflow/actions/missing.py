"""Fetch missing: run a flow for the products that have no images on Omnitron."""

from __future__ import annotations

from imageflow.actions.actor import Actor
from imageflow.actions.runs import NotRunnable, check_identifiers, inbound
from imageflow.errors import SecretError
from imageflow.schedule.fetch import Begun, MissingFetcher
from imageflow.store import Store


async def fetch_missing(store: Store, fetcher: MissingFetcher, name: str, actor: Actor) -> Begun:
    """Look now, whether or not the flow enables rounds, and begin the runs.

    If Omnitron cannot be asked, that is a failed run. Raises NotFoundError, and NotRunnable for an outbound flow, where products
    lack images and the flow has no parameter for identifiers, or where a secret cannot be read.
    """
    flow = inbound(await store.flow(name))
    await store.record(actor.entry("run.missing", f"flow {name}"))
    try:
        return await fetcher.ask_now(flow, actor.who, check_identifiers)
    except SecretError as error:
        raise NotRunnable(str(error)) from error
