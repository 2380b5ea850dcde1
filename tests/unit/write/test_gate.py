"""The gate in front of a domain."""

import asyncio

import pytest

from imageflow.clock import SystemClock
from imageflow.write.gate import Gate, Held
from imageflow.write.outcome import Unavailable, Written


async def use(gate, flow, cap, order):
    async with gate.slot(flow, cap):
        order.append(flow)
        await asyncio.sleep(0)


async def test_flows_take_turns():
    """A flow with a long queue does not make a short one wait for all of it."""
    gate, order = Gate(SystemClock()), []
    gate.limiter._limit = 1
    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(use(gate, "large", 100, order))
        await asyncio.sleep(0)
        group.create_task(use(gate, "small", 100, order))
    assert order.index("small") < 5
    assert len(order) == 51


async def test_cap_of_a_flow_leaves_room_for_others():
    """A capped flow waits for itself, others pass."""
    gate, order = Gate(SystemClock()), []
    async with gate.slot("capped", 1):
        waiting = asyncio.ensure_future(use(gate, "capped", 1, order))
        await asyncio.sleep(0)
        await use(gate, "free", 100, order)
        assert order == ["free"]
    await waiting
    assert order == ["free", "capped"]


async def test_limit_is_never_exceeded():
    """However many wait, only as many as the limit are inside."""
    gate, most = Gate(SystemClock()), 0
    gate.limiter._limit = 3

    async def job(n):
        nonlocal most
        async with gate.slot(f"f{n % 4}", 2):
            most = max(most, gate.in_flight)
            await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as group:
        for n in range(100):
            group.create_task(job(n))
    assert most == 3


async def test_hold_turns_waiting_rows_away():
    """When the domain is held, who waits learns it at once, and a good answer lets rows in again."""
    gate = Gate(SystemClock())
    gate.limiter._limit = 1
    async with gate.slot("f", 10):
        waiting = asyncio.ensure_future(use(gate, "f", 10, []))
        await asyncio.sleep(0)
        for _ in range(5):
            gate.learn("p", Unavailable("refused", away=True), 0.1)
        with pytest.raises(Held):
            await waiting
    with pytest.raises(Held):
        async with gate.slot("f", 10):
            pass
    async with gate.slot("f", 10, probe=True):
        gate.learn("p", Written(200), 0.1)
    async with gate.slot("f", 10):
        pass


async def test_a_higher_limit_is_used():
    """When the limit grows, more of those who wait get in, not only one for each that leaves."""
    gate, most = Gate(SystemClock()), 0
    gate.limiter._limit = 1

    async def job():
        nonlocal most
        async with gate.slot("f", 100):
            gate.limiter._limit = 10
            most = max(most, gate.in_flight)
            await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as group:
        for _ in range(40):
            group.create_task(job())
    assert most == 10
