"""Fetch missing: what is asked for, and what is said of what came of it."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.errors import BrokerError, ReadError, SecretError, TransportError
from imageflow.model.flow import Definition, FetchMissing, Flow, decode_custom
from imageflow.model.row import RowLog
from imageflow.model.run import Counts, Run, Trigger
from imageflow.schedule import missing
from imageflow.schedule.missing import Product

NOW = datetime(2026, 11, 24, 22, 30, tzinfo=UTC)


def definition(*, timezone: str = "UTC", products_path: str = "/api/v1/products/", **settings) -> Definition:
    document = {
        "name": "winter",
        "direction": "inbound",
        "timezone": timezone,
        "omnitron": {
            "domain_url": "https://brand.example.com",
            "username": "demo",
            "password": {"env": "P"},
            "products_path": products_path,
        },
        "erp": {"endpoint_url": "https://erp.example.com/"},
        "fetch_missing": {"enabled": True, **settings},
    }
    return msgspec.convert(document, Definition, dec_hook=decode_custom)


def run(ids=(), **changes) -> Run:
    fields = {
        "run_id": "r",
        "flow": "winter",
        "version": 1,
        "trigger": Trigger("fetch_missing", "", tuple(ids)),
        "status": "success",
        "created_at": NOW,
        **changes,
    }
    return Run(**fields)


def log(product, state="written", reason=None) -> RowLog:
    return RowLog(run_id="r", row=1, product=product, state=state, reason=reason)


def without(identifier, sku="A") -> Product:
    return Product("1", sku, None, identifier, has_images=False)


def test_the_window_is_of_the_flows_timezone():
    """At 22:30 UTC it is tomorrow in Istanbul: the window begins a day later there."""
    assert missing.since(definition(), NOW).isoformat() == "2026-11-17"
    assert missing.since(definition(timezone="Europe/Istanbul"), NOW).isoformat() == "2026-11-18"


def test_a_limit_beyond_the_calendar_asks_for_everything():
    """A limit of millions of days is no crash."""
    assert missing.since(definition(productization_date_limit_days=10**9), NOW).isoformat() == "0001-01-01"


def test_rounds_count_from_1970():
    """Every scheduler finds the same round, and missed rounds are one."""
    settings = FetchMissing()
    due = missing.due_round(settings, NOW - timedelta(days=3), NOW)
    assert due == datetime(2026, 11, 24, 20, tzinfo=UTC)
    assert missing.due_round(settings, due, NOW) is None


@pytest.mark.parametrize(
    ("path", "beside"),
    [
        ("/api/v1/products/", "/api/v1/product_image/"),
        ("/api/v1/channel/7/products/", "/api/v1/product_image/"),
        ("/api/i1/products", "/api/i1/product_image/"),
        ("/catalogue/", "/api/v1/product_image/"),
    ],
)
def test_images_stand_beside_the_products(path: str, beside: str):
    """Whatever the channel."""
    assert missing.images_path(definition(products_path=path), "5").startswith(f"{beside}?product=5&")


@pytest.mark.parametrize(
    ("path", "identifier"),
    [
        ("sku", "S-1"),
        ("attributes__erp_code", "77"),
        ("attributes.erp_code", "77"),
        ("attributes__list", None),
        ("attributes__comma", None),
        ("nowhere", None),
    ],
)
def test_identifiers_by_path(path: str, identifier: str | None):
    """Dots and double underscores lead the same way; what cannot travel in a comma-joined list is none."""
    fields = {"pk": 1, "sku": "S-1", "attributes": {"erp_code": 77, "list": [1], "comma": "a,b"}}
    assert missing.product(fields, path).identifier == identifier


@pytest.mark.parametrize(("images", "has"), [([], False), ([{"pk": 1}], True), (None, None), ("x", None)])
def test_images_in_the_product(images: object, has: bool | None):
    """A product says whether it has images, or is looked up."""
    assert missing.product({"pk": 1, "productimage_set": images}, "sku").has_images is has


@pytest.mark.parametrize("document", [[], {}, {"results": None}, {"results": {}}, "x", {"results": [], "next": 3}])
def test_nothing_is_taken_for_an_empty_list(document: object):
    """An answer of another shape is an error."""
    with pytest.raises(missing.Shape):
        missing.listed(document)


@given(st.lists(st.one_of(st.none(), st.sampled_from("ABCDEFGH"))), st.integers(1, 4), st.sets(st.sampled_from("ABCD")))
def test_every_identifier_is_asked_for_once(ids: list[str | None], size: int, busy: set[str]):
    """Batches hold each identifier once, in order, none larger than wanted, and none that is under way."""
    asked = missing.plan(FetchMissing(batch_size=size), [without(one) for one in ids], busy)
    flat = [one for batch in asked.batches for one in batch]
    assert flat == [one for one in dict.fromkeys(ids) if one is not None and one not in busy]
    assert all(0 < len(batch) <= size for batch in asked.batches)
    assert bool(asked.warnings) == (None in ids)


def test_under_way_is_of_runs_that_have_not_ended():
    """An ended run's identifiers may be asked for again."""
    assert missing.under_way([run("AB"), run("CD", status="draining")]) == {"C", "D"}


