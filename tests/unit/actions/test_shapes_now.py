"""What is going on, as JSON."""

from datetime import UTC, datetime, timedelta

import msgspec

from imageflow.actions.left_behind import Left
from imageflow.actions.marks import Marks
from imageflow.actions.now import FlowNow, Need, Now
from imageflow.actions.run_detail import Detail
from imageflow.actions.shapes_now import marks_shown, now_shown, run_detail
from imageflow.flows import file as flow_file
from imageflow.inspect.stale import Stale
from imageflow.model.flow import Flow
from imageflow.model.run import Counts, Run, Trigger
from imageflow.model.run_step import Hold, RunStep
from imageflow.model.series import Point
from imageflow.store import Alarm, Cause, HeldDomain, SavedVersion

AT = datetime(2026, 1, 2, 3, tzinfo=UTC)
LATER = AT + timedelta(minutes=1)
SAID = "2026-01-02T03:00:00.000000Z"
RUN = Run(
    run_id="r",
    flow="f",
    version=1,
    trigger=Trigger("schedule"),
    status="draining",
    created_at=AT,
    counts=Counts(10, written=4, failed=1),
)
FLOW = {
    "name": "f",
    "direction": "outbound",
    "omnitron": {"domain_url": "https://b.example", "username": "u", "password": {"env": "P"}},
}
CAUSE = Cause(
    flow="f",
    group="0" * 16,
    stage="write",
    http_status=400,
    reason="no",
    rows=3,
    runs=1,
    since=AT,
    run_id="r",
    row=1,
    product="p",
    retryable=3,
    total=3,
    first_at=AT,
    last_at=AT,
    closed_at=None,
    days=(),
)


def plain(shown):
    return msgspec.to_builtins(shown)


def test_a_run_with_its_course():
    """Instants in UTC, seconds rounded; a hold that goes on has no end."""
    steps, holds = [RunStep("r", "write", AT, LATER, 5, 1.23456)], [Hold(AT, None, "503", "https://b.example")]
    shown = plain(run_detail(Detail(RUN, None, steps, holds, "uf", 9.87, [SavedVersion("f", 2, "ada", AT)])))
    assert (shown["run_id"], shown["page_map"], shown["seconds_left"]) == ("r", "uf", 9.9)
    assert shown["steps"] == [
        {"step": "write", "first_at": SAID, "last_at": "2026-01-02T03:01:00.000000Z", "rows": 5, "waited": 1.235}
    ]
    assert shown["holds"] == [{"domain": "https://b.example", "since": SAID, "until": None, "reason": "503"}]
    assert shown["saved"] == [{"flow": "f", "version": 2, "by": "ada", "saved_at": SAID}]
    assert plain(run_detail(Detail(RUN, None, [], [], "", None, [])))["seconds_left"] is None


def test_needs_say_what_they_are_about():
    """A cause has its group, a hold its domain, an alarm its flow."""
    needs = [
        Need("cause", 3, AT, "f", "no", CAUSE),
        Need("hold", 2, AT, "", "503", HeldDomain("https://b.example", "503", AT, 1)),
        Need("alarm", 0, AT, "f", "silence", Alarm(1, "f", "silence", "silence", AT, None, None)),
    ]
    shown = plain(now_shown(Now(needs, [], [RUN]), []))
    assert [(one["kind"], one["flow"], one["group"], one["domain"], one["text"]) for one in shown["needs"]] == [
        ("cause", "f", "0" * 16, None, "no"),
        ("hold", None, None, "https://b.example", "503"),
        ("alarm", "f", None, None, "silence"),
    ]
    assert shown["active_runs"] == 1


def test_flows_as_they_are_now():
    """With the newest run, or none; held while a hold goes on."""
    flow = Flow("f", 1, flow_file.parse(FLOW), FLOW)
    held = [Hold(AT, LATER, "503")]
    points = [Point(AT, written=2), Point(LATER, failed=1)]
    busy = FlowNow(flow, RUN, points, 3, AT, None, [*held, Hold(AT, None, "503")], [SavedVersion("f", 2, "ada", AT)])
    idle = FlowNow(flow, None, points, 0, None, AT, held, [])
    first, second = plain(now_shown(Now([], [busy, idle], []), []))["flows"]
    assert (first["run_id"], first["status"], first["began_at"], first["held"]) == ("r", "draining", SAID, True)
    assert (first["fresh_since"], first["next_at"], first["open"]) == (SAID, None, 3)
    assert (second["run_id"], second["status"], second["began_at"], second["held"]) == (None, None, None, False)
    assert (second["next_at"], second["saved"]) == (SAID, [])
    assert [point["written"] for point in first["points"]] == [2, 0]
    assert (busy.day.rows, busy.day.at) == (3, AT)


def test_marks_over_time():
    """Holds and versions."""
    shown = plain(marks_shown(Marks([Hold(AT, LATER, "503", "d")], [SavedVersion("f", 1, "ada", AT)])))
    assert (shown["holds"][0]["domain"], shown["saved"][0]["by"]) == ("d", "ada")


def test_what_runs_left_behind():
    """Products as a version wrote them that was rolled back, of a run and of all flows; and rows that were not sent."""
    stale = Stale(2, 3, 40, "products", counted=True)
    told = {"run_id": "r", "flow": "f", "version": 2, "in_force": 3, "products": 40, "counted": True, "way": "products"}
    assert plain(run_detail(Detail(RUN, None, [], [], "", None, [], stale=stale, overtaken=5)))["stale"] == told
    assert plain(run_detail(Detail(RUN, None, [], [], "", None, [], overtaken=5)))["overtaken"] == 5
    shown = plain(now_shown(Now([], [], [], left=Left([(RUN, stale)], [(RUN, 7)])), []))
    assert (shown["stale"], shown["unsent"]) == ([told], [{"run_id": "r", "flow": "f", "rows": 7}])
