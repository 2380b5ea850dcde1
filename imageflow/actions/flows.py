"""Flows: check, save, enable, list and show them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

from imageflow import secret
from imageflow.actions.actor import Actor
from imageflow.errors import FlowFileError, Problem
from imageflow.flows import bounded
from imageflow.flows import file as flow_file
from imageflow.flows.bounded import Reach
from imageflow.model import cron
from imageflow.model.flow import Flow
from imageflow.model.run import Run
from imageflow.schedule import alarm
from imageflow.store import FlowVersion, Store

SHOWN_FIRES = 5
SHOWN_RUNS = 5


class FlowSeen(NamedTuple):
    """A flow with its next fires, its watermark and its newest runs."""

    flow: Flow
    next_fires: list[datetime]
    watermark: datetime | None
    runs: list[Run]


# checking -------------------------------------------------------------------------------------------------------------


def checked(path: Path) -> dict[str, Any]:
    """A flow file's document, with everything checked. Raises FlowFileError with all problems."""
    return _compiled(flow_file.load(path))


def checked_text(text: bytes, reach: Reach, *, is_yaml: bool) -> dict[str, Any]:
    """The same of a flow file's content that is in no file, and names nothing outside of `reach`. Blocks."""
    document = flow_file.read_text(text, is_yaml=is_yaml)
    bounded.check(flow_file.compiled(document), reach)
    return cast("dict[str, Any]", document)


def _compiled(document: dict[str, Any]) -> dict[str, Any]:
    flow_file.compiled(document)
    return document


def checked_all(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Documents of several files; problems carry their file's name; nothing is applied if one is wrong."""
    documents, problems = [], []
    for path in paths:
        try:
            documents.append(checked(path))
        except FlowFileError as error:
            problems += [Problem("", f"{path}: {problem}") for problem in error.problems]
    names = [document["name"] for document in documents]
    problems += [
        Problem("", f"two flow files have the name {name}") for name in {n for n in names if names.count(n) > 1}
    ]
    if problems:
        raise FlowFileError(problems)
    return documents


def checked_dir(folder: Path) -> list[dict[str, Any]]:
    """The documents of a folder's flow files, by file name; as `checked_all`."""
    return checked_all(sorted(path for path in folder.iterdir() if flow_file.is_flow_file(path)))


# saving ---------------------------------------------------------------------------------------------------------------


async def save(store: Store, document: dict[str, Any], actor: Actor) -> Flow:
    """Save a document that was checked as a new version; an equal one makes no new version. A person at the machine owns
    what it may reach; a user of the API does not.
    """
    entry = actor.entry("flow.save", f"flow {document['name']}")
    return await store.save_flow(document, actor.who, audit=entry, bounded=actor.role is not None)


async def save_all(store: Store, documents: Sequence[dict[str, Any]], actor: Actor) -> list[Flow]:
    """Save several, in their order."""
    return [await save(store, document, actor) for document in documents]


async def save_as(store: Store, name: str, document: dict[str, Any], actor: Actor) -> Flow:
    """Save a document under the name of an address. Raises FlowFileError where the document has another name."""
    if document["name"] != name:
        raise FlowFileError([Problem("name", f"must be that of the address, {name!r}")])
    return await save(store, document, actor)


async def enable(store: Store, name: str, actor: Actor, *, enabled: bool) -> Flow:
    """Enable or disable a flow: a new version, unless it is so already. Raises NotFoundError."""
    flow = await store.flow(name)
    if flow.definition.enabled == enabled:
        return flow
    entry = actor.entry("flow.enable" if enabled else "flow.disable", f"flow {name}")
    document = {**flow.document, "enabled": enabled}
    return await store.save_flow(document, actor.who, audit=entry, bounded=flow.definition.bounded)


def check_secrets(flow: Flow) -> None:
    """Raises SecretError where a secret that the flow names cannot be read here."""
    for ref in flow_file.referenced_secrets(flow.definition):
        secret.resolve(ref, bounded=flow.definition.bounded)


# showing --------------------------------------------------------------------------------------------------------------


async def listed(store: Store) -> list[Flow]:
    """All flows, by name (databases order names in ways of their own)."""
    return sorted(await store.flows(), key=lambda flow: flow.name)


async def show(store: Store, name: str, now: datetime) -> FlowSeen:
    """A flow as it is now. Raises NotFoundError."""
    flow = await store.flow(name)
    schedule, timezone = flow.definition.schedule, flow.definition.timezone
    fires = cron.next_fires(schedule, timezone, now, SHOWN_FIRES) if schedule is not None else []
    return FlowSeen(flow, fires, await store.watermark(name), await store.runs(name, limit=SHOWN_RUNS))


async def versions(store: Store, name: str) -> list[FlowVersion]:
    """The versions of a flow, newest first. Raises NotFoundError."""
    return await store.flow_versions(name)


async def version(store: Store, name: str, number: int) -> Flow:
    """A version of a flow. Raises NotFoundError."""
    return await store.flow(name, number)


async def export(store: Store, name: str, version: int | None = None) -> str:
    """A flow, in its newest version or that one, as the text of a flow file. Raises NotFoundError."""
    return flow_file.dump((await store.flow(name, version)).document)


async def webhook_key(store: Store, secret_key: bytes, name: str) -> str:
    """The key that posts to a flow's alarm webhook are signed with. Raises NotFoundError."""
    await store.flow(name)
    return alarm.webhook_key(secret_key, name)
