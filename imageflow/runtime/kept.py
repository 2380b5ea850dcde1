"""Jobs that must go on whatever they raise: a service is not ended by the error of one of its parts.

What a part foresees (an outage) it handles itself. An error that gets here is a mistake of ours, or something new: it is
logged with its traceback, shown by /ready, and the job starts again after a pause, which grows with each failure.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from imageflow.cancellation import cancellation_kept
from imageflow.model import retry_ladder
from imageflow.text.masking import mask

log = structlog.get_logger()

STEADY_SECONDS = 60.0
"""A job that ran so long after its start has recovered."""


class KeptJobs:
    """Keeps jobs running. `problems` names those that failed and have not recovered."""

    def __init__(self) -> None:
        self._failed: dict[str, str] = {}

    @property
    def problems(self) -> list[str]:
        return list(self._failed.values())

    async def keep(self, name: str, job: Callable[[], Awaitable[None]]) -> None:
        """Run `job` until it returns, again after each error. `name` says what it is, for people."""
        failures = 0
        while True:
            began = time.monotonic()
            steady = asyncio.get_running_loop().call_later(STEADY_SECONDS, self._failed.pop, name, None)
            try:
                with cancellation_kept():
                    await job()
            except Exception as error:  # see the docstring of this module
                failures = 1 if time.monotonic() - began >= STEADY_SECONDS else failures + 1
                pause = float(retry_ladder.delay(min(failures, 5)))
                log.exception("unexpected error: it starts again", job=name, seconds=pause)
                self._failed[name] = mask(f"{name} failed and starts again: {type(error).__name__}: {error}")
            else:
                self._failed.pop(name, None)
                return
            finally:
                steady.cancel()
            await asyncio.sleep(pause)
