"""The reader over real HTTP: honest ERPs, hostile ERPs, logins, retries, crashes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pytest
from aiohttp import web

from imageflow.broker import Depth, Outgoing
from imageflow.emulator import FakeErp, FakeOmnitron
from imageflow.emulator.hostile import MODES
from imageflow.errors import Postponed, TransportError
from imageflow.http.client import Transport
from imageflow.inspect.live import Live
from imageflow.model import messages
from imageflow.model.flow import Definition
from imageflow.model.messages import ReadPage
from imageflow.runtime.flow_cache import FlowCache
from imageflow.runtime.outbox_publisher import OutboxPublisher
from tests.unit.read.parts import WeekdayPagination, paged

from .reading import Bench, bench, first_message, inbound, served

PAGINATIONS: dict[str, dict[str, Any]] = {
    "none": {"type": "none"},
    "offset": {"type": "offset", "limit": 10},
    "total": {"type": "offset", "limit": 10, "total_path": "count"},
    "page": {"type": "page", "limit": 10, "total_path": "count"},
    "seek": {"type": "seek", "param": "after", "value_path": "sku", "limit": 10},
    "next": {"type": "next"},
    "token": {"type": "next", "field": "next_token", "kind": "token", "param": "cursor"},
    "link": {"type": "next", "field": "Link"},
}
KINDS = {"total": "offset"}


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


class World:
    """A fake ERP and a fake Omnitron that are up, and flows between them."""

    def __init__(self, erp: FakeErp, omnitron: FakeOmnitron) -> None:
        self.erp = erp
        self.omnitron = omnitron

    def flow(self, kind: str = "next", **erp: Any) -> dict[str, Any]:
        limit = "?limit=10" if KINDS.get(kind, kind) in ("next", "token", "link") else ""
        url = f"{self.erp.url}/images/{KINDS.get(kind, kind)}/{limit}"
        return inbound(url, self.omnitron.url, **{"pagination": PAGINATIONS[kind], **erp})


@pytest.fixture
async def world() -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:

        async def make(**erp: Any) -> World:
            made = World(FakeErp(**{"rows": 25, **erp}), FakeOmnitron(username="demo", password="om-secret-word"))
            await stack.enter_async_context(made.erp.serve())
            await stack.enter_async_context(made.omnitron.serve())
            return made

        yield make


def skus(rows: list[Any]) -> list[str]:
    return [row["sku"] for row in rows]


# honest --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("kind", list(PAGINATIONS))
@pytest.mark.parametrize("count", [0, 10, 25])
async def test_reads_everything(at: Bench, world: Any, kind: str, method: str, count: int):
    """Every way to page, by GET and by POST: all rows, once, in order; the watermark moves to the bound."""
    here = await world(rows=count)
    extra = {"extra_params": {"limit": 10}} if kind == "token" else {}
    run = await at.read(here.flow(kind, method=method, **extra))
    assert (run.error, run.warnings) == (None, ())
    assert skus(await at.rows(run)) == list(here.erp.skus())
    assert await at.store.watermark("winter") == at.clock.began
    assert sorted(message.page for message in await at.sent(run)) == list(range(1, run.pages + 1))


async def test_pages_travel_inline(at: Bench, world: Any):
    """A small page is in its message, word for word what is stored."""
    run = await at.read((await world()).flow("offset"))
    for message in await at.sent(run):
        assert message.body is not None
        assert message.body.encode() == (await at.store.page(run.run_id, message.page)).body


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_page_keeps_the_parameters_of_its_request(at: Bench, world: Any, method: str):
    """What was sent for that page, its place in the list included."""
    run = await at.read((await world()).flow("offset", method=method, extra_params={"brand": "x"}))
    asked = [(await at.store.page(run.run_id, number)).asked for number in (1, 2)]
    assert [(str(one["offset"]), one["brand"]) for one in asked] == [("0", "x"), ("10", "x")]


async def test_a_large_page_stays_in_the_store(at: Bench, world: Any):
    """A page that is too large for a message is fetched from the store."""
    rows = [{"sku": "A", "text": '"' * 300_000}]
    run = await at.read((await world(rows=rows)).flow("none"))
    assert [message.body for message in await at.sent(run)] == [None]
    assert (await at.rows(run))[0]["text"] == rows[0]["text"]


async def test_the_second_run_asks_for_changes(at: Bench, world: Any):
    """The watermark is the first run's beginning less the overlap, in the flow's timezone, inclusive."""
    here = await world()
    flow = here.flow("offset", modified_date_key="modified_date__gt", overlap="5m") | {"timezone": "Europe/Istanbul"}
    await at.read(flow)
    at.clock.passed += 3600
    second = await at.read(flow)
    assert second.since == at.clock.began - timedelta(minutes=5)
    assert "modified_date__gt" not in here.erp.seen[0].params
    assert (
        here.erp.seen[-1].params["modified_date__gt"]
        == f"{second.since.astimezone(ZoneInfo('Europe/Istanbul')):%Y-%m-%dT%H:%M:%S.%f}"
    )
    assert await at.store.watermark("winter") == at.clock.began + timedelta(hours=1)


async def test_a_run_by_identifiers(at: Bench, world: Any):
    """Identifiers are asked for, nothing else; the watermark stays; too many for a URL go in batches."""
    here = await world(rows=900)
    wanted = list(here.erp.skus())
    flow = here.flow("offset", query_settings={"sku": {"key": "sku"}}, modified_date_key="modified_date__gt")
    flow["erp"]["pagination"] = {"type": "offset", "limit": 300}
    run = await at.read(flow, ids=wanted)
    assert skus(await at.rows(run)) == wanted
    assert await at.store.watermark("winter") is None
    assert all("modified_date__gt" not in seen.params for seen in here.erp.seen)


async def test_identifiers_that_the_erp_ignores(at: Bench, world: Any):
    """All rows come where one was asked for: the run warns, and names the parameter."""
    here = await world(rows=30)
    run = await at.read(here.flow("none", query_settings={"sku": {"key": "stok"}}), ids=["SKU-000001"])
    assert [text.partition(":")[0] for text in run.warnings] == ["the ERP seems to ignore the parameter 'stok'"]


async def _weekdays(request: web.BaseRequest) -> web.StreamResponse:
    """An ERP that is asked for one day of the week after the other; `short`: it keeps rows of Friday to itself."""
    day = request.query["day"]
    status = {"tue": 204, "thu": 404}.get(day, 200)
    results = [] if day == "sat" else [{"sku": "A" if day in ("mon", "wed") else day}]
    more = day == "fri" and "short" in request.path
    return web.json_response({"results": results, "next": None, "has_more": more}, status=status)


@pytest.mark.parametrize("path", ["", "/short"])
async def test_a_read_in_parts(at: Bench, monkeypatch: pytest.MonkeyPatch, path: str):
    """Days without rows (by status or list), and days with equal rows, end no read; one that is short of rows makes it incomplete."""
    definition = FlowCache.definition

    async def by_weekday(cache: FlowCache, flow: str, version: int) -> Definition:
        return paged(await definition(cache, flow, version), WeekdayPagination())

    monkeypatch.setattr(FlowCache, "definition", by_weekday)
    async with served(_weekdays) as url:
        run = await at.read(inbound(f"{url}{path}", "http://127.0.0.1:9", no_rows={"statuses": [204]}))
    assert (run.error, run.incomplete, len(run.warnings)) == (None, bool(path), bool(path))
    assert all(text.startswith("the part that ends at page 5") for text in run.warnings)
    asked = [(await at.store.page(run.run_id, number)).asked["day"] for number in range(1, run.pages + 1)]
    assert (asked, skus(await at.rows(run))) == (["mon", "wed", "fri", "sat", "sun"], ["A", "A", "fri", "sun"])
    assert await at.store.watermark("winter") == (None if path else at.clock.began)


async def test_a_page_of_a_read_in_parts(at: Bench):
    """Asked for by its number, as a run would number it: answers without rows have none."""
    async with served(_weekdays) as url:
        flow = await at.store.save_flow(inbound(url, "http://127.0.0.1:9", no_rows={"statuses": [204]}))
        asking = Live(at.transport, at.environ, at.clock)
        page = await asking.page(paged(flow.definition, WeekdayPagination()), 3)
    assert skus(msgspec.json.decode(page.body)["results"]) == ["fri"]


# hostile -------------------------------------------------------------------------------------------------------------


class Hostile(NamedTuple):
    """A mode of the fake ERP and what must come of it: an error, or all rows, or a warning; `lacks`: that rows did not
    come, or may not have. `again`: rows may come more than once. `shapeless`: rows without a SKU. `erp`: its settings.
    """

    mode: str
    kind: str
    error: str | None = None
    warning: str | None = None
    lacks: bool = False
    again: bool = False
    shapeless: bool = False
    erp: Mapping[str, Any] = MappingProxyType({})


HOSTILE = [
    Hostile("repeated_page", "token", error="repeated page"),
    Hostile("repeated_token", "token", error="repeated"),
    Hostile("endless_token", "token"),
    Hostile("endless_empty", "token", error="more than 15 pages"),
    Hostile("self_next", "next", error="circles|repeated"),
    Hostile("foreign_next", "next", error="another origin"),
    Hostile("schemeless_next", "next", error="another origin|cannot be used"),
    Hostile("userinfo_next", "next", error="user name"),
    Hostile("userinfo_trick_next", "next", error="user name|another origin"),
    Hostile("scheme_next", "next", error="cannot be used"),
    Hostile("relative_next", "next"),
    Hostile("query_next", "next"),
    Hostile("next_false", "next"),
    Hostile("next_empty", "next"),
    Hostile("next_zero", "next"),
    Hostile("next_object", "next", error="URL was expected"),
    Hostile("next_null_text", "next"),
    Hostile("next_null_text", "token"),
    Hostile("next_lost", "next", warning="count is 25", lacks=True),
    Hostile("shrinking_total", "total", warning="total changed.*watermark stays", lacks=True),
    Hostile("shrinking_total", "page", warning="total changed.*watermark stays", lacks=True),
    Hostile("growing_total", "total", warning="total changed|25 of 6. rows", lacks=True),
    Hostile("text_total", "total"),
    Hostile("null_total", "total", warning="no number at total_path"),
    Hostile("zero_total", "total"),
    Hostile("capped_limit", "total"),
    Hostile("ignored_limit", "total"),
    Hostile("ignored_offset", "offset", error="repeated page"),
    Hostile("offset_ceiling", "offset", warning="count is 25", lacks=True, erp={"ceiling": 20}),
    Hostile("offset_ceiling", "total", warning="20 of 25 rows", lacks=True, erp={"ceiling": 20}),
    Hostile("offset_ceiling", "next", warning="count is 25", lacks=True, erp={"ceiling": 20}),
    Hostile("empty_page", "total", warning="10 of 25 rows", lacks=True),
    Hostile("empty_page", "offset", warning="count is 25", lacks=True),
    Hostile("empty_page", "next", warning="count is 25", lacks=True),
    Hostile("half_page", "offset"),
    Hostile("half_page", "page", warning="13 of 25 rows", lacks=True),
    Hostile("half_page", "next", warning="count is 25", lacks=True),
    Hostile("half_page", "total"),
    Hostile("half_page", "seek"),
    Hostile("shifting_offsets", "offset", warning="repeats rows", again=True),
    Hostile("shifting_offsets", "total", warning="repeats rows", again=True, erp={"rows": 30}),
    Hostile("shifting_offsets", "page", warning="repeats rows", again=True, erp={"rows": 30}),
    Hostile("vanishing_rows", "offset", warning="count is 25", lacks=True),
    Hostile("vanishing_rows", "total", warning="23 of 25 rows", lacks=True),
    Hostile("vanishing_rows", "next", warning="count is 25", lacks=True),
    Hostile("duplicate_rows", "offset", again=True),
    Hostile("duplicate_rows", "total", again=True, erp={"rows": 30}),
    Hostile("duplicate_rows", "next", again=True),
    Hostile("ignored_filter", "offset"),
    Hostile("stuck_marker", "seek", error="does not advance|came before"),
    Hostile("missing_marker", "seek", error="no marker"),
    Hostile("missing_list", "offset", error="nothing at rows_path 'results'"),
    Hostile("null_list", "offset", error="has null"),
    Hostile("object_list", "offset", error="an object"),
    Hostile("text_list", "offset", error="a text"),
    Hostile("single_object", "offset", error="an object"),
    Hostile("empty_list", "total", error="gives none"),
    Hostile("empty_list", "offset", warning="count is 25", lacks=True),
    Hostile("null_rows", "offset", error="repeated page"),
    Hostile("null_rows", "none", shapeless=True),
    Hostile("scalar_rows", "none", shapeless=True),
    Hostile("mixed_rows", "offset", shapeless=True),
    Hostile("bad_images", "offset"),
    Hostile("deep_nesting", "offset"),
    Hostile("huge_ints", "offset"),
    Hostile("huge_order", "offset"),
    Hostile("duplicate_keys", "offset"),
    Hostile("null_byte", "offset"),
    Hostile("control_characters", "offset", error="not JSON"),
    Hostile("lone_surrogate", "offset", error="not JSON"),
    Hostile("python_repr", "offset", error="not JSON"),
    Hostile("error_200", "offset", error="deadlock victim"),
    Hostile("html_200", "offset", error="HTML"),
    Hostile("html_as_json", "offset", error="HTML"),
    Hostile("truncated_json", "offset", error="truncated"),
    Hostile("trailing_garbage", "offset", error="not JSON"),
    Hostile("xssi_prefix", "offset", error="not JSON"),
    Hostile("double_encoded", "offset", error="it is a text"),
    Hostile("json_lines", "offset", error="not JSON"),
    Hostile("empty_body", "offset", error="empty"),
    Hostile("no_content", "offset", error="204"),
    Hostile("literal_null", "offset", error="null"),
    Hostile("bom", "offset"),
    Hostile("utf16", "offset"),
    Hostile("wrong_charset", "offset", error="not utf-8 text"),
    Hostile("unknown_charset", "offset", error="klingon"),
    Hostile("nan", "offset", error="not JSON"),
    Hostile("infinity", "offset", error="not JSON"),
    Hostile("wrong_content_type", "offset"),
    Hostile("no_answer", "offset", error="tried 7 times"),
    Hostile("hang", "offset", error="did not answer in time"),
    Hostile("reset_mid_body", "offset", error="tried 7 times"),
    Hostile("wrong_content_length", "offset", error="tried 7 times"),
    Hostile("short_content_length", "offset", error="tried 7 times|truncated"),
    Hostile("slow_loris", "offset", error="in time"),
    Hostile("unfinished_chunks", "offset", error="in time"),
    Hostile("broken_chunk", "offset", error="tried 7 times"),
    Hostile("endless_body", "offset", error="larger than|in time"),
    Hostile("gzip_bomb", "offset", error="larger than"),
    Hostile("gzip", "offset"),
    Hostile("bad_gzip", "offset", error="tried 7 times"),
    Hostile("truncated_gzip", "offset", error="tried 7 times|truncated"),
    Hostile("unknown_encoding", "offset"),
    Hostile("too_many_headers", "offset", error="tried 7 times"),
    Hostile("huge_header", "offset", error="tried 7 times"),
    Hostile("cookies", "offset"),
    Hostile("not_http", "offset", error="tried 7 times"),
    Hostile("early_hints", "offset"),
    Hostile("storm_429", "offset"),
    Hostile("retry_after_zero", "offset"),
    Hostile("retry_after_one", "offset"),
    Hostile("retry_after_past", "offset"),
    Hostile("retry_after_date", "offset"),
    Hostile("retry_after_nonsense", "offset"),
    Hostile("retry_after_huge", "offset", error="asks for 86400 s"),
    Hostile("server_errors_then_ok", "offset"),
    Hostile("bad_gateway_html", "offset"),
    Hostile("timeouts_then_ok", "offset"),
    Hostile("too_early", "offset"),
    Hostile("always_500", "offset", error="answered 500.*tried 7 times"),
    Hostile("error_mid_read", "offset", error="page 2: .*answered 500"),
    Hostile("unauthorized", "offset", error="answered 401"),
    Hostile("unauthorized", "offset", error="answered 401", erp={"auth": "token"}),
    Hostile("unauthorized_mid_read", "offset", error="answered 401"),
    Hostile("unauthorized_mid_read", "offset", erp={"auth": "token"}),
    Hostile("expired_token", "offset", erp={"auth": "token"}),
    Hostile("forbidden_mid_read", "offset", error="answered 403"),
    Hostile("not_found_mid_read", "offset", error="answered 404"),
    Hostile("accepted", "offset"),
    Hostile("redirect", "offset"),
    Hostile("redirect_relative", "offset"),
    Hostile("redirect_307", "offset"),
    Hostile("redirect_to_login", "offset", error="answered 405"),
    Hostile("redirect_foreign", "offset", error="another origin"),
    Hostile("redirect_loop", "offset", error="more than 5 times"),
    Hostile("redirect_nowhere", "offset", error="without saying where"),
    Hostile("cookie_wall", "offset", error="more than 5 times"),
]

NEVER_DONE = ("hang", "slow_loris", "unfinished_chunks")
"""These answers do not end. All others may take as long as a busy machine makes them."""


def named(case: Hostile) -> str:
    return "-".join((case.mode, case.kind, *map(str, case.erp.values())))


def test_every_mode_is_in_the_table():
    """No way to be hostile is left out."""
    assert {case.mode for case in HOSTILE} == set(MODES)


@pytest.mark.parametrize("case", HOSTILE, ids=named)
async def test_hostile_erps(at: Bench, world: Any, case: Hostile):
    """Each way to be hostile ends as it should: read in full, or a failed run that says why, or a warning of what did
    not come; the watermark moves only where everything came.
    """
    here = await world(mode=case.mode, bomb_bytes=8 << 20, **case.erp)
    bounded = {"max_pages": 15} if case.kind != "none" else {}
    login = {**TOKEN_LOGIN, "url": f"{here.erp.url}/login"} if case.erp.get("auth") else None
    limits = {"timeout": "250ms" if case.mode in NEVER_DONE else "30s", "max_answer_bytes": 1 << 20}
    run = await at.read(here.flow(case.kind, pagination=PAGINATIONS[case.kind] | bounded, login=login, **limits))
    complete = case.error is None and not case.lacks
    assert await at.store.watermark("winter") == (at.clock.began if complete else None)
    if case.error is not None:
        assert re.search(case.error, str(run.error)), run.error
        assert run.error_stage in ("read", "login")
        assert len(str(run.error)) <= 1000
        return
    assert run.error is None
    assert bool(run.warnings) == (case.warning is not None)
    assert all(re.search(str(case.warning), text) for text in run.warnings)
    rows = await at.rows(run)
    if case.shapeless:
        assert len(rows) == len(list(here.erp.skus()))
    elif complete:
        assert sorted(set(skus(rows)) if case.again else skus(rows)) == list(here.erp.skus())


async def test_a_read_short_of_the_total_keeps_the_watermark(at: Bench, world: Any):
    """Where the ERP itself counts more rows than it gave, the next run asks for them again."""
    here = await world(mode="empty_page")
    await at.read(here.flow("total"))
    assert await at.store.watermark("winter") is None


async def test_nothing_follows_a_redirect_or_link_to_another_origin(at: Bench, world: Any):
    """Login and extra headers reach an allowed foreign host never, the ERP always."""
    seen: list[web.BaseRequest] = []

    async def foreign(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request)
        return web.json_response({"results": [{"sku": "F"}]})

    async with served(foreign) as url:
        here = await world(mode="foreign_next", foreign=url, auth="header", password="key-secret")
        at.environ["KEY"] = "key-secret"
        run = await at.read(
            here.flow(
                "next",
                pagination={"type": "next", "allow_hosts": [url.removeprefix("http://")]},
                login={"type": "header", "name": "X-Api-Key", "value": {"env": "KEY"}},
                extra_headers={"X-Company": "12"},
            )
        )
    assert run.error is None
    assert skus(await at.rows(run))[-1] == "F"
    assert len(seen) == 1
    assert not {"X-Api-Key", "X-Company"} & set(seen[0].headers)
    assert here.erp.seen[0].headers["X-Company"] == "12"


# logins --------------------------------------------------------------------------------------------------------------

TOKEN_LOGIN = {
    "type": "token",
    "body": {"username": {"env": "ERP_USER"}, "password": {"env": "ERP_PASSWORD"}},
    "token_path": "data.token",
    "template": "Bearer {token}",
}


async def test_token_login_is_shared_and_renewed(at: Bench, world: Any):
    """One login for many pages; a token that ends in the middle is renewed once and the read goes on."""
    here = await world(auth="token", token_uses=2)
    run = await at.read(here.flow("offset", login={**TOKEN_LOGIN, "url": f"{here.erp.url}/login"}))
    assert run.error is None
    assert skus(await at.rows(run)) == list(here.erp.skus())
    assert here.erp.logins == 2


@pytest.mark.parametrize("secret", ["wrong-secret-word", "demo"])
async def test_token_login_that_does_not_help(at: Bench, world: Any, secret: str):
    """Wrong credentials, or an ERP that takes no token: the run fails at login, and no secret is in the text."""
    at.environ["ERP_PASSWORD"] = secret
    here = await world(auth="token", token_uses=0)
    run = await at.read(here.flow("offset", login={**TOKEN_LOGIN, "url": f"{here.erp.url}/login"}))
    assert run.error_stage == "login"
    assert run.error is not None
    assert "wrong-secret-word" not in run.error
    assert here.erp.logins <= 2


async def test_a_secret_that_is_not_set(at: Bench, world: Any):
    """A missing secret fails the run at login with the variable's name."""
    del at.environ["ERP_PASSWORD"]
    here = await world(auth="basic")
    login = {"type": "basic", "username": "demo", "password": {"env": "ERP_PASSWORD"}}
    run = await at.read(here.flow("offset", login=login))
    assert run.error_stage == "login"
    assert "ERP_PASSWORD" in str(run.error)


