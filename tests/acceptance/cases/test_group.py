"""Rows of one product on several pages: what is joined, what is refused, and that no page takes pictures away."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.cases.erp import Step
from tests.acceptance.cases.site import Site, document

C = "https://c.example/"
FLAT: list[list[dict[str, Any]]] = [
    [{"sku": "A", "url": C + "a1"}, {"sku": "A", "url": C + "a2"}, {"sku": "B", "url": C + "b1"}],
    [{"sku": "B", "url": C + "b2"}, {"sku": "B", "url": C + "b3"}, {"sku": "C", "url": C + "c1"}],
]
JOINED = {"A": [C + "a1", C + "a2"], "B": [C + "b1", C + "b2", C + "b3"], "C": [C + "c1"]}
PAGING = {"type": "next", "field": "next", "kind": "token", "param": "page"}


def answers(*pages: Any) -> list[Step]:
    """An ERP that gives these pages by a token, each a list or the status of a refusal."""
    found = []
    for number, rows in enumerate(pages, 1):
        request = "GET /images/" if number == 1 else f"GET /images/?page={number}"
        if isinstance(rows, int):
            found.append(Step(request, rows, {}, text="no"))
            continue
        answer = {"results": rows, "next": number + 1 if number < len(pages) else None}
        found.append(Step(request, 200, {"Content-Type": "application/json"}, json=answer))
    return found


@pytest.mark.parametrize("group", [None, "auto", "run"])
def test_flat_rows_are_joined_across_pages(site: Site, group: str | None):
    """Without a setting too: a product that continues on the next page keeps all of its pictures."""
    changes = {} if group is None else {"group": group}
    with site.stage("odd_skus", answers=answers(*FLAT)) as stage:
        ended = stage.run(erp__pagination=PAGING, **changes)
        assert (ended.status, stage.pictures, ended.shown["warnings"]) == ("success", JOINED, [])
        assert stage.omnitron.writes == {"A": 1, "B": 1, "C": 1}
        assert ended.rows == {"total": 3, "written": 3}


def test_flat_rows_of_group_page(site: Site):
    """The product that continues is named before a page overwrites the other; the run is partial, and says the way out."""
    with site.stage("odd_skus", answers=answers(*FLAT)) as stage:
        ended = stage.run(erp__pagination=PAGING, erp__modified_date_key="since", group="page")
        assert (ended.status, ended.exit) == ("partial", 1)
        assert stage.pictures["B"] in ([C + "b1"], [C + "b2", C + "b3"])
        assert stage.omnitron.writes == {"A": 1, "B": 1, "C": 1}
        assert list(ended.failed) == ["B"]
        (warning,) = ended.shown["warnings"]
        assert warning.startswith("B: not written")
        assert "`group: run`" in warning


def test_a_script_that_makes_a_set_of_each_image(site: Site):
    """Rows of one image each that a script turns into image sets replace each other: the run says so, and what mends it does."""
    script = "def process_row(row):\n    return {'sku': row['sku'], 'images': [row['url']]}\n"
    with site.stage("odd_skus", answers=answers(*FLAT)) as stage:
        ended = stage.run(erp__pagination=PAGING, script=script)
        # which of the two products is named depends on which page was transformed first
        (warning,) = (one for one in ended.shown["warnings"] if "several rows of a page are image sets" in one)
        assert warning.startswith(
            tuple(f"{sku}: several rows of a page are image sets of this product" for sku in "AB")
        )
        assert stage.pictures["A"] == [C + "a2"]
    assert "`group: run`" in warning
    mended = script.replace("'images': [row['url']]", "'url': row['url']")
    for changes in ({"script": script, "group": "run"}, {"script": mended}):
        with site.stage("odd_skus", answers=answers(*FLAT)) as stage:
            ended = stage.run(erp__pagination=PAGING, **changes)
            assert (ended.status, stage.pictures, ended.shown["warnings"]) == ("success", JOINED, [])


def test_image_sets_of_two_pages(site: Site):
    """An image set says all of a product's images: of two pages the later counts, with a warning."""
    sets = [[{"sku": "A", "images": [C + name]}] for name in ("1", "2")]
    with site.stage("odd_skus", answers=answers(*sets)) as stage:
        ended = stage.run(erp__pagination=PAGING)
        assert ended.status == "success"
        (warning,) = ended.shown["warnings"]
        assert "group: run" in warning


