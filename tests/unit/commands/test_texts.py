"""Results as people read them."""

from datetime import UTC, datetime

from imageflow.actions.runs import Seen
from imageflow.actions.shapes import KeyShown, LeftShown, NoRun, OpenErrorShown, Retried, run_shown
from imageflow.commands.texts import counted, error_text, key_validity, retry_text, row_text, run_text, way_out_text
from imageflow.model.row import RowLog
from imageflow.model.run import Counts, Run, Trigger
from imageflow.store import ErrorGroup

NOW = "2026-01-01T00:00:00.000000Z"


def test_a_run_with_counts_error_and_warnings():
    """One line with the counts that are not zero and the error; each warning on a line of its own."""
    run = Run(
        run_id="r1",
        flow="winter",
        version=1,
        trigger=Trigger("person"),
        status="failed",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        pages=2,
        counts=Counts(total=3, written=1, failed=2),
        error="no answer",
        warnings=("one", "two"),
    )
    first, *warnings = run_text(run_shown(Seen(run, None))).splitlines()
    assert first.split() == [
        "r1",
        "winter",
        "failed",
        "2",
        "pages,",
        "3",
        "rows",
        "(1",
        "written,",
        "2",
        "failed)",
        "no",
        "answer",
    ]
    assert [line.strip() for line in warnings] == ["warning: one", "warning: two"]


def test_no_run():
    """Where nothing is missing, the line says that the run was empty."""
    assert "empty" in run_text(NoRun("winter", None, []))


def test_a_row_and_why_it_failed():
    """A row that failed has stage and reason; another has none; a row without a product has a dash."""
    failed = RowLog(run_id="r", row=1, product=None, state="failed", stage="script", reason="why")
    assert row_text(failed).split() == ["1", "-", "failed", "script:", "why"]
    assert row_text(RowLog(run_id="r", row=2, product="A", state="written")).split() == ["2", "A", "written"]


def test_causes_of_failures():
    """A run's cause says how many rows can be written again, if not all; an open one since when, and the newest row."""
    group = ErrorGroup("f", "write", 400, "why", 2, 1, 7, None)
    assert error_text(group) == "f  2 rows, 1 can be retried  write: why (e.g. row 7, no product)"
    all_again = ErrorGroup("f", "write", 400, "why", 1, 1, 7, "A")
    assert error_text(all_again) == "f  1 row  write: why (e.g. row 7, A)"
    still_open = OpenErrorShown("f", "write", 400, "why", 1, 1, NOW, "r1", 7, "A", 1)
    assert error_text(still_open) == f"f  1 row in 1 run since {NOW}  write: why (newest: run r1, row 7, A)"


def test_how_long_a_key_is_good():
    """A key is good until it is revoked, or until it expires, or was."""

    def key(expires_at):
        return KeyShown("k", "winter", "erp", "ada", NOW, expires_at)

    assert key_validity(key(None), NOW) == "good until it is revoked"
    assert key_validity(key("2026-01-02"), NOW) == "good until 2026-01-02"
    assert key_validity(key(NOW), NOW) == f"was good until {NOW}"


def test_counted():
    """One is singular, many have their thousands marked."""
    assert (counted(1, "row"), counted(1200, "row")) == ("1 row", "1,200 rows")


def partial(**counts):
    run = Run(
        run_id="r1",
        flow="winter",
        version=1,
        trigger=Trigger("schedule"),
        status="partial",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        counts=Counts(total=3, **counts),
    )
    return run_shown(Seen(run, None))


def test_what_leads_out_of_a_run():
    """Rows that can be retried are to be mended; where there are none, only what was not read is left to do."""
    assert way_out_text(partial(written=2, failed=1)).startswith("imageflow errors r1; mend")
    assert way_out_text(partial(written=2, cancelled=1)).startswith("imageflow errors r1; mend")
    assert way_out_text(partial(written=3)) == "what was not read: imageflow run winter"
    assert way_out_text(NoRun("winter", None, [])) == ""


def test_what_a_retry_did():
    """One line for what it took, one for each reason that it did not, one for what else there is to know."""
    left = LeftShown(2, "joined", "were to be joined", "imageflow run winter")
    assert retry_text(Retried("r1", 3, 1, [left], "mend it")).splitlines() == [
        "3 of 5 rows of run r1 are put through again",
        "    2 rows were to be joined: imageflow run winter",
        "    mend it",
    ]
    assert retry_text(Retried("r1", 1, 1, [], None)) == "1 of 1 row of run r1 are put through again"
