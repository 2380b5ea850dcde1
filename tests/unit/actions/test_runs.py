"""Runs: which messages a run waits for when its queues were lost."""

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from imageflow.actions import runs
from imageflow.actions.actor import Actor
from imageflow.actions.runs import NotRunnable
from imageflow.errors import ConflictError, NotFoundError
from imageflow.model import messages
from imageflow.model.flow import Flow
from imageflow.model.page import Page
from imageflow.model.run import Counts, Run, Trigger
from imageflow.store import Taken

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ME = Actor("ada", "command line")
READ = messages.ReadPage("r1", "winter", 3, 3)
PAGES = [messages.PageRead("r1", "winter", 3, number, 40 + number) for number in (1, 2)]
JOIN = messages.RunRead("r1", "winter", 3)
IN_FLIGHT = Counts(total=5, written=4)
SETTLED = Counts(total=5, written=5)


class Place:
    """The store and the broker, in memory: the runs of one flow, audit entries, and what was published."""

    def __init__(self, *known):
        self.known = {run.run_id: run for run in known}
        self.entries = []
        self.published = []
        self.retrying = []

    async def run(self, run_id):
        return self.known[run_id]

    async def runs(self, flow, *, active, limit):
        newest = sorted(self.known.values(), key=lambda run: run.created_at, reverse=True)
        return [run for run in newest if not (active and run.ended)][:limit]

    async def page(self, run_id, number):
        return Page(run_id, number, 40 + number, b"[]")

    async def retried(self, run_id, version):
        return self.retrying

    async def flow(self, name):
        return Flow(name, 7, None, {})

    async def record(self, entry):
        self.entries.append(entry)

    async def publish(self, outgoing):
        self.published.append(messages.decode(outgoing.body))


def run(run_id="r1", *, minutes=0, **fields):
    """A run of two pages that was created so many minutes after the first."""
    values = {
        "run_id": run_id,
        "flow": "winter",
        "version": 3,
        "trigger": Trigger("person", "ada"),
        "status": "draining",
        "created_at": NOW + timedelta(minutes=minutes),
        "pages": 2,
    }
    return Run(**{**values, **fields})


@pytest.mark.parametrize(
    ("fields", "published"),
    [
        ({"pages": 0}, [messages.ReadPage("r1", "winter", 3, 1)]),
        ({"pages_done": 2}, [READ]),
        ({"pages_done": 2, "counts": SETTLED}, [READ]),
        ({"pages_done": 1}, [READ, *PAGES]),
        ({"pages_done": 2, "counts": IN_FLIGHT}, [READ, *PAGES]),
        ({"pages_done": 1, "read_complete": True, "counts": SETTLED}, PAGES),
        ({"pages_done": 2, "read_complete": True, "counts": IN_FLIGHT}, PAGES),
        ({"pages_done": 2, "read_complete": True, "counts": IN_FLIGHT, "joining": True}, [*PAGES, JOIN]),
        ({"pages_done": 2, "read_complete": True, "counts": SETTLED, "joining": True}, [JOIN]),
        ({"pages_done": 1, "read_complete": True, "joining": True}, PAGES),
        ({"pages_done": 2, "joining": True}, [READ]),
    ],
)
async def test_what_a_run_waits_for(fields, published):
    """The next page of a read that goes on, all pages while rows are missing, the join once every page is in."""
    place = Place(run(**fields))
    assert await runs.resume(place, place, "r1", ME) == len(published)
    assert place.published == published
    assert [(entry.what, entry.object) for entry in place.entries] == [("run.resume", "run r1")]


@pytest.mark.parametrize(
    ("known", "resumed"),
    [
        ([run(status="success")], False),
        ([run(status="queued", minutes=1), run("older")], False),
        ([run(status="queued"), run("newer", minutes=1)], True),
        ([run(status="queued", minutes=1), run("older", status="failed")], True),
        ([run(status="reading", minutes=1), run("older")], True),
    ],
)
async def test_which_runs_can_be_resumed(known, resumed):
    """Not one that has ended, nor one that is queued behind an older run; a refusal publishes and records nothing."""
    place = Place(*known)
    with nullcontext() if resumed else pytest.raises((ConflictError, NotRunnable)):
        await runs.resume(place, place, "r1", ME)
    assert (bool(place.published), bool(place.entries)) == (resumed, resumed)


class Reopening(Place):
    """A place whose rows are all left by a retry, for these reasons."""

    def __init__(self, left):
        super().__init__(run(status="partial"))
        self.left = left

    async def flow(self, name):
        return Flow(name, 3, SimpleNamespace(erp=None, group="page"), {})

    async def page_versions(self, run_id):
        return {}

    async def reopen(self, run_id, version, **asked):
        return Taken(0, [], self.left, 0, 0, None)

    async def send(self, unsent):
        assert not unsent


async def test_a_named_row_that_is_left_is_there():
    """A row that cannot be taken is left, with the reason; only one that did not fail is not found."""
    place = Reopening({"in flight": 1})
    retried = await runs.retry(place, place, "r1", ME, row=4)
    assert (retried.rows, retried.left) == (0, {"in flight": 1})
    place.left = {}
    with pytest.raises(NotFoundError, match="has no row 4 that failed"):
        await runs.retry(place, place, "r1", ME, row=4)
