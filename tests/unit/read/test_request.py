"""Requests: bounds, parameters, dates, identifiers, dynamic URLs, headers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageflow.errors import ReadError
from imageflow.model.pagination.cursor import Cursor
from imageflow.read import request
from imageflow.read.login import with_secrets
from imageflow.read.request import Question

from .flows import NOW, flow, run

SINCE = datetime(2025, 12, 21, 12, 0, 30, tzinfo=UTC)
ZONES = ["Europe/Istanbul", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Asia/Kathmandu"]


def query(definition: Any, run_: Any = None, cursor: Cursor | None = None) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(asked(definition, run_, cursor).url).query, keep_blank_values=True)


def asked(definition: Any, run_: Any = None, cursor: Cursor | None = None) -> request.Question:
    return request.build(definition, run_ or run(since=SINCE), cursor or definition.erp.pagination.first())


def test_parameters_in_order():
    """Watermark, constants, identifiers or extra parameters, pagination: in this order."""
    definition = flow(
        query_settings={
            "sku": {"key": "skus", "type": "string"},
            "modified_date__gt": {"key": "changed", "type": "datetime"},
            "custom": {"key": "status", "type": "string", "value": "active"},
        },
        extra_params={"lang": ["tr", "en"], "flag": True, "none": None},
        pagination={"type": "offset"},
    )
    assert query(definition) == [
        ("changed", "2025-12-21T12:00:30.000000"),
        ("status", "active"),
        ("lang", "tr"),
        ("lang", "en"),
        ("flag", "true"),
        ("offset", "0"),
        ("limit", "100"),
    ]


EXPRESSIONS = {
    "sku": {"key": "$filter", "template": "No in ({value})"},
    "modified_date__gt": {"key": "$filter", "type": "datetime", "template": "At ge {value}"},
    "modified_date__lt": {"key": "$filter", "type": "date", "template": "At lt {value}"},
    "kind": {"key": "$filter", "value": "it's {value}", "template": "Kind eq '{value}'"},
}


def test_expressions():
    """A template words a value; several for one parameter must all hold; what has no value is left out."""
    definition = flow(query_settings=EXPRESSIONS, date_format="%Y-%m-%dT%H:%M:%SZ")
    assert query(definition) == [("$filter", "At ge 2025-12-21T12:00:30Z and Kind eq 'it's {value}'")]
    assert query(definition, run()) == [("$filter", "Kind eq 'it's {value}'")]
    assert query(definition, run(ids=("A", "B"))) == [("$filter", "Kind eq 'it's {value}' and No in (A,B)")]
    window = run(since=SINCE, until=SINCE + timedelta(days=2), window=True)
    assert query(definition, window) == [
        ("$filter", "At ge 2025-12-21T12:00:30Z and Kind eq 'it's {value}' and At lt 2025-12-23T12:00:30Z")
    ]
    named = flow(query_settings=EXPRESSIONS, modified_date_key="$filter", date_format="%Y")
    assert query(named)[0][1].startswith("At ge 2025 and")


UPPER = {
    "since": {"key": "since", "type": "datetime"},
    "modified_date__lt": {"key": "before", "type": "date"},
}


def test_a_window():
    """Its upper bound is sent where it has a parameter; other runs send none; `now` stays the instant of the request."""
    definition = flow(query_settings=UPPER, endpoint="https://erp.example.com/images/?day={now:%Y}")
    window = run(since=SINCE, until=datetime(2025, 12, 24, tzinfo=UTC), window=True)
    lower = ("since", "2025-12-21T12:00:30.000000")
    assert query(definition, window) == [("day", "2026"), lower, ("before", "2025-12-24")]
    assert query(definition) == [("day", "2026"), lower]
    assert query(flow(query_settings=UPPER), run(since=SINCE, until=None, window=True)) == [lower]


def test_an_upper_bound_in_the_url():
    """The placeholder is the window's bound, and that of the run where there is no window."""
    definition = flow(query_settings=UPPER, endpoint="https://erp.example.com/{modified_date__lt}/")
    window = run(since=SINCE, until=datetime(2025, 12, 24, tzinfo=UTC), window=True)
    assert urlsplit(asked(definition, window).url).path == "/2025-12-24/"
    assert urlsplit(asked(definition).url).path == "/2026-11-24/"
    assert "before" not in asked(definition, window).url


