"""Flows: check, save, enable, delete, list, compare and show them."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

from imageflow import secret
from imageflow.actions.actor import Actor
from imageflow.errors import ConflictError, FlowFileError, Problem, SecretError
from imageflow.flows import bounded, folder
from imageflow.flows import file as flow_file
from imageflow.flows.bounded import Reach
from imageflow.model import cron
from imageflow.model.flow import Flow
from imageflow.model.run import Run
from imageflow.read import request
from imageflow.schedule import alarm
from imageflow.store import FlowVersion, Store
from imageflow.text.instant import iso

SHOWN_FIRES = 5
SHOWN_RUNS = 5


class OfFile(NamedTuple):
    """A flow file, and the version that it was saved as."""

    file: str
    version: int


class FlowSeen(NamedTuple):
    """A flow with its next fires, its watermark and its newest runs. `of_file`: the file that it was saved from before a person changed
    it, where that says something else.
    """

    flow: Flow
    next_fires: list[datetime]
    watermark: datetime | None
    runs: list[Run]
    of_file: OfFile | None = None


# checking -------------------------------------------------------------------------------------------------------------


def checked(path: Path) -> dict[str, Any]:
    """A flow file's document, with everything checked. Raises FlowFileError with all problems."""
    return _compiled(flow_file.load(path))


def checked_text(text: bytes, reach: Reach, *, is_yaml: bool) -> dict[str, Any]:
    """As `checked`, for content that did not come from a file; it may name nothing outside of `reach`. Blocks."""
    document = flow_file.read_text(text, is_yaml=is_yaml)
    bounded.check(flow_file.compiled(document), reach)
    return cast("dict[str, Any]", document)


def _compiled(document: dict[str, Any]) -> dict[str, Any]:
    flow_file.compiled(document)
    return document


