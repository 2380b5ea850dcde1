"""Paging: every type, every stop rule, every way to go in circles."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageflow.errors import ReadError
from imageflow.read import paging
from imageflow.read.link import next_target
from imageflow.read.paging import Cursor, Got, Last, More, Trail

from .flows import flow

URL = "https://erp.example.com/images/"


def got(rows: list[Any], *, link: str = "", url: str = URL, **beside: Any) -> Got:
    return Got({"results": rows, **beside}, rows, link, url)


def erp(**pagination: Any) -> Any:
    return flow(pagination=pagination).erp


def rows(first: int, count: int) -> list[dict[str, int]]:
    return [{"id": number} for number in range(first, first + count)]


def turn(definition: Any, page: Got, cursor: Cursor | None = None) -> Any:
    return paging.turn(definition, cursor or paging.first(definition.pagination), page)


def test_none_ends_after_one_page():
    """`none` never asks twice, whatever the answer says."""
    assert isinstance(turn(erp(type="none"), got(rows(0, 5), next="more")), Last)


def test_none_warns_of_more():
    """An answer that counts more rows than it gave is worth a warning, and leaves the read incomplete."""
    result = turn(erp(type="none"), got(rows(0, 100), count=250))
    assert "counts 250" in result.warnings[0]
    assert not result.complete


@pytest.mark.parametrize("beside", [{"count": 11}, {"total": "11"}, {"has_more": True}])
def test_next_that_is_lost(beside: dict[str, Any]):
    """No next page, though the same answer speaks of more rows: the read ends, but not as complete."""
    result = turn(erp(type="next"), got(rows(0, 10), **beside))
    assert isinstance(result, Last)
    assert (len(result.warnings), result.complete) == (1, False)


@pytest.mark.parametrize(
    ("count", "total", "ends"),
    [
        (100, None, False),
        (99, None, True),
        (0, None, True),
        (100, 250, False),
        (50, 250, False),
        (100, 100, True),
        (30, 30, True),
        (100, 0, False),
        (30, 0, True),
        (300, 100, False),
        (100, "100", True),
        (100, 100.0, True),
    ],
)
@pytest.mark.parametrize("kind", ["offset", "page"])
def test_counting_ends(kind: str, count: int, total: Any, ends: bool):
    """Offset and page end at a short or empty page, and, where a total is known, when it is reached."""
    path = {} if total is None else {"total_path": "total"}
    beside = {} if total is None else {"total": total}
    assert isinstance(turn(erp(type=kind, **path), got(rows(0, count), **beside)), Last) is ends


def test_offset_advances_by_what_came():
    """Where the ERP ignores or caps the limit, the next offset counts the rows that came."""
    definition = erp(type="offset", limit=100, total_path="total", start=1)
    result = turn(definition, got(rows(0, 10), total=1000))
    assert paging.parameters(definition.pagination, result.cursor) == {"offset": 11, "limit": 100}


def test_page_advances_by_one():
    """Pages are counted from `start`."""
    definition = erp(type="page", page_param="p", limit_param="size", limit=7, start=0)
    assert paging.parameters(definition.pagination, paging.first(definition.pagination)) == {"p": 0, "size": 7}
    result = turn(definition, got(rows(0, 7)))
    assert paging.parameters(definition.pagination, result.cursor) == {"p": 1, "size": 7}


def test_changed_total_warns_once():
    """A total that changes while pages are read is a warning, once."""
    definition = erp(type="offset", limit=10, total_path="total")
    first = turn(definition, got(rows(0, 10), total=100))
    second = turn(definition, got(rows(10, 10), total=101), first.cursor)
    third = turn(definition, got(rows(20, 10), total=102), second.cursor)
    assert (first.warnings, third.warnings) == ((), ())
    assert "changed from 100 to 101" in second.warnings[0]


def test_falling_total_leaves_the_read_incomplete():
    """A total that falls: rows moved up, some may have been passed over. It is no stop either until a page is short."""
    definition = erp(type="offset", limit=10, total_path="total")
    first = turn(definition, got(rows(0, 10), total=30))
    second = turn(definition, got(rows(11, 10), total=20), first.cursor)
    assert isinstance(second, More)
    assert "from 30 to 20" in second.warnings[0]
    assert "watermark stays" in second.warnings[0]
    assert turn(definition, got(rows(21, 9), total=29), second.cursor) == Last(complete=False)


@pytest.mark.parametrize("kind", ["offset", "page"])
def test_pages_that_overlap(kind: str):
    """A row that comes again shows that rows moved: it is said once, and the total ends nothing but a short page does."""
    definition = erp(type=kind, limit=10, total_path="total")
    first = turn(definition, got(rows(0, 10), total=30))
    second = turn(definition, got(rows(9, 10), total=30), first.cursor)
    assert "page 2 repeats rows of the page before" in second.warnings[0]
    third = turn(definition, got(rows(18, 10), total=30), second.cursor)
    assert isinstance(third, More)
    assert turn(definition, got(rows(27, 3), total=30), third.cursor) == Last()
    assert third.warnings == ()


def test_rows_that_stand_twice_in_a_page():
    """A page with more rows than were asked for, one of them twice: the next offset passes over no other row."""
    definition = erp(type="offset", limit=10, total_path="total")
    result = turn(definition, got([*rows(0, 10), *rows(9, 1)], total=20))
    assert paging.parameters(definition.pagination, result.cursor)["offset"] == 10
    assert turn(definition, got(rows(10, 10), total=20), result.cursor) == Last()


def test_equal_rows_are_the_erps_business():
    """Equal rows in a page of the right size are counted like all others."""
    definition = erp(type="offset", limit=10, total_path="total")
    result = turn(definition, got([{"id": 1}] * 10, total=30))
    assert paging.parameters(definition.pagination, result.cursor)["offset"] == 10


def test_ending_short_of_the_total():
    """An empty page before the total is a warning, and the read is not complete: the watermark must not move."""
    definition = erp(type="offset", limit=10, total_path="total")
    first = turn(definition, got(rows(0, 10), total=100))
    last = turn(definition, got([], total=100), first.cursor)
    assert isinstance(last, Last)
    assert not last.complete
    assert "10 of 100" in last.warnings[0]


def test_total_without_rows_is_an_error():
    """An ERP that counts rows and gives none is not an empty success."""
    with pytest.raises(ReadError, match="gives none"):
        turn(erp(type="page", total_path="total"), got([], total=5))


def test_missing_total_warns():
    """Without the total that the flow expects the read goes by short pages, and says so."""
    result = turn(erp(type="offset", total_path="meta.total"), got(rows(0, 3)))
    assert isinstance(result, Last)
    assert "meta.total" in result.warnings[0]


@pytest.mark.parametrize("ceiling", [10_000, 100_000])
def test_round_ceiling_warns(ceiling: int):
    """A read that stops at a round number of rows may have been cut off."""
    result = turn(erp(type="offset"), got([]), Cursor(position=ceiling, rows=ceiling, pages=100))
    assert f"exactly {ceiling:,} rows" in result.warnings[0]


def test_round_total_is_no_ceiling():
    """Where the ERP's total is that round number, all is well."""
    definition = erp(type="offset", total_path="total")
    result = turn(definition, got(rows(9_900, 100), total=10_000), Cursor(position=9_900, rows=9_900, pages=99))
    assert result == Last()


