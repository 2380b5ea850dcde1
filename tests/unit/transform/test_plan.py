"""What is registered and sent on for a page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from imageflow.model.imageset import Image
from imageflow.model.messages import PageRead
from imageflow.model.page import row_version
from imageflow.model.run import Run, Trigger
from imageflow.sandbox.outcome import Broken, FailedRow, Ran
from imageflow.transform import plan as plans
from imageflow.transform.joining import NO_ORDER, Joined
from imageflow.transform.plan import (
    Printed,
    Sightings,
    broken_page,
    first_stage,
    given_up,
    plan_page,
    plan_part,
    unwritten_part,
)
from tests.unit.transform.flows import definition

PAGE = PageRead("r1", "winter", 1, 3, 40)
U = "https://c.example/"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def image_set(sku: str, *urls: str) -> dict[str, Any]:
    return {"sku": sku, "images": list(urls)}


def test_every_draft_has_a_number() -> None:
    """Rows, superseded and failed ones share one count; versions follow the place on the page."""
    result = [image_set("A", U + "1"), image_set("A", U + "2"), image_set("B"), image_set("C", U)]
    plan = plan_page(PAGE, definition(), b"[]", Ran(result, (FailedRow(1, "line 2: KeyError", {"x": 1}),)))
    assert plan.total == 5
    assert [(index, row.product, row.version) for index, row in plan.ready] == [
        (1, "A", row_version(40, 1)),
        (3, "C", row_version(40, 3)),
    ]
    assert [(log.row, log.state, log.stage, log.product) for log in plan.settled] == [
        (0, "superseded", "rows", "A"),
        (2, "failed", "rows", "B"),
        (4, "failed", "script", None),
    ]
    assert plan.settled[2].payload == {"x": 1}


@pytest.mark.parametrize(
    ("sets", "changes", "displaced"),
    [
        ([image_set("A", U + "1"), image_set("B", U), image_set("A", U + "2")], {}, "A"),
        ([image_set("A", U + "1"), image_set("A", U + "1", U + "2")], {}, None),
        ([image_set("A", U + "1"), image_set("A", U + "2")], {"group": "run"}, None),
        ([image_set("A", U + "1"), image_set("A", U + "2")], {"direction": "outbound", "erp": None}, None),
    ],
)
def test_a_product_whose_images_replace_each_other(sets: list[Any], changes: dict[str, Any], displaced: str) -> None:
    """It is named: most likely each row is one of its images. Of an outbound page the rows may be of several posts."""
    assert plan_page(PAGE, definition(**changes), b"", Ran(sets)).displaced == displaced


@pytest.mark.parametrize(
    ("numbers", "rows"), [([11, 12, 13], [11, 13]), ([11, 12], [11]), ([], []), ([1, 2, 3, 4], [1, 3])]
)
def test_numbers_may_be_fewer_or_more(numbers: list[int], rows: list[int]) -> None:
    """A script that gave another number of rows the first time is no reason to raise."""
    plan = plan_page(PAGE, definition(), b"", Ran([image_set("A", U), 7, image_set("B", U)]))
    assert [row.row for row in plan.numbered(numbers)] == rows


def test_a_broken_page_counts_its_elements() -> None:
    """One failed row per element of the answer, with the element as payload."""
    plan = plan_page(PAGE, definition(), b'[{"a":1},{"a":2}]', Broken("mapping", "no", "printed"))
    assert [(log.row, log.stage, log.reason, log.payload) for log in plan.settled] == [
        (0, "mapping", "no", {"a": 1}),
        (1, "mapping", "no", {"a": 2}),
    ]
    assert plan.total == 2


def test_a_broken_page_without_elements_counts_one() -> None:
    """A page that cannot even be counted is one failed row."""
    assert broken_page(PAGE, "results", b"oops", "script", "no").total == 1


def test_group_run_holds_rows_back() -> None:
    """Only what cannot be written is counted now; places stay open until the join."""
    result = [image_set("A", U + "1"), image_set("B"), {"sku": "A", "url": U + "2", "order": 7}]
    plan = plan_page(PAGE, definition(group="run"), b"", Ran(result, (FailedRow(0, "x", None),)))
    assert plan.ready == ()
    assert [(log.row, log.reason) for log in plan.settled][1] == (1, "x")
    assert plan.total == 2
    assert [(row.product, row.version, row.images[0].order) for row in plan.held] == [
        ("A", row_version(40, 0), NO_ORDER),
        ("A", row_version(40, 2), 7),
    ]


def test_auto_holds_flat_rows_back() -> None:
    """Image sets go at once; flat rows wait, and rows whose script failed name the product that must wait for them."""
    flat = [{"sku": "B", "url": U + "1"}, {"sku": "C", "url": "ftp://x"}, {"sku": "B", "url": U + "ü"}]
    failed = FailedRow(3, "x", {"sku": "B", "url": 1})
    plan = plan_page(PAGE, definition(), b"", Ran([*flat, image_set("A", U + "1")], (failed,)))
    assert [(index, row.product, row.version) for index, row in plan.ready] == [(1, "A", row_version(40, 2))]
    assert [(log.row, log.product) for log in plan.settled] == [(0, "C"), (2, "B")]
    assert [(row.product, len(row.images)) for row in plan.held] == [("B", 2)]
    assert (plan.total, plan.encoded_urls, plan.parts) == (3, 1, ())


def test_flat_rows_of_group_page_may_be_refused() -> None:
    """Each says how it fails where another page has rows of its product; of a post there is no other page."""
    result = [{"sku": "B", "url": U + "1"}, image_set("A", U + "1")]
    plan = plan_page(PAGE, definition(group="page"), b"", Ran(result, ()))
    (part,) = plan.parts
    assert (part.row, part.product, part.state, len(part.images)) == (0, "B", "failed", 1)
    assert "group: run" in (part.reason or "")
    assert [row.product for row in plan.numbered([1, 2])] == ["B", "A"]
    assert [row.product for row in plan.numbered([0, 2])] == ["A"]
    assert plan_page(PAGE, definition(direction="outbound", erp=None, group="page"), b"", Ran(result, ())).parts == ()


def test_parts_of_a_join() -> None:
    """A joined product is a row; one that cannot be written is settled; giving up settles all."""
    joined = [Joined("A", "sku", 5, (Image(U),)), Joined("B", "sku", 6, (Image(U),), "too large")]
    plan = plan_part("r1", joined)
    assert [(index, row.product, row.version) for index, row in plan.ready] == [(0, "A", 5)]
    assert [(log.row, log.reason) for log in plan.settled] == [(1, "too large")]
    assert [log.reason for log in plan_part("r1", joined, "gave up").settled] == ["gave up", "gave up"]
    assert [log.stage for log in plan_part("r1", joined, "no", stage="read").settled] == ["read", "read"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, None),
        ({"incomplete": True}, ("failed", "read", "the read is incomplete")),
        ({"incomplete": True, "cancelled_at": NOW}, ("cancelled", "rows", "the run was cancelled")),
    ],
)
def test_parts_that_are_not_written(fields: dict[str, Any], said: tuple[str, str, str] | None) -> None:
    """A run that may lack rows writes no joined product; a cancelled one cancels them."""
    run = Run(run_id="r1", flow="f", version=1, trigger=Trigger("person"), status="draining", created_at=NOW, **fields)
    plan = unwritten_part(run, [Joined("A", "sku", 5, (Image(U),))])
    if said is None:
        assert plan is None
    else:
        assert plan is not None
        (log,) = plan.settled
        assert (log.state, log.stage, plan.ready) == (*said[:2], ())
        assert said[2] in (log.reason or "")


def test_sightings_of_a_run() -> None:
    """A product on two pages of a run is noticed, from then on for the whole run; the same page again is not another page."""
    sightings = Sightings()
    assert not sightings.repeated("r1", 1, ["A", "B"])
    assert not sightings.repeated("r1", 1, ["A", "B"])
    assert not sightings.repeated("r2", 2, ["A"])
    assert sightings.repeated("r1", 2, ["C", "B"])
    assert sightings.repeated("r1", 3, ["A"])


def test_sightings_are_bounded() -> None:
    """Only so many runs and products are remembered."""
    sightings = Sightings(runs=2, products=2)
    sightings.repeated("r1", 1, ["A", "B"])
    sightings.repeated("r1", 2, ["C"])
    assert not sightings.repeated("r1", 3, ["C"])
    sightings.repeated("r2", 1, ["A"])
    sightings.repeated("r3", 1, ["A"])
    assert not sightings.repeated("r1", 4, ["A"])


def test_prints_of_a_run_are_bounded() -> None:
    """A run's prints go to the log up to its share, which is said once; other runs have their own, long gone ones none."""
    printed = Printed(chars=5, runs=2)
    assert printed.of("r1", "") == ""
    assert printed.of("r1", "abc") == "abc"
    assert printed.of("r2", "abc") == "abc"
    assert printed.of("r1", "defg") == "de\n... what this run prints from here on is not kept"
    assert printed.of("r1", "h") == ""
    assert printed.of("r3", "x") == "x"
    assert len(printed._left) == 2


