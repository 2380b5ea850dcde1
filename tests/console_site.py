"""A console over real HTTP, with users, flows and runs; and a visitor who reads its pages as a browser would."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import msgspec

from imageflow.actions import credentials
from imageflow.broker.sqlite import SqliteBroker
from imageflow.clock import SystemClock
from imageflow.console.app import console
from imageflow.flows.bounded import Reach
from imageflow.gateway.app import Gateway, serve
from imageflow.gateway.deps import Tools
from imageflow.http.client import Transport
from imageflow.http.public_address import Allowed
from imageflow.inspect.live import Live
from imageflow.model import page_map
from imageflow.model.imageset import Image
from imageflow.model.row import RowLog
from imageflow.model.run import Run, Trigger
from imageflow.model.run_step import RunStep
from imageflow.sandbox.supervisor import Sandbox
from imageflow.schedule.fetch import Begun
from imageflow.secret import Bounds, Secret
from imageflow.store import AuditEntry, Store, User
from imageflow.store.connect import connect
from imageflow.text.excerpt import quoted
from tests.posting import accept_post

KEY = b"a secret key"
CLOCK = SystemClock()
PASSWORD = "three quiet words"
ERP_SECRET = "what the ERP is told"
ROLES = ("viewer", "operator", "admin")
OMNITRON = {"domain_url": "https://brand.omnitron.example", "username": "u", "password": {"env": "P"}}
POSTS = {"name": "posts", "direction": "outbound", "omnitron": OMNITRON}
POLLED = {
    "name": "polled",
    "direction": "inbound",
    "omnitron": OMNITRON,
    "erp": {"endpoint_url": "https://erp.example.com/"},
    "schedule": {"cron": "*/5 * * * *"},
    "timezone": "Europe/Istanbul",
}
REACH = Reach(Bounds((), ("P",)), Allowed(["*"]))
RUN = "20260101-000000-0000000001"
SKUS = ("A-1", "B/2", "Ç 3", "D-4")
PICTURE = "https://cdn.example.com"


class Element(NamedTuple):
    tag: str
    attributes: dict[str, str]
    words: list[str]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


class Html(HTMLParser):
    """The elements of a page, in their order, each with all the text in it."""

    _VOID = frozenset(
        ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
    )

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, [])
        self.elements.append(element)
        if tag not in self._VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop().tag != tag:
            pass

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.words.append(data)

    def all(self, tag: str = "", **attributes: str) -> list[Element]:
        """Elements of a tag with these attributes; `data_state` stands for `data-state`."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            one
            for one in self.elements
            if (not tag or one.tag == tag) and all(one.attributes.get(name) == value for name, value in wanted.items())
        ]

    def one(self, tag: str = "", **attributes: str) -> Element:
        (found,) = self.all(tag, **attributes)
        return found

    def texts(self, tag: str) -> list[str]:
        return [one.text for one in self.all(tag)]


class Answer(NamedTuple):
    status: int
    headers: Any
    text: str

    @property
    def html(self) -> Html:
        return Html(self.text)

    @property
    def to(self) -> str:
        """Where it sends the browser."""
        return str(self.headers.get("Location", ""))


class Visitor:
    """A browser without scripts: keeps cookies, and says where its forms come from."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url, self._session = url, session
        self.headers: dict[str, str] = {"Sec-Fetch-Site": "same-origin"}

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self._session.cookie_jar}

    async def get(self, path: str, **headers: str) -> Answer:
        return await self._ask("GET", path, headers)

    async def post(self, path: str, form: dict[str, str], **headers: str) -> Answer:
        """Send a form as it is."""
        return await self._ask("POST", path, headers, data=form)

    async def _ask(self, method: str, path: str, headers: dict[str, str], **options: Any) -> Answer:
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        target = self.url + path
        async with self._session.request(method, target, headers=sent, allow_redirects=False, **options) as answer:
            return Answer(answer.status, answer.headers, await answer.text())

    async def send(self, page: str, action: str, **fields: str) -> Answer:
        """Load a page, fill the form that goes to `action` in, and send it. Fields' names may have `__` for a dot."""
        shown = await self.get(page)
        form = form_of(shown.text, action)
        return await self.post(action, form | {name.replace("__", "."): value for name, value in fields.items()})

    async def log_in(self, name: str, password: str = PASSWORD) -> Answer:
        return await self.send("/login", "/login", username=name, password=password)


