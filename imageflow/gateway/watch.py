"""The API's handlers of what somebody keeps an eye on: alarms, holds, the audit log."""

from __future__ import annotations

from typing import Annotated

import msgspec

from imageflow.gateway import shapes
from imageflow.gateway.desk import Call, Desk, cursor, page, position
from imageflow.gateway.shapes import Page

_Id = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53))]


class Watch:
    """Each method answers the endpoint of its name."""

    def __init__(self, desk: Desk) -> None:
        self._store = desk.store

    async def list_alarms(self, call: Call) -> Page[shapes.AlarmShown]:
        query = call.query
        before = position(query.cursor, tuple[_Id])
        found = await self._store.alarms(
            query.flow or None,
            is_open=query.state == "open" if query.state else None,
            before=before[0] if before else None,
            limit=query.limit + 1,
        )
        return page(found, query.limit, shapes.alarm_shown, lambda alarm: cursor(alarm.id))

    async def list_holds(self, _call: Call) -> Page[shapes.Hold]:
        return Page([shapes.hold_shown(held) for held in await self._store.holds()])

    async def list_changes(self, call: Call) -> Page[shapes.Change]:
        query = call.query
        before = position(query.cursor, tuple[_Id])
        found = await self._store.audit(
            before=before[0] if before else None, who=query.who or None, what=query.what or None, limit=query.limit + 1
        )
        return page(found, query.limit, shapes.change, lambda entry: cursor(entry.id))
