"""What is worth waking somebody, and how a webhook is told."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from imageflow.model.flow import Definition, Flow, decode_custom
from imageflow.model.run import Counts, Run, Trigger
from imageflow.schedule import alarm
from imageflow.schedule.alarm import Known, alarming
from imageflow.store import Alarm, HeldDomain, Notice

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DOMAIN = "https://brand.example.com"


def flow(*, enabled=True, **alarms) -> Flow:
    document = {
        "name": "winter",
        "direction": "inbound",
        "enabled": enabled,
        "omnitron": {"domain_url": DOMAIN + "/", "username": "demo", "password": {"env": "P"}},
        "erp": {"endpoint_url": "https://erp.example.com/"},
        "alarms": alarms,
    }
    return Flow("winter", 1, msgspec.convert(document, Definition, dec_hook=decode_custom), document)


def run(ended: float | None = 5, took: float = 1, *, failed=0, written=0, **changes) -> Run:
    """A run that ended so many minutes ago (None: it has not) and took so many minutes."""
    end = NOW - timedelta(minutes=ended or 0)
    fields = {
        "run_id": f"r{ended}",
        "flow": "winter",
        "version": 1,
        "trigger": Trigger("schedule"),
        "status": "success" if ended is not None else "draining",
        "created_at": end - timedelta(minutes=took),
        "started_at": end - timedelta(minutes=took),
        "finished_at": None if ended is None else end,
        "counts": Counts(total=failed + written, written=written, failed=failed),
    }
    return Run(**{**fields, **changes})


def kinds(runs, /, held=(), **alarms) -> dict[str, str]:
    return alarming(flow(**alarms), Known(runs, holds=held), NOW)


def test_all_is_well():
    """Good runs give no alarm, whatever is watched; nor does a flow that never ran."""
    watched = {"error_rate": 0.05, "average_flow_time": "10m", "silence": "24h"}
    assert kinds([run(written=100), run(20, written=5)], **watched) == {}
    assert kinds([], **watched) == {}


@pytest.mark.parametrize(
    ("runs", "alarms"),
    [
        ([run(failed=6, written=94)], True),
        ([run(failed=5, written=95)], False),
        ([run(failed=6, written=94), run(10, written=100)], False),
        ([run(written=10), run(90, failed=10)], False),
        ([run(90, failed=10)], True),
        ([run(90, failed=10), run(80, written=10)], False),
        ([run(None, failed=10)], True),
        ([run(None)], False),
        ([run(None), run(90, failed=1)], True),
    ],
)
def test_error_rate(runs, alarms):
    """Over all rows settled within the window, else of the newest run that ended; more than is allowed."""
    found = kinds(runs, error_rate=0.05)
    assert ("error_rate" in found) == alarms
    assert "error_rate" not in kinds(runs)


def test_error_rate_says_how_many():
    """The text tells rows, rate and what is allowed; with 0, one failed row is enough."""
    assert kinds([run(failed=1, written=1999)], error_rate=0) == {
        "error_rate": "1 of 2,000 rows failed (0.1%); allowed are 0.0%"
    }


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ([run(took=11)], "runs took 11m on average; allowed are 10m"),
        ([run(took=11), run(6, took=5)], None),
        ([run(90, took=11)], "runs took 11m on average; allowed are 10m"),
        ([run(took=1), run(90, took=600)], None),
        ([run(None, took=11)], "run rNone has been going on for more than 10m"),
        ([run(None, took=9)], None),
        ([run(took=9, created_at=NOW - timedelta(hours=2))], None),
        ([run(None, took=9, created_at=NOW - timedelta(hours=2))], None),
        ([run(None, took=11, started_at=None, status="queued")], "run rNone has been going on for more than 10m"),
    ],
)
def test_average_flow_time(runs, text):
    """The average of what ended lately; a run that goes on counts once it takes too long. Waiting to begin does not count."""
    assert kinds(runs, average_flow_time="10m") == ({} if text is None else {"average_flow_time": text})


def test_silence():
    """No rows for longer than allowed, but not of a flow that is younger than that."""
    watched = flow(silence="1d")
    old, young = NOW - timedelta(hours=25), NOW - timedelta(hours=23)
    assert alarming(watched, Known([], old, rows_came=False), NOW) == {"silence": "no rows for more than 1d"}
    assert alarming(watched, Known([], young, rows_came=False), NOW) == {}
    assert alarming(watched, Known([], old, rows_came=True), NOW) == {}
    assert alarming(flow(), Known([], old, rows_came=False), NOW) == {}


def test_failed_poll():
    """The newest run that ended decides; an outbound post and one that goes on do not count."""
    failed = {"error": "HTTP 500", "error_stage": "login", "status": "failed"}
    assert kinds([run(5), run(3, **failed)]) == {"failed_poll": "run r3: login: HTTP 500"}
    assert kinds([run(3), run(5, **failed)]) == {}
    posted = run(1, trigger=Trigger("outbound"))
    assert "failed_poll" in kinds([posted, run(None), run(3, **failed)])
    retried = run(1, took=500, **failed)
    assert kinds([run(3), retried]) == {}


def test_hold():
    """A flow whose domain is held, and no other, gives an alarm with the reason."""
    held = HeldDomain(DOMAIN, "HTTP 503", NOW, 2)
    assert kinds([], [held]) == {"hold": f"{DOMAIN} is held: HTTP 503"}
    assert kinds([], [msgspec.structs.replace(held, domain="https://other")]) == {}


def test_a_disabled_flow_is_quiet():
    """Disabling a flow closes its alarms."""
    assert alarming(flow(enabled=False), Known([run(failed=1, error="x")]), NOW) == {}


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.25s"), (90, "1m30s"), (600, "10m"), (90_061, "1d1h1m1s"), (86_400, "1d")]
)
def test_spans(seconds, text):
    """Lengths of time are written as in flow files."""
    assert alarm._span(seconds) == text


def notice(event="opened", attempts=0, closed=False) -> Notice:
    sounded = Alarm(7, "winter", "hold", "é" * 9000, NOW, NOW if closed else None, None)
    return Notice(3, event, attempts, sounded)


def test_a_signed_post():
    """A receiver that knows the flow's key can check time and body; the body is bounded."""
    content = alarm.body(notice())
    assert len(content) < 10_000
    assert json.loads(content)["event"] == "opened"
    assert json.loads(content)["alarm"] | {"text": ""} == {
        "id": 7,
        "flow": "winter",
        "kind": "hold",
        "text": "",
        "opened_at": "2026-11-24T12:00:00.000000Z",
        "closed_at": None,
    }
    key = alarm.webhook_key(b"secret", "winter")
    header = alarm.signed(key, content, NOW)["X-ImageFlow-Signature"]
    at, signature = (part.partition("=")[2] for part in header.split(","))
    assert int(at) == NOW.timestamp()
    assert signature == hmac.new(key.encode(), at.encode() + b"." + content, hashlib.sha256).hexdigest()
    assert len({key, alarm.webhook_key(b"secret", "other"), alarm.webhook_key(b"other", "winter")}) == 3
    assert "secret" not in key


def test_posting_again():
    """Delays grow, are bounded, and end; what has closed meanwhile is not announced as new."""
    delays = [alarm.retry_in(attempts) for attempts in range(1, alarm.ATTEMPTS + 1)]
    assert delays[-1] is None
    assert delays[:-1] == sorted(delays[:-1])
    assert 3600 < sum(delays[:-1]) < 4 * 3600
    assert [
        alarm.outdated(notice(*args)) for args in (("opened", 0, True), ("opened", 1, True), ("closed", 1, True))
    ] == [
        False,
        True,
        False,
    ]
