"""Names that a shell completes: those of flows and runs that the store knows."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import click
from click.shell_completion import CompletionItem

NEWEST = 50


class Known(click.ParamType[str]):
    """A text, which a shell completes with what the store knows. What goes wrong completes nothing."""

    name = "text"

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def shell_complete(
        self, _context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from imageflow.errors import ImageFlowError  # noqa: PLC0415 - what a command needs is imported by it

        try:
            found = _known(self._kind)
        except (ImageFlowError, OSError):
            return []
        return [item for item in found if item.value.startswith(incomplete)]


FLOW = Known("flow")
RUN = Known("run")


def _known(kind: str) -> list[CompletionItem]:
    from imageflow import settings  # noqa: PLC0415
    from imageflow.commands.shell import run_async, store_to_read  # noqa: PLC0415
    from imageflow.store import Store  # noqa: PLC0415

    async def flows(store: Store) -> list[CompletionItem]:
        return [CompletionItem(flow.name, help=flow.definition.direction) for flow in await store.flows()]

    async def runs(store: Store) -> list[CompletionItem]:
        found = await store.runs(limit=NEWEST)
        return [CompletionItem(run.run_id, help=f"{run.flow}: {run.status}") for run in found]

    async def body(ask: Callable[[Store], Awaitable[list[CompletionItem]]]) -> list[CompletionItem]:
        async with store_to_read(settings.load(os.environ), said=False) as store:
            return await ask(store)

    return run_async(body(flows if kind == "flow" else runs))
