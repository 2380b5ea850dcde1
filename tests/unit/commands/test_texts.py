"""Results as people read them."""

import time
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import msgspec
import pytest

from imageflow.actions.dead_letters import Parked
from imageflow.actions.flows import FlowSeen
from imageflow.actions.left_behind import NO_REWRITE
from imageflow.actions.run_waits import Wait
from imageflow.actions.runs import Seen
from imageflow.actions.shapes import (
    AlarmShown,
    CauseShown,
    Change,
    Hold,
    KeyShown,
    LeftShown,
    NoRun,
    Retried,
    TriggerShown,
    VersionLine,
    run_shown,
)
from imageflow.clock import instant
from imageflow.commands import texts
from imageflow.commands.tables import table
from imageflow.commands.texts import (
    MACHINE,
    by,
    common,
    counted,
    error_line,
    key_line,
    key_validity,
    local,
    progress_text,
    retry_text,
    row_line,
    run_line,
    run_text,
    span,
    way_out_text,
    zone,
)
from imageflow.flows import file as flow_file
from imageflow.inspect.stale import Stale
from imageflow.model.flow import Flow
from imageflow.model.row import RowLog
from imageflow.model.run import Counts, Run, Trigger
from imageflow.store import ErrorGroup

NOW = "2026-01-01T00:00:00.000000Z"
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
ISTANBUL = ZoneInfo("Europe/Istanbul")


def run(**fields):
    made = {
        "run_id": "r1",
        "flow": "winter",
        "version": 1,
        "trigger": Trigger("person", "ada"),
        "status": "failed",
        "created_at": MIDNIGHT,
    }
    return Run(**{**made, **fields})


def shown(**fields):
    return run_shown(Seen(run(**fields), None))


FAILED = {
    "pages": 2,
    "counts": Counts(total=3, written=1, failed=2),
    "error": "no answer",
    "warnings": ("one", "two"),
    "started_at": MIDNIGHT + timedelta(seconds=5),
    "finished_at": MIDNIGHT + timedelta(seconds=30),
}


def test_local_times():
    """To the second, in the zone, which is named; nothing where there is no time."""
    assert local(NOW, ISTANBUL) == "2026-01-01 03:00:00 +03"
    assert local(MIDNIGHT) == "2026-01-01 00:00:00 UTC"
    assert local(None) == ""


@pytest.mark.parametrize(
    ("zones", "expected"),
    [([], MACHINE), ([ISTANBUL], ISTANBUL), ([ISTANBUL] * 2, ISTANBUL), ([ISTANBUL, UTC], MACHINE)],
)
def test_a_list_has_one_zone(zones: list[tzinfo], expected: tzinfo):
    """The one that all flows have, or this machine's."""
    assert common(zones) is expected