def checked_all(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Documents of several files; problems carry their file's name; nothing is applied if one is wrong."""
    examined = _examined(paths)
    if problems := _problems(examined):
        raise FlowFileError(problems)
    return [one.document for one in examined]


class Folder(NamedTuple):
    """A folder's flow files that are right, with their documents, and what is wrong with the others, by file."""

    files: list[tuple[Path, dict[str, Any]]]
    problems: list[Problem]


def checked_folder(folder: Path, name: str) -> Folder:
    """A folder's flow files, for a run of one flow. Broken files of other flows do not stop the run. Raises
    FlowFileError if the flow's own file is broken; also if no file names the flow and a broken one may be its own: then
    the error says which flows there are.
    """
    examined = _examined(flow_file.files_of(folder))
    wrong = [one for one in examined if one.problems]
    found = any(one.name == name and not one.problems for one in examined)
    if own := [one for one in wrong if one.name == name or (one.name is None and not found)]:
        missing = [] if any(one.name == name for one in own) else [Problem("", _not_there(folder, name, examined))]
        raise FlowFileError([*_problems(own), *missing])
    return Folder([(one.path, one.document) for one in examined if not one.problems], _problems(wrong))


def _not_there(folder: Path, name: str, examined: Sequence[_Examined]) -> str:
    named = ", ".join(sorted({one.name for one in examined if one.name is not None})) or "none"
    left = f"; {text}" if (text := flow_file.left_alone(folder)) else ""
    return f"{folder}: no file names the flow {name!r}; the files that can be read name: {named}{left}"


class _Examined(NamedTuple):
    """A flow file: its document and what is wrong with it. `name`: that of its flow, as far as it can be read."""

    path: Path
    name: str | None
    document: dict[str, Any]
    problems: list[Problem]


def _examined(paths: Sequence[Path]) -> list[_Examined]:
    examined = [_examined_file(path) for path in paths]
    named: dict[str, list[str]] = {}
    for one in examined:
        if not one.problems:
            named.setdefault(str(one.name), []).append(str(one.path))
    for name, files in named.items():
        if len(files) > 1:
            twice = Problem("", f"{', '.join(files)}: all have the name {name}; a flow is in one file")
            examined = [one._replace(problems=[twice]) if str(one.path) in files else one for one in examined]
    return examined


def _examined_file(path: Path) -> _Examined:
    try:
        document = checked(path)
    except FlowFileError as error:
        return _Examined(path, _named(path), {}, error.of(path).problems)
    return _Examined(path, document["name"], document, [])


def _named(path: Path) -> str | None:
    """The name that a broken file gives its flow."""
    try:
        document = flow_file.read_value(path)
    except FlowFileError:
        return None
    name = document.get("name") if isinstance(document, dict) else None
    return name if isinstance(name, str) else None


def _problems(examined: Sequence[_Examined]) -> list[Problem]:
    """Each once: several files may share one."""
    return list(dict.fromkeys(problem for one in examined for problem in one.problems))


# saving ---------------------------------------------------------------------------------------------------------------


async def save(store: Store, document: dict[str, Any], actor: Actor, *, expected: int | None = None) -> Flow:
    """Save a document that was checked as a new version; an equal one makes no new version. A person at the machine owns
    what it may reach; a user of the API does not. Raises ConflictError where the newest version is not the `expected` one.
    """
    entry = actor.entry("flow.save", f"flow {document['name']}")
    bounded = actor.role is not None
    return await store.save_flow(document, actor.who, audit=entry, bounded=bounded, expected=expected)


async def save_all(store: Store, documents: Sequence[dict[str, Any]], actor: Actor) -> list[Flow]:
    """Save several, in their order."""
    return [await save(store, document, actor) for document in documents]


async def save_as(
    store: Store, name: str, document: dict[str, Any], actor: Actor, *, expected: int | None = None
) -> Flow:
    """Save a document under the name of an address. Raises FlowFileError where the document has another name, ConflictError
    where the newest version is not the `expected` one.
    """
    if document["name"] != name:
        raise FlowFileError([Problem("name", f"must be that of the address, {name!r}")])
    return await save(store, document, actor, expected=expected)


async def moved(store: Store, flow: Flow) -> str | None:
    """A warning about a flow that writes to another Omnitron than its version before, and has not read everything
    since: the new one lacks what was written before, and runs ask for changes only. None: there is nothing to warn of.
    """
    since = await store.watermark(flow.name)
    erp = flow.definition.erp
    if flow.version == 1 or since is None or erp is None or not request.takes_since(erp):
        return None
    versions = await store.flow_versions(flow.name)
    saved_at = next((one.saved_at for one in versions if one.version == flow.version), None)
    before, now = (await store.flow(flow.name, flow.version - 1)).definition.omnitron, flow.definition.omnitron
    if before.domain == now.domain or saved_at is None or since > saved_at:
        return None
    return (
        f"it writes to {now.domain} now, and what was written before is on {before.domain}; runs ask the ERP for changes since "
        f"{iso(since)} alone: to write everything, imageflow watermark set {flow.name} none && imageflow run {flow.name}"
    )


def stays_off(document: dict[str, Any], saved: Flow) -> bool:
    """Whether a saved document enables its flow, and yet the flow stays disabled, because a person disabled it."""
    return bool(document.get("enabled", True)) and not saved.definition.enabled


async def enable(store: Store, name: str, actor: Actor, *, enabled: bool) -> Flow:
    """Enable or disable a flow: a new version, unless it is so already. A flow that was disabled here stays so, whatever
    its file says, until it is enabled here. Raises NotFoundError.
    """
    entry = actor.entry("flow.enable" if enabled else "flow.disable", f"flow {name}")
    return await store.switch_flow(name, actor.who, enabled=enabled, audit=entry)


async def roll_back(store: Store, name: str, number: int, actor: Actor) -> Flow:
    """Save an earlier version of a flow once more, as its newest. Raises NotFoundError, and FlowFileError where that version
    is no flow any more.
    """
    flow = await store.flow(name, number)
    await asyncio.to_thread(flow_file.compiled, flow.document)
    entry = actor.entry("flow.rollback", f"flow {name}", to=number)
    return await store.save_flow(flow.document, actor.who, audit=entry, bounded=flow.definition.bounded)


# deleting -------------------------------------------------------------------------------------------------------------


async def delete(store: Store, name: str, actor: Actor) -> None:
    """Delete a flow: it fires no more and takes no posts; its versions and runs can still be looked at. Raises NotFoundError;
    ConflictError while runs of it go on, or another flow runs after it.
    """
    await _delete(store, [name], actor)


async def prune(store: Store, kept: Collection[str], actor: Actor) -> list[str]:
    """Delete all flows but these; returns the names of the deleted ones. Raises ConflictError as `delete` does; flows
    that were deleted before the error stay deleted.
    """
    gone = [flow.name for flow in await listed(store) if flow.name not in kept]
    await _delete(store, gone, actor)
    return gone


async def file_of(store: Store, name: str) -> str | None:
    """The name of the flow file that last saved a version of the flow by itself; also of a deleted flow. None: no file
    did.
    """
    return next((file for one in await store.flow_versions(name) if (file := folder.file_of(one.author))), None)


async def _delete(store: Store, names: Sequence[str], actor: Actor) -> None:
    left = [flow for flow in await store.flows() if flow.name not in names]
    if waiting := followers(left, names):
        raise ConflictError(f"{waiting}: change that first")
    for name in names:
        await store.delete_flow(name, audit=actor.entry("flow.delete", f"flow {name}"))


def followers(flows: Sequence[Flow], names: Collection[str]) -> str:
    """Which of the flows run after one of these; empty: none does."""
    after = [(flow.name, flow.definition.schedule.after) for flow in flows if flow.definition.schedule is not None]
    return ", ".join(f"flow {name} runs after {first}" for name, first in after if first in names)


def check_secrets(flow: Flow) -> None:
    """Raises SecretError, with flow and field, where a secret that the flow names cannot be read here."""
    for path, ref in flow_file.secrets(flow.definition):
        try:
            secret.resolve(ref, bounded=flow.definition.bounded)
        except SecretError as error:
            raise SecretError(f"flow {flow.name}: {path}: {error}") from error


# showing --------------------------------------------------------------------------------------------------------------


async def listed(store: Store) -> list[Flow]:
    """All flows, by name (databases order names in ways of their own)."""
    return sorted(await store.flows(), key=lambda flow: flow.name)


async def overview(store: Store, now: datetime) -> list[FlowSeen]:
    """All flows, by name, each with its next fire and its newest run."""
    newest = {run.flow: [run] for run in await store.newest_runs()}
    since = await store.watermarks()
    return [
        FlowSeen(flow, _fires(flow, now, 1), since.get(flow.name), newest.get(flow.name, []))
        for flow in await listed(store)
    ]


async def show(store: Store, name: str, now: datetime, version: int | None = None) -> FlowSeen:
    """A flow as it is now, or a version of it. Raises NotFoundError."""
    flow = await store.flow(name, version)
    runs = await store.runs(name, limit=SHOWN_RUNS)
    return FlowSeen(
        flow, _fires(flow, now, SHOWN_FIRES), await store.watermark(name), runs, await _of_file(store, flow)
    )


async def _of_file(store: Store, flow: Flow) -> OfFile | None:
    for version in await store.flow_versions(flow.name):
        name = folder.file_of(version.author)
        if name is not None:
            document = (await store.flow(flow.name, version.version)).document
            same = version.version == flow.version or folder.says(document, flow.document)
            return None if same else OfFile(name, version.version)
    return None


def _fires(flow: Flow, now: datetime, count: int) -> list[datetime]:
    """The next fires of a flow; none of one that is disabled."""
    schedule, definition = flow.definition.schedule, flow.definition
    return cron.next_fires(schedule, definition.timezone, now, count) if schedule and definition.enabled else []


async def versions(store: Store, name: str) -> list[FlowVersion]:
    """The versions of a flow, newest first. Raises NotFoundError."""
    return await store.flow_versions(name)


async def version(store: Store, name: str, number: int | None = None) -> Flow:
    """A version of a flow, the newest unless it is named. Raises NotFoundError."""
    return await store.flow(name, number)


def as_file(flow: Flow) -> str:
    """A flow as the text of a flow file."""
    return flow_file.dump(flow.document)


def diff(old: Flow, new: Flow) -> list[str]:
    """What changed from one version of a flow to another, as the lines of a unified diff of their flow files; empty: nothing."""
    before, after = (f"{flow.name} version {flow.version}" for flow in (old, new))
    lines = difflib.unified_diff(as_file(old).splitlines(), as_file(new).splitlines(), before, after, lineterm="")
    return list(lines)


async def webhook_key(store: Store, secret_key: bytes, name: str) -> str:
    """The key that posts to a flow's alarm webhook are signed with. Raises NotFoundError."""
    await store.flow(name)
    return alarm.webhook_key(secret_key, name)
