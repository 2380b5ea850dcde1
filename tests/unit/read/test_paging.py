"""Paging, whatever the type: counting, circles, foreign URLs, what the end of a read leaves open."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageflow.errors import ReadError
from imageflow.model.pagination.contract import Got, Last, More, Pagination
from imageflow.model.pagination.cursor import Cursor, dump, load
from imageflow.read import paging
from tests.unit.model.pagination.pages import URL, erp, got, rows, turn
from tests.unit.read.flows import flow
from tests.unit.read.parts import DAYS, DayPagesPagination, WeekdayPagination, paged


def test_none_warns_of_more():
    """An answer that counts more rows than it gave is worth a warning, and leaves the read incomplete."""
    result = turn(erp(type="none"), got(rows(0, 100), count=250))
    assert "count is 250" in result.warnings[0]
    assert not result.complete


def test_what_one_answer_tells():
    """Without pagination it is the whole read, and is judged as the reader does; else nothing is known of the pages beside it."""
    page = got(rows(0, 100), count=250)
    assert paging.alone(erp(type="none"), page) == turn(erp(type="none"), page).warnings
    assert paging.alone(erp(type="none"), got(rows(0, 100), count=100)) == ()
    assert paging.alone(erp(type="next"), page) == ()


@pytest.mark.parametrize("beside", [{"count": 11}, {"total": "11"}, {"has_more": True}])
def test_next_that_is_lost(beside: dict[str, Any]):
    """No next page, though the same answer speaks of more rows: the read ends, but not as complete."""
    result = turn(erp(type="next"), got(rows(0, 10), **beside))
    assert isinstance(result, Last)
    assert (len(result.warnings), result.complete) == (1, False)


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


def test_rows_that_are_added_while_others_are_read():
    """They came after the bound that the watermark moves to: the next run asks for them, this one is complete."""
    definition = erp(type="next")
    first = turn(definition, got(rows(0, 10), count=12, next="?p=2"))
    assert turn(definition, got(rows(10, 2), count=14), first.cursor) == Last()
    assert not turn(definition, got(rows(10, 1), count=14), first.cursor).complete


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
    cursor = definition.pagination.first()
    with pytest.raises(ReadError, match="repeated token"):
        for number in range(1000):
            step = number if number < before else before + (number - before) % length
            cursor = turn(definition, got(rows(number, 1), next=f"t{step}"), cursor).cursor
    assert cursor.pages <= 4 * (before + length) + 4


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
    cursor, seen = definition.pagination.first(), []
    for _ in range(2 * size + 3):
        page = honest(pagination, cursor, size, limit, cap)
        seen += [row["id"] for row in page.rows]
        result = turn(definition, page, cursor)
        if isinstance(result, Last):
            break
        loaded = load(dump(result.cursor))
        assert loaded == result.cursor
        cursor = loaded
    assert isinstance(result, Last)
    assert result.complete
    assert seen == list(range(size))


def test_long_urls_are_refused():
    """A URL longer than any server takes is an error, not a request."""
    with pytest.raises(ReadError, match="has 20,000 characters"):
        turn(erp(type="next"), got(rows(0, 1), next="x" * 20_000))


def test_a_list_as_the_answer_says_nothing_of_more():
    """Where the answer is the list itself there is no count to contradict the end."""
    definition = erp(type="offset")
    assert turn(definition, Got(rows(0, 3), rows(0, 3), "", URL)) == Last()


def test_a_ceiling_below_the_total_is_said_once():
    """The total that was not reached says it already."""
    definition = erp(type="offset", total_path="total")
    cursor = Cursor(position=10_000, rows=10_000, pages=100, total=20_000)
    result = turn(definition, got([], total=20_000), cursor)
    assert [("10,000 of 20,000" in warning) for warning in result.warnings] == [True]


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://erp.example.com/x", True),
        ("https://erp.example.com:443/", True),
        ("http://erp.example.com/", False),
        ("https://[::1", False),
        ("nonsense", False),
    ],
)
def test_own_origin(url: str, own: bool):
    """Only the ERP's own origin gets its login; what cannot be read is no one's."""
    assert paging.is_own(erp(type="none"), url) is own


def test_allowed_ipv6_hosts():
    """With or without brackets."""
    for entry in ("[::1]", "::1", "[::1]:8443"):
        definition = erp(type="next", allow_hosts=[entry])
        assert isinstance(turn(definition, got(rows(0, 1), next="https://[::1]:8443/x")), More)


# what answers say of the end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", sorted(paging.PAST_THE_END))
def test_refusals(status: int):
    """A refusal ends a read that is complete, or that only a short page's word led on; else it is an error."""
    full = turn(erp(type="page", limit=10), got(rows(0, 10), total=10)).cursor
    assert paging.refused(full, status) == Last(kept=False)
    short = turn(erp(type="page", limit=10), got(rows(0, 9), total=33)).cursor
    found = paging.refused(short, status)
    assert found is not None
    assert (found.complete, found.kept) == (False, False)
    assert f"total is 33, but the ERP answered {status}" in found.warnings[0]
    assert paging.refused(turn(erp(type="page", limit=10), got(rows(0, 10), total=33)).cursor, status) is None
    assert paging.refused(Cursor(), status) is None
    assert paging.refused(full, 500) is None