def test_the_zone_of_this_machine(monkeypatch: pytest.MonkeyPatch):
    """With its clock changes, and both ways."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        summer = datetime(2026, 7, 1, 12, tzinfo=UTC)
        assert [local(MIDNIGHT, MACHINE), local(summer, MACHINE)] == [
            "2026-01-01 01:00:00 CET",
            "2026-07-01 14:00:00 CEST",
        ]
        assert instant("2026-07-01T14:00", MACHINE, MIDNIGHT) == summer
    finally:
        monkeypatch.undo()
        time.tzset()


def test_zones():
    """By name; UTC where the machine does not know it."""
    assert (zone("Europe/Istanbul"), zone("Mars/Base"), zone("../etc")) == (ISTANBUL, UTC, UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0s"), (9.94, "9.9s"), (12.4, "12s"), (59.9, "60s"), (185, "3m05s"), (7380, "2h03m"), (100_800, "1d04h")],
)
def test_spans(seconds, text):
    """In the two largest units."""
    assert span(seconds) == text


def test_a_run_in_a_table():
    """When, how long, by whom, and the counts that are not zero; why it failed and what it warns of stand under it."""
    line = run_line(shown(**FAILED), ISTANBUL, MIDNIGHT)
    assert line.cells == [
        "r1",
        "winter",
        "failed",
        "2026-01-01 03:00:05 +03",
        "25s",
        "ada",
        "2",
        "3",
        "1",
        "",
        "",
        "2",
        "",
    ]
    assert len(line.cells) == len(texts.RUN)
    assert (line.tail, line.notes) == ("no answer", ["warning: one", "warning: two"])


def test_how_long_a_run_takes():
    """Of one that goes on: so far. One that waits has not begun. A clock that went back is no negative time."""
    now = MIDNIGHT + timedelta(minutes=3)
    assert run_line(shown(status="reading", started_at=MIDNIGHT), UTC, now).cells[4] == "3m00s…"
    assert run_line(shown(status="queued"), UTC, now).cells[4] == ""
    assert run_line(shown(finished_at=MIDNIGHT - timedelta(seconds=1)), UTC, now).cells[4] == "0.0s"


@pytest.mark.parametrize(
    ("trigger", "text"),
    [
        (("schedule", NOW, []), "schedule"),
        (("person", "ada", ["A"]), "ada, 1 product"),
        (("flow", "first", []), "after first"),
        (("fetch_missing", "", ["A", "B"]), "missing, 2 products"),
        (("outbound", "erp", []), "outbound"),
    ],
)
def test_what_started_a_run(trigger, text):
    """A word or two."""
    assert by(TriggerShown(*trigger)) == text


def test_a_run_in_a_few_words():
    """Its counts that are not zero; why it failed and each warning on a line of its own."""
    first, *others = run_text(shown(**FAILED)).splitlines()
    assert first == "r1  winter  failed  2 pages, 3 rows (1 written, 2 failed)"
    assert [line.strip() for line in others] == ["no answer", "warning: one", "warning: two"]
    assert run_text(shown(status="empty", pages=1)) == "r1  winter  empty  1 page, 0 rows"


def test_no_run():
    """Where nothing is missing, the text says so, and what was warned of."""
    assert run_text(NoRun("winter", None, ["w"])) == "winter: no run; no product is without images\n    warning: w"


def test_how_far_a_run_is():
    """Status, pages, rows, and how many failed, if any did."""
    going = run(status="draining", pages=1, counts=Counts(total=1200, written=3))
    assert progress_text(going) == "winter: draining, 1 page, 3 of 1,200 rows"
    failing = run(status="draining", pages=2, counts=Counts(total=1, failed=1))
    assert progress_text(failing) == "winter: draining, 2 pages, 1 of 1 row, 1 failed"


def test_a_row_and_why_it_failed():
    """A row that failed has stage and reason; another has none; a row without a product has a dash."""
    failed = RowLog(
        run_id="r", row=1, product=None, state="failed", stage="write", reason="why", http_status=400, attempts=2
    )
    assert row_line(failed) == (["1", "-", "failed", "", "400", "2"], "write: why", ())
    assert row_line(RowLog(run_id="r", row=2, product="A", state="written")) == (
        ["2", "A", "written", "", "", ""],
        "",
        (),
    )


def test_causes_of_failures():
    """How many rows, how many of them can be retried, an example; an open one since when, and where the newest is."""
    group = ErrorGroup("f", "write", 400, "why", 2, 1, 7, None)
    assert error_line(group, UTC) == (["f", "2", "1", "write", "400", "", "", "row 7"], "why", [])
    assert error_line(ErrorGroup("f", "script", None, "why", 1, 1, 7, "A"), UTC).cells[2:] == [
        "all",
        "script",
        "",
        "",
        "",
        "A",
    ]
    still_open = CauseShown("w", "f", "write", 400, "why", 1, 3, NOW, "r1", 7, "A", 1, 5, NOW, NOW, None, [])
    line = error_line(still_open, ISTANBUL)
    assert line.cells == ["f", "1", "all", "write", "400", "3", "2026-01-01 03:00:00 +03", "A"]
    assert line.notes == ["flow w, newest: run r1, row 7"]
    assert len(line.cells) == len(texts.ERROR)
    closed = msgspec.structs.replace(still_open, rows=0, run_id=None, row=None, product=None, closed_at=NOW)
    line = error_line(closed, ISTANBUL)
    assert (line.cells[-1], line.notes) == ("", ["flow w, closed 2026-01-01 03:00:00 +03, after 5 rows"])


OMNITRON = {"domain_url": "https://b.example.com", "username": "u", "password": {"env": "P"}}


def flow(**fields):
    document = {"name": "winter", "direction": "outbound", "omnitron": OMNITRON, **fields}
    return Flow("winter", 3, flow_file.parse(document), document)


def test_a_flow_in_a_table():
    """When it runs next and how its newest run went, in its own time; an outbound flow that never ran has neither."""
    polled = flow(
        direction="inbound",
        erp={"endpoint_url": "https://e.example.com"},
        schedule={"every": "1h"},
        timezone="Europe/Istanbul",
    )
    line = texts.flow_line(FlowSeen(polled, [MIDNIGHT], None, [run(**FAILED)]), ISTANBUL)
    assert line.cells == [
        "winter",
        "inbound",
        "enabled",
        "3",
        "every 1h",
        "2026-01-01 03:00:00 +03",
        "failed",
        "2026-01-01 03:00:30 +03",
    ]
    assert line.tail == "no answer"
    quiet = texts.flow_line(FlowSeen(flow(enabled=False), [], None, []), UTC)
    assert quiet.cells == ["winter", "outbound", "disabled", "3", "-", "", "", ""]
    assert len(quiet.cells) == len(texts.FLOW)


def test_a_narrow_list_of_flows():
    """Schedules and times are never cut: they move under the line."""
    cron = flow(
        direction="inbound",
        erp={"endpoint_url": "https://e.example.com"},
        schedule={"cron": "0 0/15 8-18 * * MON-FRI"},
        timezone="Europe/Istanbul",
    )
    shown = table(texts.FLOW, [texts.flow_line(FlowSeen(cron, [MIDNIGHT], None, [run(**FAILED)]), ISTANBUL)], width=60)
    assert "…" not in shown
    assert "schedule cron 0 0/15 8-18 * * MON-FRI (Europe/Istanbul), next 2026-01-01 03:00:00 +03" in " ".join(
        shown.split()
    )


def test_other_lines():
    """Each has a cell for every column; what is long is its tail."""
    found = [
        (texts.VERSION, texts.version_line(VersionLine(2, NOW, "", False), UTC)),
        (texts.ALARM, texts.alarm_line(AlarmShown(1, "winter", "silence", "no rows", NOW, None, "posted"), UTC)),
        (texts.ALARM, texts.alarm_line(AlarmShown(1, "winter", "silence", "no rows", NOW, NOW, None), UTC)),
        (texts.HOLD, texts.hold_line(Hold("https://b", "503", NOW, 2), UTC)),
        (
            texts.CHANGE,
            texts.change_line(
                Change(1, NOW, "", "flow.save", "flow a", "cli", {"version": 2, "n": None, "on": False}), UTC
            ),
        ),
        (texts.PARKED, texts.parked_line(Parked("i", "", "", "not JSON", "", 12, {}, ""), UTC)),
        (texts.PARKED, texts.parked_line(Parked("i", "q", "f", "not JSON", NOW, 1200, {}, ""), UTC)),
        (texts.KEY, texts.key_line(KeyShown("k", "winter", "erp", "ada", NOW, None), NOW, UTC)),
    ]
    assert all(len(columns) == len(line.cells) for columns, line in found)
    lines = [line for _, line in found]
    assert lines[0].cells == ["2", "2026-01-01 00:00:00 UTC", "disabled", "-"]
    assert [(line.cells[3], line.notes) for line in lines[1:3]] == [("open", ["webhook: posted"]), ("closed", [])]
    assert (lines[4].tail, lines[6].cells[-1]) == ("version: 2, on: no", "1,200")


def test_a_change_is_told_in_plain_words():
    """Lists without brackets, yes and no, nothing of what was not given; instants in the time zone of its flow."""
    detail = {
        "ids": ["A", "B"],
        "to": {"since": NOW, "until": None},
        "replaced": {},
        "rows": [],
        "at": NOW,
        "until": None,
    }
    line = texts.change_line(Change(1, NOW, "ada", "flow.run", "flow winter", "cli", detail), ISTANBUL)
    assert line.cells[0] == "2026-01-01 03:00:00 +03"
    assert line.tail == (
        "ids: A B, to: since 2026-01-01 03:00:00 +03, replaced: none, rows: none, at: 2026-01-01 03:00:00 +03"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("since 2026-01-01T00:00:00.123456Z, all", "since 2026-01-01 03:00:00 +03, all"),
        (
            "imageflow run a --since 2026-01-01T00:00:00.9Z --until 2026-01-02T00:00:00Z",
            "imageflow run a --since 2026-01-01T03:00:00+03:00 --until 2026-01-02T03:00:00+03:00",
        ),
        (
            "2026-01-01T00:00:00 is no instant, and 12:00:00Z neither",
            "2026-01-01T00:00:00 is no instant, and 12:00:00Z neither",
        ),
    ],
)
def test_instants_in_texts(text, told):
    """They are told in the time zone of the flow; as an option's value they stay one word that the option understands."""
    assert texts.localised(text, ISTANBUL) == told