@pytest.mark.parametrize("flat_first", [True, False])
def test_a_product_that_comes_in_both_forms(site: Site, flat_first: bool):
    """The rows are joined with the image set, whichever comes first; other sets of the run are written at once."""
    flat = [{"sku": "A", "url": C + "a9", "order": 9}]
    sets = [{"sku": "A", "images": [C + "a1", C + "a2"]}, {"sku": "S", "images": [C + "s"]}]
    pages = (flat, sets) if flat_first else (sets, flat)
    with site.stage("odd_skus", answers=answers(*pages)) as stage:
        ended = stage.run(erp__pagination=PAGING)
        assert ended.status == "success"
        assert stage.pictures == {"A": [C + "a1", C + "a2", C + "a9"], "S": [C + "s"]}


def test_a_wrong_row_keeps_its_product_as_it_is(site: Site):
    """One wrong row on another page: the product is not written without that picture, and both rows say why."""
    pages = [FLAT[0], [*FLAT[1], {"sku": "B", "url": "ftp://x"}]]
    wrong = [FLAT[0], [{"sku": "B", "url": None}, *FLAT[1][2:]]]
    for found in (pages, wrong):
        with site.stage("odd_skus", answers=answers(*found)) as stage:
            ended = stage.run(erp__pagination=PAGING)
            assert ended.status == "partial"
            assert stage.pictures == {name: JOINED[name] for name in ("A", "C")}
            assert {log.product for log in ended.logs} == {"B"}


def test_a_row_that_the_script_fails_for(site: Site):
    """The product that the row names is not written without it."""
    script = (
        "def process_row(row):\n    if row['url'].endswith('b2'):\n        raise ValueError('no')\n    return row\n"
    )
    with site.stage("odd_skus", answers=answers(*FLAT)) as stage:
        ended = stage.run(erp__pagination=PAGING, script=script)
        assert (ended.status, stage.pictures) == ("partial", {name: JOINED[name] for name in ("A", "C")})
        assert {log.product for log in ended.logs} == {"B"}


def test_a_read_that_breaks_off(site: Site):
    """Flat rows are not written while rows of their products may be missing; image sets are; the next whole run mends it."""
    whole = answers(*FLAT, [{"sku": "S", "images": [C + "s"]}])
    broken = answers([*FLAT[0], {"sku": "S", "images": [C + "s"]}], 400)
    with site.stage("odd_skus", answers=broken) as stage:
        name = stage.flow(erp__pagination=PAGING)
        first = stage.again(name)
        assert (first.status, stage.pictures) == ("failed", {"S": [C + "s"]})
        assert set(first.failed) == {"A", "B"}
        assert {log.stage for log in first.logs} == {"read"}
        assert all(
            "the read failed" in reason and f"imageflow run {name}" in reason for reason in first.failed.values()
        )
        stage.erp._answers[:] = whole
        assert (stage.again(name).status, stage.pictures) == ("success", {**JOINED, "S": [C + "s"]})


def test_a_page_that_fails_as_a_whole(site: Site):
    """Its rows may belong to any product: what waits for them is not written."""
    script = "def process(response):\n    return [dict(row) for row in response['results']]\n"
    with site.stage("odd_skus", answers=answers(FLAT[0], [1], FLAT[1])) as stage:
        ended = stage.run(erp__pagination=PAGING, script=script)
        assert (ended.exit, stage.pictures) == (1, {})
        assert all("a page failed as a whole" in ended.failed[name] for name in "ABC")


def test_try_shows_what_the_run_writes(site: Site):
    """A page's flat rows are shown as they are joined; the run of that page alone writes the same."""
    with site.stage("odd_skus", answers=answers(FLAT[1])) as stage:
        ended = stage.run(erp__pagination=PAGING)
        made = document("odd_skus")
        made["erp"]["pagination"] = PAGING
        tried = site.tried(made, stage.erp._answers[0].body({}))
        shown = {row.product: [image.url for image in row.images] for row in tried.rows}
        assert ended.status == "success"
        assert shown == stage.pictures