def form_of(text: str, action: str) -> dict[str, str]:
    """The fields of the form that goes to `action`, as a browser would send them."""
    found = re.search(rf'<form[^>]*action="{re.escape(action)}"[^>]*>(.*?)</form>', text, re.DOTALL)
    assert found is not None, f"no form to {action}"
    return dict(_fields(Html(found[1])))


def _fields(html: Html) -> Iterator[tuple[str, str]]:
    chosen = ""
    for element in html.elements:
        name = element.attributes.get("name", "")
        if element.tag == "select":
            chosen = name
            yield name, ""
        elif element.tag == "option" and "selected" in element.attributes:
            yield chosen, element.attributes.get("value", "")
        elif element.tag == "textarea":
            yield name, "".join(element.words)
        elif element.tag == "input" and name:
            yield name, element.attributes.get("value", "")


class Site(NamedTuple):
    """A running console. `visitor` makes one who is logged in (or not: None)."""

    url: str
    store: Store
    gateway: Gateway
    sessions: list[aiohttp.ClientSession]

    async def visitor(self, role: str | None = None, language: str = "en") -> Visitor:
        session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        self.sessions.append(session)
        visitor = Visitor(self.url, session)
        visitor.headers["Accept-Language"] = language
        if role is not None:
            user = await self.store.user(role)
            assert user is not None
            text = await self.gateway.sessions.begin(user)
            parts = urlsplit(self.url)
            session.cookie_jar.update_cookies({"imageflow": text}, response_url=aiohttp.client.URL(parts.geturl()))
        return visitor


async def nothing_missing(*_: object) -> Begun:
    return Begun([])


class Fetcher:
    """Stands for fetch missing, which asks Omnitron."""

    ask_now = staticmethod(nothing_missing)


async def furnish(file: Path) -> None:
    """A store with users of each role, flows, a run of which rows failed, an open alarm, a hold, an audit entry."""
    async with connect(Secret(f"sqlite:///{file}"), CLOCK) as store:
        await store.upgrade()
        hashed = credentials.hash_password(PASSWORD)
        for role in ROLES:
            await store.save_user(User(role, hashed, role))  # type: ignore[arg-type]
        for document in (POSTS, POLLED):
            await store.save_flow(document, "ada")
        await store.save_flow({**POLLED, "schedule": {"every": "10m"}}, "grace")
        await _failed_run(store)
        await store.sound("posts", {"silence": "nothing for a day"}, notify=False)
        await store.hold("w1", {"https://brand.omnitron.example": "503"}, 3600)
        await store.record(AuditEntry("ada", "flow.save", "flow posts", "127.0.0.1", {"version": 2}))


async def _failed_run(store: Store) -> None:
    """An outbound run of four rows: one written, three failed for two causes."""
    now = CLOCK.now()
    run = Run(
        run_id=RUN,
        flow="posts",
        version=1,
        trigger=Trigger("outbound", "ada"),
        status="draining",
        created_at=now,
        started_at=now,
        pages=1,
        read_complete=True,
    )
    body = msgspec.json.encode([{"sku": sku, "images": [f"{PICTURE}/{n}.jpg"]} for n, sku in enumerate(SKUS)])
    await accept_post(store, run, body, rows=4)
    await store.register_page(RUN, 1, 4, [])
    images = tuple(Image(f"{PICTURE}/{n}.jpg", n) for n in range(3))
    logs = [
        RowLog(run_id=RUN, row=1, product=SKUS[0], state="written", http_status=200, attempts=1, images=images, page=1),
        *(
            RowLog(
                run_id=RUN,
                row=row,
                product=SKUS[row - 1],
                state="failed",
                reason=reason,
                http_status=400,
                attempts=1,
                images=images,
                payload={"sku": SKUS[row - 1]},
                page=1,
            )
            for row, reason in (
                (2, "Product with this SKU does not exist."),
                (3, "Product with this SKU does not exist."),
                (4, f"<b>too large</b> {quoted('canary')}"),
            )
        ),
    ]
    await store.settle("t", logs)


