"""A product's history as people read it."""

from datetime import UTC, datetime

import pytest

from imageflow.commands import history_text
from imageflow.commands.history_text import report
from imageflow.inspect.product_history import Source, Standing, Trace, TracedRow
from imageflow.model.imageset import Image
from imageflow.model.row import RowLog
from imageflow.model.run import Run, Trigger
from imageflow.sandbox.outcome import FailedRow, Ran
from imageflow.store import LedgerState
from imageflow.store.doubts import PAUSES
from tests.unit.actions.test_shapes import flow
from tests.unit.inspect.pages import SCRIPT, U, image_set, result_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = Run(run_id="r1", flow="winter", version=3, trigger=Trigger("person"), status="partial", created_at=NOW)
IMAGES = (Image(U + "1"),)


def log(**fields):
    return RowLog(run_id="r1", row=7, product="A", settled_at=NOW, **{"state": "written", "images": IMAGES, **fields})


def state(**fields):
    values = {
        "domain": "https://o.example",
        "product": "A",
        "version": 1,
        "digest": "d",
        "run_id": "r1",
        "row": 7,
        "in_flight": None,
    }
    return LedgerState(**values | fields)


def test_a_row_that_was_written():
    """The page, the element, what the script gave, the request, its answer and the state, in their order."""
    definition = flow().definition
    dry = result_of(Ran([image_set("A", U + "1")]), [{"sku": "A"}], script=SCRIPT)
    source = Source(1, {0: {"sku": "A", "long": "x" * 400}}, certain=True, dry=dry)
    written = log(attempts=1, http_status=200)
    text = report(
        Trace(
            "A",
            (Standing(state(), written),),
            (TracedRow(written, RUN, definition, (source,), 3, definition.omnitron),),
            more=True,
        )
    )
    lines = text.splitlines()
    assert lines[0] == "A"
    assert lines[1] == f"  A on https://o.example: since 2026-01-01 00:00:00 UTC, 1 image {U}1, by row 7 of run r1"
    assert "row 7 of run r1 (winter version 3, person): written" in lines
    assert "  read    page 1, 1 element" in lines
    assert "… (" in text
    assert any(line.startswith("  script  [{") for line in lines)
    assert f"  rows    A: 1 image {U}1" in lines
    assert any(line.startswith("  write   POST https://brand.example.com") for line in lines)
    assert any("200" in line for line in lines)
    assert lines[-1] == "… and older rows (--limit shows more)"


@pytest.mark.parametrize(("lines", "last"), [(2, "printed: 1"), (8, "printed: … and 3 lines: imageflow log r1")])
def test_what_the_script_printed(lines: int, last: str):
    """In short, with the way to all of it."""
    printed = "".join(f"{number}\n" for number in range(lines))
    dry = result_of(Ran([image_set("A", U + "1")], prints=printed), [{"sku": "A"}], script=SCRIPT)
    text = report(Trace("A", (), (TracedRow(log(), RUN, None, (Source(1, {}, certain=True, dry=dry),)),)))
    said = [line.strip() for line in text.splitlines() if "printed:" in line]
    assert (said[0], said[-1], len(said)) == ("printed: 0", last, min(lines, 6))


def test_a_row_that_failed():
    """A failure says its stage and reason; an element that the script failed for is named; a note is shown."""
    failed = log(state="failed", stage="script", reason="KeyError", payload={"n": 1}, images=())
    dry = result_of(Ran([], (FailedRow(0, "KeyError", {"n": 1}, 3),)), [{"n": 1}], script=SCRIPT)
    source = Source(2, {}, dry=dry, note="not deterministic")
    text = report(Trace("A", (), (TracedRow(failed, RUN, None, (source,)),)))
    assert "  nothing was written to Omnitron" in text
    assert "in which the product is not found" in text
    assert "FAILED for element 0: KeyError" in text
    assert "not deterministic" in text
    assert "script: KeyError" in text.splitlines()[-1]


def test_what_is_not_kept_any_more():
    """A row whose run is gone is shown with what its log has: the payload."""
    gone = log(state="failed", reason="why", payload={"sku": "A"}, images=())
    text = report(Trace("A", (Standing(state(run_id=None), None, None),), (TracedRow(gone, None, None),)))
    assert "A on https://o.example: nothing was written" in text
    assert "the run is not kept any more" in text
    assert '  kept    {"sku": "A"}' in text


def test_a_row_in_flight():
    """The ledger's entry says of which page the row is that a writer has in hand."""
    text = report(Trace("A", (Standing(state(in_flight=9), log(), ("r2", 4)),), ()))
    assert "A on https://o.example: a row of page 4 of run r2 is in flight" in text


UNTIL = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rewrites", "said"),
    [
        (0, "a late write may come until 2026-11-28 12:00:00 UTC; a newer set is written again by itself after it"),
        (2, "2 times so far"),
        (len(PAUSES), "imageflow run FLOW --ids S`"),
    ],
)
def test_a_product_in_doubt(rewrites, said):
    """It says what happens by itself, and what to do once that has ended."""
    state = LedgerState("https://o.example", "S", 1, None, None, None, None, UNTIL, rewrites)
    assert said in history_text.report(Trace("S", ledger=(Standing(state, None),), rows=(), more=False))
