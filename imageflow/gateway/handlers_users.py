"""The API's handlers of users, their sessions, and the keys of machines."""

from __future__ import annotations

from imageflow.gateway import shapes
from imageflow.gateway.access import add_user
from imageflow.gateway.deps import Call, Deps, cursor, page, position
from imageflow.gateway.problem_details import Refusal
from imageflow.gateway.shapes import Page


class UserHandlers:
    """Each method answers the endpoint of its name."""

    def __init__(self, deps: Deps) -> None:
        self._store = deps.store
        self._access = deps.access

    async def log_out(self, call: Call) -> None:
        await self._access.logout(call.authorization)

    async def show_me(self, call: Call) -> shapes.Me:
        return shapes.me(call.user)

    async def list_users(self, call: Call) -> Page[shapes.Me]:
        after = position(call.query.cursor, tuple[str]) or ("",)
        users = sorted(await self._store.users(), key=lambda user: user.name)
        found = [user for user in users if user.name > after[0]]
        return page(found, call.query.limit, shapes.me, lambda user: cursor(user.name))

    async def save_user(self, call: Call) -> shapes.Me:
        name, wanted = call.path["user"], call.body
        if name == call.user.name and wanted.role != call.user.role:
            raise _own_role()
        entry = call.actor.entry("user.save", f"user {name}", role=wanted.role)
        await add_user(self._store, name, wanted.password, wanted.role, audit=entry)
        self._access.forget()
        return shapes.Me(name, wanted.role)

    async def change_role(self, call: Call) -> shapes.Me:
        name, role = call.path["user"], call.body.role
        if name == call.user.name and role != call.user.role:
            raise _own_role()
        await self._store.set_role(name, role, audit=call.actor.entry("user.role", f"user {name}", role=role))
        self._access.forget()
        return shapes.Me(name, role)

    async def remove_user(self, call: Call) -> None:
        name = call.path["user"]
        if name == call.user.name:
            raise _own_role()
        await self._store.remove_user(name, audit=call.actor.entry("user.remove", f"user {name}"))
        self._access.forget()

    async def list_keys(self, call: Call) -> Page[shapes.KeyShown]:
        flow = await self._store.flow(call.path["flow"])
        after = position(call.query.cursor, tuple[str, str])
        keys = sorted(await self._store.keys(flow.name), key=lambda key: (key.name, key.id))
        found = [key for key in keys if after is None or (key.name, key.id) > after]
        return page(found, call.query.limit, shapes.key_shown, lambda key: cursor(key.name, key.id))

    async def add_key(self, call: Call) -> shapes.KeyMade:
        flow, wanted = call.path["flow"], call.body
        made, text = await self._access.add_key(
            flow,
            wanted.name,
            wanted.days,
            lambda key_id: call.actor.entry("key.add", f"key {key_id}", flow=flow, name=wanted.name, days=wanted.days),
        )
        return shapes.key_made(made, text)

    async def revoke_key(self, call: Call) -> None:
        key_id = call.path["key"]
        await self._store.revoke_key(key_id, audit=call.actor.entry("key.revoke", f"key {key_id}"))
        self._access.forget()


def _own_role() -> Refusal:
    return Refusal(409, "nobody removes themselves or changes their own role: so one admin stays")
