"""Queues and their labels, and which of them have nobody to consume them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from imageflow.broker import Depth
from imageflow.schedule.queue_metrics import PARKED, queues, unconsumed


def test_queues():
    """What all flows share has no flow; each flow has its two."""
    flow: Any = SimpleNamespace(name="winter")
    assert queues([flow]) == {
        "imageflow.read": ("reader", ""),
        "imageflow.outbound": ("gateway", ""),
        "imageflow.parked": ("parked", ""),
        "imageflow.transform.winter": ("transformer", "winter"),
        "imageflow.write.winter": ("writer", "winter"),
    }


def test_unconsumed():
    """A queue counts from when it was first seen with messages and without a consumer, until one of both changes."""
    alone, busy, empty = Depth(5, 0, 0), Depth(5, 1, 1), Depth(0, 0, 0)
    depths = {
        ("reader", ""): alone,
        ("writer", "a"): busy,
        ("writer", "b"): empty,
        ("writer", "c"): alone,
        PARKED: alone,
    }
    before = {("reader", ""): 90.0, ("writer", "a"): 90.0, ("writer", "b"): 90.0}
    assert unconsumed(depths, before, 100.0) == {("reader", ""): 90.0, ("writer", "c"): 100.0}