def test_seek():
    """Seek goes on from the last row's value until an empty page, and sends no marker the first time."""
    definition = erp(type="seek", param="after", value_path="key.id", limit=2)
    assert paging.parameters(definition.pagination, paging.first(definition.pagination)) == {"limit": 2}
    result = turn(definition, got([{"key": {"id": 7}}]))
    assert paging.parameters(definition.pagination, result.cursor) == {"after": 7, "limit": 2}
    assert isinstance(turn(definition, got([]), result.cursor), Last)


def test_rows_that_are_added_while_others_are_read():
    """They came after the bound that the watermark moves to: the next run asks for them, this one is complete."""
    definition = erp(type="next")
    first = turn(definition, got(rows(0, 10), count=12, next="?p=2"))
    assert turn(definition, got(rows(10, 2), count=14), first.cursor) == Last()
    assert not turn(definition, got(rows(10, 1), count=14), first.cursor).complete


def seek(*pages: list[int]) -> tuple[Any, list[str]]:
    """The last turn over pages of rows with these markers and then an empty one, and all warnings."""
    definition, cursor, warnings = erp(type="seek", param="after", value_path="id", limit=3), None, []
    for number, page in enumerate((*pages, [])):
        result = turn(definition, got([{"id": marker, "n": number} for marker in page]), cursor)
        cursor = getattr(result, "cursor", None)
        warnings += result.warnings
    return result, warnings


