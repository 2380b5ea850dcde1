"""The watermark's promise: whatever the ERP had comes, whenever it was changed and whatever fails.

A real reader on a real store and queue reads an ERP that is not on the network: one that shows changes late, whose clock
is off, that stamps rows with local times, and that changes while it is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageflow.errors import TransportError
from imageflow.http.client import Answer

from .reading import Bench, Clock, bench, inbound

URL = "https://erp.example.com/images/"
LIMIT = 3
OVERLAP = 300
MOST_LATE = MOST_BEHIND = OVERLAP // 2
PAGINATIONS: dict[str, dict[str, Any]] = {
    "offset": {"type": "offset", "limit": LIMIT},
    "total": {"type": "offset", "limit": LIMIT, "total_path": "total"},
    "page": {"type": "page", "limit": LIMIT},
    "pages": {"type": "page", "limit": LIMIT, "total_path": "total"},
    "seek": {"type": "seek", "param": "after", "value_path": "sku", "limit": LIMIT},
    "next": {"type": "next"},
    "token": {"type": "next", "field": "token", "kind": "token", "param": "after"},
}
SHIFTS = [
    ("Europe/Berlin", datetime(2026, 10, 25, 0, 0, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 3, 29, 0, 0, tzinfo=UTC)),
    ("America/St_Johns", datetime(2026, 11, 1, 3, 30, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 14, 30, tzinfo=UTC)),
    ("Europe/Istanbul", datetime(2026, 7, 1, 0, 0, tzinfo=UTC)),
]
"""Zones, and instants shortly before their clocks change, mostly back (the last: never)."""


class Change(NamedTuple):
    """A row is added or changed; it shows only `late` seconds after its stamp."""

    row: int
    late: int


class Reads(NamedTuple):
    """A run. `during`: what is changed before its n-th request, and how much time passes then. `fault` comes at its
    request number `at`: nothing, an error that passes, one that stays, or the reader's death.
    """

    during: tuple[tuple[int, tuple[Change, ...]], ...] = ()
    fault: str | None = None
    at: int = 1


class Habits(NamedTuple):
    """An ERP's: how it pages, its zone, how far its clock is off, how it reads local times, what its stamps drop."""

    kind: str
    zone: str
    skew: int
    reads: str
    grain: str
    method: str


class DeathError(Exception):
    """The reader's process dies."""


class Erp:
    """The ERP, in the place of the transport: rows in the order of their SKU, whatever their stamp."""

    def __init__(self, habits: Habits, clock: Clock) -> None:
        self.habits = habits
        self.clock = clock
        self.zone = ZoneInfo(habits.zone)
        self.rows: dict[str, dict[str, Any]] = {}
        self.instants: dict[str, datetime] = {}
        self.plan = Reads()
        self.asked = 0

    def change(self, change: Change) -> None:
        sku = f"S{change.row:03}"
        whole = self.habits.grain == "seconds"
        late = min(change.late, MOST_LATE - 1) if whole else change.late  # what the stamp drops is of the overlap
        stamp = self.clock.now() + timedelta(seconds=self.habits.skew - late)
        stamp = stamp.replace(microsecond=0) if whole else stamp
        version = self.rows.get(sku, {"version": 0})["version"] + 1
        self.rows[sku] = {"sku": sku, "version": version, "stamp": self._local(stamp).isoformat()}
        self.instants[sku] = stamp

    def _local(self, instant: datetime) -> datetime:
        return instant.astimezone(self.zone).replace(tzinfo=None)

    def _changed(self, sku: str, since: str) -> bool:
        bound = datetime.fromisoformat(since)
        if self.habits.reads == "as text":
            return datetime.fromisoformat(self.rows[sku]["stamp"]) >= bound
        fold = int(self.habits.reads == "later")
        return self.instants[sku] >= bound.replace(tzinfo=self.zone, fold=fold)

    async def request(self, method: str, url: str, *, body: bytes | None = None, **_: Any) -> Answer:
        if not url.startswith(URL):
            return Answer(200, {}, b'{"key": "token"}')  # Omnitron's login
        self.asked += 1
        seconds, changes = self.plan.during[self.asked - 1] if self.asked <= len(self.plan.during) else (0, ())
        self.clock.passed += seconds
        for change in changes:
            self.change(change)
        refusal = self._fault()
        return refusal or self._page(dict(parse_qsl(urlsplit(url).query)) | orjson.loads(body or b"{}"))

    def _fault(self) -> Answer | None:
        if self.asked >= self.plan.at and self.plan.fault == "stays":
            return Answer(503, {}, b"down")
        if self.asked != self.plan.at:
            return None
        if self.plan.fault == "death":
            raise DeathError
        if self.plan.fault == "passes":
            raise TransportError("reset")
        return Answer(200, {}, b"<html>") if self.plan.fault == "html" else None

    def _page(self, params: Mapping[str, Any]) -> Answer:
        found = sorted(sku for sku in self.rows if "since" not in params or self._changed(sku, params["since"]))
        total = len(found)
        start = int(params.get("offset", 0)) + (int(params.get("page", 1)) - 1) * LIMIT
        found = [sku for sku in found if sku > params.get("after", "")][start:]
        page = [self.rows[sku] for sku in found[:LIMIT]]
        document: dict[str, Any] = {"results": page, "total": total}
        if len(found) > LIMIT:
            kept = "".join(f"&{name}={params[name]}" for name in ("since",) if name in params)
            document |= {"next": f"?after={page[-1]['sku']}{kept}", "token": page[-1]["sku"]}
        return Answer(200, {}, orjson.dumps(document))


