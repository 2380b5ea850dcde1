# ruff: noqa: F811 - fixtures of the store's contract
"""The store's contract where a write may come late: who waits, what is written again, and when that ends."""

from __future__ import annotations

import random

import pytest

from imageflow.model import messages
from imageflow.model.messages import RowsReady
from imageflow.model.row import Row
from imageflow.store import LedgerEntry, Store, Wanted, claims
from imageflow.store.doubts import DOUBT_SECONDS, PAUSES, Rewrites
from tests.contract.test_store import (  # noqa: F401 - fixtures
    DOMAIN,
    IMAGES,
    FakeClock,
    clock,
    draining,
    log,
    store,
    url,
)


async def write(store: Store, run_id: str, version: int, *, owner: str = "b", digest: str | None = "") -> None:
    """Claim product A for a row of that version and settle it; `digest` None: the result is unknown."""
    token = f"{owner}-{version}"
    [claim] = await store.claim(DOMAIN, owner, token, [Wanted("A", version)])
    assert claim.mine, claim
    await settle(store, token, run_id, version, digest=digest)


async def settle(store: Store, token: str, run_id: str, version: int, *, digest: str | None = "") -> None:
    logs = [] if digest is None else [log(run_id, version, product="A")]
    entry = LedgerEntry(DOMAIN, "A", version, digest if digest is None else f"d{version}", run_id, version)
    await store.settle(token, logs, written=[entry])


async def may_claim(store: Store, version: int) -> bool:
    """Whether a row of that version would be sent now; leaves no claim."""
    [claim] = await store.claim(DOMAIN, "b", "look", [Wanted("A", version)])
    if claim.mine:
        await store.settle("look", [], release=[(DOMAIN, "A")])
    return claim.mine


async def digest_of(store: Store) -> str | None:
    [state] = await store.ledger("A", [DOMAIN])
    return state.digest


def rows_in(again: Rewrites) -> list[Row]:
    """The rows that are to be written again."""
    found = []
    for one in again.outbox:
        message = messages.decode(one.body)
        assert isinstance(message, RowsReady)
        assert message.rewrite
        found += message.rows
    return found


@pytest.fixture
async def run_id(store: Store, clock: FakeClock) -> str:
    """A run; writer "a" claimed A for version 5 and died, writer "b" lives."""
    await store.alive("a", 1)
    await store.alive("b", 100_000)
    await store.claim(DOMAIN, "a", "t", [Wanted("A", 5)])
    clock.move(2)
    return await draining(store, clock, 9)


async def test_a_newer_row_than_the_dead_ones(store: Store, clock: FakeClock, run_id: str) -> None:
    """The dead writer's row may come over it: it is written again once that must have come, by its version and images."""
    await write(store, run_id, 6)
    assert await digest_of(store) == "d6"
    assert rows_in(await store.write_again()) == []
    clock.move(DOUBT_SECONDS + 1)
    again = await store.write_again()
    assert rows_in(again) == [Row(6, 6, "A", IMAGES)]
    assert [one.queue for one in again.outbox] == ["imageflow.write.winter"]
    assert again.products == {"winter": 1}
    assert await digest_of(store) is None
    assert await store.to_write_again(DOMAIN, run_id, ["A"]) == {"A": Row(6, 6, "A", IMAGES)}
    await write(store, run_id, 6)
    [state] = await store.ledger("A", [DOMAIN])
    assert (state.version, state.digest, state.doubt_until, state.rewrites) == (6, "d6", None, 0)
    clock.move(10_000)
    assert rows_in(await store.write_again()) == []
    assert await store.to_write_again(DOMAIN, run_id, ["A"]) == {}
    counts = (await store.run(run_id)).counts
    assert counts.written == 1


async def test_the_dead_ones_row_itself(store: Store, clock: FakeClock, run_id: str) -> None:
    """Its delivery comes again and brings the same set: a late write changes nothing, and nothing is written twice."""
    await write(store, run_id, 5)
    [state] = await store.ledger("A", [DOMAIN])
    assert (state.version, state.digest, state.doubt_until) == (5, "d5", None)
    clock.move(10_000)
    assert rows_in(await store.write_again()) == []


async def test_an_older_row_waits_for_the_dead_ones(store: Store, clock: FakeClock, run_id: str) -> None:
    """The newer row comes again and goes first. If it does not come, the older one goes after a while."""
    assert not await may_claim(store, 4)
    clock.move(claims.WAIT_SECONDS - 5)
    assert not await may_claim(store, 4)
    assert await may_claim(store, 5)


