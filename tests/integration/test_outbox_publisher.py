"""The outbox publisher: what is published is deleted a little later, many at once, and nothing is lost by that."""

from __future__ import annotations

from typing import Any

from imageflow.actions import runs
from imageflow.errors import StoreError
from imageflow.gateway.late_publisher import LatePublisher
from imageflow.gateway.outbound import Outbound
from imageflow.model.messages import READ_QUEUE
from imageflow.runtime.outbox_publisher import OutboxPublisher
from tests.integration.pipeline import ACTOR, pipeline
from tests.integration.test_shared_runs import posted


class Deletions:
    """A store that counts its deletions from the outbox, and refuses some."""

    def __init__(self, real: Any, *, away: bool = False) -> None:
        self._real = real
        self._away = away
        self.batches: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def sent(self, ids: Any) -> None:
        self.batches.append(len(ids))
        if self._away:
            raise StoreError("the database is away")
        await self._real.sent(ids)


async def test_messages_are_deleted_together(tmp_path):
    """Two posts, one after the other, are two publishes and one deletion; `finish` waits for it."""
    async with pipeline(tmp_path, services=()) as line:
        await line.save("posts", direction="outbound")
        s, store = line.substrate, Deletions(line.store)
        door = Outbound(line.store, s.broker, LatePublisher(store, s.broker), s.clock)
        flow = await door.flow("posts")
        for number in "12":
            await door.accept(flow, posted((number, number)))
        assert store.batches == []
        assert len(await line.store.unsent(0)) == 2
        await door.finish()
        assert store.batches == [2]
        assert await line.store.unsent(0) == []


async def test_a_deletion_that_fails(tmp_path):
    """The messages stay, the next sweep publishes them once more, and each post is written once."""
    async with pipeline(tmp_path, services=("transformer", "writer")) as line:
        await line.save("posts", direction="outbound")
        s, store = line.substrate, Deletions(line.store, away=True)
        door = Outbound(line.store, s.broker, LatePublisher(store, s.broker), s.clock)
        accepted = await door.accept(await door.flow("posts"), posted(("A", "1")))
        await door.finish()
        assert store.batches == [1]
        assert len(await line.store.unsent(0)) == 1
        assert await OutboxPublisher(line.store, s.broker).sweep(0) == 1
        run = await line.follow(accepted.run_id)
        assert (run.status, run.counts.total, run.counts.written) == ("success", 1, 1)
        assert len(line.omnitron.images_of("A")) == 1


async def test_a_message_that_is_published_and_not_deleted_yet(tmp_path):
    """It is not published a second time by the process that did so; another process finds it until it is deleted."""
    async with pipeline(tmp_path, services=()) as line:
        await line.save()
        s = line.substrate
        await runs.start(s.store, s.publisher, "main", (), ACTOR, s.clock.now())
        unsent = await line.store.unsent(0)
        assert len(unsent) == 1
        await s.publisher.send(unsent)
        assert (await s.broker.depth(READ_QUEUE)).ready == 1
        await s.publisher.finish()
        assert await line.store.unsent(0) == []
