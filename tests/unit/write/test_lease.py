"""The leases of a writer process: when a request may go out, and what a lapsed lease is good for."""

import asyncio

import pytest

from imageflow.errors import StoreError
from imageflow.write.lease import HEARTBEAT_SECONDS, MARGIN_SECONDS, Leases

from .fakes import ManualClock, RecordingStore

TIMEOUT = 30.0


@pytest.fixture
def store():
    return RecordingStore()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def leases(store, clock):
    return Leases(store, clock)


@pytest.mark.parametrize(
    ("passed", "may"), [(0.0, True), (MARGIN_SECONDS, True), (MARGIN_SECONDS + 0.1, False), (1000.0, False)]
)
async def test_a_lease_outlasts_the_request(leases, clock, passed, may):
    """Nothing is sent once less of the lease is left than the request may take."""
    lease = await leases.lease(TIMEOUT)
    clock.time += passed
    assert lease.may_send() is may


async def test_a_process_that_wakes_sends_nothing_old(leases, store, clock):
    """What was claimed with a lease that lapsed is never sent, though the process has a lease again."""
    old = await leases.lease(TIMEOUT)
    clock.time += 46.0
    assert not old.may_send()
    await leases.renew()
    new = await leases.lease(TIMEOUT)
    assert new.may_send()
    assert not old.may_send()
    assert [call[:2] for call in store.calls] == [("alive", old.owner), ("alive", new.owner)]
    assert old.owner != new.owner


@pytest.mark.parametrize("ask", ["lease", "renew"])
async def test_an_answer_that_comes_too_late(leases, store, clock, ask):
    """A renewal that is answered after the lease ended counts for nothing: others may have taken the claims over."""
    old = await leases.lease(TIMEOUT)
    clock.time += MARGIN_SECONDS
    alive = store.alive

    async def slowly(owner: str, seconds: float) -> None:
        clock.time += TIMEOUT + 0.1
        await alive(owner, seconds)

    store.alive = slowly
    await (leases.renew() if ask == "renew" else leases.lease(TIMEOUT))
    store.alive = alive
    assert not old.may_send()
    assert (await leases.lease(TIMEOUT)).owner != old.owner


async def test_a_failed_renewal_stops_sending_at_once(leases, store, clock):
    """Without the database nothing is sent, however long the lease lasts; once it is back, the lease runs on."""
    lease = await leases.lease(TIMEOUT)
    store.away = True
    with pytest.raises(StoreError):
        await leases.renew()
    assert not lease.may_send()
    with pytest.raises(StoreError):
        await leases.lease(TIMEOUT)
    store.away = False
    clock.time += HEARTBEAT_SECONDS
    await leases.renew()
    assert lease.may_send()


async def test_a_renewal_under_way_stops_nothing(leases, store):
    """Rows are sent while the database answers a renewal."""
    lease = await leases.lease(TIMEOUT)
    asked, answer = asyncio.Event(), asyncio.Event()

    async def alive(owner: str, seconds: float) -> None:
        asked.set()
        await answer.wait()

    store.alive = alive
    renewing = asyncio.create_task(leases.renew())
    await asyncio.wait_for(asked.wait(), 5)
    assert lease.may_send()
    assert await leases.lease(TIMEOUT) is lease
    answer.set()
    await renewing


@pytest.mark.parametrize(("passed", "renewals"), [(0.0, 1), (MARGIN_SECONDS * 0.4, 1), (MARGIN_SECONDS * 0.6, 2)])
async def test_claims_need_a_lease_that_lasts(leases, store, clock, passed, renewals):
    """A lease that is short is renewed before products are claimed."""
    first = await leases.lease(TIMEOUT)
    clock.time += passed
    assert await leases.lease(TIMEOUT) is first
    assert store.calls == [("alive", first.owner, TIMEOUT + MARGIN_SECONDS)] * renewals


async def test_one_lease_for_all_who_ask_at_once(leases, store):
    """Chunks that begin together share a lease, and one question to the database."""
    given = await asyncio.gather(*(leases.lease(TIMEOUT) for _ in range(5)))
    assert len(set(given)) == len(store.calls) == 1


async def test_a_lease_for_each_time_out(leases, store, clock):
    """The claims of a flow with short requests do not wait for those of another with long ones."""
    short, long = await leases.lease(6.0), await leases.lease(60.0)
    assert [call[2] for call in store.calls] == [6.0 + MARGIN_SECONDS, 60.0 + MARGIN_SECONDS]
    clock.time += MARGIN_SECONDS + 7.0
    await leases.renew()
    assert (short.may_send(), long.may_send()) == (False, True)
    assert store.calls[2:] == [("alive", long.owner, 60.0 + MARGIN_SECONDS)]


def test_renewals_come_often_enough():
    """Two renewals may be late before nothing is sent."""
    assert HEARTBEAT_SECONDS * 2 < MARGIN_SECONDS


async def test_the_end(leases, store):
    """All claims of the process end with its leases."""
    owners = [(await leases.lease(timeout)).owner for timeout in (5.0, 6.0)]
    await leases.end()
    assert store.calls[2:] == [("gone", owner) for owner in owners]


def test_processes_have_different_names(store, clock):
    """Two processes never share a lease."""
    assert Leases(store, clock).process != Leases(store, clock).process