def test_an_instant_of_an_option_in_utc():
    """It ends in Z, as ours do."""
    assert texts.localised("--until 2026-01-02T00:00:00.5Z", UTC) == "--until 2026-01-02T00:00:00.500000Z"


def test_progress():
    """What is not there yet is not counted: no `0 of 0 rows`."""
    assert progress_text(run(status="reading")) == "winter: reading"
    held = Wait("held since 2026-11-28T12:00:00.000000Z")
    assert progress_text(run(status="reading"), held, ISTANBUL) == "winter: reading: held since 2026-11-28 15:00:00 +03"


def test_how_long_a_key_is_good():
    """A key is good until it is revoked, or until it expires, or was."""

    def key(expires_at):
        return KeyShown("k", "winter", "erp", "ada", NOW, expires_at)

    assert key_validity(key(None), NOW, UTC) == key_line(key(None), NOW, UTC).tail == "good until it is revoked"
    used = KeyShown("k", "winter", "erp", "ada", NOW, None, NOW)
    assert key_line(used, NOW, UTC).tail == "good until it is revoked; last used 2026-01-01 00:00:00 UTC"
    assert key_validity(key("2026-01-02T00:00:00Z"), NOW, UTC) == "good until 2026-01-02 00:00:00 UTC"
    assert key_validity(key(NOW), NOW, UTC) == "was good until 2026-01-01 00:00:00 UTC"


