"""A probe's questions and conclusions, without any server: the answers are made here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from imageflow.http.client import Answer
from imageflow.inspect.probe_inquiry import Inquiry, Known
from imageflow.model import pagination
from imageflow.model.pagination.contract import Pagination
from imageflow.read.request import Question

URL = "https://erp.example.com/images"
ROWS = [{"id": number, "at": "2026-11-24"} for number in range(1, 41)]

Erp = Callable[[dict[str, Any]], Any]
"""What an ERP answers to parameters: a document, or an Answer."""


def ask(
    erp: Erp, *, method: str = "GET", headers: dict[str, str] | None = None, inquiry: Inquiry | None = None
) -> Inquiry:
    """A whole probe."""
    inquiry = inquiry or Inquiry(URL, method, headers or {})
    asking = inquiry.run()
    try:
        question = next(asking)
        while True:
            question = asking.send(answer(erp(parameters(question))))
    except StopIteration:
        return inquiry


def parameters(question: Question) -> dict[str, Any]:
    if question.method == "POST":
        return dict(msgspec.json.decode(question.body or b"{}"))
    return {name: int(text) if text.isdigit() else text for name, text in parse_qsl(urlsplit(question.url).query)}


def answer(document: Any) -> Answer:
    if isinstance(document, Answer):
        return document
    return Answer(200, {"content-type": "application/json"}, msgspec.json.encode(document))


def by_offset(asked: dict[str, Any]) -> Any:
    start = asked.get("skip", 0)
    return {"rows": ROWS[start : start + asked.get("limit", 20)], "total": len(ROWS)}


def by_page(asked: dict[str, Any]) -> Any:
    size = asked.get("per_page", 20)
    start = asked.get("p", 0) * size
    return ROWS[start : start + size]


def by_seek(asked: dict[str, Any]) -> Any:
    later = [row for row in ROWS if row["id"] > asked.get("after", 0)]
    return {"rows": later[: asked.get("limit", 20)]}


def by_token(asked: dict[str, Any]) -> Any:
    start = int(str(asked.get("cursor", "t0"))[1:])
    more = {"next_token": f"t{start + 20}"} if start + 20 < len(ROWS) else {}
    return {"rows": ROWS[start : start + 20], **more}


def by_url(asked: dict[str, Any]) -> Any:
    start = asked.get("s", 0)
    return {"rows": ROWS[start : start + 10], "links": {"next": f"?s={start + 10}" if start < 30 else None}}


def by_link_header(asked: dict[str, Any]) -> Any:
    start = asked.get("s", 0)
    links = {"link": f'<?s={start + 20}>; rel="next"'} if start < 20 else {}
    return Answer(200, links, msgspec.json.encode(ROWS[start : start + 20]))


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("erp", "found"),
    [
        (
            by_offset,
            {"type": "offset", "offset_param": "skip", "limit_param": "limit", "limit": 20, "total_path": "total"},
        ),
        (by_page, {"type": "page", "page_param": "p", "start": 0, "limit": 20, "limit_param": "per_page"}),
        (by_seek, {"type": "seek", "param": "after", "value_path": "id", "limit_param": "limit", "limit": 20}),
        (by_token, {"type": "next", "field": "next_token", "kind": "token", "param": "cursor"}),
        (lambda _: {"rows": ROWS, "count": len(ROWS)}, {"type": "none"}),
    ],
)
def test_what_is_found(erp: Erp, found: dict[str, Any], method: str):
    """Each way to page is told by the rows that come, whether parameters travel in the query or in the body."""
    erp_part = ask(erp, method=method).erp
    assert erp_part is not None
    assert erp_part["pagination"] == found


@pytest.mark.parametrize(("erp", "field"), [(by_url, "links.next"), (by_link_header, "Link")])
def test_links_are_followed(erp: Erp, field: str):
    """Links count once their pages do not overlap."""
    inquiry = ask(erp)
    assert inquiry.erp is not None
    assert inquiry.erp["pagination"] == {"type": "next", "field": field}
    assert "the last of them names no next page: the read ends there" in inquiry.lines


@pytest.mark.parametrize(
    ("erp", "said"),
    [
        (lambda _: Answer(302, {"location": "https://other.example.com/x?key=1"}, b""), "https://other.example.com"),
        (lambda _: Answer(403, {}, b"no"), "answered 403"),
        (
            lambda _: Answer(405, {}, b"ask with POST"),
            "it wants a POST: --method POST, and --body '{…}' with what it asks for",
        ),
        (lambda _: Answer(200, {}, b"<html>"), "HTML or XML"),
        (lambda _: {"a": 1}, "found no list in the answer: it is an object with the fields a"),
    ],
)
def test_no_list(erp: Erp, said: str):
    """Without a list there is no part for the flow file, and the reason is said."""
    inquiry = ask(erp)
    assert inquiry.erp is None
    assert said in inquiry.lines[-1]


@pytest.mark.parametrize(
    ("erp", "said"),
    [
        (lambda _: {"rows": []}, "could not determine the pagination: the list is empty"),
        (lambda _: {"rows": [{"id": 1}]}, "could not determine the pagination: one row is too few"),
        (lambda _: {"rows": ROWS, "count": 500}, "count says 500, but 40 rows came: there are more pages"),
        (lambda _: {"rows": ROWS}, "if the answer is always complete, it is {type: none}"),
        (lambda _: {"rows": ROWS, "next": "https://evil.example.com/"}, "it leads to another origin"),
        (lambda _: {"rows": ROWS, "next": "/images?x=1"}, "page 2 repeats 40 rows of the pages before"),
        (lambda _: {"rows": ROWS, "next": "abc"}, "looks like a token for the next page, but no parameter"),
        (lambda _: {"rows": ROWS, "others": [1, 2]}, "there are other lists, check which one is meant: 'others'"),
    ],
)
def test_what_is_said(erp: Erp, said: str):
    """What cannot be told is said, not guessed."""
    assert any(said in line for line in ask(erp).lines)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (ROWS, "gave the same rows in the same order"),
        (ROWS[::-1], "gave the same rows in another order"),
        (ROWS[1:], "gave other rows"),
        (None, "gave no list: the endpoint is not stable"),
    ],
)
def test_whether_it_is_stable(second: Any, said: str):
    """The same request is asked twice before anything is concluded from a difference."""
    calls: list[int] = []

    def erp(_: dict[str, Any]) -> Any:
        calls.append(1)
        return {"rows": second if len(calls) == 2 else ROWS}

    assert any(said in line for line in ask(erp).lines)


@pytest.mark.parametrize(
    ("beyond", "said"),
    [
        (Answer(404, {}, b""), "past the end the ERP answers 404 instead of an empty list"),
        ({"rows": ROWS[:10]}, "past the end the ERP gives the first page again"),
        ({"rows": ROWS[-3:]}, "far past it the ERP still gives 3 rows"),
        ({"rows": []}, "past the end the list is empty"),
    ],
)
def test_what_comes_past_the_end(beyond: Any, said: str):
    """How a read stops depends on what the ERP gives past its end."""
    inquiry = ask(lambda asked: beyond if asked.get("skip", 0) > 1000 else by_offset(asked))
    assert any(said in line for line in inquiry.lines)


def by_url_that_breaks(document: Any) -> Erp:
    """Names a next page, which is then answered by `document`."""
    return lambda asked: document if asked else {"rows": ROWS, "next": "/images?x=1"}


@pytest.mark.parametrize(
    ("erp", "said"),
    [
        (by_url_that_breaks(Answer(500, {}, b"")), "page 2, asked for by its link, gave no list"),
        (by_url_that_breaks({"other": 1}), "page 2, asked for by its link, gave no list"),
    ],
)
def test_links_that_lead_nowhere(erp: Erp, said: str):
    """A link counts only if lists come by it."""
    assert said in ask(erp).lines


def test_chains_without_an_end():
    """A few pages are followed, then the end is said to be unknown."""

    def erp(asked: dict[str, Any]) -> Any:
        start = asked.get("s", 0)
        return {"rows": [{"id": start}, {"id": start + 1}], "next": f"?s={start + 2}"}

    assert any("could not determine the end: more pages follow" in line for line in ask(erp).lines)


def test_tokens_that_overlap_are_none():
    """A token whose later pages repeat rows is not taken for the way to page."""

    def erp(asked: dict[str, Any]) -> Any:
        pages = {None: ROWS[:4], "t1": ROWS[4:8], "t2": ROWS[6:10]}
        token = asked.get("cursor")
        return {"rows": pages[token], "next_token": {None: "t1", "t1": "t2"}.get(token)}

    assert any("page 3 repeats 2 rows" in line for line in ask(erp).lines)


def test_a_count_of_the_page_is_no_total():
    """A number that changes with the limit counts the page."""

    def erp(asked: dict[str, Any]) -> Any:
        found = by_offset(asked)["rows"]
        return {"rows": found, "count": len(found)}

    inquiry = ask(erp)
    assert any("not taken for the total" in line for line in inquiry.lines)
    assert inquiry.erp is not None
    assert "total_path" not in inquiry.erp["pagination"]


def test_seek_whose_end_is_unknown():
    """Past the last known row a list has to come that is new."""

    def erp(asked: dict[str, Any]) -> Any:
        return Answer(500, {}, b"") if asked.get("after", 0) >= 20 else by_seek(asked)

    assert any("after the last known row, the ERP gives no list" in line for line in ask(erp).lines)


def test_headers_are_named_and_never_shown():
    """A header becomes a login by a secret; its value is in no line and not in the flow file's part."""
    inquiry = ask(by_url, headers={"X-Key": "hush", "X-More": "hush"})
    assert inquiry.erp is not None
    assert inquiry.erp["login"] == {"type": "header", "name": "X-Key", "value": {"env": "ERP_X_KEY"}}
    assert inquiry.erp["extra_headers"] == {"X-More": {"env": "ERP_X_MORE"}}
    assert "hush" not in repr((inquiry.lines, inquiry.erp))


