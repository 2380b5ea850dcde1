"""Cancellations that must not get lost.

A task is cancelled once: if another error takes the CancelledError's place, or a library swallows it, the task goes on, and
its waiters hang. Drivers do that at the end of a connection: their cleanup raises, or their own tasks
are cancelled with another error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cancellation_kept() -> Iterator[None]:
    """Whatever the body ends with, if its task was cancelled meanwhile it ends with CancelledError. A timeout around the
    body is such a cancellation too, and makes a TimeoutError of it as ever.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        yield
    except Exception as error:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
