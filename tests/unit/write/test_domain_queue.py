"""The queue in front of a domain."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from imageflow.clock import SystemClock
from imageflow.write.circuit_breaker import UNREACHED_LIMIT
from imageflow.write.domain_queue import DomainQueue
from imageflow.write.outcome import Unavailable, Written


@asynccontextmanager
async def queues(limit):
    async with asyncio.TaskGroup() as group:
        queue = DomainQueue(SystemClock(), group)
        queue.limiter._limit = limit
        yield queue


def recorder(order, seconds=0.0):
    async def send(work):
        order.append(work)
        await asyncio.sleep(seconds)

    return send


async def test_flows_take_turns():
    """A flow with many rows does not make one with a single row wait for all of them."""
    order = []
    async with queues(1) as queue, asyncio.TaskGroup() as group:
        group.create_task(queue.send_all("large", ["large"] * 50, recorder(order), cap=100))
        await asyncio.sleep(0)
        group.create_task(queue.send_all("small", ["small"], recorder(order), cap=100))
    assert order.index("small") < 5
    assert len(order) == 51


async def test_a_closed_queue_begins_nothing():
    """Rows in flight end, rows that wait are rejected, and later ones are not sent."""
    order = []
    async with queues(2) as queue, asyncio.TaskGroup() as group:
        sending = group.create_task(queue.send_all("a", list(range(9)), recorder(order, 0.02), cap=100))
        await asyncio.sleep(0.01)
        queue.close()
        await sending
        assert queue.in_flight == 0
        await queue.send_all("a", ["late"], recorder(order), cap=100)
    assert order == [0, 1]


async def test_rows_do_not_wait_without_end(monkeypatch):
    """Rows of a slow flow that wait for too long are rejected; rows in flight are waited for."""
    monkeypatch.setattr("imageflow.write.domain_queue.QUEUE_SECONDS", 0.05)
    order = []
    async with queues(10) as queue, asyncio.TaskGroup() as group:
        begun = asyncio.get_running_loop().time()
        for chunk in ("abc", "def"):
            group.create_task(queue.send_all("slow", chunk, recorder(order, 0.2), cap=100, rate=1.0))
        group.create_task(queue.send_all("quick", "xyz", recorder(order), cap=100))
    assert sorted(order) == ["a", "x", "y", "z"]
    assert 0.19 <= asyncio.get_running_loop().time() - begun < 1.0  # a timer may be early by a tick of the clock
    assert queue.in_flight == 0


async def test_cap_of_a_flow_leaves_room_for_others():
    """Rows of a capped flow wait for each other; rows of other flows pass."""
    order = []
    async with queues(10) as queue, asyncio.TaskGroup() as group:
        group.create_task(queue.send_all("capped", ["a", "b"], recorder(order, 0.05), cap=1))
        group.create_task(queue.send_all("free", ["x", "y", "z"], recorder(order), cap=100))
    assert order == ["a", "x", "y", "z", "b"]


async def test_limit_is_never_exceeded_and_always_used():
    """However many rows wait, as many as the limit are in flight."""
    most = 0

    async with queues(3) as queue, asyncio.TaskGroup() as group:

        async def send(_):
            nonlocal most
            most = max(most, queue.in_flight)
            await asyncio.sleep(0.001)

        for n in range(20):
            group.create_task(queue.send_all(f"f{n % 4}", range(5), send, cap=2))
    assert most == 3
    assert queue.in_flight == 0


async def test_a_higher_limit_is_used():
    """When the limit grows, more rows go out, not only one for each answer."""
    most = 0
    async with queues(1) as queue:

        async def send(_):
            nonlocal most
            queue.limiter._limit = 10
            most = max(most, queue.in_flight)
            await asyncio.sleep(0.001)

        await queue.send_all("f", range(60), send, cap=100)
    assert most == 10


async def test_rate_of_a_flow_is_kept():
    """Rows of a flow with a rate go out at that rate; rows of other flows do not wait for them."""
    order, begun = [], asyncio.get_running_loop().time()
    async with queues(10) as queue, asyncio.TaskGroup() as group:
        group.create_task(queue.send_all("slow", ["slow"] * 11, recorder(order), cap=100, rate=50.0))
        group.create_task(queue.send_all("quick", ["quick"] * 5, recorder(order), cap=100))
    # a burst of a tenth of a second's worth (5), the other six at 50/s
    assert asyncio.get_running_loop().time() - begun >= 0.11
    assert order.index("quick") < 6


async def test_an_open_circuit_rejects_rows():
    """When the circuit opens, waiting rows are rejected at once and no more are taken; when it closes, rows go out."""
    sent = []
    async with queues(1) as queue:

        async def send(work):
            sent.append(work)
            for _ in range(5):
                queue.record("p", Unavailable("refused", unreached=True), 0.0)

        await queue.send_all("f", ["a", "b", "c"], send, cap=10)
        assert sent == ["a"]
        await queue.send_all("f", ["d"], send, cap=10)
        assert sent == ["a"]
        queue.record("p", Written(200), 0.0)
        await queue.send_all("f", ["e"], recorder(sent), cap=10)
        assert sent == ["a", "e"]


async def test_stragglers_neither_open_nor_close_the_circuit():
    """An answer to a request from before the outage does not close the circuit, nor do late time-outs open it again."""
    async with queues(1) as queue:
        for _ in range(5):
            queue.record("p", Unavailable("refused", unreached=True), 0.0)
        queue.record("q", Written(200), 5.0)
        assert queue.breaker.open
        queue.record("p", Written(200), 0.0)
        assert not queue.breaker.open
        for _ in range(10):
            queue.record("p", Unavailable("timeout", unreached=True, slow_down=True), 30.0)
        assert not queue.breaker.open


@pytest.mark.slow
async def test_waits_for_the_verdict():
    """After the first failure the next answer tells whether it is an outage; the wait ends without one, too."""
    async with queues(1) as queue:
        await queue.verdict()
        queue.record("p", Unavailable("refused", unreached=True), 0.0)
        waiting = asyncio.ensure_future(queue.verdict())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        queue.record("q", Written(200), 0.0)
        await asyncio.wait_for(waiting, 0.5)
        queue.record("p", Unavailable("refused", unreached=True), 0.0)
        await asyncio.wait_for(queue.verdict(), 5)


async def test_a_cancelled_batch_is_not_sent():
    """Waiting rows whose delivery is requeued do not go out any more."""
    sent = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def send(work):
        sent.append(work)
        begun.set()
        await go_on.wait()

    async with queues(1) as queue:
        batch = asyncio.ensure_future(queue.send_all("f", range(10), send, cap=10))
        await begun.wait()
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        go_on.set()
        await queue.send_all("f", ["next"], recorder(sent), cap=10)
    assert sent == [0, "next"]


async def test_a_burst_of_429_does_not_open_the_circuit():
    """Growth that overshot is refused many times at once: that is one sign to ask less, not an outage."""
    async with queues(32) as queue:
        for n in range(32):
            queue.record(f"p{n}", Unavailable("slower", 429, slow_down=True), 0.5)
        assert not queue.breaker.open
        assert queue.limiter.limit == 16


@pytest.mark.parametrize(
    "outcome",
    [
        Unavailable("busy", 503, slow_down=True, unreached=True),
        Unavailable("late", slow_down=True, unreached=True),
    ],
)
async def test_a_burst_of_503_or_time_outs_opens_the_circuit(outcome):
    """Requests that did not reach Omnitron count one by one, although the limit is lowered only once for all of them."""
    async with queues(32) as queue:
        for n in range(UNREACHED_LIMIT):
            assert not queue.breaker.open
            queue.record(f"p{n}", outcome, 0.5)
        assert queue.breaker.open


async def test_nothing_but_429_opens_the_circuit():
    """If every new request is refused as well, only probes go out."""
    async with queues(32) as queue:
        for n in range(40):
            await asyncio.sleep(0)
            queue.record(f"p{n}", Unavailable("slower", 429, slow_down=True), 0.0)
        assert queue.breaker.open
