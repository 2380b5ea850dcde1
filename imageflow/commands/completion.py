"""What a shell completes: names of flows and runs, versions and causes, as the store knows them, and flow files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from imageflow.store import Store

NEWEST = 50

Kind = Literal["flow", "run", "active run", "version", "cause"]


class Known(click.ParamType[str]):
    """A text, which a shell completes with what the store knows; `files`: with flow files, too. What goes wrong completes nothing."""

    name = "text"

    def __init__(self, kind: Kind, *, files: bool = False) -> None:
        self._kind: Kind = kind
        self._files = files

    def shell_complete(
        self, context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [*_completed(self._kind, context, incomplete), *(_flow_files(incomplete) if self._files else ())]


class Version(click.IntRange):
    """The number of a version, which a shell completes with those of the flow that the command names."""

    def __init__(self) -> None:
        super().__init__(min=1)

    def shell_complete(
        self, context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return _completed("version", context, incomplete)


FLOW = Known("flow")
FLOW_OR_FILE = Known("flow", files=True)
RUN = Known("run")
ACTIVE_RUN = Known("active run")
CAUSE = Known("cause")
VERSION = Version()


def _completed(kind: Kind, context: click.Context, incomplete: str) -> list[CompletionItem]:
    from imageflow import settings  # noqa: PLC0415 - what a command needs is imported by it
    from imageflow.commands.shell import run_async, store_to_read  # noqa: PLC0415 - the same
    from imageflow.errors import ImageFlowError  # noqa: PLC0415 - the same

    async def body() -> list[CompletionItem]:
        async with store_to_read(settings.load(os.environ), said=False) as store:
            return await _known(store, kind, context)

    try:
        found = run_async(body())
    except (ImageFlowError, OSError):
        return []
    return [item for item in found if item.value.startswith(incomplete)]


async def _known(store: Store, kind: Kind, context: click.Context) -> list[CompletionItem]:
    """What the store knows of a kind. Versions are those of the flow that the command line names already, causes those
    of its run or flow. Click leaves arguments unread that stand before an option without a value.
    """
    given, unread = context.params, next(iter(context.args), None)
    match kind:
        case "flow":
            return [CompletionItem(one.name, help=one.definition.direction) for one in await store.flows()]
        case "version":
            flow = given.get("name") or unread
            found = await store.flow_versions(flow) if flow else []
            return [CompletionItem(str(one.version), help=f"by {one.author}") for one in found[:NEWEST]]
        case "cause":
            run_id = given.get("run_id") or unread
            causes = await store.errors(run_id) if run_id else await store.causes(given.get("flow_name"), limit=NEWEST)
            return [CompletionItem(one.group, help=f"{one.stage}: {one.reason}") for one in causes]
    runs = await store.runs(limit=NEWEST, active=kind == "active run")
    return [CompletionItem(one.run_id, help=f"{one.flow}: {one.status}") for one in runs]


def _flow_files(incomplete: str) -> Iterator[CompletionItem]:
    """The flow files that a path may become: in its folder, and one folder deeper."""
    from imageflow.flows import file as flow_file  # noqa: PLC0415 - what a command needs is imported by it

    head, tail = os.path.split(incomplete)
    try:
        inside = [one for one in sorted(Path(head or ".").iterdir()) if one.name.startswith(tail)]
        shown = [one for one in inside if tail.startswith(".") or not one.name.startswith(".")]
        found = [file for one in shown for file in (flow_file.in_folder(one) if one.is_dir() else [one])]
    except OSError:
        return
    for file in found:
        if flow_file.is_flow_file(file):
            yield CompletionItem(os.path.join(head, file.relative_to(head or ".")))  # noqa: PTH118 - it keeps `./`
