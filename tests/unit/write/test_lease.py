"""The lease of a writer process: when it must be renewed, and when nothing may be begun any more."""

import pytest

from imageflow.errors import StoreError
from imageflow.write.lease import HEARTBEAT_SECONDS, LEASE_SECONDS, Lease

from .fakes import ManualClock, RecordingStore


@pytest.fixture
def store():
    return RecordingStore()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def lease(store, clock):
    return Lease(store, clock)


def test_a_process_begins_without_a_lease(lease):
    """Nothing may be sent before the first renewal."""
    assert lease.ending


@pytest.mark.parametrize(("share", "ending"), [(0.0, False), (0.66, False), (0.67, True), (1.5, True)])
async def test_nothing_is_begun_in_the_last_third(lease, clock, share, ending):
    """A request that begins then may be answered after another writer took the claim over."""
    await lease.renew()
    clock.time += share * LEASE_SECONDS
    assert lease.ending is ending


@pytest.mark.parametrize(("share", "renewals"), [(0.0, 1), (0.49, 1), (0.51, 2)])
async def test_claims_need_half_a_lease(lease, store, clock, share, renewals):
    """An older lease is renewed before products are claimed."""
    await lease.renew()
    clock.time += share * LEASE_SECONDS
    await lease.require()
    assert store.calls == [("alive", lease.owner, LEASE_SECONDS)] * renewals


async def test_without_the_database_there_is_no_lease(lease, store, clock):
    """A renewal that fails leaves the lease as it was, and `require` says so once it is short."""
    await lease.renew()
    store.away = True
    clock.time += LEASE_SECONDS * 0.4
    with pytest.raises(StoreError):
        await lease.renew()
    await lease.require()
    clock.time += LEASE_SECONDS * 0.4
    assert lease.ending
    with pytest.raises(StoreError):
        await lease.require()


async def test_the_lease_runs_from_when_it_was_asked_for(lease, store, clock):
    """What the database takes for its answer shortens the lease: the others reckon from an earlier moment than we know."""

    async def slowly(owner: str, seconds: float) -> None:
        clock.time += LEASE_SECONDS * 0.6

    store.alive = slowly
    await lease.renew()
    clock.time += LEASE_SECONDS * 0.1
    assert lease.ending


async def test_renewals_come_often_enough():
    """Two renewals may fail before new claims have to ask for one."""
    assert HEARTBEAT_SECONDS * 2 < LEASE_SECONDS / 2


async def test_the_end(lease, store):
    """All claims of the process end with its lease."""
    await lease.end()
    assert store.calls == [("gone", lease.owner)]


def test_processes_have_different_names(store, clock):
    """Two processes never share a lease."""
    assert Lease(store, clock).owner != Lease(store, clock).owner