def test_types_that_no_question_is_for(monkeypatch: pytest.MonkeyPatch):
    """Where nothing was found, the types that the probe does not know are named."""

    class LaterPagination(Pagination, frozen=True, tag="later"):
        pass

    monkeypatch.setattr(pagination, "TYPES", (*pagination.TYPES, LaterPagination))
    [named] = [line for line in ask(lambda _: {"rows": ROWS}).lines if line.startswith("not tried: ")]
    assert "later" in named.removeprefix("not tried: ").split(", ")


def changed(rows: list[Any], since: Any) -> list[Any]:
    """Rows that changed since a date; all of the catalogue of ROWS did on one day."""
    return [row for row in rows if since is None or since.strip("'") < row["at"]]


@pytest.mark.parametrize(
    ("body", "name", "of"),
    [
        ({}, "updated_since", lambda asked: asked.get("updated_since")),
        ({"filter": {"a": 1}}, "filter.modifiedSince", lambda asked: asked["filter"].get("modifiedSince")),
        ({"since": "2020-01-01"}, "since", lambda asked: asked.get("since")),
    ],
)
def test_the_parameter_for_changes(body: dict[str, Any], name: str, of: Callable[[dict[str, Any]], Any]):
    """It gives no rows for a future date, and all for one long ago; it may stand in an object of the body."""
    inquiry = ask(
        lambda asked: {"rows": changed(ROWS[:20], of(asked)), "total": 20},
        method="POST",
        inquiry=Inquiry(URL, "POST", {}, body=body),
    )
    assert inquiry.erp is not None
    assert inquiry.erp["modified_date_key"] == name
    assert inquiry.erp.get("extra_params", {}) == body


