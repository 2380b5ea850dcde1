"""The API's handlers of what somebody keeps an eye on: alarms, holds, parked messages, the audit log."""

from __future__ import annotations

from typing import Annotated

import msgspec

from imageflow import parked
from imageflow.errors import BrokerError, ImageFlowError, NotFoundError
from imageflow.gateway import shapes
from imageflow.gateway.desk import Call, Desk, cursor, page, position
from imageflow.gateway.problem import Refusal
from imageflow.gateway.shapes import Page
from imageflow.parked import Parked

_Id = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53))]


class Watch:
    """Each method answers the endpoint of its name."""

    def __init__(self, desk: Desk) -> None:
        self._store = desk.store
        self._broker = desk.broker

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

    async def list_parked(self, call: Call) -> Page[Parked]:
        return Page(await parked.look(self._broker, call.query.limit))

    async def show_parked(self, call: Call) -> shapes.ParkedShown:
        return shapes.parked_shown(*await parked.one(self._broker, call.path["message"]))

    async def replay_parked(self, call: Call) -> None:
        try:
            replayed = await parked.replay(self._broker, call.path["message"])
        except (BrokerError, NotFoundError):
            raise
        except ImageFlowError as error:
            raise Refusal(409, str(error)) from error
        await self._note(call, "parked.replay", replayed)

    async def drop_parked(self, call: Call) -> None:
        await self._note(call, "parked.drop", await parked.drop(self._broker, call.path["message"]))

    async def _note(self, call: Call, what: str, done: list[Parked]) -> None:
        for message in done:
            about = {"queue": message.queue, "flow": message.flow, "reason": message.reason}
            await self._store.note(call.actor.act(what, f"message {message.id}", **about))

    async def list_changes(self, call: Call) -> Page[shapes.Change]:
        query = call.query
        before = position(query.cursor, tuple[_Id])
        found = await self._store.audit(
            before=before[0] if before else None, who=query.who or None, what=query.what or None, limit=query.limit + 1
        )
        return page(found, query.limit, shapes.change, lambda entry: cursor(entry.id))
