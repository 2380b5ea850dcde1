"""What the scheduler decides: runs that follow others, ticks that are skipped, the runs that ticks make."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from imageflow.model.flow import Definition, Flow, decode_custom
from imageflow.model.run import Run, Trigger
from imageflow.schedule import firing

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


def flow(**fields: Any) -> Flow:
    document = {
        "name": "winter",
        "direction": "inbound",
        "omnitron": {"domain_url": "https://brand.example.com", "username": "u", "password": {"env": "PW"}},
        "schedule": {"cron": "* * * * *"},
        **fields,
    }
    return Flow("winter", 7, msgspec.convert(document, Definition, dec_hook=decode_custom), document)


def run(status: Any, ended_minutes_ago: float | None = None) -> Run:
    ended = None if ended_minutes_ago is None else NOW - timedelta(minutes=ended_minutes_ago)
    return Run(
        run_id="r",
        flow="autumn",
        version=1,
        trigger=Trigger("person"),
        status=status,
        created_at=NOW,
        finished_at=ended,
    )


@pytest.mark.parametrize(
    ("runs", "minutes_ago"),
    [
        ([], None),
        ([run("reading")], None),
        ([run("success", 5)], 5),
        ([run("partial", 5)], 5),
        ([run("empty", 5)], 5),
        ([run("failed", 5)], None),
        ([run("failed", 5), run("success", 8)], 8),
        ([run("reading"), run("success", 8)], 8),
        ([run("success", 20)], None),
        ([run("success", 10)], None),
        ([run("success", 20), run("success", 5)], None),
    ],
)
def test_following(runs: list[Run], minutes_ago: float | None):
    """A flow follows the newest success of the other one, once: only if it ended after the last fire, 10 minutes ago."""
    found = firing.followed(runs, NOW - timedelta(minutes=10))
    assert found == (None if minutes_ago is None else NOW - timedelta(minutes=minutes_ago))


@pytest.mark.parametrize(
    ("policy", "active", "may_fire"),
    [
        ("skip", [], True),
        ("skip", [run("queued")], False),
        ("skip", [run("draining")], False),
        ("queue", [run("draining")], True),
        ("queue", [run("draining"), run("reading")], True),
        ("queue", [run("draining"), run("queued")], False),
    ],
)
def test_overlap(policy: str, active: list[Run], may_fire: bool):
    """`skip` runs alone; `queue` lets one wait, so that runs never pile up."""
    assert firing.may_fire(flow(overlap_policy=policy), active) is may_fire


@pytest.mark.parametrize(
    ("schedule", "trigger"),
    [
        ({"cron": "* * * * *"}, Trigger("schedule", "2026-11-24T09:00:00.000000Z")),
        ({"after": "autumn"}, Trigger("flow", "autumn")),
        (None, Trigger("schedule", "2026-11-24T09:00:00.000000Z")),
    ],
)
def test_the_run_of_a_tick(schedule: Any, trigger: Trigger):
    """A run names what started it, and is pinned to the flow's version."""
    made = firing.run_of(flow(schedule=schedule), NOW - timedelta(minutes=30), NOW)
    assert (made.trigger, made.flow, made.version, made.status, made.created_at) == (
        trigger,
        "winter",
        7,
        "queued",
        NOW,
    )
