"""Where a message comes from: headers that travel beside its body and change nothing about what is done with it.

    published       when it was first published, in Unix time; one that comes again keeps it
    read            when the page that it is about was read from the ERP or posted, in Unix time
    traceparent, tracestate     the span that published it (tracing.py)

Of messages without them (of an older version, or of somebody else) nothing is known, and nothing fails.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from imageflow.telemetry import tracing

PUBLISHED = "published"
READ = "read"
LATEST = 1e11
"""No instant is later, in Unix time: what a stranger wrote there is none."""


class Provenance(NamedTuple):
    """What is known of the message in hand."""

    published: float
    read: float | None
    headers: Mapping[str, str]


_in_hand: ContextVar[Provenance | None] = ContextVar("in_hand", default=None)


def of(headers: Mapping[str, str]) -> Provenance:
    """What the headers of a message say; it was published now where they say nothing."""
    return Provenance(_instant(headers.get(PUBLISHED)) or time.time(), _instant(headers.get(READ)), headers)


def _instant(text: str | None) -> float | None:
    try:
        instant = float(text) if text else 0.0
    except ValueError:
        return None
    return instant if 0 < instant < LATEST else None


@contextmanager
def handling(message: Provenance) -> Iterator[None]:
    """What is published in the body follows from this message."""
    token = _in_hand.set(message)
    try:
        yield
    finally:
        _in_hand.reset(token)


def read_at() -> float | None:
    """When the page that the message in hand is about was read; None where nobody knows."""
    message = _in_hand.get()
    return None if message is None else message.read


def following() -> dict[str, str]:
    """Headers of a message that follows from the one in hand. What follows from no page is about one read just now."""
    now = f"{time.time():.3f}"
    read = read_at()
    return {PUBLISHED: now, READ: now if read is None else f"{read:.3f}", **tracing.headers()}


def beside() -> dict[str, str]:
    """Headers of a message that goes beside the one in hand, as the next page beside this one: with the same parent."""
    message = _in_hand.get()
    known = {name: message.headers[name] for name in tracing.HEADERS if name in message.headers} if message else {}
    return {PUBLISHED: f"{time.time():.3f}", **(known or tracing.headers())}
