"""Flows and their versions."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Row as SqlRow
from sqlalchemy import and_, select, update

from imageflow.errors import ConflictError, NotFoundError
from imageflow.model.flow import BoundedDefinition, Definition, Flow, decode_custom
from imageflow.store.audit import AuditEntry, record
from imageflow.store.database import Tx
from imageflow.store.run_record import ACTIVE
from imageflow.store.tables import alarms, flow_versions, flows, runs, watermarks
from imageflow.store.text import clean, to_json
from imageflow.store.transaction import Sql, reads, writes

THERE = flows.c.deleted_at.is_(None)
NAMED = 3
"""So many runs are named in an error."""
MOST_VERSIONS = 500


class FlowVersion(msgspec.Struct, frozen=True):
    """A saved version of a flow, by whom and when, and whether the flow was enabled with it."""

    version: int
    author: str
    saved_at: datetime
    enabled: bool


class SavedVersion(NamedTuple):
    """A version of a flow, by whom it was saved, and when."""

    flow: str
    version: int
    author: str
    saved_at: datetime


class FlowsSql(Sql):
    """The methods of the store about flows."""

    @writes
    async def save_flow(
        self,
        tx: Tx,
        document: dict[str, Any],
        author: str = "",
        *,
        audit: AuditEntry | None = None,
        bounded: bool = False,
        expected: int | None = None,
    ) -> Flow:
        """Save a flow's document (valid, see flowfile.parse) as a new version; an equal one makes no new version. A flow that
        was switched off stays disabled, whatever the document says; one that was deleted is there again. `bounded`: see
        Definition. An equal one that was bounded and is not any more is a new version.
        Raises ConflictError where the newest version is not the `expected` one.
        """
        return await _save(tx, document, author, audit, bounded=bounded, expected=expected)

    @writes
    async def switch_flow(
        self, tx: Tx, name: str, author: str = "", *, enabled: bool, audit: AuditEntry | None = None
    ) -> Flow:
        """Enable or disable a flow by hand: a new version, unless it is so already. Disabled, it stays so until it is
        enabled here. Raises NotFoundError.
        """
        flow = await _version(tx, name, None)
        mine = flows.c.name == flow.name
        other = flows.c.switched_off.is_(True) if enabled else flows.c.switched_off.is_not(True)
        switched = await tx.count(update(flows).where(mine, other).values(switched_off=not enabled))
        document = flow.document if flow.definition.enabled == enabled else {**flow.document, "enabled": enabled}
        saved = await _save(tx, document, author, audit, bounded=flow.definition.bounded)
        if switched and saved.version == flow.version:
            await record(tx, audit)
        return saved

    @writes
    async def delete_flow(self, tx: Tx, name: str, *, audit: AuditEntry | None = None) -> None:
        """Delete a flow: it fires no more and takes no posts. Its versions and runs stay until retention takes them; its
        watermark and its open alarms go. Raises NotFoundError; ConflictError while it has runs that have not ended.
        """
        flow = await _version(tx, name, None)
        await tx.execute(select(flows.c.name).where(flows.c.name == flow.name).with_for_update())
        active = [row.run_id for row in await tx.all(select(runs.c.run_id).where(runs.c.flow == flow.name, ACTIVE))]
        if active:
            raise ConflictError(
                f"flow {flow.name} has runs that have not ended ({', '.join(active[:NAMED])}"
                f"{', …' if len(active) > NAMED else ''}): let them end, or imageflow cancel them first"
            )
        await tx.execute(update(flows).where(flows.c.name == flow.name).values(deleted_at=tx.now, switched_off=None))
        await tx.execute(watermarks.delete().where(watermarks.c.flow == flow.name))
        mine = (alarms.c.flow == flow.name, alarms.c.closed_at.is_(None))
        await tx.execute(update(alarms).where(*mine).values(closed_at=tx.now))
        await record(tx, audit, version=flow.version)

    @reads
    async def flow_versions(self, tx: Tx, name: str) -> list[FlowVersion]:
        """All versions of a flow, newest first; of one that was deleted, too."""
        mine = flow_versions.c.flow == clean(name)
        found = await tx.all(select(flow_versions).where(mine).order_by(flow_versions.c.version.desc()))
        if not found:
            await _version(tx, name, None)
        return [FlowVersion(row.version, row.author, row.saved_at, _decoded(row).definition.enabled) for row in found]

    @reads
    async def versions_since(self, tx: Tx, since: datetime, flow: str | None = None) -> list[SavedVersion]:
        """The versions of all flows, or of one, that were saved since then, the oldest first; at most MOST_VERSIONS, the newest."""
        columns = (flow_versions.c.flow, flow_versions.c.version, flow_versions.c.author, flow_versions.c.saved_at)
        mine = (flow_versions.c.saved_at >= since, *(() if flow is None else (flow_versions.c.flow == clean(flow),)))
        newest = select(*columns).where(*mine).order_by(flow_versions.c.saved_at.desc(), flow_versions.c.flow)
        found = await tx.all(newest.limit(MOST_VERSIONS))
        return [SavedVersion(row.flow, row.version, row.author, row.saved_at) for row in reversed(found)]

    @reads
    async def flow(self, tx: Tx, name: str, version: int | None = None) -> Flow:
        """A version of a flow, the newest by default. NotFoundError says which flows there are."""
        return await _version(tx, name, version)

    @reads
    async def newest_versions(self, tx: Tx) -> dict[str, int]:
        """The number of the newest version of every flow."""
        return {row.name: row.version for row in await tx.all(select(flows.c.name, flows.c.version).where(THERE))}

    @reads
    async def flows(self, tx: Tx) -> list[Flow]:
        """The newest version of every flow, by name."""
        newest = and_(flows.c.name == flow_versions.c.flow, flows.c.version == flow_versions.c.version, THERE)
        statement = select(flow_versions).join(flows, newest).order_by(flow_versions.c.flow)
        return [_decoded(row) for row in await tx.all(statement)]


async def _save(
    tx: Tx,
    document: dict[str, Any],
    author: str,
    audit: AuditEntry | None,
    *,
    bounded: bool,
    expected: int | None = None,
) -> Flow:
    name = _flow(to_json(document), 0, bounded=bounded).name
    await tx.execute(tx.insert(flows).values(name=name, version=0).on_conflict_do_nothing())
    kept = await tx.first(select(flows).where(flows.c.name == name).with_for_update())
    assert kept is not None  # inserted above
    if expected is not None and kept.version != expected:
        raise ConflictError(
            f"somebody has saved version {kept.version} meanwhile: what you send is based on version {expected}"
        )
    off = kept.switched_off and document.get("enabled", True)
    text = to_json({**document, "enabled": False} if off else document)
    if kept.version and kept.deleted_at is None:
        known = await _version(tx, name, kept.version)
        if known.document == msgspec.json.decode(text) and (bounded or not known.definition.bounded):
            return known
    version = kept.version + 1
    added = {"flow": name, "version": version, "document": text, "author": clean(author), "saved_at": tx.now}
    await tx.execute(tx.insert(flow_versions).values(**added, bounded=bounded))
    await tx.execute(update(flows).where(flows.c.name == name).values(version=version, deleted_at=None))
    await record(tx, audit, version=version)
    return _flow(text, version, bounded=bounded)


async def _version(tx: Tx, name: str, version: int | None) -> Flow:
    """That version, of a deleted flow too: its runs still refer to it; None: the newest of a flow that is there."""
    newest = select(flows.c.version).where(flows.c.name == clean(name), THERE).scalar_subquery()
    wanted = newest if version is None else version
    row = await tx.first(
        select(flow_versions).where(flow_versions.c.flow == clean(name), flow_versions.c.version == wanted)
    )
    if row is not None:
        return _decoded(row)
    last = await tx.value(select(flows.c.version).where(flows.c.name == clean(name)))
    if last is not None and version is not None:
        raise NotFoundError(f"flow {name!r} has no version {version}; there are 1 to {last}")
    if last is not None:
        raise NotFoundError(deleted_text(name, last))
    names = [found.name for found in await tx.all(select(flows.c.name).where(THERE).order_by(flows.c.name))]
    raise NotFoundError(f"there is no flow {name!r}; there are: {', '.join(names) or 'none'}")


def deleted_text(name: str, last: int) -> str:
    """That a flow is deleted, and how its `last` version is brought back."""
    back = f"imageflow flow export {name} --version {last} > FILE, then imageflow flow apply FILE"
    return f"the flow {name!r} is deleted; to have it back: {back}"


async def require(tx: Tx, name: str, version: int) -> None:
    """Raises NotFoundError where the flow has no such version."""
    await _version(tx, name, version)


def _decoded(row: SqlRow[Any]) -> Flow:
    return _flow(row.document, row.version, bounded=row.bounded)


def _flow(text: str, version: int, *, bounded: bool) -> Flow:
    document = msgspec.json.decode(text)
    kind = BoundedDefinition if bounded else Definition
    definition: Definition = msgspec.convert(document, kind, dec_hook=decode_custom)
    return Flow(definition.name, version, definition, document)