async def test_basic_login(at: Bench, world: Any):
    """HTTP basic."""
    here = await world(auth="basic")
    login = {"type": "basic", "username": {"env": "ERP_USER"}, "password": {"env": "ERP_PASSWORD"}}
    run = await at.read(here.flow("offset", login=login))
    assert run.error is None


async def test_a_secret_that_the_erp_repeats(at: Bench):
    """An ERP that shows in its error what it was sent does not get it into the run."""

    async def echo(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=400, text=f"bad request: {dict(request.headers)}")

    at.environ["KEY"] = "key-secret-word"
    async with served(echo) as url:
        login = {"type": "header", "name": "X-Api-Key", "value": {"env": "KEY"}}
        run = await at.read(inbound(url, "http://127.0.0.1:9", login=login))
    assert "X-Api-Key" in str(run.error)
    assert "key-secret-word" not in str(run.error)


async def test_wrong_omnitron_credentials_show_first(at: Bench, world: Any):
    """The run fails at login before the ERP is asked anything, and the password is not in the text."""
    at.environ["OMNITRON_PASSWORD"] = "not-the-password"
    here = await world()
    run = await at.read(here.flow("offset"))
    assert run.error_stage == "login"
    assert "not-the-password" not in str(run.error)
    assert here.erp.requests == 0