LONG = "20260103-000000-0000000003"


async def long_run(store: Store, version: int = 1) -> str:
    """A run of 30 pages with two rows each: page 2 has a failed row, page 3 waits, the others are unchanged. Its writers were held for
    a while, and a version of the flow was saved meanwhile.
    """
    now = CLOCK.now()
    began = now - timedelta(minutes=10)
    trigger = Trigger("schedule")
    await store.create_run(
        Run(run_id=LONG, flow="polled", version=version, trigger=trigger, status="queued", created_at=began)
    )
    await store.start_reading(LONG, None, now)
    logs = []
    for page in range(1, 31):
        await store.save_page(LONG, page, b"[]", cursor=None if page == 30 else "c", last=page == 30)
        await store.register_page(LONG, page, 2, [])
        for row in (2 * page - 1, 2 * page):
            failed = row == 4
            logs.append(
                RowLog(
                    run_id=LONG,
                    row=row,
                    product=f"L-{row}",
                    state="failed" if failed else "written" if row == 3 else "unchanged",
                    reason="too large" if failed else None,
                    images=(Image(f"{PICTURE}/{row}.jpg"),),
                )
            )
    await store.settle("t", [log for log in logs if log.row not in (5, 6)])
    await store.keep_steps(
        [
            RunStep(LONG, "read", began, now - timedelta(minutes=6)),
            RunStep(LONG, "transform", began + timedelta(seconds=5), now - timedelta(minutes=5), 60),
            RunStep(LONG, "write", began + timedelta(seconds=9), now, 58, 30.0),
        ]
    )
    return LONG


async def end_long_run(store: Store) -> None:
    """Its last rows settle, and its map is made."""
    await store.settle("t", [RowLog(run_id=LONG, row=row, product=f"L-{row}", state="written") for row in (5, 6)])
    run = await store.run(LONG)
    assert run.finished_at is not None
    tally = page_map.Tally()
    tally.add(await store.count_pages(LONG, 0, 30))
    await store.save_page_map(LONG, run.finished_at, tally.packed(run.pages))


@asynccontextmanager
async def opened(furnished: Path, folder: Path, **options: Any) -> AsyncIterator[Site]:
    """A console on a copy of a furnished store."""
    shutil.copy(furnished, folder / "store.db")
    url = Secret(f"sqlite:///{folder}/store.db")
    async with (
        connect(url, CLOCK) as store,
        connect(url, CLOCK, connections=4, statement_seconds=2) as looks,
        serving(store, looks, folder, **options) as site,
    ):
        yield site


@asynccontextmanager
async def serving(store: Store, looks: Store, folder: Path, **options: Any) -> AsyncIterator[Site]:
    """A console on a store; `looks`: the one that pages read by."""
    sessions: list[aiohttp.ClientSession] = []
    async with (
        SqliteBroker(folder / "broker.db") as broker,
        Sandbox() as sandbox,
        Transport() as asking,
    ):
        tools = Tools(sandbox, Fetcher(), REACH, Live(asking, {"P": ERP_SECRET}, CLOCK))  # type: ignore[arg-type]
        gateway = Gateway(store, broker, CLOCK, KEY, ready=_ready, tools=tools, pages=console(looks), **options)
        async with serve(gateway.app(), "127.0.0.1", 0, 2) as port:
            try:
                yield Site(f"http://127.0.0.1:{port}", store, gateway, sessions)
            finally:
                for session in sessions:
                    await session.close()


async def _ready() -> list[str]:
    return []