@pytest.mark.parametrize(
    ("fields", "upper", "since"),
    [
        ({}, None, False),
        ({"modified_date_key": "since"}, None, True),
        ({"query_settings": UPPER}, "modified_date__lt", True),
        ({"endpoint": "https://erp.example.com/{modified_date}/", "initial_since": "2026-01-01"}, None, True),
        ({"query_settings": {"modified_date__lte": {"key": "to", "type": "datetime"}}}, "modified_date__lte", False),
        ({"query_settings": {"modified_date__lt": {"key": "to", "type": "datetime", "value": "x"}}}, None, False),
    ],
)
def test_which_windows_a_flow_takes(fields, upper, since):
    """A flow says since when it asks, and up to when, if it has parameters for that."""
    erp = request.erp_of(flow(**fields))
    found = request.upper_setting(erp)
    assert (found and found[0], request.takes_since(erp)) == (upper, since)


@pytest.mark.parametrize(
    ("question", "parameters"),
    [
        (
            Question("GET", "https://e.example/x?a=1&b=&a=2&c=%C3%A7+d&a=3", None),
            {"a": ["1", "2", "3"], "b": "", "c": "ç d"},
        ),
        (Question("GET", "https://e.example/x", None), {}),
        (
            Question("POST", "https://e.example/x?v=2&a=0", b'{"a":1,"f":{"g":null}}'),
            {"v": "2", "a": 1, "f": {"g": None}},
        ),
    ],
)
def test_the_parameters_of_a_request(question, parameters):
    """Those of the query as texts, those of the body as they are; a repeated one is a list."""
    assert request.asked(question) == parameters


def test_secrets_are_not_among_the_parameters():
    """Neither by their own name nor inside an object, nor where a link of the ERP repeats one; what stands beside them is."""
    plain = flow(
        query_settings={"key": {"key": "k", "value": {"env": "K"}}},
        extra_params={"deep": {"token": {"env": "T"}, "x": 1}, "brand": "b"},
    )
    filled = with_secrets(plain, {"K": "s3cret", "T": "t0ken"})
    assert plain.erp is not None and filled.erp is not None
    hidden = request.hidden(plain.erp, filled.erp)
    question = Question(
        "POST", "https://e.example/x?key=v1.s3cret&a=1", b'{"deep":{"token":"t0ken","x":1},"k":"s3cret","brand":"b"}'
    )
    assert request.asked(question, hidden) == {"a": "1", "brand": "b"}


def test_post_body():
    """A POST carries the parameters as JSON, typed as query_settings says."""
    definition = flow(
        method="POST",
        query_settings={
            "since": {"key": "since", "type": "datetime"},
            "a": {"key": "a", "type": "integer", "value": "5"},
            "b": {"key": "b", "type": "boolean", "value": "true"},
            "c": {"key": "c", "type": "number", "value": "1.5"},
        },
        extra_params={"filter": {"deep": [1]}, "nothing": None},
        pagination={"type": "seek", "param": "after", "value_path": "id", "limit": 5},
    )
    question = asked(definition, cursor=Cursor(marker=7))
    assert question.method == "POST"
    assert msgspec.json.decode(question.body or b"") == {
        "since": "2025-12-21T12:00:30.000000",
        "a": 5,
        "b": True,
        "c": 1.5,
        "filter": {"deep": [1]},
        "nothing": None,
        "after": 7,
        "limit": 5,
    }


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"modified_date_key": "since"}, ["since"]),
        (
            {
                "modified_date_key": "since",
                "query_settings": {"modified_date__gt": {"key": "changed", "type": "datetime"}},
            },
            ["since"],
        ),
        ({"query_settings": {"modified_date__gt": {"key": "changed"}}}, ["changed"]),
        ({"query_settings": {"anything": {"key": "changed", "type": "datetime"}}}, ["changed"]),
        ({"query_settings": {"a": {"key": "a", "type": "datetime"}, "b": {"key": "b", "type": "datetime"}}}, []),
        ({"query_settings": {"a": {"key": "a", "type": "datetime", "value": "2020-01-01"}}}, ["a"]),
        ({}, []),
    ],
)
def test_watermark_parameter(fields: dict[str, Any], names: list[str]):
    """Which parameter carries the watermark: modified_date_key, modified_date__gt, the only datetime, or none."""
    assert [name for name, _ in query(flow(**fields))] == names