def test_an_answer_that_means_no_rows():
    """It ends the read, but not against a total that was stated before."""
    assert paging.none_came(Cursor()) == Last(kept=False)
    more = paging.none_came(turn(erp(type="page", limit=10), got(rows(0, 10), total=33)).cursor)
    assert (more.complete, "spoke of 33" in more.warnings[0]) == (False, True)
    assert not paging.none_came(Cursor(lacking=True)).complete


def test_an_answer_that_means_no_rows_past_the_end():
    """Once the ERP has said that all rows came, a larger total beside that one (of another filter) holds nothing up."""
    definition, beside = erp(type="page", limit=10), {"total": 20, "totalFound": 33}
    cursor = turn(definition, got(rows(0, 10), **beside)).cursor
    cursor = turn(definition, got(rows(10, 10), **beside), cursor).cursor
    assert paging.none_came(cursor) == Last(kept=False)


@pytest.mark.parametrize(
    ("beside", "ends"),
    [({"total": 20}, True), ({"hasMore": False}, True), ({"next": None}, True), ({"total": 33}, False), ({}, False)],
)
def test_a_page_that_comes_again(beside: dict[str, Any], ends: bool):
    """Past the end it is no page of its own; while rows may be missing it is an error."""
    definition = erp(type="page", limit=10)
    cursor = turn(definition, got(rows(0, 10))).cursor
    cursor = turn(definition, got(rows(10, 10)), cursor).cursor
    if ends:
        assert turn(definition, got(rows(10, 10), **beside), cursor) == Last(kept=False)
    else:
        with pytest.raises(ReadError, match="repeated page"):
            turn(definition, got(rows(10, 10), **beside), cursor)


def test_a_page_that_comes_again_after_the_total():
    """The flow's own total ends the read as well, unless rows move between pages."""
    definition = erp(type="page", limit=10, total_path="n")
    cursor = turn(definition, got(rows(0, 10), n=20)).cursor.but(rows=20, total=20)
    assert turn(definition, got(rows(0, 10), n=20), cursor) == Last(kept=False)
    with pytest.raises(ReadError, match="repeated page"):
        turn(definition, got(rows(0, 10), n=20), cursor.but(rows_move=True))


@pytest.mark.parametrize("kind", ["url", "token"])
def test_an_empty_page_that_names_itself(kind: str):
    """It repeats how it was asked for: the end. One that names an older page goes in circles."""
    definition = erp(type="next", kind=kind, **({"param": "t"} if kind == "token" else {}))
    cursor = turn(definition, got(rows(0, 3), next="?t=a")).cursor
    cursor = turn(definition, got(rows(3, 3), next="?t=b")).cursor.but(pages=2, rows=6)
    assert turn(definition, got([], next="?t=b", url=URL + "?t=b"), cursor) == Last()
    with pytest.raises(ReadError, match="circles"):
        turn(definition, got(rows(6, 1), next="?t=b", url=URL + "?t=b"), cursor)
    assert turn(definition, got(rows(6, 1), next="?t=b", hasMore=False, url=URL + "?t=b"), cursor) == Last()


def test_a_short_page_goes_on_where_its_answer_says_so():
    """Not an empty one, and not where the flow names the total."""
    definition = erp(type="offset", limit=10)
    more = turn(definition, got(rows(0, 4), links={"next": "?page=2"}))
    assert (more.cursor.position, more.cursor.rows) == (4, 4)
    end = turn(definition, got([], links={"next": "?page=3"}), more.cursor)
    assert (isinstance(end, Last), end.complete) == (True, False)
    same = turn(definition, got([], links={"next": "?page=2"}), more.cursor)
    assert same == Last()
    assert not turn(erp(type="offset", limit=10), got([], hasMore=True), more.cursor).complete


