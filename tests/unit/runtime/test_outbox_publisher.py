from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from imageflow.model.messages import MAX_MESSAGE_BYTES, PageRead, ReadPage, decode, encode
from imageflow.runtime.outbox_publisher import OutboxPublisher, inlined
from imageflow.store import Unsent


def test_small_pages_travel_in_the_message() -> None:
    """A small page is put into its PageRead, and into no other message."""
    page = encode(PageRead("r", "posts", 3, 1, 7))
    assert decode(inlined(page, b'{"sku":"A"}')) == PageRead("r", "posts", 3, 1, 7, '{"sku":"A"}')
    other = encode(ReadPage("r", "posts", 3, 2))
    assert inlined(other, b'{"sku":"A"}') == other
    assert inlined(page, None) == page


@pytest.mark.parametrize("text", [b"[" + b" " * (512 * 1024) + b"]", b'["' + b"\x01" * (255 * 1024) + b'"]'])
def test_large_pages_stay_in_the_store(text: bytes) -> None:
    """A page that would make the message too large, escaped or not, stays in the store."""
    page = encode(PageRead("r", "posts", 1, 1, 1))
    assert inlined(page, text) == page


def test_pages_of_any_allowed_size_fit() -> None:
    """The largest page that is inlined makes a message within the limit."""
    page = encode(PageRead("r", "posts", 1, 1, 1))
    assert len(inlined(page, b" " * (512 * 1024))) <= MAX_MESSAGE_BYTES


class Place:
    """The store and the broker, in memory: what was published, and what was deleted."""

    def __init__(self) -> None:
        self.published: list[bytes] = []
        self.deleted: asyncio.Queue[list[int]] = asyncio.Queue()

    async def publish(self, *outgoing: Any) -> None:
        self.published += [one.body for one in outgoing]

    async def sent(self, ids: list[int]) -> None:
        self.deleted.put_nowait(ids)


async def test_what_is_published_after_a_deletion_is_deleted_too() -> None:
    """Deletions end when there is nothing to delete, and begin again with the next message."""
    place = Place()
    publisher = OutboxPublisher(cast("Any", place), cast("Any", place))
    for number in (1, 2):
        await publisher.send([Unsent(number, "imageflow.write.f", b"%d" % number)])
        assert await asyncio.wait_for(place.deleted.get(), 5) == [number]
        await asyncio.sleep(0.01)
    assert place.published == [b"1", b"2"]
    await publisher.finish()
