"""What `--json` prints and the API answers."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from imageflow.actions import shapes
from imageflow.actions.bench import not_compared
from imageflow.actions.dead_letters import Parked
from imageflow.actions.flows import FlowSeen
from imageflow.actions.keys import NewKey
from imageflow.actions.runs import Retried, Seen
from imageflow.actions.watermarks import Standing
from imageflow.errors import Problem
from imageflow.flows import file as flow_file
from imageflow.model.flow import Flow
from imageflow.model.imageset import Image
from imageflow.model.row import RowLog
from imageflow.model.run import Counts, Run, Trigger
from imageflow.sandbox.outcome import Ran
from imageflow.store import Alarm, ApiKey, AuditEntry, AuditRecord, Cause, FlowVersion, HeldDomain, User
from tests.unit.inspect.pages import result_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = "2026-01-01T00:00:00.000000Z"
DOCUMENT = {
    "name": "winter",
    "direction": "inbound",
    "omnitron": {"domain_url": "https://brand.example.com", "username": "u", "password": {"env": "P"}},
    "erp": {"endpoint_url": "https://erp.example.com/"},
}
RUN = Run(
    run_id="r1",
    flow="winter",
    version=3,
    trigger=Trigger("person", "ada", ("A",)),
    status="partial",
    created_at=NOW,
    pages=2,
    counts=Counts(total=3, written=1, failed=1),
    warnings=("w",),
)
ROW = RowLog(
    run_id="r1",
    row=7,
    product="A",
    state="failed",
    reason="why",
    http_status=400,
    attempts=2,
    images=(Image("https://x/a.jpg"),),
    payload={"sku": "A"},
)


def written(value):
    """The JSON of a value."""
    return msgspec.json.decode(msgspec.json.encode(value))


def flow(**fields):
    document = {**DOCUMENT, **fields}
    return Flow("winter", 3, flow_file.parse(document), document)


def test_a_run_has_the_fields_that_are_promised():
    """The object of a run: what `run --wait --json` prints, and beside that the bounds, the trigger and the times."""
    shown = written(shapes.run_shown(Seen(RUN, NOW)))
    assert shown == {
        "run_id": "r1",
        "flow": "winter",
        "status": "partial",
        "error": None,
        "pages": 2,
        "rows": {"total": 3, "written": 1, "unchanged": 0, "superseded": 0, "failed": 1, "cancelled": 0},
        "watermark": TEXT,
        "warnings": ["w"],
        "version": 3,
        "trigger": {"kind": "person", "by": "ada", "identifiers": ["A"]},
        "created_at": TEXT,
        "started_at": None,
        "finished_at": None,
        "retried_at": None,
        "since": None,
        "until": None,
        "read_complete": False,
        "incomplete": False,
        "cancelled_at": None,
        "error_stage": None,
    }


@pytest.mark.parametrize(
    "field", ["created_at", "started_at", "finished_at", "retried_at", "since", "until", "cancelled_at"]
)
def test_an_instant_of_a_run_has_one_field(field):
    """Each instant of a run is shown under its own name and no other."""
    run = msgspec.structs.replace(RUN, **{field: NOW + timedelta(seconds=1)})
    shown = written(shapes.run_shown(Seen(run, NOW)))
    assert [name for name, value in shown.items() if value == "2026-01-01T00:00:01.000000Z"] == [field]


def test_no_run_is_shown_as_an_empty_one():
    """Where nothing is missing, the object has the fields that every run has, but those of a read."""
    none = written(shapes.NoRun("winter", None, ["nothing is missing"]))
    run = written(shapes.run_shown(Seen(RUN, NOW)))
    assert none.keys() == run.keys() - {"read_complete", "incomplete", "cancelled_at", "error_stage"}
    assert (none["run_id"], none["status"], none["rows"]["total"]) == (None, "empty", 0)


def test_a_row_has_the_fields_that_are_promised():
    """The object of a row, in order; its detail has what failed beside it."""
    row, detail = written(shapes.row_shown(ROW)), written(shapes.row_detail(ROW))
    assert row == {
        "run_id": "r1",
        "row": 7,
        "product": "A",
        "state": "failed",
        "stage": "write",
        "reason": "why",
        "http_status": 400,
        "attempts": 2,
        "images": [{"url": "https://x/a.jpg", "order": 0, "image_type": "default"}],
    }
    assert detail == {**row, "page": None, "retryable": False, "payload": {"sku": "A"}}


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (None, None),
        ({"cron": "*/5 * * * *"}, "cron */5 * * * * (UTC)"),
        ({"every": "90s"}, "every 90s"),
        ({"after": "other"}, "after other"),
    ],
)
def test_a_schedule_in_a_few_words(schedule, text):
    """A flow's line says when it runs."""
    assert shapes.flow_line(flow(**({"schedule": schedule} if schedule else {}))).schedule == text


def test_a_flow_is_shown_under_both_names_of_its_document():
    """`document` and its older name `definition` hold what the flow file says."""
    shown = written(shapes.flow_shown(FlowSeen(flow(), [NOW], NOW, [RUN])))
    assert shown["document"] == shown["definition"] == DOCUMENT
    assert (shown["next_fires"], shown["watermark"], shown["runs"][0]["run_id"]) == ([TEXT], TEXT, "r1")


def test_a_flow_in_the_list_of_all():
    """It says when it runs next, and how its newest run went; null where there is neither."""
    listed = written(shapes.flow_listed(FlowSeen(flow(), [NOW], NOW, [RUN])))
    assert {name: listed[name] for name in ("name", "enabled", "schedule", "next_at")} == {
        "name": "winter",
        "enabled": True,
        "schedule": None,
        "next_at": TEXT,
    }
    assert listed["last_run"] == written(shapes.run_shown(Seen(RUN, NOW)))
    quiet = written(shapes.flow_listed(FlowSeen(flow(), [], None, [])))
    assert (quiet["next_at"], quiet["last_run"]) == (None, None)


