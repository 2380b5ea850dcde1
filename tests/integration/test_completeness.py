"""Whether a read is complete, over real HTTP: what answers say of themselves, and what comes of it for the run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from imageflow.emulator import FakeOmnitron
from imageflow.model.run import Run

from .reading import Bench, bench, inbound, served

LIMIT = 10


class Ask(NamedTuple):
    """What was asked for: parameters of the query or the body, and how many rows the ERP has before that page."""

    params: Mapping[str, Any]
    headers: Mapping[str, str]
    first: int
    number: int


Envelope = Callable[[list[Any], Ask], Any]


def made(first: int, count: int) -> list[dict[str, Any]]:
    return [{"sku": f"S{number:03}", "id": number} for number in range(first, first + count)]


class Erp:
    """Has 33 rows. `envelope` makes an answer of a page's rows; `sizes` are those of the pages, one after the other."""

    def __init__(self, envelope: Envelope, sizes: tuple[int, ...] = (10, 10, 10, 3)) -> None:
        self.envelope = envelope
        self.sizes = sizes
        self.asked: list[Ask] = []

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        data = await request.read()
        params = {**request.query, **(json.loads(data) if data else {})}
        number = self._number(params)
        first = sum(self.sizes[: number - 1])
        count = self.sizes[number - 1] if number <= len(self.sizes) else 0
        ask = Ask(params, request.headers, first, number)
        self.asked.append(ask)
        answer = self.envelope(made(first, count), ask)
        return answer if isinstance(answer, web.StreamResponse) else web.json_response(answer)

    def _number(self, params: Mapping[str, Any]) -> int:
        if "offset" in params:
            return sum(int(params["offset"]) >= sum(self.sizes[:done]) for done in range(1, len(self.sizes) + 1)) + 1
        return int(params.get("page") or params.get("cursor") or 1)


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as one:
        yield one


async def read(at: Bench, erp: Erp, pagination: Any, *, ids: tuple[str, ...] = (), **fields: Any) -> Run:
    """Read a run of a flow over the ERP, and end it."""
    omnitron = FakeOmnitron(username="demo", password="om-secret-word")
    async with omnitron.serve(), served(erp.answer) as url:
        top = {name[1:]: fields.pop(name) for name in list(fields) if name.startswith("_")}
        flow = inbound(f"{url}/i", omnitron.url, pagination=pagination, **fields) | top
        return await at.store.run((await at.read(flow, ids=ids)).run_id)


async def came(at: Bench, run: Run, path: str = "results") -> int:
    return len(await at.rows(run, path))


PAGE = {"type": "page", "limit": LIMIT}
OFFSET = {"type": "offset", "limit": LIMIT}
TOKEN = {"type": "next", "kind": "token", "field": "next_cursor", "param": "cursor"}


def laravel(rows: list[Any], ask: Ask) -> Any:
    following = f"?page={ask.number + 1}" if ask.number < 4 else None
    return {
        "results": rows,
        "links": {"next": following},
        "meta": {"current_page": ask.number, "last_page": 4, "total": 33},
    }


def deep(rows: list[Any], ask: Ask) -> Any:
    return {"d": {"results": rows, "paging": {"info": {"totalCount": 33}}}}


def woo(rows: list[Any], ask: Ask) -> Any:
    return web.json_response({"results": rows}, headers={"X-WP-Total": "33", "X-WP-TotalPages": "4"})


def linked(rows: list[Any], ask: Ask) -> Any:
    headers = {"Link": f'</i?page={ask.number + 1}>; rel="next"'} if ask.number < 4 else {}
    return web.json_response({"results": rows}, headers=headers)


def flagged(rows: list[Any], ask: Ask) -> Any:
    return {"results": rows, "page": {"hasNextPage": ask.number < 4}}


def spring(rows: list[Any], ask: Ask) -> Any:
    return {"results": rows, "totalElements": 33, "totalPages": 4, "last": ask.number >= 4, "number": ask.number - 1}


ENVELOPES = {
    "laravel": (laravel, "links.next", {}),
    "deep": (deep, "d.paging.info.totalCount", {"rows_path": "d.results"}),
    "woo": (woo, "X-Wp-Total", {}),
    "linked": (linked, "Link", {}),
    "flagged": (flagged, "page.hasNextPage", {}),
    "spring": (spring, "totalElements", {}),
}


