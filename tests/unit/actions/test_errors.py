"""Causes of failed rows, and the flows whose last run failed as a whole."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from imageflow.actions import errors
from imageflow.actions.actor import Actor
from imageflow.errors import NotFoundError
from imageflow.model.run import Run, Trigger

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
ADA = Actor("ada", "command line")


def run(name, flow, status, error=None, *, minutes=0):
    made = {"run_id": name, "flow": flow, "version": 1, "trigger": Trigger("person", "ada"), "status": status}
    return Run(**made, error=error, created_at=NOW + timedelta(minutes=minutes))


class Place:
    """The store, in memory: flows, their runs, no rows; `closed`: causes that no open row has."""

    def __init__(self, *runs, flows=("winter", "posts"), closed=()):
        self.known = sorted(runs, key=lambda one: one.created_at, reverse=True)
        self.names, self.closed = flows, closed

    async def flow(self, name):
        if name not in self.names:
            raise NotFoundError(name)
        return SimpleNamespace(name=name)

    async def flows(self):
        return [SimpleNamespace(name=name) for name in self.names]

    async def runs(self, flow, *, status=None, limit):
        return [one for one in self.known if one.flow == flow and (status is None or one.status in status)][:limit]

    async def newest_runs(self):
        return list({one.flow: one for one in reversed(self.known)}.values())

    async def open_rows(self, _group, _flow, *, after, limit):
        return []

    async def causes(self, _flow, *, group, state="open"):
        return [group] if state == "closed" and group in self.closed else []


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        ([run("a", "winter", "failed", "refused")], ["a"]),
        ([run("a", "winter", "failed")], []),
        ([run("a", "winter", "partial", "refused")], []),
        ([run("a", "winter", "failed", "refused"), run("b", "winter", "success", minutes=1)], []),
        ([run("a", "winter", "failed", "refused"), run("b", "winter", "reading", minutes=1)], ["a"]),
        ([run("a", "winter", "success"), run("b", "winter", "queued", minutes=1)], []),
        ([run("a", "winter", "queued")], []),
        ([run("a", "winter", "failed", "x"), run("b", "posts", "failed", "y", minutes=1)], ["b", "a"]),
        ([run("a", "gone", "failed", "refused")], []),
    ],
)
async def test_flows_whose_last_run_failed(runs, found):
    """The last run of each flow that ended, if an error ended it: one that is under way does not hide it, a good one does. The newest first;
    not of flows that are gone.
    """
    place = Place(*runs)
    assert [one.run_id for one in await errors.failed_runs(place)] == found
    assert [one.run_id for one in await errors.failed_runs(place, "winter")] == [
        one for one in found if one in [each.run_id for each in runs if each.flow == "winter"]
    ]


@pytest.mark.parametrize(
    ("group", "flow", "after", "error"),
    [
        ("closed", None, None, None),
        ("closed", "winter", None, None),
        ("unknown", None, None, "there is no cause 'unknown'; imageflow errors"),
        ("unknown", "winter", None, "there is no cause 'unknown' in flow winter; "),
        ("unknown", None, (NOW, "r", 1), None),
        ("closed", "nobody", None, "nobody"),
    ],
)
async def test_a_cause_without_open_rows(group, flow, after, error):
    """One that closed has none; one that never was is an error, as is an unknown flow. A page after the last is empty."""
    place = Place(closed=["closed"])
    if error is None:
        assert await errors.open_rows(place, group, flow, after=after) == []
        return
    with pytest.raises(NotFoundError, match=error):
        await errors.open_rows(place, group, flow, after=after)


@pytest.mark.parametrize("group", ["closed", "unknown"])
async def test_nothing_to_put_through_again(group):
    """A cause that is not open is no cause to retry."""
    with pytest.raises(NotFoundError, match="is open in flow winter"):
        await errors.retry(Place(closed=["closed"]), None, group, ADA, flow="winter")