@pytest.mark.parametrize(
    ("fields", "stage"),
    [
        ({"script": "def process(r): return r", "mapping": [{"operation": "sort"}]}, "script"),
        ({"mapping": [{"operation": "sort"}]}, "mapping"),
        ({}, "rows"),
    ],
)
def test_blames_the_first_stage(fields: dict[str, Any], stage: str) -> None:
    """A page that is given up failed at the first stage that its flow has."""
    assert first_stage(definition(**fields)) == stage


def test_gives_up_what_is_not_settled() -> None:
    """Of a page that was registered before, each row fails once: settled ones stay as they are."""
    logs = given_up(PAGE, [7, 8, 9], {8}, "mapping", "too often")
    assert [(log.row, log.state, log.stage, log.reason, log.page) for log in logs] == [
        (7, "failed", "mapping", "too often", 3),
        (9, "failed", "mapping", "too often", 3),
    ]
    assert given_up(PAGE, [7], {7}, "rows", "too often") == []


@pytest.mark.parametrize(("most", "broken"), [(3, False), (2, True)])
def test_failed_elements_count_as_rows_of_the_page(monkeypatch: pytest.MonkeyPatch, most: int, broken: bool) -> None:
    """A page may have so many rows in all: the versions of more would be those of the next page."""
    monkeypatch.setattr(plans, "ROWS_PER_PAGE_LIMIT", most)
    outcome = Ran([image_set("A", U), image_set("B", U)], (FailedRow(2, "line 2: KeyError", {"x": 1}),))
    assert plan_page(PAGE, definition(), b"[]", outcome).broken is broken
