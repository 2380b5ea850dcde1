# ruff: noqa: F811 - fixtures of the store's contract
"""Counts of failed logins, on both databases."""

import asyncio
from datetime import timedelta

from imageflow.store import LoginCount, Store
from imageflow.store.logins import FAILURES_FOR, FAMILIAR, FAMILIAR_FOR
from tests.contract.test_store import (  # noqa: F401 - fixtures
    FakeClock,
    clock,
    other,
    store,
    url,
)

KEYS = {"name": "n", "address": "a", "pair": "p"}
HOUR = timedelta(hours=1)


async def test_counting(store: Store, clock: FakeClock) -> None:
    """Each kind of key is counted by itself, with the last instant; a key that is forgotten begins anew."""
    assert await store.login_counts(KEYS) == {}
    await store.count_login(KEYS, forget_after=HOUR)
    clock.move(10)
    await store.count_login({"name": "n", "address": "elsewhere"}, forget_after=HOUR)
    found = await store.login_counts(KEYS)
    assert {kind: count.times for kind, count in found.items()} == {"name": 2, "address": 1, "pair": 1}
    assert found["name"].last_at == clock.now()
    await store.forget_login("name", "n")
    assert "name" not in await store.login_counts(KEYS)


async def test_a_count_ends(store: Store, clock: FakeClock) -> None:
    """A count that did not grow for long enough begins anew."""
    await store.count_login({"name": "n"}, forget_after=HOUR)
    clock.move(3600)
    await store.count_login({"name": "n"}, forget_after=HOUR)
    assert await store.login_counts({"name": "n"}) == {"name": LoginCount(1, clock.now())}


async def test_counting_at_once(store: Store, other: Store) -> None:
    """Two gateways that count at the same moment lose nothing."""
    await asyncio.gather(*((store, other)[n % 2].count_login(KEYS, forget_after=HOUR) for n in range(10)))
    assert {count.times for count in (await store.login_counts(KEYS)).values()} == {10}


async def test_old_counts_go(store: Store, clock: FakeClock) -> None:
    """Counts that say nothing any more are deleted by those that follow; familiar addresses stay for months."""
    for number in range(4):
        await store.count_login({"name": f"old-{number}"}, forget_after=HOUR)
    await store.count_login({FAMILIAR: "f"}, forget_after=FAMILIAR_FOR)
    clock.move(FAILURES_FOR.total_seconds() + 1)
    await store.count_login({"name": "new"}, forget_after=HOUR)
    assert await store.login_counts({"name": "old-0"}) == {}
    assert await store.login_counts({FAMILIAR: "f"})
    clock.move(FAMILIAR_FOR.total_seconds())
    await store.count_login({"name": "newer"}, forget_after=HOUR)
    assert not await store.login_counts({FAMILIAR: "f"})