@pytest.mark.parametrize("name", list(ENVELOPES))
async def test_one_page_of_more(at: Bench, name: str):
    """Without pagination the first page is all that comes: the run is partial, names what says so, the watermark stays."""
    envelope, path, fields = ENVELOPES[name]
    run = await read(at, Erp(envelope), {"type": "none"}, **fields)
    assert (run.status, run.error, len(run.warnings)) == ("partial", None, 1)
    assert f"{path} is " in run.warnings[0]
    assert "pagination.ignore" in run.warnings[0]
    assert await came(at, run, fields.get("rows_path", "results")) == 10
    assert await at.store.watermark("winter") is None


@pytest.mark.parametrize("name", list(ENVELOPES))
@pytest.mark.parametrize("pagination", [PAGE, OFFSET])
@pytest.mark.parametrize("sizes", [(10, 10, 10, 3), (10, 9, 10, 4), (2, 2, 2, 27)])
async def test_short_pages(at: Bench, name: str, pagination: Any, sizes: tuple[int, ...]):
    """A page that is shorter than the limit does not end a read whose answers say that more follows: every row comes."""
    envelope, _, fields = ENVELOPES[name]
    run = await read(at, Erp(envelope, sizes), pagination, **fields)
    assert (run.status, run.warnings) == ("empty", ())
    assert await came(at, run, fields.get("rows_path", "results")) == 33
    assert await at.store.watermark("winter") == at.clock.began


async def test_a_short_page_without_a_word(at: Bench):
    """Where answers say nothing, a short page ends the read, as ever."""
    erp = Erp(lambda rows, ask: {"results": rows}, (10, 9, 10, 4))
    run = await read(at, erp, PAGE)
    assert (run.status, run.warnings, await came(at, run)) == ("empty", (), 19)


@pytest.mark.parametrize("status", [400, 404, 410, 416, 422])
async def test_a_refusal_past_the_end(at: Bench, status: int):
    """After the total was reached, a refusal of the next page ends the read well."""

    def strict(rows: list[Any], ask: Ask) -> Any:
        if not rows:
            return web.json_response({"detail": "Invalid page."}, status=status)
        return {"count": 20, "results": rows}

    run = await read(at, Erp(strict, (10, 10)), PAGE)
    assert (run.status, run.error, run.warnings, run.pages) == ("empty", None, (), 2)
    assert await at.store.watermark("winter") == at.clock.began


async def test_a_refusal_before_the_end(at: Bench):
    """A refusal while rows are missing fails the read; after a page that only its answer led on from, it is incomplete."""

    def strict(rows: list[Any], ask: Ask) -> Any:
        return {"count": 33, "results": rows} if ask.number < 3 else web.json_response({}, status=404)

    run = await read(at, Erp(strict), PAGE)
    assert (run.status, "answered 404" in str(run.error)) == ("failed", True)
    run = await read(at, Erp(strict, (10, 9, 10, 4)), PAGE)
    assert (run.status, run.error, run.pages) == ("partial", None, 2)
    assert "count is 33" in run.warnings[0]
    assert await at.store.watermark("winter") is None


async def test_the_last_page_again(at: Bench):
    """Past the end some ERPs repeat the last page: it is not stored again, and the read is complete."""
    erp = Erp(lambda rows, ask: {"results": rows or made(10, 10), "total_count": 20}, (10, 10))
    run = await read(at, erp, PAGE)
    assert (run.status, run.warnings, await came(at, run)) == ("empty", (), 20)
    assert await at.store.watermark("winter") == at.clock.began


@pytest.mark.parametrize("said", [{}, {"count": 10}, {"total": 33}, {"next": "x"}])
async def test_a_page_again_that_proves_nothing(at: Bench, said: dict[str, Any]):
    """An ERP that ignores the page gives the first one for ever: an error, as long as nothing says that all rows came."""
    run = await read(at, Erp(lambda rows, ask: {"results": made(0, 10), **said}), PAGE)
    assert (run.status, "repeated page" in str(run.error)) == ("failed", True)


TOKEN_ENDS: dict[str, Callable[[Ask], Any]] = {
    "null": lambda ask: None,
    "the text 0": lambda ask: "0",
    "the number 0": lambda ask: 0,
    "absent": lambda ask: ...,
    "empty": lambda ask: "",
    "null as a text": lambda ask: "null",
    "false": lambda ask: False,
}


@pytest.mark.parametrize("name", list(TOKEN_ENDS))
async def test_how_tokens_end(at: Bench, name: str):
    """Whatever names nothing as the next token ends the read."""

    def answer(rows: list[Any], ask: Ask) -> Any:
        token = str(ask.number + 1) if ask.number < 4 else TOKEN_ENDS[name](ask)
        return {"results": rows} | ({} if token is ... else {"next_cursor": token})

    run = await read(at, Erp(answer), TOKEN)
    assert (run.status, run.warnings, await came(at, run)) == ("empty", (), 33)