def test_versions_and_watermarks():
    """A version says who saved it and when; a watermark since when the next run asks."""
    line = written(shapes.version_line(FlowVersion(2, "ada", NOW, enabled=True)))
    assert line == {"version": 2, "saved_at": TEXT, "by": "ada", "enabled": True}
    assert shapes.version_shown(flow()).document == DOCUMENT
    standing = Standing("winter", NOW, NOW - timedelta(minutes=5), ["r1"])
    assert written(shapes.watermark(standing)) == {
        "flow": "winter",
        "watermark": TEXT,
        "asks_since": "2025-12-31T23:55:00.000000Z",
        "reading": ["r1"],
    }


def test_problems_of_a_flow():
    """Each problem is a path and a message; a flow without any is one that can be saved."""
    assert written(shapes.checked([Problem("erp", "is missing")])) == {
        "problems": [{"path": "erp", "message": "is missing"}]
    }
    assert shapes.checked([]).problems == []


def test_a_key_is_shown_whole_this_once():
    """A new key has its text beside all that a key in a list has."""
    key = ApiKey("k1", "winter", "erp", "ada", NOW, None)
    shown = written(shapes.key_shown(key))
    assert written(shapes.key_made(NewKey(key, "ifk.x"))) == {"key": "ifk.x", **shown}


def test_no_user_is_shown_with_a_password():
    """Of a user there is a name and a role."""
    assert written(shapes.me(User("ada", "hash", "admin"))) == {"name": "ada", "role": "admin"}


def test_a_cause():
    """A cause over all runs of a flow: since when it is open, how many rows failed ever and by day."""
    cause = Cause(
        flow="winter",
        group="f" * 16,
        stage="write",
        http_status=400,
        reason="why",
        rows=3,
        runs=2,
        since=NOW,
        run_id="r1",
        row=7,
        product="A",
        retryable=3,
        total=9,
        first_at=NOW,
        last_at=NOW,
        closed_at=None,
        days=(0, 3),
    )
    instants = {"since": TEXT, "first_at": TEXT, "last_at": TEXT}
    assert written(shapes.cause_shown(cause)) == {**msgspec.structs.asdict(cause), **instants, "days": [0, 3]}
    assert cause.key() == (3, "winter", "f" * 16)
    closed = msgspec.structs.replace(cause, closed_at=NOW)
    assert closed.key() == (NOW, "winter", "f" * 16)


def test_what_operators_see():
    """Alarms, holds, parked messages and changes, with instants as texts."""
    alarm = Alarm(1, "winter", "silence", "no rows", NOW, None, None)
    assert written(shapes.alarm_shown(alarm))["opened_at"] == TEXT
    assert written(shapes.hold_shown(HeldDomain("https://x", "away", NOW, 2))) == {
        "domain": "https://x",
        "reason": "away",
        "since": TEXT,
        "writers": 2,
    }
    parked = Parked("a" * 12, "q", "winter", "no good", TEXT, 3, {}, "one")
    assert written(shapes.parked_shown(parked, b"one\xff"))["body"] == "one\ufffd"
    change = AuditRecord(1, NOW, AuditEntry("ada", "flow.save", "flow winter", "::1", {"a": 1}))
    assert written(shapes.change(change)) == {
        "id": 1,
        "at": TEXT,
        "who": "ada",
        "what": "flow.save",
        "object": "flow winter",
        "origin": "::1",
        "detail": {"a": 1},
    }


def test_numbers_of_any_length_are_shown():
    """A number that no 64 bits hold is written as it came."""
    dry = result_of(Ran([]), [123456789012345678901234567890])
    assert b"123456789012345678901234567890" in msgspec.json.encode(shapes.dry_run(not_compared(dry)))


def retried(**fields):
    return Retried(**{"run": RUN, "version": 4, "rows": 2, "left": {}, "same": 0, **fields})


def test_what_a_retry_did():
    """How many rows it took; of the others why not, and what to do."""
    shown = written(shapes.retried(retried(left={"page gone": 3, "in flight": 0})))
    assert (shown["run_id"], shown["rows"], shown["version"], shown["note"]) == ("r1", 2, 4, None)
    [left] = shown["left"]
    assert (left["rows"], left["reason"]) == (3, "page gone")
    assert left["do"] == "imageflow run winter --ids …"


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"rows": 0}, "no row of it failed or was cancelled"),
        ({"rows": 0, "left": {"page gone": 1}}, None),
        ({"same": 2}, "2 of them failed with version 4 of winter"),
        (
            {"rows": 0, "run": msgspec.structs.replace(RUN, status="failed", error="401", error_stage="login")},
            (
                "it failed as a whole, in login, so there is no row to retry: mend the login (imageflow check winter), then: "
                "imageflow run winter"
            ),
        ),
    ],
)
def test_what_else_there_is_to_know_of_a_retry(fields, note):
    """That there was nothing to retry, or that the flow is not mended yet."""
    got = shapes.retried(retried(**fields)).note
    assert got is note if note is None else got.startswith(note)


def test_a_retry_of_a_run_and_of_a_flow():
    """The run's own object with the retry in it; a flow's retry lists those of its runs."""
    run = written(shapes.retried_run(Seen(RUN, NOW), retried()))
    assert (run["status"], run["retry"]["rows"]) == ("partial", 2)
    flow_ = written(shapes.flow_retried("winter", [retried(), retried(rows=5)]))
    assert (flow_["rows"], [one["rows"] for one in flow_["runs"]]) == (7, [2, 5])
