"""What a probe sees in answers."""

from __future__ import annotations

from typing import Any

import pytest

from imageflow.inspect import probe_facts as facts
from imageflow.inspect.probe_facts import Seen


def rows(*numbers: int) -> list[Any]:
    return [{"id": number} for number in numbers]


def test_lists_in():
    """Lists are found by their paths, those inside of lists are not; what is nested too deeply is left alone."""
    document = {"a": {"b": [1]}, "c": [[2]], "d": {"e": {"f": {"g": {"h": [3]}}}}}
    assert list(facts.lists_in(document)) == [("a.b", [1]), ("c", [[2]])]
    assert list(facts.lists_in([4])) == [("", [4])]


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"total": 5}, ("total", 5)),
        ({"meta": {"totalResults": 7}}, ("meta.totalResults", 7)),
        ({"count": True}, None),
        ({"count": "5"}, ("count", 5)),
        ({"count": 5, "totalElements": 7}, ("totalElements", 7)),
        ([{"count": 5}], None),
    ],
)
def test_total_of(document: Any, found: tuple[str, int] | None):
    """A total is a whole number under one of the usual names."""
    assert facts.total_of(Seen(document, [], "")) == found


def test_next_fields():
    """Fields that may name the next page: URLs first; the list itself, flags and empty values do not count."""
    document = {"next": "", "next_page": 0, "has_next": True, "next_token": "t", "links": {"next": {"href": "/x"}}}
    assert facts.next_fields(document, "rows") == [("links.next.href", "/x"), ("next_token", "t")]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([{"id": 1, "name": "b"}, {"id": 2, "name": "a"}], ["id"]),
        ([{"id": 1}, {"id": 1}], []),
        ([{"id": 1}, {"id": "2"}], []),
        ([{"on": False}, {"on": True}], []),
        ([1, 2], []),
        ([], []),
    ],
)
def test_markers(given: list[Any], found: list[str]):
    """A field can be sought by where it rises from row to row."""
    assert facts.markers(given) == found


@pytest.mark.parametrize(
    ("second", "is_second"),
    [(rows(3, 4), True), (rows(3), False), (rows(2, 3), False), (rows(3, 4, 5), False), ([], False)],
)
def test_is_second(second: list[Any], is_second: bool):
    """The second page begins where the first one ended, as far as its rows are known."""
    assert facts.is_second(rows(1, 2, 3, 4), second, 2) is is_second


def test_is_second_needs_known_rows():
    """Where no row after the first page is known, nothing can be told."""
    assert not facts.is_second(rows(1, 2), rows(3, 4), 2)


@pytest.mark.parametrize(
    ("first", "second", "start"),
    [
        (rows(1, 2), rows(3, 4), 1),
        (rows(1, 2), rows(9), None),
        (rows(3, 4), rows(5), 0),
        (rows(3, 4), rows(1), None),
        (rows(1, 2), rows(2, 3), None),
        (rows(1, 2), [], None),
        (rows(7), rows(8), None),
    ],
)
def test_first_page(first: list[Any], second: list[Any], start: int | None):
    """Pages are numbered from 1 or 0, if the rows of two numbers are the first ones or those after them."""
    assert facts.first_page(rows(1, 2, 3, 4), first, second, 2) == start


def test_about_rows():
    """Of a row its fields are named, and those that look like dates."""
    assert list(facts.about_rows([1])) == []
    assert list(facts.about_rows(rows(1))) == ["a row is an object with the fields id"]
    assert "dates are in at" in list(facts.about_rows([{"at": "2026-11-24T10:00:00Z"}]))[1]


@pytest.mark.parametrize(
    ("url", "method", "part"),
    [
        ("http://a/x?b=1", "GET", {"endpoint_url": "http://a/x", "extra_params": {"b": "1"}}),
        ("http://a/x?b=1&b=2", "GET", {"endpoint_url": "http://a/x?b=1&b=2"}),
        ("http://a/x?b=1", "POST", {"endpoint_url": "http://a/x?b=1", "method": "POST"}),
    ],
)
def test_flow_part(url: str, method: str, part: dict[str, Any]):
    """A query becomes extra_params where that says the same."""
    assert facts.flow_part(url, method, {}, "rows") == {**part, "rows_path": "rows"}