@pytest.mark.parametrize("beside", [{}, {"hasNextPage": False}, {"total": 33}])
async def test_a_token_on_the_last_page(at: Bench, beside: dict[str, Any]):
    """The empty page after the last one repeats its token: the read is complete, also where nothing else says so."""

    def answer(rows: list[Any], ask: Ask) -> Any:
        flag = {"hasNextPage": ask.number < 4} if "hasNextPage" in beside else beside
        return {"results": rows, "next_cursor": str(min(ask.number + 1, 5)), **flag}

    run = await read(at, Erp(answer), TOKEN)
    assert (run.status, run.error, run.warnings, await came(at, run)) == ("empty", None, (), 33)
    assert await at.store.watermark("winter") == at.clock.began


async def test_an_empty_page_that_repeats_its_token_too_early(at: Bench):
    """If the total says otherwise, the read is incomplete."""

    def answer(rows: list[Any], ask: Ask) -> Any:
        return {"results": rows if ask.number < 3 else [], "next_cursor": str(min(ask.number + 1, 3)), "total": 33}

    run = await read(at, Erp(answer), TOKEN)
    assert (run.status, "total is 33" in run.warnings[0]) == ("partial", True)


async def test_ignored(at: Bench):
    """What means something else is silenced by its path."""
    pagination = {"type": "none", "ignore": ["meta.total", "links"]}
    run = await read(
        at, Erp(lambda rows, ask: {"results": rows, "meta": {"total": 900}, "links": {"next": "/x"}}), pagination
    )
    assert (run.status, run.warnings) == ("empty", ())
    assert await at.store.watermark("winter") == at.clock.began


async def test_an_incomplete_batch_of_identifiers(at: Bench):
    """A run by identifiers is incomplete where one of its batches is, whichever; it moves no watermark either way."""
    ids = tuple(f"SKU-{number:06}" for number in range(900))
    settings = {"sku": {"key": "sku"}}
    erp = Erp(lambda rows, ask: {"results": rows, "total": 33 if "000000" in ask.params["sku"] else 10})
    run = await read(at, erp, {"type": "none"}, ids=ids, query_settings=settings)
    assert len(erp.asked) > 1
    assert run.status == "partial"
    ended, ignored = run.warnings
    assert "the read ended" in ended
    assert "seems to ignore" in ignored  # its rows name none of the identifiers


@pytest.mark.parametrize("missing", ["first", "last"])
async def test_a_batch_of_identifiers_without_rows(at: Bench, missing: str):
    """Where a 404 means no rows, the other batches are read all the same."""
    ids = tuple(f"SKU-{number:06}" for number in range(900))

    def answer(rows: list[Any], ask: Ask) -> Any:
        first = "000000" in ask.params["sku"]
        return web.Response(status=404) if first is (missing == "first") else {"results": rows}

    erp = Erp(answer)
    run = await read(
        at, erp, {"type": "none"}, ids=ids, query_settings={"sku": {"key": "sku"}}, no_rows={"statuses": [404]}
    )
    assert (run.status, run.error) == ("empty", None)
    assert await came(at, run) == 10 * (len(erp.asked) - 1 if missing == "first" else 1)


@pytest.mark.parametrize("status", [204, 304, 404])
async def test_statuses_that_mean_no_rows(at: Bench, status: int):
    """They end a read without rows, and only where the flow names them; the watermark moves."""
    erp = Erp(lambda rows, ask: web.Response(status=status))
    run = await read(at, erp, {"type": "none"})
    assert run.status == "failed"
    run = await read(at, erp, {"type": "none"}, no_rows={"statuses": [204, 304, 404]})
    assert (run.status, run.pages) == ("empty", 0)
    assert await at.store.watermark("winter") == at.clock.now()


@pytest.mark.parametrize(("total", "status"), [(0, "empty"), (7, "partial")])
async def test_null_that_means_no_rows(at: Bench, total: int, status: str):
    """Null in the list's place ends the read, but not against a total."""
    erp = Erp(lambda rows, ask: {"results": None, "total": total})
    assert (await read(at, erp, {"type": "none"})).status == "failed"
    run = await read(at, erp, {"type": "none"}, no_rows={"null_list": True})
    assert (run.status, run.pages) == (status, 0)