def test_no_watermark_in_the_first_run():
    """Without a watermark nothing is sent in its place."""
    assert query(flow(modified_date_key="since"), run()) == []


def test_query_of_the_endpoint_is_kept():
    """What endpoint_url has in its query stays as written; a parameter of the same name is replaced."""
    definition = flow(
        endpoint="https://erp.example.com/i?key=a%2Bb+c&limit=5&x", pagination={"type": "page", "limit": 50}
    )
    assert asked(definition).url == "https://erp.example.com/i?key=a%2Bb+c&x&page=1&limit=50"


def test_next_url_is_asked_for_as_it_is():
    """A link carries everything: nothing is added to it."""
    definition = flow(modified_date_key="since", extra_params={"a": "b"}, pagination={"type": "next"})
    assert asked(definition, cursor=Cursor(url="https://erp.example.com/x?c=1")).url == "https://erp.example.com/x?c=1"


@pytest.mark.parametrize(
    ("kind", "form", "text"),
    [
        ("datetime", None, "2025-12-21T15:00:30.000000"),
        ("date", None, "2025-12-21"),
        ("integer", None, "1766318430"),
        ("datetime", "%d.%m.%Y %H:%M", "21.12.2025 15:00"),
        ("datetime", "%s", "1766318430"),
        ("datetime", "100%%%s", "100%1766318430"),
    ],
)
def test_date_format(kind: str, form: str | None, text: str):
    """Dates are written in date_format in the flow's timezone; dates, numbers and %s as they should be."""
    fields = {} if form is None else {"date_format": form}
    definition = flow(query_settings={"d": {"key": "d", "type": "datetime"}}, _timezone="Europe/Istanbul", **fields)
    assert request.written(definition, SINCE, kind) == text


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31)),
    st.timedeltas(timedelta(0), timedelta(hours=5)),
)
def test_no_change_is_missed_across_clock_changes(zone_name: str, naive: datetime, later: timedelta):
    """The property behind the watermark: a row changed at or after the bound is never stamped before what is asked for,
    and whichever way an ERP reads an ambiguous local time, it is not after the bound.
    """
    zone, bound = ZoneInfo(zone_name), naive.replace(tzinfo=UTC)
    asked_for = request.wall_time(bound, zone).replace(tzinfo=None)
    stamped = (bound + later).astimezone(zone).replace(tzinfo=None)
    assert stamped >= asked_for
    assert all(asked_for.replace(tzinfo=zone, fold=fold).astimezone(UTC) <= bound for fold in (0, 1))


def test_clocks_go_back():
    """In the hour that comes twice the bound moves before both passes; in its second pass it stays."""
    zone = ZoneInfo("Europe/Berlin")
    assert f"{request.wall_time(datetime(2026, 10, 25, 0, 30, tzinfo=UTC), zone):%H:%M}" == "01:30"
    assert f"{request.wall_time(datetime(2026, 10, 25, 1, 30, tzinfo=UTC), zone):%H:%M}" == "02:30"


def test_since():
    """The overlap before the watermark; without one initial_since as it is; without that nothing."""
    definition = flow(overlap="10m", initial_since="2026-01-01", _timezone="Europe/Istanbul")
    assert request.since(definition, SINCE) == SINCE - timedelta(minutes=10)
    assert request.since(definition, None) == datetime(2025, 12, 31, 21, tzinfo=UTC)
    assert request.since(flow(), None) is None


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T03:00:00+03:00", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-10-25T02:30:00", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        ("2026-03-29T02:30:00", datetime(2026, 3, 29, 0, 30, tzinfo=UTC)),
    ],
)
def test_initial_since(text: str, instant: datetime):
    """initial_since with an offset is an instant; a local time that is ambiguous or skipped means the earlier one."""
    assert request.initial_since(flow(initial_since=text, _timezone="Europe/Berlin")) == instant


