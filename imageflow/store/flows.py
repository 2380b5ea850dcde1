"""Flows and their versions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row as SqlRow
from sqlalchemy import and_, select, update

from imageflow.errors import NotFoundError
from imageflow.model.flow import BoundedDefinition, Definition, Flow, decode_custom
from imageflow.store.audit import AuditEntry, record
from imageflow.store.database import Tx
from imageflow.store.tables import flow_versions, flows
from imageflow.store.text import clean, to_json
from imageflow.store.transaction import Sql, reads, writes


class FlowVersion(msgspec.Struct, frozen=True):
    """A saved version of a flow, by whom and when."""

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
    ) -> Flow:
        """Save a flow's document (valid, see flowfile.parse) as a new version; an equal one makes no new version.
        `bounded`: see Definition. An equal one that was bounded and is not any more is a new version.
        """
        text = to_json(document)
        name = _flow(text, 0, bounded=bounded).name
        await tx.execute(tx.insert(flows).values(name=name, version=0).on_conflict_do_nothing())
        newest = await tx.value(select(flows.c.version).where(flows.c.name == name).with_for_update())
        if newest:
            known = await _version(tx, name, newest)
            if known.document == msgspec.json.decode(text) and (bounded or not known.definition.bounded):
                return known
        version = newest + 1
        added = {"flow": name, "version": version, "document": text, "author": clean(author), "saved_at": tx.now}
        await tx.execute(tx.insert(flow_versions).values(**added, bounded=bounded))
        await tx.execute(update(flows).where(flows.c.name == name).values(version=version))
        await record(tx, audit, version=version)
        return _flow(text, version, bounded=bounded)

    @reads
    async def flow_versions(self, tx: Tx, name: str) -> list[FlowVersion]:
        """All versions of a flow, newest first."""
        await _version(tx, name, None)
        columns = (flow_versions.c.version, flow_versions.c.author, flow_versions.c.saved_at)
        statement = select(*columns).where(flow_versions.c.flow == name).order_by(flow_versions.c.version.desc())
        return [FlowVersion(row.version, row.author, row.saved_at) for row in await tx.all(statement)]

    @reads
    async def flow(self, tx: Tx, name: str, version: int | None = None) -> Flow:
        """A version of a flow, the newest by default. NotFoundError says which flows there are."""
        return await _version(tx, name, version)

    @reads
    async def flows(self, tx: Tx) -> list[Flow]:
        """The newest version of every flow, by name."""
        newest = and_(flows.c.name == flow_versions.c.flow, flows.c.version == flow_versions.c.version)
        statement = select(flow_versions).join(flows, newest).order_by(flow_versions.c.flow)
        return [_decoded(row) for row in await tx.all(statement)]


async def _version(tx: Tx, name: str, version: int | None) -> Flow:
    newest = select(flows.c.version).where(flows.c.name == clean(name)).scalar_subquery()
    wanted = newest if version is None else version
    row = await tx.first(
        select(flow_versions).where(flow_versions.c.flow == clean(name), flow_versions.c.version == wanted)
    )
    if row is not None:
        return _decoded(row)
    names = [found.name for found in await tx.all(select(flows.c.name).order_by(flows.c.name))]
    if name in names:
        raise NotFoundError(f"flow {name!r} has no version {version}")
    raise NotFoundError(f"there is no flow {name!r}; there are: {', '.join(names) or 'none'}")


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