def test_headers_and_secrets_of_a_part():
    """The first header is the login; a value that looks like a secret is named, wherever it stands; what is plain stays."""
    headers = {"Accept": "application/json", "X-Api-Key": "k", "X-Company": "12"}
    body = {"auth": {"password": "p", "user": "u"}, "codes": ["a"]}
    part = facts.flow_part("http://a/x", "POST", headers, "", body)
    assert part["login"] == {"type": "header", "name": "X-Api-Key", "value": {"env": "ERP_X_API_KEY"}}
    assert part["extra_headers"] == {"Accept": "application/json", "X-Company": {"env": "ERP_X_COMPANY"}}
    assert part["extra_params"] == {"auth": {"password": {"env": "ERP_PASSWORD"}, "user": "u"}, "codes": ["a"]}
    assert facts.flow_part("http://a/x?api_key=s", "GET", {}, "")["extra_params"] == {"api_key": {"env": "ERP_API_KEY"}}
    assert "extra_params" not in facts.flow_part("http://a/x", "POST", {}, "", {})


def test_a_place_without_secrets():
    """A URL is shown without its query, and without a part that looks like a secret."""
    assert facts.place("https://a.example/v1/items?key=1") == "https://a.example/v1/items"
    assert facts.place("https://a.example/0123456789abcdef0123456789abcdef/x") == "https://a.example/***/x"


@pytest.mark.parametrize(
    ("document", "is_odata"),
    [({"@odata.context": "x"}, True), ({"odata.metadata": 1}, True), ({"d": 1}, False), ([], False)],
)
def test_odata(document: Any, is_odata: bool):
    """Its annotations say it."""
    assert facts.is_odata(document) is is_odata


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"data": {"items": None, "total": 0}}, "data.items"),
        ({"results": None}, "results"),
        ({"message": None, "meta": {"next": None}}, None),
        ([None], None),
        ({"a": {"b": {"c": {"d": {"items": None}}}}}, None),
    ],
)
def test_null_in_the_place_of_a_list(document: Any, path: str | None):
    """Null under a name that lists have may mean that there are no rows."""
    assert facts.null_path(document) == path


def test_next_fields_that_the_reader_knows():
    """A probe finds what the reader finds: links in lists, and OData's names; never what is in the rows."""
    rows = [{"next": "/no"}]
    linked = {"items": rows, "links": [{"rel": "self", "href": "/a"}, {"rel": "next", "href": "/b"}]}
    assert facts.next_fields(linked, "items") == [("links.1.href", "/b")]
    assert facts.next_fields({"d": {"results": rows, "__next": "/c"}}, "d.results") == [("d.__next", "/c")]
    assert facts.next_fields({"items": rows, "page": {"continuationToken": "t"}}, "items") == [
        ("page.continuationToken", "t")
    ]


def test_names_that_a_parameter_may_have() -> None:
    """What is sent already and is called like it comes first, then names in an object about paging, then the names themselves."""
    body = {"query": "q", "paging": {"PageNo": 1, "other": 2}, "filter": {"page": {"x.y": 1}}, "a.page": 1}
    found = facts.candidates(["page", "pageNo"], "https://e/?P=1&page_no=2", body)
    assert found == ["page_no", "paging.PageNo", "paging.page", "paging.pageNo", "page", "pageNo"]
    assert facts.candidates(["limit"], "https://e/", {}) == ["limit"]


def test_a_token_that_leads_nowhere() -> None:
    """A cursor is followed only where the answer does not say that it is the last page."""
    last = {"edges": [{"a": 1}], "pageInfo": {"hasNextPage": False, "endCursor": "c"}}
    assert facts.says_end(Seen(last, last["edges"], "", "edges"))
    more = {**last, "pageInfo": {"hasNextPage": True, "endCursor": "c"}}
    assert not facts.says_end(Seen(more, more["edges"], "", "edges"))
    assert facts.next_fields(more, "edges") == [("pageInfo.endCursor", "c")]
    assert not facts.says_end(Seen([], [], ""))


def test_a_total_in_a_header() -> None:
    """It counts where it is asked for; it is no path into the answer."""
    seen = Seen([{"a": 1}], [{"a": 1}], "", "", {"x-total-count": "7"})
    assert facts.total_of(seen) is None
    assert facts.total_of(seen, headers=True) == ("X-Total-Count", 7)


@pytest.mark.parametrize(
    "document",
    [
        {"a": [{"sku": "S1"}], "b": [{"sku": "S2"}]},
        {"products": {"A1": {"images": ["https://c.example/1.jpg"]}}},
        {"a": [{"images": ["https://c.example/1.jpg"]}], "b": [{"images": ["https://c.example/1.jpg"]}]},
        {"a": {"name": "x"}, "b": {"name": "y"}},
        [{"A1": ["https://c.example/1.jpg"], "B1": ["https://c.example/2.jpg"]}],
    ],
)
def test_what_is_no_object_of_products(document: Any) -> None:
    """Lists of rows, a single object, objects without images."""
    assert list(facts.keyed_in(document)) == []