def test_initial_since_that_is_no_date():
    """A date that cannot be read fails the read with the field's name."""
    with pytest.raises(ReadError, match="initial_since"):
        request.initial_since(flow(initial_since="yesterday"))


SKU = {"sku": {"key": "codes", "type": "string"}}


def test_identifiers():
    """A run by identifiers sends them joined by commas, and no watermark."""
    definition = flow(query_settings=SKU, modified_date_key="since")
    assert query(definition, run(ids=("A 1", "B/2"))) == [("codes", "A 1,B/2")]


def test_identifiers_without_a_parameter():
    """Where the flow names no parameter for identifiers the error says what to add."""
    with pytest.raises(ReadError, match=r"add erp\.query_settings\.sku"):
        asked(flow(), run(ids=("A",)))


def test_identifier_of_two():
    """With both sku and base_code the one that fetch_missing looks at carries the identifiers."""
    both = {**SKU, "base_code": {"key": "bases"}}
    definition = flow(query_settings=both, _fetch_missing={"identifier_path": "attributes__base_code"})
    assert query(definition, run(ids=("A",))) == [("bases", "A")]
    assert query(flow(query_settings=both), run(ids=("A",))) == [("codes", "A")]


@given(st.lists(st.text(min_size=1, max_size=40), max_size=400))
def test_batches_lose_nothing(ids: list[str]):
    """However many identifiers: all of them, in order, in URLs of a length that servers take."""
    definition = flow(query_settings=SKU)
    parts = request.batches(definition, ids)
    assert [one for part in parts for one in part] == ids
    urls = [asked(definition, run(ids=tuple(ids)), Cursor(batch=n)).url for n in range(len(parts))] if ids else []
    assert all(len(url) < 7000 for url in urls)


@pytest.mark.parametrize(
    ("method", "identifier", "most"),
    [("GET", "x" * 57, 100), ("GET", "ş" * 9 + "xxx", 100), ("POST", "x" * 57, request.MAX_IDENTIFIERS_POSTED)],
)
def test_a_batch_is_filled_to_the_limit_and_no_further(method: str, identifier: str, most: int):
    """In a URL each identifier counts with its encoding and a separator; in a body their number counts."""
    parts = request.batches(flow(query_settings=SKU, method=method), [identifier] * (2 * most + 1))
    assert list(map(len, parts)) == [most, most, 1]


def test_dynamic_url():
    """Placeholders are percent-encoded, and what the URL uses is not sent again."""
    definition = flow(
        endpoint="https://erp.example.com/{now:%Y-%m-%d}/{custom}/{modified_date}/?when={now:%H:%M}",
        query_settings={"custom": {"key": "status", "value": "a/b"}, "m": {"key": "since", "type": "datetime"}},
        initial_since="2025-01-01",
        date_format="%Y-%m-%d %H:%M",
        _timezone="Europe/Istanbul",
    )
    assert asked(definition).url == ("https://erp.example.com/2026-11-24/a%2Fb/2025-12-21%2015%3A00/?when=12%3A30")


def test_dynamic_url_by_identifiers():
    """{sku} is filled by a run by identifiers; {modified_date} then is initial_since."""
    definition = flow(
        endpoint="https://erp.example.com/{sku}/{modified_date}", query_settings=SKU, initial_since="2025-01-01"
    )
    url = asked(definition, run(ids=("A", "B"))).url
    assert url == "https://erp.example.com/A%2CB/2025-01-01T00%3A00%3A00.000000"


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        ("https://erp.example.com/{sku}", "only a run by identifiers"),
        ("https://erp.example.com/{nothing}", "{nothing}"),
        ("https://erp.example.com/{modified_date}", "initial_since"),
        ("https://{custom}.example.com/", "host"),
        ("https://user:pw@erp.example.com/", "user name"),
    ],
)
def test_dynamic_url_without_a_value(endpoint: str, text: str):
    """A placeholder that has no value, or stands where it must not, is an error that says so."""
    with pytest.raises(ReadError, match=text):
        asked(flow(endpoint=endpoint, query_settings={**SKU, "custom": {"key": "c", "value": "x"}}), run())