changes = st.builds(Change, st.integers(0, 12), st.sampled_from((0, 1, MOST_LATE)))
steps = st.one_of(
    changes,
    st.sampled_from((1, 300, 600, 1800)),
    st.builds(
        Reads,
        st.lists(st.tuples(st.sampled_from((0, 0, 1, 200)), st.lists(changes, max_size=3).map(tuple)), max_size=4).map(
            tuple
        ),
        st.sampled_from((None, None, "passes", "stays", "html", "death")),
        st.integers(1, 4),
    ),
)
habits = st.builds(
    Habits,
    st.sampled_from(list(PAGINATIONS)),
    st.just("UTC"),
    st.sampled_from((0, -MOST_BEHIND, -MOST_BEHIND, 1200)),
    st.sampled_from(("as text", "as text", "earlier", "later")),
    st.sampled_from(("seconds", "microseconds")),
    st.sampled_from(("GET", "POST")),
)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all examples."""
    with asyncio.Runner() as made:
        yield made


def test_every_row_is_read(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory):
    """Ties with the bound, rows that show late, a clock that is off within the overlap, changes in the middle of a read,
    failures at any page, clocks that are changed: the last version of every row comes.
    """
    opened = bench(tmp_path_factory.mktemp("bench"))
    at = runner.run(opened.__aenter__())
    names = iter(range(1_000_000))

    @settings(max_examples=30, deadline=None)
    @given(
        habits, st.sampled_from(SHIFTS), st.lists(steps, max_size=8), st.sampled_from((0, 0, 1, 1800, 2700)), changes
    )
    def holds(habit: Habits, shift: tuple[str, datetime], plan: list[Any], seconds: int, last: Change) -> None:
        zone, begin = shift
        whole = [*plan, Reads(), seconds, last, Reads()]
        runner.run(story(at, f"w{next(names)}", habit._replace(zone=zone), begin, whole))

    try:
        holds()
    finally:
        runner.run(opened.__aexit__(None, None, None))


async def story(at: Bench, name: str, habit: Habits, begin: datetime, plan: list[Any]) -> None:
    """Everything that the plan has, which ends with an undisturbed run: all rows must have come, in their last version,
    and the watermark with them.
    """
    at.clock.began, at.clock.passed = begin, 0.0
    erp = Erp(habit, at.clock)
    at.transport = erp  # type: ignore[assignment]
    flow = inbound(
        URL,
        "https://brand.example.com",
        pagination=PAGINATIONS[habit.kind],
        method=habit.method if habit.kind != "next" else "GET",
        modified_date_key="since",
        overlap=f"{OVERLAP}s",
    ) | {"name": name, "timezone": habit.zone}
    seen: dict[str, int] = {}
    for step in plan:
        match step:
            case Change():
                erp.change(step)
            case Reads():
                erp.plan, erp.asked = step, 0
                for row in await read(at, flow):
                    seen[row["sku"]] = max(seen.get(row["sku"], 0), row["version"])
            case seconds:
                at.clock.passed += seconds
    assert seen == {sku: row["version"] for sku, row in erp.rows.items()}
    assert await at.store.watermark(name) == at.clock.now()


async def read(at: Bench, flow: dict[str, Any]) -> list[dict[str, Any]]:
    """A run, by as many readers as it takes; the rows of its pages, whether or not it failed."""
    run = await at.begin(flow)
    while not run.read_complete:
        reader = at.reader()
        try:
            run = await at.pump(run.run_id, lambda reader=reader: reader)
        except DeathError:
            at.clock.passed += 1
    for page in range(1, run.pages + 1):
        await at.store.register_page(run.run_id, page, 0, [])
    rows: list[dict[str, Any]] = await at.rows(run)
    return rows
