"""The API's handlers of users, their sessions, and the keys of machines. Each answers the endpoint of its name."""

from __future__ import annotations

from imageflow.actions import keys, shapes, users
from imageflow.gateway.deps import Call, Deps
from imageflow.gateway.inputs import FlowPath, KeyPath, NewKey, NewRole, NewUser, Paged, UserPath
from imageflow.gateway.paging import Page, cursor, page, position


async def log_out(deps: Deps, call: Call[None, None, None]) -> None:
    """No body."""
    await deps.access.logout(call.authorization)


async def show_me(_deps: Deps, call: Call[None, None, None]) -> shapes.Me:
    """The user of the token."""
    return shapes.me(call.user)


async def list_users(deps: Deps, call: Call[None, Paged, None]) -> Page[shapes.Me]:
    """The users after the cursor, by name."""
    after = position(call.query.cursor, tuple[str]) or ("",)
    found = [user for user in await users.listed(deps.store) if user.name > after[0]]
    return page(found, call.query.limit, shapes.me, lambda user: cursor(user.name))


async def save_user(deps: Deps, call: Call[UserPath, None, NewUser]) -> shapes.Me:
    """The user as it is now."""
    user = await users.save(deps.store, call.path.user, call.body.password, call.body.role, call.actor)
    deps.access.forget()
    return shapes.me(user)


async def change_role(deps: Deps, call: Call[UserPath, None, NewRole]) -> shapes.Me:
    """The user as it is now."""
    await users.set_role(deps.store, call.path.user, call.body.role, call.actor)
    deps.access.forget()
    return shapes.Me(call.path.user, call.body.role)


async def remove_user(deps: Deps, call: Call[UserPath, None, None]) -> None:
    """No body."""
    await users.remove(deps.store, call.path.user, call.actor)
    deps.access.forget()


async def list_keys(deps: Deps, call: Call[FlowPath, Paged, None]) -> Page[shapes.KeyShown]:
    """The keys after the cursor, by name and id."""
    after = position(call.query.cursor, tuple[str, str])
    found = [
        key for key in await keys.listed(deps.store, call.path.flow) if after is None or (key.name, key.id) > after
    ]
    return page(found, call.query.limit, shapes.key_shown, lambda key: cursor(key.name, key.id))


async def add_key(deps: Deps, call: Call[FlowPath, None, NewKey]) -> shapes.KeyMade:
    """The key with its text."""
    wanted = call.body
    made = await keys.add(deps.store, deps.secret_key, call.path.flow, wanted.name, wanted.days, call.actor, deps.clock)
    return shapes.key_made(made)


async def revoke_key(deps: Deps, call: Call[KeyPath, None, None]) -> None:
    """No body."""
    await keys.revoke(deps.store, call.path.key, call.actor)
    deps.access.forget()
