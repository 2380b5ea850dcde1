"""The gate in front of a domain."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from imageflow.clock import SystemClock
from imageflow.write.domain_queue import DomainQueue
from imageflow.write.outcome import Unavailable, Written


@asynccontextmanager
async def gates(limit):
    async with asyncio.TaskGroup() as group:
        gate = DomainQueue(SystemClock(), group)
        gate.limiter._limit = limit
        yield gate


def recorder(order, seconds=0.0):
    async def send(work):
        order.append(work)
        await asyncio.sleep(seconds)

    return send


async def test_flows_take_turns():
    """A flow with a long line does not make a short one wait for all of it."""
    order = []
    async with gates(1) as gate, asyncio.TaskGroup() as group:
        group.create_task(gate.send_all("large", ["large"] * 50, recorder(order), cap=100))
        await asyncio.sleep(0)
        group.create_task(gate.send_all("small", ["small"], recorder(order), cap=100))
    assert order.index("small") < 5
    assert len(order) == 51


async def test_a_closed_gate_begins_nothing():
    """What is under way ends, what is in line is turned away, and what comes later is not sent."""
    order = []
    async with gates(2) as gate, asyncio.TaskGroup() as group:
        sending = group.create_task(gate.send_all("a", list(range(9)), recorder(order, 0.02), cap=100))
        await asyncio.sleep(0.01)
        gate.close()
        await sending
        assert gate.in_flight == 0
        await gate.send_all("a", ["late"], recorder(order), cap=100)
    assert order == [0, 1]


async def test_nobody_stands_in_line_for_ever(monkeypatch):
    """Of a slow flow, what does not get its turn for long is turned away; what is under way is waited for."""
    monkeypatch.setattr("imageflow.write.domain_queue.LINE_SECONDS", 0.05)
    order = []
    async with gates(10) as gate, asyncio.TaskGroup() as group:
        begun = asyncio.get_running_loop().time()
        for chunk in ("abc", "def"):
            group.create_task(gate.send_all("slow", chunk, recorder(order, 0.2), cap=100, rate=1.0))
        group.create_task(gate.send_all("quick", "xyz", recorder(order), cap=100))
    assert sorted(order) == ["a", "x", "y", "z"]
    assert 0.2 <= asyncio.get_running_loop().time() - begun < 1.0
    assert gate.in_flight == 0


async def test_cap_of_a_flow_leaves_room_for_others():
    """A capped flow waits for itself, others pass."""
    order = []
    async with gates(10) as gate, asyncio.TaskGroup() as group:
        group.create_task(gate.send_all("capped", ["a", "b"], recorder(order, 0.05), cap=1))
        group.create_task(gate.send_all("free", ["x", "y", "z"], recorder(order), cap=100))
    assert order == ["a", "x", "y", "z", "b"]


async def test_limit_is_never_exceeded_and_always_used():
    """However many wait, as many as the limit are under way."""
    most = 0

    async with gates(3) as gate, asyncio.TaskGroup() as group:

        async def send(_):
            nonlocal most
            most = max(most, gate.in_flight)
            await asyncio.sleep(0.001)

        for n in range(20):
            group.create_task(gate.send_all(f"f{n % 4}", range(5), send, cap=2))
    assert most == 3
    assert gate.in_flight == 0


async def test_a_higher_limit_is_used():
    """When the limit grows, more of those in line go out, not only one for each that comes back."""
    most = 0
    async with gates(1) as gate:

        async def send(_):
            nonlocal most
            gate.limiter._limit = 10
            most = max(most, gate.in_flight)
            await asyncio.sleep(0.001)

        await gate.send_all("f", range(60), send, cap=100)
    assert most == 10


async def test_rate_of_a_flow_is_kept():
    """Rows of a flow with a rate go out one after the other, at that rate, and others are not held up."""
    order, begun = [], asyncio.get_running_loop().time()
    async with gates(10) as gate, asyncio.TaskGroup() as group:
        group.create_task(gate.send_all("slow", ["slow"] * 11, recorder(order), cap=100, rate=50.0))
        group.create_task(gate.send_all("quick", ["quick"] * 5, recorder(order), cap=100))
    # a burst of a tenth of a second's worth (5), the other six at 50/s
    assert asyncio.get_running_loop().time() - begun >= 0.11
    assert order.index("quick") < 6


async def test_hold_turns_the_line_away():
    """When the domain is held, what is in line is turned away at once and nothing more is taken."""
    sent = []
    async with gates(1) as gate:

        async def send(work):
            sent.append(work)
            for _ in range(5):
                gate.learn("p", Unavailable("refused", away=True), 0.0)

        await gate.send_all("f", ["a", "b", "c"], send, cap=10)
        assert sent == ["a"]
        await gate.send_all("f", ["d"], send, cap=10)
        assert sent == ["a"]
        gate.learn("p", Written(200), 0.0)
        await gate.send_all("f", ["e"], recorder(sent), cap=10)
        assert sent == ["a", "e"]


async def test_stragglers_neither_hold_nor_free():
    """An answer to a request from before the absence does not end it, nor do late time-outs begin another."""
    async with gates(1) as gate:
        for _ in range(5):
            gate.learn("p", Unavailable("refused", away=True), 0.0)
        gate.learn("q", Written(200), 5.0)
        assert gate.hold.held
        gate.learn("p", Written(200), 0.0)
        assert not gate.hold.held
        for _ in range(10):
            gate.learn("p", Unavailable("timeout", away=True, slow_down=True), 30.0)
        assert not gate.hold.held


@pytest.mark.slow
async def test_waits_until_it_is_sure_whose_fault_it_is():
    """After the first failures, what comes next tells; where nothing comes, it goes on."""
    async with gates(1) as gate:
        await gate.sure()
        gate.learn("p", Unavailable("refused", away=True), 0.0)
        waiting = asyncio.ensure_future(gate.sure())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        gate.learn("q", Written(200), 0.0)
        await asyncio.wait_for(waiting, 0.5)
        gate.learn("p", Unavailable("refused", away=True), 0.0)
        await asyncio.wait_for(gate.sure(), 5)


async def test_a_cancelled_batch_is_not_sent():
    """Rows in line whose delivery is handed back do not go out any more."""
    sent = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def send(work):
        sent.append(work)
        begun.set()
        await go_on.wait()

    async with gates(1) as gate:
        batch = asyncio.ensure_future(gate.send_all("f", range(10), send, cap=10))
        await begun.wait()
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        go_on.set()
        await gate.send_all("f", ["next"], recorder(sent), cap=10)
    assert sent == [0, "next"]


async def test_a_burst_of_429_holds_nobody():
    """Growth that overshot is refused many times at once: that is one sign to ask less, not an absence."""
    async with gates(32) as gate:
        for n in range(32):
            gate.learn(f"p{n}", Unavailable("slower", 429, slow_down=True), 0.5)
        assert not gate.hold.held
        assert gate.limiter.limit == 16


async def test_nothing_but_429_holds():
    """Where every new request is refused too, asking goes on by probes."""
    async with gates(32) as gate:
        for n in range(40):
            await asyncio.sleep(0)
            gate.learn(f"p{n}", Unavailable("slower", 429, slow_down=True), 0.0)
        assert gate.hold.held
