"""Products in doubt are written again: published, and counted."""

from typing import Any, cast

from imageflow.schedule.rewriter import Rewriter
from imageflow.store import Unsent
from imageflow.store.doubts import Rewrites
from imageflow.telemetry.metrics import REGISTRY


class Place:
    """The store and the publisher: three products of a flow are due, in one message."""

    def __init__(self) -> None:
        self.due = Rewrites([Unsent(1, "imageflow.write.rewritten", b"x")], {"rewritten": 3})
        self.sent: list[Unsent] = []

    async def write_again(self) -> Rewrites:
        return self.due

    async def send(self, unsent: list[Unsent]) -> None:
        self.sent += unsent


async def test_what_is_due_is_published_and_counted() -> None:
    """The metric counts products, not messages."""
    place = Place()
    await Rewriter(cast("Any", place), cast("Any", place)).write_again()
    assert place.sent == place.due.outbox
    assert REGISTRY.get_sample_value("imageflow_rewrites_total", {"flow": "rewritten"}) == 3
