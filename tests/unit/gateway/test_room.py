"""Whether a flow's queue has room: asked seldom, by one for all."""

import asyncio

import pytest

from imageflow.broker import Depth
from imageflow.errors import ThrottledError
from imageflow.gateway.outbound import DEPTH_CACHE_SECONDS, Outbound


class Clock:
    """A clock that stands still until it is moved."""

    instant = 100.0

    def monotonic(self):
        return self.instant


class Broker:
    """A broker that answers how deep a queue is when it is told to."""

    def __init__(self):
        self.asked, self.ready = 0, 0
        self.answers = asyncio.Event()

    async def depth(self, queue):
        self.asked += 1
        await self.answers.wait()
        return Depth(self.ready, 0)


async def test_one_asks_for_all():
    """Of many posts at once one waits for the broker's answer; the others go by what was known, until it is old."""
    broker, clock = Broker(), Clock()
    outbound = Outbound(None, broker, None, clock, queue_limit=10)
    broker.ready = 10
    async with asyncio.TaskGroup() as group:
        first = group.create_task(refused(outbound))
        await asyncio.sleep(0)
        assert [await refused(outbound) for _ in range(20)] == [False] * 20
        broker.answers.set()
    assert (first.result(), broker.asked) == (True, 1)
    assert [await refused(outbound) for _ in range(20)] == [True] * 20
    assert broker.asked == 1
    broker.ready, clock.instant = 0, clock.instant + DEPTH_CACHE_SECONDS
    assert not await refused(outbound)
    assert broker.asked == 2


async def test_who_gives_up_asking_leaves_it_to_the_next():
    """A post that is cancelled while it asks does not keep others from asking."""
    broker = Broker()
    outbound = Outbound(None, broker, None, Clock(), queue_limit=10)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await outbound.check_room("posts")
    broker.answers.set()
    await outbound.check_room("posts")
    assert broker.asked == 2


async def refused(outbound):
    try:
        await outbound.check_room("posts")
    except ThrottledError as why:
        assert not why.overload
        return True
    return False