def test_told_apart():
    """What the ERP does not have, what it has but failed, and what was written are three things."""
    names = missing.names_of([without("A"), without("B", "SKU-B"), without("C", "C")])
    logs = [log("SKU-B", "failed", "duplicate URL"), log("A")]
    ended = run("ABCD", counts=Counts(total=2, written=1, failed=1))
    assert missing.told_apart(ended, logs, names) == [
        "1 identifiers are not in the ERP: C",
        "1 identifiers are in the ERP but failed: B (duplicate URL)",
    ]


def test_rows_without_a_name_may_be_anybody():
    """When failed rows name no product, absence is not claimed."""
    ended = run("A", counts=Counts(total=1, failed=1))
    (text,) = missing.told_apart(ended, [log(None, "failed", "script")], missing.names_of([without("A")]))
    assert "or among 1 failed rows that name no product" in text


def test_a_failed_read_tells_nothing():
    """Of a run whose read failed nothing is said about the ERP."""
    assert missing.told_apart(run("A", status="failed", error="500"), [], missing.names_of([without("A")])) == []


@pytest.mark.parametrize(
    ("error", "minutes", "gives_up"),
    [
        (TransportError("away"), 0, False),
        (TransportError("away"), 4.9, False),
        (TransportError("away"), 5, True),
        (TimeoutError(), 1, False),
        (BrokerError("away"), 1, False),
        (TransportError("no URL", kind="refused"), 0, True),
        (ReadError("another shape"), 0, True),
        (SecretError("not set"), 0, True),
        (ValueError("a bug"), 0, True),
    ],
)
def test_when_a_round_is_given_up(error: Exception, minutes: float, gives_up: bool):
    """What may pass is tried again for five minutes; what may not becomes a failed run at once."""
    assert missing.gives_up(error, timedelta(minutes=minutes)) is gives_up


def flow(**settings) -> Flow:
    return Flow("winter", 3, definition(**settings), {})


def test_rounds_are_wanted_where_they_are_enabled():
    """Of an enabled inbound flow that enables them."""
    assert missing.wanted(definition())
    assert not missing.wanted(definition(enabled=False))
    assert not missing.wanted(msgspec.structs.replace(definition(), enabled=False))
    assert not missing.wanted(msgspec.structs.replace(definition(), direction="outbound"))


def test_one_run_a_batch():
    """Runs begin in the order of their batches; what is to be said is said on the first."""
    asked = missing.Asked((("A", "B"), ("C",)), 0, ("w",))
    runs = missing.runs_for(flow(), asked, "tick", NOW)
    assert [one.trigger for one in runs] == [
        Trigger("fetch_missing", "tick", ("A", "B")),
        Trigger("fetch_missing", "tick", ("C",)),
    ]
    assert [one.warnings for one in runs] == [("w",), ()]
    assert runs[0].created_at < runs[1].created_at
    assert {one.version for one in runs} == {3}


def test_a_failed_round_is_a_run_that_has_ended():
    """People see it among the runs, with where it failed."""
    failed = missing.failed_run(flow(), "tick", NOW, "login", "refused")
    assert failed.ended
    assert failed.read_complete
    assert (failed.error, failed.error_stage, failed.finished_at) == ("refused", "login", NOW)


def test_whether_a_list_has_images():
    """An empty list has none."""
    assert not missing.has_images({"results": []})
    assert missing.has_images({"results": [{"pk": 1}]})


def test_many_names_are_cut():
    """The first few stand for all."""
    assert missing.shown("ABCDEFG") == "A, B, C, D, E, … (2 more)"


@pytest.mark.parametrize(
    ("value", "identifier"), [(7.0, "7"), (7.5, None), (True, None), ("x" * 201, None), (" a ", "a")]
)
def test_identifiers(value: object, identifier: str | None):
    """Whole numbers and short texts can be asked for."""
    assert missing.product({"pk": 1, "code": value}, "code").identifier == identifier
