"""Probing endpoints: what is found of each way to page, and what is said where nothing can be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import orjson
import pytest
from aiohttp import web

from imageflow.emulator import FakeErp
from imageflow.http.client import Transport
from imageflow.inspect.probe import MAX_REQUESTS, Found, probe
from imageflow.model.flow import Erp, decode_custom

from .reading import served

PAGINATIONS: dict[str, dict[str, Any]] = {
    "none": {"type": "none"},
    "offset": {
        "type": "offset",
        "offset_param": "offset",
        "limit_param": "limit",
        "limit": 100,
        "total_path": "count",
    },
    "page": {
        "type": "page",
        "page_param": "page",
        "start": 1,
        "limit": 100,
        "limit_param": "limit",
        "total_path": "count",
    },
    "seek": {"type": "seek", "param": "after", "value_path": "sku", "limit_param": "limit", "limit": 100},
    "next": {"type": "next", "field": "next"},
    "token": {"type": "next", "field": "next_token", "kind": "token", "param": "next_token"},
    "link": {"type": "next", "field": "Link"},
}


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    async with Transport() as made:
        yield made


def said(found: Found) -> str:
    return "\n".join(found.lines)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("kind", list(PAGINATIONS))
async def test_every_way_to_page(transport: Transport, kind: str, method: str):
    """The flow file's part is what the reader needs, and it is valid."""
    erp = FakeErp(rows=250, rows_path="data.items")
    async with erp.serve():
        found = await probe(transport, f"{erp.url}/images/{kind}/", method)
        assert len(erp.seen) <= MAX_REQUESTS
    assert found.erp is not None
    assert found.erp["rows_path"] == "data.items"
    assert found.erp.get("pagination") == PAGINATIONS[kind], said(found)
    assert found.erp.get("method", "GET") == method
    assert "the same rows in the same order" in said(found)
    msgspec.convert(found.erp, Erp, dec_hook=decode_custom)


async def test_a_list_that_is_the_answer(transport: Transport):
    """An empty rows_path is said and left out."""
    erp = FakeErp(rows=30, rows_path="")
    async with erp.serve():
        found = await probe(transport, f"{erp.url}/images/offset/?status=active")
    assert found.erp is not None
    assert "rows_path" not in found.erp
    assert found.erp["extra_params"] == {"status": "active"}
    assert found.erp["pagination"]["type"] == "offset"
    assert "could not determine a total" in said(found)


async def test_secrets_are_not_shown(transport: Transport):
    """A header's value is in no line and not in the part; its name is, as a login."""
    erp = FakeErp(rows=3, auth="header", password="very-secret")
    async with erp.serve():
        refused = await probe(transport, f"{erp.url}/images/none/", "GET", {"X-Api-Key": "not-the-right-one"})
        found = await probe(transport, f"{erp.url}/images/none/", "GET", {"X-Api-Key": "very-secret"})
    assert refused.erp is None
    assert "401" in said(refused)
    assert found.erp is not None
    assert found.erp["login"] == {"type": "header", "name": "X-Api-Key", "value": {"env": "ERP_X_API_KEY"}}
    assert "very-secret" not in said(found) + str(found.erp)


def answering(*bodies: Any):
    """A handler that gives these documents in turn, the last one for ever."""
    left = list(bodies)

    async def handler(request: web.BaseRequest) -> web.Response:
        body = left.pop(0) if len(left) > 1 else left[0]
        return web.Response(body=body if isinstance(body, bytes) else orjson.dumps(body))

    return handler


ROWS = [{"sku": f"S{n}"} for n in range(4)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"status": "ok"}, "found no list"),
        (b"<html>", "HTML"),
        (b"", "empty"),
        (7, "found no list"),
    ],
)
async def test_no_list(transport: Transport, body: Any, reason: str):
    """Where no list is found there is no part, and the reason is said."""
    async with served(answering(body)) as url:
        found = await probe(transport, url)
    assert found.erp is None
    assert reason in said(found)


@pytest.mark.parametrize(
    ("bodies", "line"),
    [
        ([{"results": []}], "the list is empty"),
        ([ROWS], "could not determine the pagination"),
        ([{"results": ROWS, "count": 9}], "4 rows came: there are more pages"),
        ([{"results": ROWS, "next": "/next"}], "repeats 4 rows"),
        ([{"results": ROWS, "next_cursor": "abc"}], "no parameter that was tried takes it"),
        ([ROWS, ROWS[::-1], ROWS], "in another order"),
        ([ROWS, ROWS[:2], ROWS], "gave other rows"),
        ([{"a": ROWS, "b": ROWS[:1]}], "there are other lists"),
    ],
)
async def test_what_cannot_be_determined_is_said(transport: Transport, bodies: list[Any], line: str):
    """No pagination is guessed: the part lacks it, and why stands in the lines."""
    async with served(answering(*bodies)) as url:
        found = await probe(transport, url)
    assert line in said(found)
    assert found.erp is not None
    assert "pagination" not in found.erp


async def test_nobody_there(transport: Transport):
    """An endpoint that cannot be reached is said."""
    found = await probe(transport, "http://127.0.0.1:9/")
    assert (found.erp, "cannot be reached" in said(found)) == (None, True)


FORMATS = {
    "csv": (
        "text/csv",
        "sku;url\n" + "".join(f"S{n};u{n}\n" for n in range(40)),
        {"type": "csv", "delimiter": ";"},
        None,
    ),
    "comma": ("text/plain", "sku,url\n" + "".join(f"S{n},u{n}\n" for n in range(40)), "csv", None),
    "tab": ("text/plain", "sku\turl\nA\tu\nB\tv\n", {"type": "csv", "delimiter": "tab"}, None),
    "ndjson": ("text/plain", '{"sku": "A"}\n{"sku": "B"}\n', "ndjson", None),
    "xml": ("text/xml", "<c><p><sku>A</sku></p><p><sku>B</sku></p></c>", "xml", "c.p"),
}


@pytest.mark.parametrize("name", FORMATS)
async def test_formats(transport: Transport, name: str):
    """What an answer is written in is found out, and said."""
    kind, text, form, path = FORMATS[name]

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=text, content_type=kind)

    async with served(answer) as url:
        found = await probe(transport, f"{url}/export")
    assert found.erp is not None, said(found)
    assert (found.erp["format"], found.erp.get("rows_path")) == (form, path)
    assert "the answer is " in said(found)


@pytest.mark.parametrize("text", ["Fatal error, sorry", "<html>log in</html>", "a;b\n", "{"])
async def test_what_is_in_no_format(transport: Transport, text: str):
    """An error page is no table; the probe says what came."""

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=text, content_type="text/plain")

    async with served(answer) as url:
        found = await probe(transport, url)
    assert found.erp is None
    assert "not JSON" in said(found) or "truncated" in said(found)