@pytest.mark.parametrize(
    ("pages", "complaint"),
    [
        (([1, 2, 2], [3]), "several rows share the marker at the end of page 1"),
        (([1, 2, 2],), "several rows share"),
        (([2, 2], [3]), "several rows share"),
        (([1, 9, 4], [5]), "the rows of page 1 are not sorted"),
        (([1, 2, 2], [3, 4, 4], [9, 5, 7]), "several rows share the marker at the end of page 1"),
    ],
)
def test_seek_that_passes_rows_over(pages: tuple[list[int], ...], complaint: str):
    """Markers that are shared where a page ends, or unsorted, are said once; the read is not complete."""
    result, warnings = seek(*pages)
    assert isinstance(result, Last)
    assert not result.complete
    assert [complaint in warning for warning in warnings] == [True]


@pytest.mark.parametrize("pages", [([1, 2, 3], [4, 5]), ([2, 2, 3], [4]), ([9, 8, 7], [6]), ([1, 2, 3], [4, 4])])
def test_seek_that_passes_nothing_over(pages: tuple[list[int], ...]):
    """Markers that rise or fall, and those that are shared where no page ends, lead to every row."""
    assert seek(*pages) == (Last(), [])


@pytest.mark.parametrize("value", [None, True, {}, [], ""])
def test_seek_without_marker(value: Any):
    """A last row without a usable marker is an error that names the path."""
    with pytest.raises(ReadError, match="value_path 'id'"):
        turn(erp(type="seek", param="after", value_path="id"), got([{"id": value}]))


def test_seek_that_does_not_advance():
    """The same marker again is an error, though the rows differ."""
    definition = erp(type="seek", param="after", value_path="id")
    first = turn(definition, got([{"id": 5, "n": 1}]))
    with pytest.raises(ReadError, match="does not advance"):
        turn(definition, got([{"id": 5, "n": 2}]), first.cursor)


@pytest.mark.parametrize("value", [None, "", "  ", False, [], {}, 0])
@pytest.mark.parametrize("kind", ["url", "token"])
def test_next_ends(kind: str, value: Any):
    """Nothing, null or an empty value under the field ends the read."""
    assert turn(erp(type="next", kind=kind, param="t"), got(rows(0, 3), next=value)) == Last()


def test_next_ends_without_the_field():
    """The field may be absent, and anywhere on its path something may be missing."""
    assert turn(erp(type="next", field="meta.next"), got(rows(0, 3))) == Last()


def test_next_token():
    """A token goes into its parameter; numbers are tokens too."""
    definition = erp(type="next", kind="token", param="cursor", field="meta.next")
    result = turn(definition, got(rows(0, 3), meta={"next": 17}))
    assert paging.parameters(definition.pagination, result.cursor) == {"cursor": "17"}