@pytest.mark.parametrize("kind", ["url", "token"])
def test_an_empty_page_that_names_an_older_one(kind: str):
    """Only one that names itself ends the read: this one goes in circles, and rows may be missing."""
    definition = erp(type="next", kind=kind, **({"param": "t"} if kind == "token" else {}))
    first = turn(definition, got(rows(0, 3), next="?t=a"))
    second = turn(definition, got(rows(3, 3), next="?t=b", url=URL + "?t=a"), first.cursor)
    with pytest.raises(ReadError, match="circles"):
        turn(definition, got([], next="?t=a", url=URL + "?t=b"), second.cursor)


# answers that speak of a part ----------------------------------------------------------------------------------------


class Parts(NamedTuple):
    """A read in parts: the days that were asked for, the last turn (None: the ERP's refusal is an error), all warnings."""

    asked: list[str]
    last: Any
    warnings: list[str]


def read(answers: Iterable[Got | int], pagination: Pagination | None = None) -> Parts:
    """Read until the end. An answer is a page or a status; 204 means no rows."""
    definition = paged(flow(), pagination or WeekdayPagination()).erp
    cursor, asked, warnings = definition.pagination.first(), [], []
    for answer in answers:
        asked.append(definition.pagination.parameters(cursor)["day"])
        if isinstance(answer, Got):
            result = paging.turn(definition, cursor, answer)
        elif answer == 204:
            result = paging.without_rows(definition, cursor, URL)
        else:
            result = paging.past_the_end(definition, cursor, answer, URL)
        warnings += result.warnings if result is not None else ()
        if not isinstance(result, More):
            return Parts(asked, result, warnings)
        cursor = load(dump(result.cursor))
    return Parts(asked, result, warnings)


def week(**days: Got | int) -> list[Got | int]:
    """An answer for each day, each with rows of its own and the word that nothing follows, unless given."""
    return [days.get(day, got(rows(10 * number, 2), next=None)) for number, day in enumerate(DAYS)]


@pytest.mark.parametrize(
    "empty", [got([]), got([], next=None), got([], has_more=False), got([], count=0), 204, 404], ids=str
)
@pytest.mark.parametrize("days", [("tue",), ("tue", "wed"), ("tue", "sun"), DAYS[1:]])
def test_an_empty_part_ends_no_read(days: tuple[str, ...], empty: Got | int):
    """However the ERP says that a part has no rows, the read goes on with the part after it."""
    found = read(week(**dict.fromkeys(days, empty)))
    assert (found.asked, found.warnings) == (list(DAYS), [])
    assert found.last == Last(kept=isinstance(empty, Got) or "sun" not in days)


def test_the_first_part_is_empty():
    """A status that means "no rows" goes on at once; a 404 means nothing yet."""
    assert read(week(mon=204)).asked == list(DAYS)
    assert read(week(mon=404)) == Parts(["mon"], None, [])


@pytest.mark.parametrize(
    ("before", "status"), [({}, 404), ({"has_more": True}, 404), ({"next": None}, 400), ({"next": None}, 500)]
)
def test_a_part_that_is_refused(before: dict[str, Any], status: int):
    """It is an error where nobody said that nothing follows, and always where the ERP does not take the request."""
    found = read(week(mon=got(rows(0, 2), **before), tue=status))
    assert (found.asked, found.last) == (["mon", "tue"], None)


@pytest.mark.parametrize("beside", [{}, {"next": None}, {"has_more": False}, {"count": 2}])
def test_equal_rows_of_two_parts(beside: dict[str, Any]):
    """They are no circle, however many parts have them."""
    found = read(week(**dict.fromkeys(DAYS, got(rows(0, 2), **beside))))
    assert found == Parts(list(DAYS), Last(), [])


@pytest.mark.parametrize("beside", [{"has_more": True}, {"count": 3}, {"next": "?page=2"}, {"total_pages": 2}])
@pytest.mark.parametrize("day", ["mon", "wed", "sun"])
def test_a_part_that_is_left_too_early(day: str, beside: dict[str, Any]):
    """An answer that speaks of more rows of its part: the read goes on, warns, and is incomplete."""
    found = read(week(**{day: got(rows(0, 2), **beside)}))
    assert (found.asked, found.last.complete) == (list(DAYS), False)
    (warning,) = found.warnings
    page, (name, _) = DAYS.index(day) + 1, *beside.items()
    assert warning.startswith(f"the part that ends at page {page}: the read ended after 2 rows, though the answer says")
    assert (f"{name} is " in warning, "watermark stays" in warning) == (True, True)


