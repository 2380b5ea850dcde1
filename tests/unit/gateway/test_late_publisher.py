"""The outbox publisher of a door: whatever the broker does, what is stored is accepted."""

import asyncio
from typing import Any, cast

import pytest

from imageflow.errors import BrokerError, QueueFullError
from imageflow.gateway import late_publisher
from imageflow.gateway.late_publisher import LatePublisher
from imageflow.runtime.outbox_publisher import Parcel
from imageflow.store import Unsent

PARCEL = Parcel(Unsent(1, "imageflow.transform.f", b"x"), {}, None)


class Broken:
    """A broker that raises, or hangs where there is nothing to raise."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def publish(self, *outgoing: Any) -> None:
        if self._error is None:
            await asyncio.Event().wait()
        else:
            raise self._error


@pytest.mark.parametrize("error", [BrokerError("away"), QueueFullError("full"), ValueError("a bug")], ids=repr)
async def test_what_prevents_it_is_returned(error: Exception) -> None:
    """Any error leaves the message to the sweep; `send_soon` says which."""
    publisher = LatePublisher(cast("Any", None), cast("Any", Broken(error)))
    assert await publisher.send_soon([PARCEL]) is error
    await publisher.send([PARCEL.item])
    assert not publisher._published


async def test_a_broker_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """After SEND_SECONDS the message is left to the sweep."""
    monkeypatch.setattr(late_publisher, "SEND_SECONDS", 0.01)
    publisher = LatePublisher(cast("Any", None), cast("Any", Broken(None)))
    assert isinstance(await publisher.send_soon([PARCEL]), TimeoutError)
    assert not publisher._published
