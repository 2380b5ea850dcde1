"""Flow files that are applied by themselves, and a folder of them that is followed: what a person did stays.

A file is applied when it says something new. Where a person changed the flow since (`flow rollback`, a save over the API or
in the console), a file that says what it said before changes nothing, at the start neither (`apply_file`). `flow apply` is a
person's word, and does not ask.

What happens to a folder, and what follows:

    a file changed, or is new     once it rests, it is checked and saved as a new version of its flow
    a file is broken              reported; nothing changes; once it says again what is in force, that is said
    a person changed its flow     reported, with the two ways out; nothing changes until the file says something new
    two files name one flow       the later one is reported; nothing changes
    a file is gone                its flow is deleted; while runs of it go on it is disabled, so that it fires no more
    a file names another flow     as if the file of the one before were gone
    the folder is gone, or empty  reported, with how flows are deleted; nothing changes: it may be a disk that is not mounted
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from imageflow.actions import flows
from imageflow.actions.actor import Actor
from imageflow.errors import ConflictError, FlowFileError, NotFoundError, Problem, StoreError
from imageflow.flows import file as flow_file
from imageflow.flows.folder import (
    Known,
    Said,
    Stamp,
    author,
    changed_by_a_person,
    is_file,
    only_disabled,
    seen,
    stamp,
    unnamed,
)
from imageflow.model.flow import Flow
from imageflow.store import Store

log = structlog.get_logger()

LOOK_SECONDS = 1.0
RESTING_LOOKS = 2
"""After so many looks in a row that find a file unchanged, it counts as complete: an editor writes in several steps."""

GONE_LOOKS = 3
"""After so many looks at which no file names a flow, it counts as gone: an editor may replace the old file by a new
one.
"""

NO_FILES = "it holds no flow file (*.yaml, *.yml, *.json)"
DELETE = "imageflow flow delete NAME"


class Found(NamedTuple):
    """A flow file, as it was when it was read, and its document."""

    path: Path
    known: Known
    document: dict[str, Any]


def read(folder: Path) -> list[Found]:
    """The flow files of a folder, checked; it may hold none. Raises FlowFileError where one is broken. Blocks."""
    files = flow_file.in_folder(folder)
    known = [seen(path) for path in files]
    return [Found(*one) for one in zip(files, known, flows.checked_all(files), strict=True)]


class Applied(NamedTuple):
    """What became of a flow file. `before`: its flow until then. `kept`: a person changed it, so nothing is saved."""

    flow: Flow
    before: Flow | None
    kept: bool

    @property
    def new(self) -> bool:
        """Whether there is a new version."""
        return self.before is None or self.flow.version != self.before.version


async def apply_file(store: Store, path: Path, document: dict[str, Any], actor: Actor) -> Applied:
    """Save a flow file's document in the name of the file, unless a person changed the flow and the file says nothing new."""
    name: str = document["name"]
    try:
        before: Flow | None = await store.flow(name)
    except NotFoundError:
        before = None
    if before is not None and changed_by_a_person(document, await _said(store, name)):
        return Applied(before, before, kept=True)
    saved = await flows.save(store, document, actor._replace(who=author(path.name)))
    return Applied(saved, before, kept=False)


def differs(document: dict[str, Any], applied: Applied) -> bool:
    """Whether a flow was kept as it is, and is not merely disabled."""
    return applied.kept and not only_disabled(document, applied.flow.document)


DIFFERS = "a flow differs from its file, and stays as it is"


def ways_out(name: str, path: Path) -> str:
    """What leads out where a flow differs from its file."""
    return (
        f"a person changed it since its file was saved; to keep that: imageflow flow export {name} > {path}; "
        f"to have what the file says: imageflow flow apply {path}"
    )


async def _said(store: Store, name: str) -> list[Said]:
    """The versions of a flow, newest first, to the newest that a file was saved as."""
    found: list[Said] = []
    for version in await store.flow_versions(name):
        found.append(Said(version.author, (await store.flow(name, version.version)).document))
        if is_file(version.author):
            break
    return found


