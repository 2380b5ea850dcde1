"""A run's log in plain words, from what the store knows of the run."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imageflow.actions.run_log import Entry, beginning, bounded, ending
from imageflow.actions.run_waits import Wait
from imageflow.model.run import Counts, Run, Trigger
from imageflow.store import AuditEntry, AuditRecord, ErrorGroup

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)


def run(**fields: Any) -> Run:
    made = {"run_id": "r", "flow": "winter", "version": 3, "trigger": Trigger("person", "ada"), "status": "draining"}
    return Run(**{**made, "created_at": NOW, **fields})


def plain(entries: Iterable[Entry]) -> list[Entry]:
    """The entries with their English text alone."""
    return [entry._replace(said=entry.text) for entry in entries]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [Entry("asked", "asked for by ada; version 3 of winter", NOW)]),
        (
            {"trigger": Trigger("schedule", "2026-11-28T12:00:00Z"), "started_at": LATER},
            [
                Entry("asked", "fired by its schedule 2026-11-28T12:00:00.000000Z; version 3 of winter", NOW),
                Entry("reading", "asks for everything", LATER),
            ],
        ),
        (
            {"trigger": Trigger("person", "ada", ("A", "B")), "started_at": LATER},
            [
                Entry("asked", "asked for by ada, 2 identifiers; version 3 of winter", NOW),
                Entry("reading", "asks for A, B", LATER),
            ],
        ),
        (
            {"trigger": Trigger("person", "ada", ("A",))},
            [Entry("asked", "asked for by ada, 1 identifier; version 3 of winter", NOW)],
        ),
        (
            {"trigger": Trigger("schedule", "at noon", tuple("ABCDEFG")), "started_at": LATER},
            [
                Entry("asked", "fired by its schedule at noon, 7 identifiers; version 3 of winter", NOW),
                Entry("reading", "asks for A, B, C, D, E and 2 more", LATER),
            ],
        ),
        (
            {"since": NOW, "until": LATER, "window": True, "started_at": LATER, "read_complete": True, "pages": 2},
            [
                Entry("asked", "asked for by ada; version 3 of winter", NOW),
                Entry(
                    "reading",
                    "asks for changes since 2026-11-28T12:00:00.000000Z until 2026-11-28T12:00:05.000000Z",
                    LATER,
                ),
                Entry("read", "pages: 2, rows: 0"),
            ],
        ),
        (
            {
                "trigger": Trigger("outbound", "erp"),
                "started_at": NOW,
                "read_complete": True,
                "pages": 1,
                "counts": Counts(total=3),
                "incomplete": True,
                "broken_pages": 1,
            },
            [
                Entry("asked", "posted by erp; version 3 of winter", NOW),
                Entry("read", "pages: 1, rows: 3; 1 failed as a whole; the ERP has more, as its answers say"),
            ],
        ),
    ],
)
def test_the_beginning(fields: dict[str, Any], expected: list[Entry]) -> None:
    """Who asked, what is read, and what came of it, as far as it has come."""
    assert plain(beginning(run(**fields))) == expected


def test_a_read_that_a_person_cut_off() -> None:
    """Nobody claims that the ERP said anything."""
    told = plain(beginning(run(read_complete=True, incomplete=True, cancelled_at=LATER, status="cancelled")))
    assert told[-1] == Entry("read", "pages: 0, rows: 0; not everything was read")


def test_a_flow_that_always_asks_for_everything() -> None:
    """The run has the watermark, but the ERP is not told it."""
    told = plain(beginning(run(since=NOW, started_at=LATER), takes_since=False))
    assert told[-1] == Entry("reading", "asks for everything", LATER)


def test_the_end() -> None:
    """Warnings, causes of failures with an example, the run's own error, and how it ended or how far it is."""
    group = ErrorGroup("g", "script", None, "KeyError: 'sku'", 12, 12, 7, None)
    whole = run(
        status="failed",
        finished_at=LATER,
        warnings=("slow",),
        encoded_urls=1,
        error="HTTP 500",
        error_stage="read",
        cancelled_at=NOW,
    )
    assert [(entry.what, entry.text) for entry in ending(whole, [group])] == [
        ("warning", "slow"),
        ("warning", "1 image URL has blanks or letters beyond ASCII: sent percent-encoded, as a browser asks for them"),
        ("failed", "rows: 12, in script: KeyError: 'sku' (e.g. row 7)"),
        ("failed", "read: HTTP 500"),
        ("cancelled", "cancelled by a person"),
        ("ended", "failed"),
    ]
    assert plain(ending(run(counts=Counts(total=5, written=2)), [], waits=Wait("Omnitron is away"))) == [
        Entry("waits", "Omnitron is away"),
        Entry("now", "draining, rows settled: 2 of 5"),
    ]


OF_BOTH = {"from_pages": 3, "versions_before": [3], "replaced": {"script": 2, "cancelled": 1, "write": 1}}


@pytest.mark.parametrize(
    ("what", "detail", "expected"),
    [
        ("run.cancel", {}, ("cancelled", "cancelled by ada")),
        (
            "run.retry",
            {"rows": 4, "version": 4, **OF_BOTH},
            (
                "retried",
                (
                    "by ada: 4 rows put through again; 3 rows from the stored pages by version 4 in place of 3; "
                    "1 row goes to Omnitron with its images, by version 4; before that, 2 failed in script, 1 cancelled, 1 failed in write"
                ),
            ),
        ),
        (
            "run.retry",
            {"rows": 1, "version": 3, "from_pages": 1, "versions_before": [3], "replaced": {"rows": 1}},
            (
                "retried",
                (
                    "by ada: 1 row put through again; 1 row from the stored pages by version 3, as before; "
                    "before that, 1 failed in rows"
                ),
            ),
        ),
        (
            "run.retry",
            {"rows": 2, "version": 4},
            ("retried", "by ada: 2 rows put through again; the flow had version 4"),
        ),
    ],
)
def test_who_steered_it(what: str, detail: dict[str, Any], expected: tuple[str, str]) -> None:
    """Each retry and cancel names the person; a retry also its rows, its version and what it replaced, as far as that is kept."""
    change = AuditRecord(1, LATER, AuditEntry("ada", what, "run r", "test", detail))
    found = plain(ending(run(status="success", finished_at=LATER, cancelled_at=NOW), [], [change]))
    told = found[0]
    assert ((told.what, told.text), told.at) == (expected, LATER)
    assert found[-1] == Entry("ended", "success", LATER)


READ, PRINTED, LAST = Entry("read", "pages: 2"), Entry("printed", "a\nb\nc", page=1), Entry("printed", "d", page=2)


@pytest.mark.parametrize(
    ("most", "kept", "left"),
    [
        (9, [READ, PRINTED, LAST], 0),
        (4, [READ, PRINTED, LAST], 0),
        (3, [READ, PRINTED], 1),
        (2, [READ, PRINTED._replace(said="a\nb")], 2),
    ],
)
def test_printed_lines_are_bounded(most: int, kept: list[Entry], left: int) -> None:
    """What else is told of a run stays."""
    assert bounded([READ, PRINTED, LAST], most) == (kept, left)
    assert bounded([PRINTED, LAST, READ], most)[0][-1] == READ