@pytest.mark.parametrize("fault", ["status=503", "drop", "status=429,retry_after=60"])
async def test_an_omnitron_that_is_away_does_not_fail_the_read(at: Bench, world: Any, fault: str):
    """That is for the writer to wait for."""
    here = await world()
    here.omnitron.set_faults([fault])
    run = await at.read(here.flow("offset"))
    assert run.error is None


# waiting -------------------------------------------------------------------------------------------------------------


async def test_long_waits_are_the_brokers(at: Bench, world: Any):
    """A Retry-After of a minute holds no delivery: the message comes back, knows of the failure, and waits the rest."""
    here = await world(faults=["status=503,retry_after=60,first=1"])
    run = await at.begin(here.flow("offset"))
    published: list[Outgoing] = []

    class Watched(_Around):
        async def publish(self, *outgoing: Outgoing) -> None:
            published.extend(outgoing)

    reader = at.reader(broker=Watched(at.broker))
    await reader.handle(first_message(run))
    again = messages.decode(published[0].body)
    assert isinstance(again, ReadPage)
    assert (published[0].queue, published[0].delay, again.failures) == (messages.READ_QUEUE, 60.0, 1)
    at.clock.passed += 15
    with pytest.raises(Postponed) as early:
        await at.reader().handle(again)
    assert early.value.retry_after == 15
    waiting = await at.store.run(run.run_id)
    assert "503" in waiting.waits_for
    assert waiting.again_at == at.clock.began + timedelta(seconds=60)
    at.clock.passed += 45
    await at.reader(broker=Watched(at.broker)).handle(again)
    asked = await at.store.run(run.run_id)
    assert (asked.pages, asked.waits_for, asked.again_at) == (1, None, None)