def test_counted():
    """One is singular, many have their thousands marked."""
    assert (counted(1, "row"), counted(1200, "row")) == ("1 row", "1,200 rows")


def partial(**counts):
    return shown(status="partial", trigger=Trigger("schedule"), counts=Counts(total=3, **counts))


def test_what_leads_out_of_a_run():
    """Rows that can be retried are to be mended; where there are none, only what was not read is left to do."""
    assert way_out_text(partial(written=2, failed=1)).startswith("imageflow errors r1; mend")
    assert way_out_text(partial(written=2, cancelled=1)).startswith("imageflow errors r1; mend")
    assert way_out_text(partial(written=3)) == "what was not read: imageflow run winter"
    whole = msgspec.structs.replace(partial(written=2, failed=1), read_complete=True)
    assert way_out_text(whole) == "imageflow errors r1; mend what it names, then: imageflow retry r1"
    cut = msgspec.structs.replace(whole, incomplete=True, since=NOW)
    again = "; what was not read: mend erp.pagination, then: imageflow run winter --since 2026-01-01T00:00:00Z"
    assert way_out_text(cut).endswith(again)
    assert way_out_text(cut, ISTANBUL).endswith("--since 2026-01-01T03:00:00+03:00")
    assert way_out_text(cut, takes_since=False).endswith(", then: imageflow run winter")
    by_a_person = msgspec.structs.replace(cut, cancelled_at="2026-01-01T00:00:00Z", status="cancelled")
    assert "what was not read: imageflow run winter" in way_out_text(by_a_person)
    assert way_out_text(NoRun("winter", None, [])) == ""


def test_a_run_that_is_being_cancelled():
    """It says what still happens, and does not advise to cancel it again; one that goes on says how to follow it."""
    going = shown(status="draining", counts=Counts(total=3, written=1))
    assert way_out_text(going).startswith("how far it is: imageflow log r1; to end it: imageflow cancel r1")
    assert "cancelling" not in run_text(going)
    ending = msgspec.structs.replace(going, cancelled_at=NOW)
    assert run_text(ending).splitlines()[-1].strip() == "cancelling: what is on its way to Omnitron finishes"
    assert "imageflow cancel" not in way_out_text(ending)
    assert "imageflow cancel" not in way_out_text(msgspec.structs.replace(ending, status="cancelled"))


def test_what_a_retry_did():
    """One line for what it took, one for each reason that it did not, one for what else there is to know."""
    left = LeftShown(2, "joined", "were to be joined", "imageflow run winter")
    assert retry_text(Retried("r1", 3, 1, [left], "mend it")).splitlines() == [
        "3 of 5 rows of run r1 are put through again",
        "    2 rows were to be joined: imageflow run winter",
        "    mend it",
    ]
    assert retry_text(Retried("r1", 1, 1, [], None)) == "1 of 1 row of run r1 is put through again"


@pytest.mark.parametrize(
    ("way", "counted", "text"),
    [
        (
            "products",
            True,
            "2 products of run r stay as version 2 wrote them; to write them again: imageflow rewrite r",
        ),
        (
            "since",
            False,
            "at least 2 products of run r stay as version 2 wrote them; to write them again: imageflow rewrite r",
        ),
        (
            "everything",
            True,
            f"2 products of run r stay as version 2 wrote them; {NO_REWRITE['everything'].format(flow='f')}",
        ),
        (
            "none",
            True,
            "2 products of run r stay as version 2 wrote them; the ERP posts its rows and is not asked for them: let it post them again",
        ),
    ],
)
def test_what_a_version_left(way, counted, text):
    """How much it is, and the way to write it again."""
    run = Run(run_id="r", flow="f", version=2, trigger=Trigger("schedule"), status="success", created_at=MIDNIGHT)
    assert texts.stale_text(run, Stale(2, 3, 2, way, counted)) == text
