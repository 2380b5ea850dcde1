"""Reads over real HTTP of ERPs that answer in CSV, NDJSON and XML, page by page."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from aiohttp import web

from imageflow.emulator import FakeOmnitron
from imageflow.model.run import Run

from .reading import Bench, bench, inbound, served

ROWS = [{"sku": f"{number:04}", "url": f"https://a/{number}.jpg?a=1&b=çğ", "note": 'a;"b"\n'} for number in range(25)]
TYPES = {"csv": "text/csv", "ndjson": "application/x-ndjson", "xml": "application/xml", "json": "application/json"}
FORMATS: dict[str, Any] = {"csv": {"type": "csv", "delimiter": ";"}, "ndjson": "ndjson", "xml": "xml", "json": "json"}


def written(form: str, rows: list[dict[str, str]]) -> str:
    """Rows as an ERP writes them in a format."""
    if form == "csv":
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(ROWS[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()
    if form == "ndjson":
        return "".join(json.dumps(row) + "\n" for row in rows)
    if form == "json":
        return json.dumps({"list": {"row": rows}})
    fields = ["".join(f"<{name}>{escape(value)}</{name}>" for name, value in row.items()) for row in rows]
    return f"<?xml version='1.0'?><list>{''.join(f'<row>{row}</row>' for row in fields)}</list>"


class Erp:
    """25 rows in a format, by `page` and `limit`, by `offset` or by a Link header; or `body`, whatever is asked for."""

    def __init__(self, form: str, body: bytes | None = None, content_type: str = "") -> None:
        self.form, self.body, self.content_type = form, body, content_type or TYPES[form]
        self.accepted: list[str] = []

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.accepted.append(request.headers["Accept"])
        if self.body is not None:
            return web.Response(body=self.body, headers={"Content-Type": self.content_type})
        limit = int(request.query.get("limit", 10))
        first = int(request.query.get("offset", (int(request.query.get("page", 1)) - 1) * limit))
        after = request.query.get("after")
        first = first if after is None else int(after) + 1
        headers = {"Content-Type": f"{self.content_type}; charset=windows-1254"}
        if first + limit < len(ROWS):
            headers["Link"] = f'</i?offset={first + limit}>; rel="next"'
        text = written(self.form, ROWS[first : first + limit])
        if not text:
            return web.Response(status=204)
        return web.Response(body=text.encode("cp1254"), headers=headers)


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as one:
        yield one


async def read(at: Bench, erp: Erp, **fields: Any) -> Run:
    omnitron = FakeOmnitron(username="demo", password="om-secret-word")
    given = {"rows_path": "" if erp.form in ("csv", "ndjson") else "list.row", "format": FORMATS[erp.form], **fields}
    async with omnitron.serve(), served(erp.answer) as url:
        return await at.store.run((await at.read(inbound(f"{url}/i", omnitron.url, **given))).run_id)


PAGINATIONS: dict[str, Any] = {
    "page": {"type": "page", "limit": 10},
    "offset": {"type": "offset", "limit": 5},
    "seek": {"type": "seek", "param": "after", "value_path": "sku", "limit": 10},
    "link": {"type": "next", "field": "Link"},
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", PAGINATIONS)
async def test_every_format_pages(at: Bench, form: str, kind: str):
    """All rows come over several pages, letter by letter, and the read is complete; the ERP was asked for the format."""
    erp = Erp(form)
    run = await read(at, erp, pagination=PAGINATIONS[kind], no_rows={"statuses": [204]})
    assert (run.error, run.status, run.warnings) == (None, "empty", ())  # no row of it was transformed
    rows = await at.rows(run, "list.row" if form in ("xml", "json") else "")
    assert [{**row, "note": (row["note"] or "").strip()} for row in rows] == [{**row, "note": 'a;"b"'} for row in ROWS]
    assert all(accept.startswith(TYPES[form]) for accept in erp.accepted)


@pytest.mark.parametrize("form", FORMATS)
async def test_a_large_answer(at: Bench, form: str, monkeypatch: pytest.MonkeyPatch):
    """A large answer is taken apart beside the event loop, with the same result."""
    monkeypatch.setattr("imageflow.read.asker.AT_ONCE_BYTES", 1)
    run = await read(at, Erp(form), pagination=PAGINATIONS["link"])
    assert len(await at.rows(run, "list.row" if form in ("xml", "json") else "")) == len(ROWS)


HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@pytest.mark.parametrize(
    ("form", "body", "said"),
    [
        ("csv", HTML, "the answer is HTML, not CSV .text/csv.: .<!DOCTYPE html>"),
        ("csv", b'{"error": "no"}', "the answer is JSON, not CSV"),
        ("csv", b"sku,url\nA,u\n", "seems that ',' divides the cells"),
        ("csv", b"", "empty where CSV was expected.*empty_body: true"),
        ("csv", b"PK\x03\x04...", "is a ZIP archive or an Excel file, where CSV was expected"),
        ("csv", b"\x1f\x8b...", "compressed with gzip, and does not say so"),
        ("csv", "sku;url\nŞ;u\n".encode("cp1254"), "not utf-8 text .*erp.charset"),
        ("ndjson", HTML, "the answer is HTML, not NDJSON"),
        ("ndjson", b"<xml/>", "the answer is HTML or XML, not NDJSON"),
        ("xml", HTML, "the answer is HTML, not XML"),
        ("xml", b"[]", "the answer is JSON, not XML"),
        ("xml", b"sku;url", "the answer is a text, not XML"),
        ("xml", b"<fault>no such user</fault>", "says that something went wrong: fault is .no such user"),
        ("xml", b"<page><row/></page>", "nothing at rows_path 'list.row': it is an object with the fields page"),
        ("xml", b"<list><message>none</message></list>", "null, not a list, at rows_path.*null_list: true"),
        ("json", b"<list/>", "HTML or XML, not JSON.*If it is XML: erp.format: xml"),
        ("json", b"sku;url\nA;u\n", "If it is CSV: erp.format: csv"),
        ("json", b'{"sku": "A"}\n{"sku": "B"}\n', "If it is NDJSON: erp.format: ndjson"),
    ],
)
async def test_wrong_answers(at: Bench, form: str, body: bytes, said: str):
    """What is not in the format fails the read with a sentence; nothing is taken for an empty one."""
    run = await read(at, Erp(form, body))
    assert run.status == "failed"
    assert re.search(said, run.error or ""), run.error


@pytest.mark.parametrize(
    ("form", "body", "fields"),
    [
        ("csv", b"sku;url\n", {}),
        ("csv", b"", {"no_rows": {"empty_body": True}}),
        ("ndjson", b"\n", {"no_rows": {"empty_body": True}}),
        ("xml", b"<list total='0'/>", {}),
        ("xml", b"<list><message>none</message></list>", {"no_rows": {"null_list": True}}),
    ],
)
async def test_answers_without_rows(at: Bench, form: str, body: bytes, fields: dict[str, Any]):
    """An empty table is an empty read; what else means that, the flow says."""
    run = await read(at, Erp(form, body), **fields)
    assert (run.error, run.status, run.read_complete) == (None, "empty", True)


async def test_a_total_in_xml(at: Bench):
    """What XML says beside its rows is heard: an attribute that is a total makes a short read incomplete."""
    body = b"<list><paging totalCount='33'/><row><sku>A</sku></row></list>"
    run = await read(at, Erp("xml", body))
    assert run.status == "partial"
    assert "list.paging.@totalCount is" in run.warnings[0]


async def test_the_charset_that_xml_declares(at: Bench):
    """The declaration counts where the header says nothing."""
    body = '<?xml version="1.0" encoding="windows-1254"?><list><row><sku>ŞIK-ğ</sku></row></list>'.encode("cp1254")
    run = await read(at, Erp("xml", body))
    assert await at.rows(run, "list.row") == [{"sku": "ŞIK-ğ"}]