@pytest.mark.parametrize("value", [{"href": "x"}, ["x"], True, 1.5])
def test_next_token_of_a_wrong_type(value: Any):
    """What is no token is an error."""
    with pytest.raises(ReadError, match="token was expected"):
        turn(erp(type="next", kind="token", param="t"), got(rows(0, 3), next=value))


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("https://erp.example.com/images/?page=2", "https://erp.example.com/images/?page=2"),
        ("https://ERP.example.com:443/x", "https://ERP.example.com:443/x"),
        ("/images/?page=2", "https://erp.example.com/images/?page=2"),
        ("?page=2", "https://erp.example.com/images/?page=2"),
        ("two", "https://erp.example.com/images/two"),
        ("?q=a b#top", "https://erp.example.com/images/?q=a%20b"),
        ("?sig=a%2Bb%7E", "https://erp.example.com/images/?sig=a%2Bb%7E"),
    ],
)
def test_next_url(target: str, url: str):
    """Links may be absolute or relative; they are asked for as they are written."""
    result = turn(erp(type="next"), got(rows(0, 3), next=target))
    assert isinstance(result, More)
    assert result.cursor.url == url


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example.com/x",
        "//evil.example.com/x",
        "http://erp.example.com/x",
        "https://erp.example.com:8443/x",
        "https://user:pass@erp.example.com/x",
        "https://erp.example.com@evil.example.com/x",
        "https://erp.example.com\\@evil.example.com/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://erp.example.com.evil.example.com/",
        "https://[::1",
        "https://erp.example.com:99999/",
    ],
)
def test_next_url_that_leads_astray(target: str):
    """Another origin, a user name, another scheme, or no URL: refused, without showing more than the origin."""
    with pytest.raises(ReadError, match=r"another origin|cannot be used") as caught:
        turn(erp(type="next"), got(rows(0, 3), next=target))
    assert ":pass@" not in str(caught.value)


@pytest.mark.parametrize("entry", ["cdn.example.com", "cdn.example.com:8443", "CDN.example.com"])
def test_allowed_hosts(entry: str):
    """allow_hosts names a host with any port, or one port of it."""
    definition = erp(type="next", allow_hosts=[entry])
    result = turn(definition, got(rows(0, 1), next="https://cdn.example.com:8443/x"))
    assert isinstance(result, More)


def test_allowed_host_with_another_port():
    """A port that allow_hosts does not name is refused."""
    with pytest.raises(ReadError, match="allow_hosts"):
        turn(erp(type="next", allow_hosts=["cdn.example.com:1"]), got(rows(0, 1), next="https://cdn.example.com/"))


@pytest.mark.parametrize("value", [{"href": "x"}, 17, True])
def test_next_url_of_a_wrong_type(value: Any):
    """What is no URL is an error."""
    with pytest.raises(ReadError, match="URL was expected"):
        turn(erp(type="next"), got(rows(0, 3), next=value))


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('<https://a/?p=2>; rel="next"', "https://a/?p=2"),
        ("<https://a/?p=2>;rel=next", "https://a/?p=2"),
        ('<https://a/1>; rel="prev", <https://a/3>; title="x, y"; rel="last next"', "https://a/3"),
        ('<https://a/1>; rel="prev"', None),
        ('<https://a/1,2;3>; REL="NEXT"', "https://a/1,2;3"),
        ('<https://a/1>; title="a; rel=next"', None),
        ("", None),
        ("nonsense", None),
    ],
)
def test_link_header(header: str, target: str | None):
    """The Link header's rel=next, among others and however quoted."""
    assert next_target(header) == target


def test_next_by_link_header():
    """`field: Link` looks at the header, not at the body."""
    definition = erp(type="next", field="Link")
    result = turn(definition, got(rows(0, 3), link='</images/?c=2>; rel="next"'))
    assert result.cursor.url == "https://erp.example.com/images/?c=2"


def test_next_url_that_is_its_own():
    """A link to the page that holds it is a circle."""
    with pytest.raises(ReadError, match="circles"):
        turn(erp(type="next"), got(rows(0, 3), next=URL))


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 21])
@pytest.mark.parametrize("before", [0, 4, 11])
def test_circles_of_any_length(length: int, before: int):
    """Tokens that go in a circle are found after a few rounds, though only a handful is remembered."""
    definition = erp(type="next", kind="token", param="t")
    cursor = paging.first(definition.pagination)
    with pytest.raises(ReadError, match="repeated token"):
        for number in range(1000):
            step = number if number < before else before + (number - before) % length
            cursor = turn(definition, got([], next=f"t{step}"), cursor).cursor
    assert cursor.pages <= 4 * (before + length) + 4