def test_a_parameter_that_is_no_filter_for_changes():
    """One that gives nothing with any date, or all with any, asks for something else."""
    for erp in (
        lambda asked: {"rows": [] if "since" in asked else ROWS[:20]},
        lambda asked: {"rows": ROWS[:20]},
        lambda asked: Answer(400, {}, b"") if "since" in asked else {"rows": ROWS[:20]},
    ):
        inquiry = ask(erp)
        assert "modified_date_key" not in (inquiry.erp or {})
        assert any("which parameter asks for changes since" in line for line in inquiry.lines)


def test_changes_of_odata():
    """A filter is worded with the field of the rows that holds a date."""

    def erp(asked: dict[str, Any]) -> Any:
        since = str(asked.get("$filter", "at ge 0000Z")).removeprefix("at ge ").removesuffix("Z")
        return {"@odata.context": "x", "value": changed(ROWS[:20], since)}

    inquiry = ask(erp)
    assert inquiry.erp is not None
    assert inquiry.erp["query_settings"] == {
        "modified_date__gt": {"key": "$filter", "type": "datetime", "template": "at ge {value}"}
    }
    assert inquiry.erp["date_format"] == "%Y-%m-%dT%H:%M:%SZ"
    other = ask(lambda asked: {"@odata.context": "x", "value": [] if "$filter" in asked else ROWS[:20]})
    assert "query_settings" not in (other.erp or {})


