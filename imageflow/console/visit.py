"""One request of the console: who, in which language, and what a page gives back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from aiohttp import web

from imageflow.actions.actor import Actor, Role
from imageflow.console.languages import Language
from imageflow.console.pictures import Pictures
from imageflow.gateway.access import may
from imageflow.gateway.browser import Way
from imageflow.gateway.deps import Deps
from imageflow.gateway.sessions import Sessions
from imageflow.store import Store, User

MAX_TEXT_CHARS = 1000


class Parts(NamedTuple):
    """What all pages stand on. `looks`: the store by the console's own few connections, whose statements end soon."""

    deps: Deps
    sessions: Sessions
    looks: Store
    pictures: bool


class Visit(NamedTuple):
    """A request. `form` holds the fields of a POST; `zone` is that of the instants on the page."""

    request: web.Request
    parts: Parts
    language: Language
    user: User | None
    cookie: str
    came: Way
    now: datetime
    form: Mapping[str, str]
    pictures: Pictures

    @property
    def deps(self) -> Deps:
        return self.parts.deps

    @property
    def store(self) -> Store:
        """Where pages look."""
        return self.parts.looks

    @property
    def actor(self) -> Actor:
        """Who acts, as the audit log names them."""
        assert self.user is not None
        return Actor(self.user.name, self.address, self.user.role)

    @property
    def address(self) -> str:
        return self.request.remote or ""

    def may(self, role: Role) -> bool:
        """Whether the user's role allows it."""
        return self.user is not None and may(self.user, role)

    def path(self, name: str) -> str:
        """A part of the address."""
        return self.request.match_info[name]

    def asked(self, name: str) -> str:
        """A parameter of the query, cut to what any of them may hold; empty: not given."""
        return self.request.query.get(name, "").replace("\0", "")[:MAX_TEXT_CHARS].strip()

    def number(self, name: str, *, most: int = (1 << 53)) -> int | None:
        """A number of the query; None: not given, or none."""
        text = self.asked(name)
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= most else None

    def here(self, **changes: str | int | None) -> str:
        """The address of the page with other parameters; None takes one out."""
        query = {name: value for name, value in self.request.query.items() if name != "lang"}
        query |= {name: str(value) for name, value in changes.items() if value is not None}
        for name, value in changes.items():
            if value is None:
                query.pop(name, None)
        return f"{self.request.rel_url.raw_path}?{urlencode(query)}" if query else self.request.rel_url.raw_path


class Show(NamedTuple):
    """A page: its template, what it shows, and the status. `zone`: of its instants."""

    template: str
    values: Mapping[str, Any]
    status: int = 200
    zone: ZoneInfo | None = None
    headers: Mapping[str, str] = {}


class Go(NamedTuple):
    """Another page. `notice` says what was done: the name of a sentence of `notices.html`, and its numbers and names."""

    to: str
    notice: tuple[str, ...] = ()
    session: str | None = None
    """A session that begins with this answer; empty: it ends."""


class File(NamedTuple):
    """Something to download."""

    name: str
    text: str
    type: str = "text/csv"


Answer = Show | Go | File
Handler = Callable[[Visit], Awaitable[Answer]]


class Page(NamedTuple):
    """A page of the console, or what a form of it does. `role`: who may, and those above; None: anybody.

    A page that needs no session has `role` None. `limit`: of a form's bytes.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    role: Role | None = "viewer"
    limit: int = 16 * 1024