@pytest.mark.parametrize(("kind", "value"), [("integer", "x"), ("integer", 1.5), ("boolean", "maybe"), ("number", "x")])
def test_constant_of_another_type(kind: str, value: Any):
    """A constant that is not of its type is an error that names it."""
    with pytest.raises(ReadError, match=r"query_settings\.c"):
        asked(flow(query_settings={"c": {"key": "c", "type": kind, "value": value}}))


def test_headers_go_to_the_own_origin_only():
    """Login and extra headers go to the ERP's origin, defaults everywhere; the login's win."""
    definition = flow(extra_headers={"X-Company": "12", "accept": "text/json", "authorization": "old"})
    login = {"Authorization": "secret"}
    own = request.headers(definition.erp, "https://erp.example.com:443/other", login)
    assert own == {
        "Content-Type": "application/json",
        "X-Company": "12",
        "accept": "text/json",
        "Authorization": "secret",
    }
    for foreign in ("https://cdn.example.com/", "http://erp.example.com/", "https://erp.example.com:8/"):
        assert request.headers(definition.erp, foreign, login) == request.DEFAULT_HEADERS


def test_now_is_the_same_for_all_pages():
    """{now} is the run's beginning, so that a read over midnight does not change its mind."""
    definition = flow(endpoint="https://erp.example.com/{now:%d}/")
    assert asked(definition, run(until=NOW, started_at=NOW + timedelta(days=1))).url.endswith("/24/")


# names with dots -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "body"),
    [
        ({"a": 1, "b": [2]}, {"a": 1, "b": [2]}),
        ({"paging.page": 2, "paging.size": 10}, {"paging": {"page": 2, "size": 10}}),
        ({"query": "q", "variables": {"first": 2}, "variables.after": "c"}, {"query": "q", "variables": {"first": 2, "after": "c"}}),
        ({"a.b.c": 1, "a.b.d": {"e": 2}, "a.b": {"f": 3}}, {"a": {"b": {"c": 1, "d": {"e": 2}, "f": 3}}}),
        ({r"a\.b": 1, r"a\.c.d": 2}, {"a.b": 1, "a.c": {"d": 2}}),
        ({"a": 1, "a.b": 2}, {"a": {"b": 2}}),
        ({"a.b": 2, "a": 1}, {"a": 1}),
        ({"a.b": {"c.d": 1}}, {"a": {"b": {"c.d": 1}}}),
        ({"a": {"b": 1}, "a.b": 2}, {"a": {"b": 2}}),
    ],
)  # fmt: skip
def test_dots_nest_in_a_body(values: dict[str, Any], body: dict[str, Any]):
    """A dotted name leads into objects, which are merged; a backslash makes a dot part of a name; the later one wins."""
    before = msgspec.json.encode(values)
    assert request.nested(values) == body
    assert msgspec.json.encode(values) == before


def test_dotted_names_of_all_parameters():
    """The watermark, constants, identifiers, extra_params and the pagination nest in a POST body; a GET sends them as they are."""
    fields: dict[str, Any] = {
        "modified_date_key": "filter.since",
        "query_settings": {"custom": {"key": "filter.status", "value": "active"}, "sku": {"key": "filter.skus"}},
        "extra_params": {"options.lang": "tr", r"a\.b": 1},
        "pagination": {"type": "page", "page_param": "paging.no", "limit_param": "paging.size", "limit": 5},
        "date_format": "%Y",
    }
    first = flow(**fields).erp.pagination.first()  # type: ignore[union-attr]
    asked = request.build(flow(method="POST", **fields), run(since=NOW), first)
    assert msgspec.json.decode(asked.body or b"") == {
        "filter": {"since": "2026", "status": "active"},
        "options": {"lang": "tr"},
        "a.b": 1,
        "paging": {"no": 1, "size": 5},
    }
    asked = request.build(flow(method="POST", **fields), run(ids=("A", "B")), first)
    assert msgspec.json.decode(asked.body or b"")["filter"] == {"status": "active", "skus": "A,B"}
    assert "filter.since=2026" in request.build(flow(**fields), run(since=NOW), first).url