async def test_null_in_the_middle(at: Bench):
    """Null on a page that others follow is an empty page."""

    def answer(rows: list[Any], ask: Ask) -> Any:
        following = str(ask.number + 1) if ask.number < 4 else None
        return {"results": None if ask.number == 2 else rows, "next_cursor": following}

    run = await read(at, Erp(answer), TOKEN, no_rows={"null_list": True})
    assert (run.status, run.pages) == ("empty", 4)
    assert (await at.store.page(run.run_id, 2)).body == b"[]"


@pytest.mark.parametrize("first", [True, False])
async def test_an_error_in_a_200(at: Bench, first: bool):
    """An empty list beside an error is a failed read, on the first page or a later one; the watermark stays."""

    def answer(rows: list[Any], ask: Ask) -> Any:
        if first or ask.number == 2:
            return {"Success": False, "Message": "session expired", "results": []}
        return {"Success": True, "results": rows}

    run = await read(at, Erp(answer), PAGE)
    assert (run.status, run.error_stage) == ("failed", "read")
    assert "session expired" in str(run.error)
    assert await at.store.watermark("winter") is None


async def test_what_a_good_answer_says(at: Bench):
    """With `erp.success`, rows beside another value are not taken."""
    erp = Erp(lambda rows, ask: {"code": 4, "results": rows})
    run = await read(at, erp, {"type": "none"}, success={"path": "code", "value": 0})
    assert (run.status, run.pages, "erp.success" in str(run.error)) == ("failed", 0, True)


async def test_an_undeclared_charset(at: Bench):
    """`erp.charset` reads what an ERP writes without saying so; without it the read fails."""
    body = json.dumps({"results": [{"sku": "ŞIK"}]}, ensure_ascii=False).encode("cp1254")
    erp = Erp(lambda rows, ask: web.Response(body=body, content_type="application/json"))
    assert (await read(at, erp, {"type": "none"})).status == "failed"
    run = await read(at, erp, {"type": "none"}, charset="windows-1254")
    assert (await at.rows(run))[0]["sku"] == "ŞIK"


async def test_old_rows_are_said(at: Bench):
    """The second run asks for changes, and gets rows that are much older: a warning names the parameter, no more."""
    erp = Erp(lambda rows, ask: {"results": [{**row, "ModifiedAt": "2020-01-01T00:00:00"} for row in rows]}, (5,))
    first = await read(at, erp, {"type": "none"}, modified_date_key="since")
    at.clock.passed += 3600
    second = await read(at, erp, {"type": "none"}, modified_date_key="since")
    assert (first.warnings, second.status, len(second.warnings)) == ((), "empty", 1)
    assert "the parameter 'since'" in second.warnings[0]
    assert await at.store.watermark("winter") == at.clock.now()


@pytest.mark.parametrize(
    "document", [{"d": "[]"}, {"A-1": {"pics": []}}, {"d": {"sku": "A"}}, {"d": None}, "text", None, 7]
)
async def test_any_document_is_a_page(at: Bench, document: Any):
    """Where a script takes the whole answer, the reader takes any."""
    run = await read(
        at, Erp(lambda rows, ask: web.json_response(document)), {"type": "none"}, rows_path="d",
        _script="def process(response):\n    return []\n",
    )  # fmt: skip
    assert (run.status, run.error, run.pages, run.warnings) == ("empty", None, 1, ())


async def test_a_document_that_speaks_of_more(at: Bench):
    """It is heard, too, and what a script drops still came."""
    script = {"_script": "def process(response):\n    return []\n", "rows_path": ""}
    keyed = {"A-1": {"total": 99}, "A-2": {"total": 98}}
    run = await read(
        at, Erp(lambda rows, ask: {"products": keyed, "total": 9, "next": "?p=2"}), {"type": "none"}, **script
    )
    assert (run.status, "total is 9, next is" in run.warnings[0]) == ("partial", True)
    run = await read(at, Erp(lambda rows, ask: {"products": keyed, "total": 2}), {"type": "none"}, **script)
    assert (run.status, run.warnings) == ("empty", ())


async def test_a_secret_in_the_evidence(at: Bench):
    """A next link that repeats the login's secret does not bring it into the run."""
    at.environ["KEY"] = "key-secret-word"
    erp = Erp(lambda rows, ask: {"results": rows, "next": f"/i?page=2&key={ask.headers['X-Api-Key']}"})
    login = {"type": "header", "name": "X-Api-Key", "value": {"env": "KEY"}}
    run = await read(at, erp, {"type": "none"}, login=login)
    assert run.status == "partial"
    assert "key-secret-word" not in run.warnings[0]