def test_cursor_stays_small():
    """What is remembered between pages does not grow with their number."""
    definition = erp(type="next", kind="token", param="t")
    cursor = paging.first(definition.pagination)
    for number in range(2000):
        cursor = turn(definition, got(rows(number, 1), next=f"t{number}"), cursor).cursor
    assert len(paging.dump(cursor)) < 1000


@pytest.mark.parametrize("pagination", [{"type": "offset", "limit": 3}, {"type": "page", "limit": 3}])
def test_repeated_page(pagination: dict[str, Any]):
    """A page that came before is an error that says so."""
    definition = erp(**pagination)
    first = turn(definition, got(rows(0, 3)))
    with pytest.raises(ReadError, match="repeated page"):
        turn(definition, got(rows(0, 3)), first.cursor)


def test_empty_pages_may_repeat():
    """Empty pages in the middle of a chain of tokens are no circle."""
    definition = erp(type="next", kind="token", param="t")
    first = turn(definition, got([], next="a"))
    assert isinstance(turn(definition, got([], next="b"), first.cursor), More)


def test_max_pages():
    """More pages than max_pages are an error that names the number."""
    definition = erp(type="offset", limit=1, max_pages=2)
    first = turn(definition, got(rows(0, 1)))
    with pytest.raises(ReadError, match="more than 2 pages"):
        turn(definition, got(rows(1, 1)), first.cursor)


@given(st.lists(st.text(max_size=3), max_size=40))
def test_trail_knows_its_last_steps(marks: list[str]):
    """The last few steps are always remembered."""
    trail = Trail()
    for mark in marks:
        trail = trail.then(mark)
    assert all(trail.has(mark) for mark in marks[-paging.RECENT :])


PAGINATIONS = [
    {"type": "offset"},
    {"type": "offset", "total_path": "total"},
    {"type": "page"},
    {"type": "page", "total_path": "total"},
    {"type": "seek", "param": "after", "value_path": "id"},
    {"type": "next", "field": "next"},
    {"type": "next", "kind": "token", "param": "cursor"},
]


def honest(pagination: dict[str, Any], cursor: Cursor, size: int, limit: int, cap: int) -> Got:
    """A page of an honest ERP of `size` rows that grants at most `cap` rows a page."""
    granted = min(limit, cap)
    start = cursor.position or 0
    if pagination["type"] == "page":
        start = ((cursor.position or 1) - 1) * granted
    elif pagination["type"] == "seek":
        start = 0 if cursor.marker is None else int(cursor.marker) + 1
    elif pagination["type"] == "next":
        start = int((cursor.token or cursor.url or "=0").rpartition("=")[2])
    page = rows(start, max(0, min(granted, size - start)))
    end = start + len(page)
    target = f"?start={end}" if pagination.get("kind") != "token" else str(end)
    return got(page, total=size, next=target if end < size else None)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PAGINATIONS), st.integers(0, 60), st.integers(1, 12), st.integers(1, 12))
def test_paging_ends_and_skips_nothing(pagination: dict[str, Any], size: int, limit: int, cap: int):
    """On an honest ERP of any size every row comes exactly once, and the read ends; the cursor survives its storage.

    An ERP that caps the limit is read in full where something but the page's length says how it ends.
    """
    by_length = pagination["type"] in ("offset", "page") and "total_path" not in pagination
    cap = limit if by_length else cap
    limits = {} if pagination["type"] == "next" else {"limit": limit}
    definition = erp(**pagination, **limits)
    cursor, seen = paging.first(definition.pagination), []
    for _ in range(2 * size + 3):
        page = honest(pagination, cursor, size, limit, cap)
        seen += [row["id"] for row in page.rows]
        result = paging.turn(definition, cursor, page)
        if isinstance(result, Last):
            break
        loaded = paging.load(paging.dump(result.cursor))
        assert loaded == result.cursor
        cursor = loaded
    assert isinstance(result, Last)
    assert result.complete
    assert seen == list(range(size))