async def test_an_older_row_does_not_wait_for_ever(store: Store, clock: FakeClock, run_id: str) -> None:
    """The row whose writer died never came again. What it may have written is not known until something is written."""
    clock.move(claims.WAIT_SECONDS + 1)
    await write(store, run_id, 4)
    assert await digest_of(store) is None
    clock.move(10_000)
    assert rows_in(await store.write_again()) == []
    await write(store, run_id, 5)
    assert await digest_of(store) == "d5"


async def test_an_older_row_waits_for_a_doubtful_one(store: Store, clock: FakeClock, run_id: str) -> None:
    """A newer row had no answer: as long as it may still come, an older one is not sent."""
    await write(store, run_id, 7, digest=None)
    assert not await may_claim(store, 6)
    assert await may_claim(store, 7)
    clock.move(DOUBT_SECONDS + 1)
    assert await may_claim(store, 6)


async def test_a_row_that_had_no_answer_at_first(store: Store, clock: FakeClock, run_id: str) -> None:
    """Its own retry ends the doubt: the late one would bring the same set."""
    await write(store, run_id, 5)
    await write(store, run_id, 7, digest=None)
    assert await digest_of(store) is None
    await write(store, run_id, 7)
    assert await digest_of(store) == "d7"
    clock.move(10_000)
    assert rows_in(await store.write_again()) == []


async def test_a_row_after_one_that_had_no_answer(store: Store, clock: FakeClock, run_id: str) -> None:
    """The older one may come over it: it is written again. A row that was sent after that time is not."""
    await write(store, run_id, 7, digest=None)
    await write(store, run_id, 8)
    clock.move(DOUBT_SECONDS + 1)
    assert [row.version for row in rows_in(await store.write_again())] == [8]
    await write(store, run_id, 9)
    clock.move(10_000)
    assert rows_in(await store.write_again()) == []


async def test_who_wakes_late(store: Store, clock: FakeClock, run_id: str) -> None:
    """A writer that was thought dead settles after all, over another's claim or none: the newest set is written again."""
    await write(store, run_id, 5)
    await store.alive("frozen", 1)
    await store.claim(DOMAIN, "frozen", "slow", [Wanted("A", 6)])
    clock.move(2)
    await write(store, run_id, 7)
    clock.move(DOUBT_SECONDS + 1)
    assert len(rows_in(await store.write_again())) == 1
    await write(store, run_id, 7)
    await settle(store, "slow", run_id, 6)
    assert await digest_of(store) is None
    assert [row.version for row in rows_in(await store.write_again())] == [7]


async def test_who_wakes_late_with_the_newest(store: Store, clock: FakeClock, run_id: str) -> None:
    """A newer row was written by a writer that was thought dead, and an older one meanwhile: the newer is written again."""
    clock.move(claims.WAIT_SECONDS + 1)
    await write(store, run_id, 4)
    await settle(store, "t", run_id, 5)
    assert await digest_of(store) is None
    clock.move(DOUBT_SECONDS + 1)
    assert [row.version for row in rows_in(await store.write_again())] == [5]


async def test_who_wakes_late_during_anothers_write(store: Store, clock: FakeClock, run_id: str) -> None:
    """The late writer has the set of the ledger, and another has a write in flight: which one came last is unknown."""
    await write(store, run_id, 5)
    await store.claim(DOMAIN, "b", "flying", [Wanted("A", 6)])
    await settle(store, "t", run_id, 5)
    assert await digest_of(store) is None
    await settle(store, "flying", run_id, 6, digest=None)
    assert await digest_of(store) is None


