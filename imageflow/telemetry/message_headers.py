"""Headers that say where a message comes from, for metrics and traces. They change nothing about how it is handled.

    published       when it was first published, in Unix time; a redelivery or a retry keeps it
    read            when its page was read from the ERP or posted, in Unix time
    traceparent, tracestate     the span that published it (tracing.py)

Messages without them (of an older version, or of another program) are handled all the same.
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
"""The latest instant that is believed, in Unix time: another program may have written anything."""


class Received(NamedTuple):
    """What its headers say of the message that is being handled."""

    published: float
    read: float | None
    headers: Mapping[str, str]


_current: ContextVar[Received | None] = ContextVar("current_message", default=None)


def of(headers: Mapping[str, str]) -> Received:
    """Reads a message's headers; where they do not say when it was published, that is now."""
    return Received(_instant(headers.get(PUBLISHED)) or time.time(), _instant(headers.get(READ)), headers)


def _instant(text: str | None) -> float | None:
    try:
        instant = float(text) if text else 0.0
    except ValueError:
        return None
    return instant if 0 < instant < LATEST else None


@contextmanager
def handling(message: Received) -> Iterator[None]:
    """Messages that are published inside follow from this message."""
    token = _current.set(message)
    try:
        yield
    finally:
        _current.reset(token)


def read_at() -> float | None:
    """When the page of the message that is being handled was read; None where that is not known."""
    message = _current.get()
    return None if message is None else message.read


def following() -> dict[str, str]:
    """Headers of a message that follows from the one being handled. Where that has no page, the page was read just now."""
    now = f"{time.time():.3f}"
    read = read_at()
    return {PUBLISHED: now, READ: now if read is None else f"{read:.3f}", **tracing.headers()}


def beside() -> dict[str, str]:
    """Headers of a message beside the one being handled, as the next page is beside this one: with the same parent."""
    message = _current.get()
    known = {name: message.headers[name] for name in tracing.HEADERS if name in message.headers} if message else {}
    return {PUBLISHED: f"{time.time():.3f}", **(known or tracing.headers())}
