"""The API's handlers of what somebody keeps an eye on: alarms, holds, parked messages, the audit log."""

from __future__ import annotations

from typing import Annotated

import msgspec

from imageflow.actions import dead_letters
from imageflow.actions.dead_letters import Parked
from imageflow.errors import BrokerError, ImageFlowError, NotFoundError
from imageflow.gateway import shapes
from imageflow.gateway.deps import Call, Deps, cursor, page, position
from imageflow.gateway.problem_details import Refusal
from imageflow.gateway.shapes import Page

_Id = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53))]


class OpsHandlers:
    """Each method answers the endpoint of its name."""

    def __init__(self, deps: Deps) -> None:
        self._store = deps.store
        self._broker = deps.broker

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
        return Page(await dead_letters.look(self._broker, call.query.limit))

    async def show_parked(self, call: Call) -> shapes.ParkedShown:
        return shapes.parked_shown(*await dead_letters.one(self._broker, call.path["message"]))

    async def replay_parked(self, call: Call) -> None:
        try:
            replayed = await dead_letters.replay(self._broker, call.path["message"])
        except (BrokerError, NotFoundError):
            raise
        except ImageFlowError as error:
            raise Refusal(409, str(error)) from error
        await self._note(call, "parked.replay", replayed)

    async def drop_parked(self, call: Call) -> None:
        await self._note(call, "parked.drop", await dead_letters.drop(self._broker, call.path["message"]))

    async def _note(self, call: Call, what: str, done: list[Parked]) -> None:
        for message in done:
            about = {"queue": message.queue, "flow": message.flow, "reason": message.reason}
            await self._store.record(call.actor.entry(what, f"message {message.id}", **about))

    async def list_changes(self, call: Call) -> Page[shapes.Change]:
        query = call.query
        before = position(query.cursor, tuple[_Id])
        found = await self._store.audit(
            before=before[0] if before else None, who=query.who or None, what=query.what or None, limit=query.limit + 1
        )
        return page(found, query.limit, shapes.change, lambda entry: cursor(entry.id))