async def test_writing_again_is_bounded(store: Store, clock: FakeClock, run_id: str) -> None:
    """What is never answered is written again after growing pauses, and then no more; the ledger says so."""
    await write(store, run_id, 6)
    clock.move(DOUBT_SECONDS + 1)
    times = 0
    for _ in range(3 * int(sum(PAUSES) // 60)):
        if rows_in(await store.write_again()):
            times += 1
            await write(store, run_id, 6, digest=None)
        clock.move(60)
    assert times == len(PAUSES)
    [state] = await store.ledger("A", [DOMAIN])
    assert (state.digest, state.rewrites) == (None, len(PAUSES))


async def test_what_cannot_be_written_again(store: Store, clock: FakeClock, run_id: str) -> None:
    """The log of the newest row is deleted: nothing is published, and the next row is sent whatever it holds."""
    await store.claim(DOMAIN, "b", "t6", [Wanted("A", 6)])
    await store.settle("t6", [], written=[LedgerEntry(DOMAIN, "A", 6, "d6", run_id, 6)])
    clock.move(DOUBT_SECONDS + 1)
    assert rows_in(await store.write_again()) == []
    assert await digest_of(store) is None


async def test_a_writer_that_stops(store: Store, clock: FakeClock, run_id: str) -> None:
    """What it had in flight may come late: a newer row goes at once, and is written again."""
    await write(store, run_id, 5)
    await store.claim(DOMAIN, "b", "flying", [Wanted("A", 6)])
    await store.gone("b")
    await store.alive("c", 1000)
    await write(store, run_id, 7, owner="c")
    clock.move(DOUBT_SECONDS + 1)
    assert [row.version for row in rows_in(await store.write_again())] == [7]


class Story:
    """Writers that claim, freeze, wake and die around one product; requests arrive while they may. `omnitron` is the version
    that was taken last."""

    def __init__(self, store: Store, clock: FakeClock, run_id: str, seed: int) -> None:
        self.store, self.clock, self.run_id = store, clock, run_id
        self.dice = random.Random(seed)
        self.omnitron = -1
        self.pending = set(range(10, 18))
        self.underway: list[tuple[float, int]] = []
        """Requests that have not arrived: until when they do, and their version."""
        self.asleep: list[tuple[str, int, bool, object]] = []
        """Writers with a request behind them that have not settled: token, version, whether it was answered, since."""
        self.tokens = 0

    async def offer(self, version: int) -> None:
        """A writer takes a row of that version, and something becomes of it."""
        self.tokens += 1
        owner = token = f"w{self.tokens}"
        await self.store.alive(owner, 39.0)
        since = self.clock.now()
        [claim] = await self.store.claim(DOMAIN, owner, token, [Wanted("A", version)])
        if not claim.mine or (claim.version == version and claim.digest is not None):
            if claim.version >= version:
                self.pending.discard(version)
            return
        fate = self.dice.choice(["good", "good", "good", "lost", "sleeps", "killed", "killed unsent"])
        if fate == "killed unsent":
            return
        if fate == "good" or self.dice.random() < 0.5:
            self.omnitron = version
        else:
            self.underway.append((self.clock.monotonic() + 34.0, version))
        if fate == "killed":
            return
        answered = fate == "good" or (fate == "sleeps" and self.omnitron == version)
        if fate == "sleeps":
            self.asleep.append((token, version, answered, since))
            return
        await self.settle(token, version, answered, since)

    async def settle(self, token: str, version: int, answered: bool, since: object) -> None:
        digest = f"d{version}" if answered else None
        logs = [log(self.run_id, version, product="A")] if answered else []
        entry = LedgerEntry(DOMAIN, "A", version, digest, self.run_id, version)
        await self.store.settle(token, logs, written=[entry], since=since)  # type: ignore[arg-type]
        if answered:
            self.pending.discard(version)

    def arrive(self, *, surely: bool = False) -> None:
        """Requests that are under way arrive, at the latest when their time is over."""
        for one in list(self.underway):
            if surely or one[0] <= self.clock.monotonic() or self.dice.random() < 0.3:
                self.underway.remove(one)
                self.omnitron = one[1]

    async def wake(self) -> None:
        if self.asleep:
            await self.settle(*self.asleep.pop(self.dice.randrange(len(self.asleep))))

    async def calm_down(self) -> None:
        """No more faults: what is pending is written, and what is in doubt is written again."""
        self.arrive(surely=True)
        while self.asleep:
            await self.wake()
        for _ in range(20):
            self.clock.move(61)
            for version in sorted(self.pending):
                await self.well(version)
            for row in rows_in(await self.store.write_again()):
                await self.well(row.version)

    async def well(self, version: int) -> None:
        self.tokens += 1
        await self.store.alive("well", 39.0)
        since = self.clock.now()
        [claim] = await self.store.claim(DOMAIN, "well", f"w{self.tokens}", [Wanted("A", version)])
        if claim.mine:
            self.omnitron = version
            await self.settle(f"w{self.tokens}", version, True, since)
        elif claim.version >= version:
            self.pending.discard(version)


async def test_it_converges(store: Store, clock: FakeClock) -> None:
    """Whatever freezes, dies, wakes and arrives late in whatever order: in the end the newest version is on Omnitron, the
    ledger says so, and nothing is in doubt."""
    run_id = await draining(store, clock, 1000)
    for seed in range(40):
        story = Story(store, clock, run_id, seed)
        await store.gone("*")
        story.pending = {version + 100 * seed for version in story.pending}
        for _ in range(25):
            story.clock.move(story.dice.choice([0.1, 1.0, 5.0, 20.0, 45.0]))
            story.arrive()
            if story.dice.random() < 0.2:
                await story.wake()
            for row in rows_in(await store.write_again()):
                story.pending.add(row.version)
            if story.pending:
                await story.offer(story.dice.choice(sorted(story.pending)))
        await story.calm_down()
        [state] = await store.ledger("A", [DOMAIN])
        newest = 17 + 100 * seed
        assert (seed, story.omnitron, state.version) == (seed, newest, newest)
        assert (seed, state.digest, state.doubt_until) == (seed, f"d{newest}", None)