class FlowFolder:
    """A folder whose flow files the store follows. `look` once a second."""

    def __init__(self, folder: Path, store: Store, actor: Actor) -> None:
        self._folder, self._store, self._actor = folder, store, actor
        self._owned: dict[str, Path] = {}
        self._documents: dict[str, dict[str, Any]] = {}
        self._versions: dict[str, int] = {}
        self._wrong: set[Path] = set()
        self._known: dict[Path, Known] = {}
        self._resting: dict[Path, tuple[Stamp, int]] = {}
        self._gone: dict[str, int] = {}
        self._said: dict[str, str] = {}
        self._empty: str | None = None

    async def follow(self, stop: asyncio.Event) -> None:
        """Look again and again until `stop` is set."""
        while not stop.is_set():
            try:
                await self.look()
            except StoreError as error:
                self._say("", "the folder of flow files waits", error=str(error))
            try:
                await asyncio.wait_for(stop.wait(), LOOK_SECONDS)
            except TimeoutError:
                continue

    async def begin(self, found: Sequence[Found]) -> None:
        """Save all that `read` found."""
        for one in found:
            await self._save(one.path, one.known, one.document)
        if not found:
            await self._say_empty(NO_FILES)
        elif left := sorted({flow.name for flow in await self._store.flows()} - self._owned.keys()):
            text, note = "flows that no file of the folder names", f"they go on; to end one: {DELETE}"
            log.info(text, folder=str(self._folder), flows=", ".join(left), note=note)

    async def look(self) -> None:
        """Apply what has changed since the last look."""
        try:
            files = await asyncio.to_thread(self._files)
        except OSError as error:
            await self._say_empty(f"it cannot be read: {error.strerror}")
            return
        if not files:
            await self._say_empty(NO_FILES)
            return
        self._empty = None
        for path in files:
            if await asyncio.to_thread(self._rests, path):
                await self._load(path, files)
        await self._drop(files)
        await self._watch()

    def _files(self) -> list[Path]:
        """The flow files of the folder. A file that was a flow file stays one until it is gone. If it holds something
        else now, it is a broken flow file.
        """
        return sorted({*flow_file.in_folder(self._folder), *(path for path in self._known if path.is_file())})

    async def _say_empty(self, why: str) -> None:
        """Say once that there is nothing to follow, why, and that the flows go on: the folder may be a disk that is not mounted."""
        if self._empty == why:
            return
        self._empty = why
        note = f"what comes into it is applied; to end a flow: {DELETE}"
        flows = ", ".join(sorted(flow.name for flow in await self._store.flows())) or "none"
        text = "the folder has no flow files; no flow is deleted"
        log.warning(text, folder=str(self._folder), why=why, flows=flows, note=note)

    def _rests(self, path: Path) -> bool:
        """Whether a file differs from what is known of it, and has not changed for a while."""
        known = self._known.get(path)
        now = stamp(known.sources if known else flow_file.sources(path))
        before, looks = self._resting.get(path, (now, 0))
        if known is not None and now == known.stamp:
            self._resting.pop(path, None)
            return False
        self._resting[path] = (now, looks + 1 if now == before else 1)
        return self._resting[path][1] >= RESTING_LOOKS

    async def _load(self, path: Path, files: Sequence[Path]) -> None:
        self._resting.pop(path, None)
        known = seen(path, self._known[path].flow if path in self._known else None)
        problems: list[Problem] = []
        try:
            document = await asyncio.to_thread(flows.checked, path)
            self._check_name(path, document["name"], files)
        except FlowFileError as error:
            problems = error.problems
        if not problems:
            await self._save(path, known, document)
            return
        self._known[path] = known
        self._wrong.add(path)
        log.error("a flow file is wrong; nothing changes", file=str(path), error="; ".join(map(str, problems)))

    def _check_name(self, path: Path, name: str, files: Sequence[Path]) -> None:
        others = [other for other, known in self._known.items() if known.flow == name and other != path]
        if here := [str(other) for other in others if other in files]:
            raise FlowFileError([Problem("name", f"{here[0]} has the name {name}, too; a flow is in one file")])

    async def _save(self, path: Path, known: Known, document: dict[str, Any]) -> None:
        name: str = document["name"]
        applied = await apply_file(self._store, path, document, self._actor)
        version = applied.flow.version
        self._known[path] = known._replace(flow=name)
        self._owned[name] = path
        self._documents[name] = document
        self._versions[name] = version
        if applied.new:
            log.info("a flow file is applied", file=str(path), flow=name, version=version)
        elif path in self._wrong:
            log.info("a flow file is right again", file=str(path), flow=name, version=version)
        self._wrong.discard(path)
        if (text := await flows.moved(self._store, applied.flow)) is not None:
            self._say(name, "a flow writes to another Omnitron", flow=name, note=text)
        if differs(document, applied):
            self._say_it_differs(name, version)
        elif flows.stays_off(document, applied.flow):
            note = f"a person disabled it: imageflow flow enable {name}"
            self._say(name, "a flow stays disabled", flow=name, note=note)

    async def _watch(self) -> None:
        """Say which flows a person has changed since the last look, where they differ from their files now."""
        newest = await self._store.newest_versions()
        for name, document in self._documents.items():
            version = newest.get(name)
            if version is None or version == self._versions[name]:
                continue
            self._versions[name] = version
            flow = await self._store.flow(name, version)
            kept = changed_by_a_person(document, await _said(self._store, name))
            if differs(document, Applied(flow, flow, kept)):
                self._say_it_differs(name, flow.version)

    def _say_it_differs(self, name: str, version: int) -> None:
        path = self._owned[name]
        self._say(name, DIFFERS, flow=name, version=str(version), file=str(path), note=ways_out(name, path))

    def _as_file(self, path: Path) -> Actor:
        """Who changes a flow, where it is its file."""
        return self._actor._replace(who=author(path.name))

    async def _drop(self, files: Sequence[Path]) -> None:
        """Delete the flows that no file names any more."""
        self._known = {path: known for path, known in self._known.items() if path in files}
        self._resting = {path: resting for path, resting in self._resting.items() if path in files}
        if self._resting:
            return  # it may name one of them
        names = unnamed(self._owned, self._known, files)
        if names - self._gone.keys():  # a file that was wrong because another one had the name may be right now
            again = {path: known._replace(stamp=()) for path, known in self._known.items() if path in self._wrong}
            self._known |= again
        self._gone = {name: self._gone.get(name, 0) + 1 for name in names}
        for name in sorted(name for name, looks in self._gone.items() if looks >= GONE_LOOKS):
            try:
                await flows.delete(self._store, name, self._as_file(self._owned[name]))
            except ConflictError as error:
                self._say(
                    name, "the file of a flow is gone; the flow cannot be deleted yet", flow=name, error=str(error)
                )
                await self._quiet(name)
                continue
            except NotFoundError:
                log.info("a flow that has no file any more was deleted already", flow=name)
            else:
                log.info("a flow is deleted: its file is gone", flow=name)
            del self._owned[name], self._documents[name]

    async def _quiet(self, name: str) -> None:
        """Let a flow fire no more while its last runs go on."""
        flow = await self._store.flow(name)
        if flow.definition.enabled:
            actor = self._as_file(self._owned[name])
            entry = actor.entry("flow.save", f"flow {name}")
            document = {**flow.document, "enabled": False}
            await self._store.save_flow(document, actor.who, audit=entry, bounded=flow.definition.bounded)

    def _say(self, about: str, event: str, **fields: str) -> None:
        """Log a warning once until something else is to be said about it."""
        text = f"{event} {fields}"
        if self._said.get(about) != text:
            self._said[about] = text
            log.warning(event, **fields)
