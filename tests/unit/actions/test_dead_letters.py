"""Dead letters: which of them can be replayed."""

from contextlib import asynccontextmanager

import pytest

from imageflow.actions import dead_letters
from imageflow.actions.actor import Actor
from imageflow.actions.dead_letters import NotReplayable
from imageflow.broker import Depth
from imageflow.model.messages import PARKED_QUEUE

ME = Actor("ada", "command line")


class Parked:
    """A delivery of the dead-letter queue."""

    body = b"[]"

    def __init__(self, queue):
        self.headers = {"flow": "winter", "reason": "no good", "attempts": "3"} | ({"queue": queue} if queue else {})
        self.acked = False

    async def ack(self):
        self.acked = True


class Place:
    """The store and the broker, in memory: dead letters, what was published, audit entries."""

    def __init__(self, *parked):
        self.parked = parked
        self.published = []
        self.entries = []

    async def depth(self, queue):
        return Depth(len(self.parked), 0)

    @asynccontextmanager
    async def browse(self, queue):
        async def deliveries():
            for delivery in self.parked:
                yield delivery

        yield deliveries()

    async def publish(self, outgoing):
        self.published.append((outgoing.queue, outgoing.body, outgoing.headers))

    async def record(self, entry):
        self.entries.append(entry.what)


@pytest.mark.parametrize("queue", ["imageflow.read", "imageflow.transform.winter", "imageflow.write.winter"])
async def test_a_message_goes_back_to_its_queue(queue):
    """A dead letter is published to the queue it came from, without the headers of the parking, and then removed."""
    place = Place(Parked(queue))
    await dead_letters.replay(place, place, None, ME)
    assert place.published == [(queue, b"[]", {"flow": "winter"})]
    assert place.entries == ["parked.replay"]
    assert place.parked[0].acked


@pytest.mark.parametrize("queue", [None, "", "orders", PARKED_QUEUE])
async def test_a_message_without_a_queue_of_ours_is_only_dropped(queue):
    """No queue, another program's queue or the dead-letter queue itself: the message stays, and may be dropped."""
    place = Place(Parked(queue))
    with pytest.raises(NotReplayable):
        await dead_letters.replay(place, place, None, ME)
    assert (place.published, place.entries, place.parked[0].acked) == ([], [], False)
    await dead_letters.drop(place, place, None, ME)
    assert (place.published, place.entries, place.parked[0].acked) == ([], ["parked.drop"], True)
