"""Users of the gateway, and the keys of machines."""

from __future__ import annotations

from imageflow.actions import keys, users
from imageflow.actions.users import OwnUserError, UserError
from imageflow.console.pages.shared import all_flows, common_zone, part, question
from imageflow.console.visit import Answer, Go, Page, Show, Visit
from imageflow.gateway.problem_details import Refusal


async def list_(
    visit: Visit, *, name: str = "", role: str = "operator", problem: str = "", status: int = 200
) -> Answer:
    """All users and all keys."""
    values = {
        "here": "users",
        "users": await users.listed(visit.store),
        "roles": users.ROLES,
        "keys": await keys.listed(visit.store, None),
        "name": name,
        "role": role,
        "problem": problem,
    }
    return Show("users.html", values, status, zone=common_zone(await all_flows(visit)))


async def show(visit: Visit) -> Answer:
    """The page of users."""
    return await list_(visit)


async def save(visit: Visit) -> Answer:
    """Add a user, or give them another password and role."""
    name, role = visit.form.get("username", "").strip(), visit.form.get("role", "")
    try:
        user = await users.save(visit.deps.store, name, visit.form.get("password", ""), role, visit.actor)
    except (UserError, OwnUserError) as error:
        return await list_(visit, name=name, role=role, problem=str(error), status=422)
    visit.deps.access.forget()
    return Go("/users", ("user", user.name))


async def ask_remove(visit: Visit) -> Answer:
    """The question before a user is removed."""
    name = visit.path("user")
    if not any(user.name == name for user in await users.listed(visit.store)):
        raise Refusal(404, "there is nothing at this address")
    common = common_zone(await all_flows(visit))
    return question("users", "remove-user", name, f"/users/{part(name)}/remove", "/users", zone=common)


async def remove(visit: Visit) -> Answer:
    """Remove a user, once that is confirmed."""
    name = visit.path("user")
    if visit.form.get("sure") != "yes":
        return Go(f"/users/{part(name)}/remove")
    await users.remove(visit.deps.store, name, visit.actor)
    visit.deps.access.forget()
    return Go("/users", ("no-user", name))


PAGES = (
    Page("GET", "/users", show, role="admin"),
    Page("POST", "/users", save, role="admin"),
    Page("GET", "/users/{user}/remove", ask_remove, role="admin"),
    Page("POST", "/users/{user}/remove", remove, role="admin"),
)