async def test_failures_are_counted_over_restarts(at: Bench, world: Any):
    """Six retries are six retries, though every one of them is made by another process."""
    here = await world(mode="always_500")
    at.chance = 1.0
    run = await at.begin(here.flow("offset"))
    message: ReadPage = first_message(run)
    waits = []

    class Watched(_Around):
        async def publish(self, *outgoing: Outgoing) -> None:
            waiting.extend(outgoing)

    while not (await at.store.run(run.run_id)).read_complete:
        waiting: list[Outgoing] = []
        await at.reader(broker=Watched(at.broker)).handle(message)
        if waiting:
            again = messages.decode(waiting[0].body)
            assert isinstance(again, ReadPage)
            waits.append(again.not_before - at.clock.now().timestamp())
            at.clock.passed += waits[-1]
            message = again
    assert here.erp.requests == 7
    assert [round(wait) for wait in waits] == [8, 16, 32, 60]


async def test_a_full_pipeline_makes_the_reader_wait(at: Bench, world: Any):
    """While pages or rows pile up behind it the reader asks for nothing."""
    here = await world()
    run = await at.begin(here.flow("offset"))

    class Full(_Around):
        async def depth(self, queue: str) -> Depth:
            return Depth(501 if ".write." in queue else 0, 1)

    with pytest.raises(Postponed, match="501 messages wait to be written"):
        await at.reader(broker=Full(at.broker)).handle(first_message(run))
    assert here.erp.requests == 0