def test_products_as_fields_of_an_object():
    """They are rows, read by a script with `process`; no pages are looked for."""
    picture = "https://c.example/1.jpg"
    inquiry = ask(lambda _: {"items": {"A1": {"images": [picture]}, "B1": {"images": [picture]}}, "total": 2})
    assert inquiry.erp == {"endpoint_url": URL, "rows_path": "items"}
    assert (inquiry.keyed, inquiry.path, len(inquiry.rows)) == (True, "items", 2)
    assert any("the object at 'items' has a field for each product, 2 of them" in line for line in inquiry.lines)
    whole = ask(lambda _: {"A1": [picture], "B1": [picture]})
    assert any("the answer has a field for each product" in line for line in whole.lines)
    gone = ask(lambda asked, seen=[]: seen.append(1) or ({"A1": [picture], "B1": [picture]} if len(seen) == 1 else 7))
    assert any("gave no list" in line for line in gone.lines)


def by_cursor(asked: dict[str, Any]) -> Any:
    """GraphQL's cursors, which are named on the last page, too."""
    start = int(str(asked.get("variables", {}).get("after") or "c0")[1:])
    size = asked.get("variables", {}).get("first", 20)
    edges = [{"node": row} for row in ROWS[start : start + size]]
    page = {"hasNextPage": start + size < len(ROWS), "endCursor": f"c{start + size}"}
    return {"data": {"items": {"edges": edges, "pageInfo": page}}}


def by_nested_page(asked: dict[str, Any]) -> Any:
    size, number = asked["paging"]["pageSize"], asked["paging"]["pageNo"]
    return {"list": ROWS[(number - 1) * size : number * size], "totalCount": len(ROWS), "query": asked["query"]}


def known(erp: Erp, body: dict[str, Any], **more: Any) -> Inquiry:
    """A probe of what a flow says already."""
    return ask(erp, method="POST", inquiry=Inquiry(URL, "POST", {}, Known(body, **more)))


def test_a_flow_that_posts_a_query():
    """The flow's body goes along, and names in it are tried first; of the part for the file only what was found is printed."""
    inquiry = known(by_cursor, {"query": "{ items }", "variables": {"first": 20}})
    assert inquiry.erp == {
        "rows_path": "data.items.edges",
        "pagination": {
            "type": "next",
            "field": "data.items.pageInfo.endCursor",
            "kind": "token",
            "param": "variables.after",
        },
    }
    assert "the last of them names no next page: the read ends there" in inquiry.lines
    short = known(by_cursor, {"query": "{ items }", "variables": {"first": 100}})
    assert any("but the answer says that none follows" in line for line in short.lines)


def test_a_flow_that_pages_in_its_body():
    """Parameters are found in objects of the body, by their dotted names."""
    inquiry = known(by_nested_page, {"query": "q", "paging": {"pageNo": 1, "pageSize": 20}})
    assert inquiry.erp is not None
    assert inquiry.erp["pagination"] == {
        "type": "page",
        "page_param": "paging.pageNo",
        "start": 1,
        "limit": 20,
        "limit_param": "paging.pageSize",
        "total_path": "totalCount",
    }


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b"a;b\n1;2\n3;4\n", {"type": "csv", "delimiter": ";"}),
        (b"a\tb\n1\t2\n3\t4\n", {"type": "csv", "delimiter": "tab"}),
        (b"a,b\n1,2\n3,4\n", "csv"),
        (b'{"a": 1}\n{"a": 2}\n', "ndjson"),
        (b"<c><p><a>1</a></p><p><a>2</a></p></c>", "xml"),
    ],
)
def test_formats_are_recognised(body: bytes, form: Any):
    """The format of an answer is found out, said, and put into the part."""
    inquiry = ask(lambda _: Answer(200, {"x-total-count": "2"}, body))
    assert inquiry.erp is not None, inquiry.lines
    assert inquiry.erp["format"] == form
    assert inquiry.erp["pagination"] == {"type": "none"}
    assert any(line.startswith("the answer is ") for line in inquiry.lines)


@pytest.mark.parametrize("body", [b"Sorry, an error", b"a;b\n", b"\n", b"{"])
def test_what_is_in_no_format(body: bytes):
    """A sentence is no table."""
    inquiry = ask(lambda _: Answer(200, {}, body))
    assert inquiry.erp is None