def test_what_lacks_outlasts_the_parts_after_it():
    """Also where the read ends at an answer that is no page."""
    found = read(week(mon=got(rows(0, 2), has_more=True), sun=204))
    assert (found.last.complete, len(found.warnings)) == (False, 1)


@pytest.mark.parametrize("counts", [(2, 2, 2, 2, 2, 2, 2), (5, 1, 0, 9, 2, 9, 1)])
def test_totals_are_of_their_part(counts: tuple[int, ...]):
    """A total is compared with the rows of its own part, not with those of all."""
    pages = [got(rows(10 * number, count), count=count) for number, count in enumerate(counts)]
    assert read(pages) == Parts(list(DAYS), Last(), [])
    pages[4] = got(rows(40, 2), count=3)
    assert (
        "the read ended after 2 rows, though the answer says that there are more: count is 3" in read(pages).warnings[0]
    )


def test_a_part_of_a_round_number_of_rows():
    """An ERP may cap each part; what all parts have together says nothing."""
    found = read(week(tue=got(rows(0, 10_000))))
    assert [text.partition(" rows")[0] for text in found.warnings] == [
        "the part that ends at page 2: the read ended at exactly 10,000"
    ]
    assert read(week(mon=got(rows(0, 4_000)), tue=got(rows(0, 5_990)))).warnings == []


@pytest.mark.parametrize("answer", [got(rows(0, 2), next=None), got([]), 204])
def test_parts_without_end(answer: Got | int):
    """Parts that are empty, or equal, count as pages: max_pages stops the read."""
    with pytest.raises(ReadError, match="more than 3 pages"):
        read([answer] * 9, WeekdayPagination(max_pages=3))


def test_pages_of_one_part():
    """What leads on within a part is no warning; each part may use the same tokens, and the same rows."""
    pages = [got(rows(0, 2), count=3, token="a"), got(rows(2, 1), count=3)] * len(DAYS)
    linked = [
        page for n in range(7) for page in (got(rows(0, 2), count=3, next=f"?day={n}&p=2"), got(rows(2, 1), count=3))
    ]
    found = read(pages, DayPagesPagination())
    assert read(linked, DayPagesPagination()) == found
    assert found == Parts([day for day in DAYS for _ in range(2)], Last(), [])


@pytest.mark.parametrize("over", [got(rows(0, 2)), 204, 400, 404])
def test_past_the_end_of_a_part(over: Got | int):
    """What would end a read after the word that all came ends its part: it is no page, and nothing lacks."""
    pages = [got(rows(0, 2), has_more=False, token="a"), over, *week()[1:]]
    found = read(pages, DayPagesPagination())
    assert found == Parts(["mon", *DAYS], Last(), [])
    definition = paged(flow(), DayPagesPagination()).erp
    again = paging.turn(definition, paging.turn(definition, Cursor(position=0), pages[0]).cursor, pages[0])
    assert (again.kept, again.cursor.position, again.cursor.rows, again.cursor.rows_before) == (False, 1, 2, 2)


def test_a_part_that_is_short_of_its_total():
    """An answer without rows does not make up for a total that was stated before it."""
    found = read([got(rows(0, 2), count=5, token="a"), 204, *week()[1:]], DayPagesPagination())
    assert (found.asked, found.last.complete) == (["mon", *DAYS], False)
    assert "the part that ends at page 2: the read ended after 2 rows, though the ERP spoke of 5" in found.warnings[0]


@pytest.mark.parametrize(
    ("pages", "error"),
    [
        ([got(rows(0, 2), token="a"), got(rows(0, 2), token="b")], "repeated page"),
        ([got(rows(0, 2), next="?p=2"), got(rows(2, 2), next="?p=2")], "goes in circles"),
        ([got(rows(0, 2), next="?p=2"), got([], next="?p=2")], "goes in circles"),
    ],
)
def test_circles_within_a_part(pages: list[Got], error: str):
    """They are errors: they would never lead to the next part."""
    with pytest.raises(ReadError, match=error):
        read(pages, DayPagesPagination())