async def test_rate_limit(at: Bench, world: Any):
    """Requests are no closer together than the rate allows, retries included, whichever reader makes them."""
    here = await world(faults=["status=503,first=1"])
    at.chance = 0.0
    run = await at.begin(here.flow("offset", rate_limit="2/s"))
    await at.pump(run.run_id, at.reader)
    assert here.erp.requests == 4
    assert at.clock.passed >= 3 * 0.5 - 1e-6


async def test_a_slow_rate_does_not_hold_a_delivery(at: Bench, world: Any):
    """One request a minute: the message is postponed, not slept over."""
    here = await world()
    run = await at.begin(here.flow("offset", rate_limit="1/m"))
    reader = at.reader()
    done = await at.pump(run.run_id, lambda: reader)
    assert done.error is None
    assert max(at.clock.sleeps, default=0) <= 5
    assert at.clock.passed >= 120


# again and again -----------------------------------------------------------------------------------------------------


class _Around:
    """A broker or store with some methods replaced."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class CrashError(Exception):
    """The process dies here."""


class Crashing(_Around):
    """Dies once, before or after the n-th call of one method."""

    def __init__(self, inner: Any, method: str, call: int, after: bool) -> None:
        super().__init__(inner)
        self._method, self._call, self._after = method, call, after
        self._calls = 0
        self.crashed = False

    def __getattr__(self, name: str) -> Any:
        inner = super().__getattr__(name)
        return self._guarded(inner) if name == self._method else inner

    def _guarded(self, inner: Any) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self._calls += 1
            dies = self._calls == self._call
            self.crashed |= dies
            if dies and not self._after:
                raise CrashError
            result = await inner(*args, **kwargs)
            if dies:
                raise CrashError
            return result

        return call


STEPS = [
    ("store", "run"),
    ("store", "flow"),
    ("store", "watermark"),
    ("store", "start_reading"),
    ("store", "save_page"),
    ("store", "sent"),
    ("broker", "depth"),
    ("broker", "publish"),
]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", [1, 2, 4])
@pytest.mark.parametrize(("seam", "method"), STEPS)
async def test_a_crash_between_any_two_steps(at: Bench, world: Any, seam: str, method: str, call: int, after: bool):
    """Whatever step a reader dies at, the next one ends the run: every row once, every page sent, the watermark right."""
    here = await world()
    crashing = Crashing(getattr(at, seam), method, call, after)
    run = await at.begin(here.flow("offset"))
    at.clock.passed += 1

    def reader() -> Any:
        return at.reader(**{seam: crashing})

    for _ in range(3):
        try:
            done = await at.pump(run.run_id, reader)
            break
        except CrashError:
            at.clock.passed += 60
            await OutboxPublisher(at.store, at.broker).sweep(0)
    await OutboxPublisher(at.store, at.broker).sweep(0)
    assert done.read_complete
    assert skus(await at.rows(done)) == list(here.erp.skus())
    assert {message.page for message in await at.sent(done)} == set(range(1, done.pages + 1))
    await at.transformed(done)
    assert done.until == await at.store.watermark("winter")


async def test_readers_that_race(at: Bench, world: Any):
    """The same message in many hands: each page is stored once."""
    here = await world()
    run = await at.begin(here.flow("offset"))
    for page in (1, 2, 3):
        message = msgspec.structs.replace(first_message(run), page=page)
        await asyncio.gather(*(at.reader().handle(message) for _ in range(5)))
    done = await at.store.run(run.run_id)
    assert done.read_complete
    assert skus(await at.rows(done)) == list(here.erp.skus())


async def test_a_message_of_a_page_that_is_there(at: Bench, world: Any):
    """A message that comes again asks the ERP for nothing and sends what was left unsent."""
    here = await world()
    run = await at.read(here.flow("offset"))
    requests = here.erp.requests
    await at.reader().handle(first_message(run))
    await at.reader().handle(ReadPage("gone", "winter", 1, 1))
    assert here.erp.requests == requests


async def test_give_up(at: Bench, world: Any):
    """A message that failed too often ends the read with the reason; a second time nothing happens."""
    run = await at.begin((await world()).flow("offset"))
    for reason in ("it broke", "again"):
        await at.reader().give_up(first_message(run), reason)
    done = await at.store.run(run.run_id)
    assert (done.status, done.error_stage) == ("failed", "read")
    assert "it broke" in str(done.error)


async def test_late_rows_and_ties_are_not_missed(at: Bench, world: Any):
    """Rows stamped exactly at the watermark, and rows that show up late within the overlap, come with the next run."""
    here = await world()
    flow = here.flow("offset", modified_date_key="modified_date__gt")
    await at.read(flow)
    here.erp.put(
        [
            {"sku": "TIE", "modified_date": at.clock.began.isoformat()},
            {"sku": "LATE", "modified_date": (at.clock.began - timedelta(minutes=5)).isoformat()},
            {"sku": "OLD", "modified_date": (at.clock.began - timedelta(minutes=6)).isoformat()},
        ]
    )
    at.clock.passed += 60
    assert skus(await at.rows(await at.read(flow))) == ["TIE", "LATE"]


# transport -----------------------------------------------------------------------------------------------------------


async def test_transport_asks_for_a_url_as_it_is_written():
    """Percent-encoding that a signature may cover is not touched; all Link headers are seen."""
    seen: list[str] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.raw_path)
        answer = web.Response()
        answer.headers.extend([("Link", "<a>; rel=prev"), ("Link", "<b>; rel=next")])
        return answer

    async with served(handler) as url, Transport() as transport:
        answer = await transport.request("GET", f"{url}/a%2Fb%7E?x=%41+%2B")
        await transport.request("GET", f"{url}/ç a")
    assert seen == ["/a%2Fb%7E?x=%41+%2B", "/%C3%A7%20a"]
    assert answer.headers["link"] == "<a>; rel=prev, <b>; rel=next"


@pytest.mark.parametrize("url", ["http://", "ftp://127.0.0.1/", "http://127.0.0.1:99999/", "nonsense", "http://[::1"])
async def test_transport_with_a_url_that_is_none(url: str):
    """What cannot be asked is an error that is not tried again."""
    async with Transport() as transport:
        with pytest.raises(TransportError) as caught:
            await transport.request("GET", url)
    assert not caught.value.transient


async def test_transport_with_a_header_that_smuggles():
    """A line break in a header goes nowhere, and the header is not in the text."""

    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    async with served(handler) as url, Transport() as transport:
        with pytest.raises(TransportError) as caught:
            await transport.request("GET", url, headers={"X": "a\r\nsecret: b"})
    assert "secret" not in str(caught.value)
    assert not caught.value.transient


async def test_transport_when_nobody_listens():
    """A closed port is transient, and named."""
    async with Transport() as transport:
        with pytest.raises(TransportError, match=r"127\.0\.0\.1:9") as caught:
            await transport.request("GET", "http://127.0.0.1:9/?token=secret")
    assert caught.value.transient
    assert "secret" not in str(caught.value)
