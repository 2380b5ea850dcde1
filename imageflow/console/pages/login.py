"""The door: log in and out, links that work once, the first admin."""

from __future__ import annotations

from typing import Any

from imageflow.actions.users import UserError
from imageflow.console.door import safe_next
from imageflow.console.visit import Answer, Go, Page, Show, Visit
from imageflow.errors import NotFoundError, ThrottledError
from imageflow.gateway.problem_details import Refusal

MAX_LINK_CHARS = 100


async def show(visit: Visit) -> Answer:
    """The form; with `?once=` a button that uses the link up: a GET, which programs make too, uses nothing up."""
    link = visit.asked("once")[:MAX_LINK_CHARS]
    if not link:
        return _form(visit, next_=visit.asked("next"))
    user = await visit.parts.sessions.link_user(link)
    if user is None:
        return _form(visit, spent=True)
    return _form(visit, link=link, link_user=user.name)


async def log_in(visit: Visit) -> Answer:
    """Go on with a session, or say what is wrong."""
    if visit.came == "plain":
        return _form(visit, status=403)
    if link := visit.form.get("once"):
        user = await visit.parts.sessions.use_link(link[:MAX_LINK_CHARS])
        if user is None:
            return _form(visit, spent=True, status=403)
        return await _go_on(visit, "/", user)
    name, next_ = visit.form.get("username", ""), visit.form.get("next", "")
    try:
        user = await visit.deps.access.verified(name, visit.form.get("password", ""), visit.address)
    except ThrottledError as error:
        wait = visit.language.duration(max(1.0, error.retry_after or 1.0))
        status = 503 if error.overload else 429
        headers = {"Retry-After": str(max(1, -int(-(error.retry_after or 1) // 1)))}
        return _form(visit, next_=next_, name=name, wrong=True, wait=wait, status=status, headers=headers)
    if user is None:
        return _form(visit, next_=next_, name=name, wrong=True, status=401)
    return await _go_on(visit, safe_next(next_), user)


async def _go_on(visit: Visit, to: str, user: Any, *notice: str) -> Answer:
    """With a session of its own: what was known of this browser before opens nothing now."""
    if visit.user is not None:
        await visit.parts.sessions.end(visit.cookie)
    return Go(to, notice, session=await visit.parts.sessions.begin(user))


def _form(visit: Visit, *, status: int = 200, next_: str = "", headers: Any = None, **said: Any) -> Show:
    values = {"plain": visit.came == "plain", "spent": False, "link": "", "link_user": "", "wrong": False, "wait": ""}
    values |= {"name": "", "next": safe_next(next_)}
    return Show("login.html", {**values, **said}, status, headers=headers or {})


async def log_out(visit: Visit) -> Answer:
    """End the session; the browser forgets the pages that it keeps."""
    await visit.parts.sessions.end(visit.cookie)
    return Go("/login", session="")


async def show_setup(visit: Visit) -> Answer:
    """The form for the first admin. Raises Refusal 404 where the link is not good."""
    link = visit.asked("once")[:MAX_LINK_CHARS]
    if not link or not await visit.parts.sessions.is_setup_link(link):
        raise Refusal(404, "there is nothing at this address")
    return _setup(visit, link)


async def set_up(visit: Visit) -> Answer:
    """Make the first admin, who is logged in then."""
    link, name = visit.form.get("once", "")[:MAX_LINK_CHARS], visit.form.get("username", "")
    if visit.came == "plain":
        return _setup(visit, link, status=403)
    if not await visit.parts.sessions.is_setup_link(link):
        raise Refusal(404, "there is nothing at this address")
    try:
        user = await visit.parts.sessions.set_up(link, name, visit.form.get("password", ""), visit.address)
    except NotFoundError as error:
        raise Refusal(404, "there is nothing at this address") from error
    except UserError as error:
        return _setup(visit, link, name=name, problem=str(error), status=422)
    return await _go_on(visit, "/", user, "welcome")


def _setup(visit: Visit, link: str, *, status: int = 200, name: str = "", problem: str = "") -> Show:
    values = {"plain": visit.came == "plain", "once": link, "name": name, "problem": problem}
    return Show("setup.html", values, status)


PAGES = (
    Page("GET", "/login", show, role=None),
    Page("POST", "/login", log_in, role=None),
    Page("POST", "/logout", log_out),
    Page("GET", "/setup", show_setup, role=None),
    Page("POST", "/setup", set_up, role=None),
)
