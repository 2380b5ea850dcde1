"""The start of a process that runs services: it waits for queue and database, as services do while they run.

A command that a person calls fails at once instead: the person is there to see why.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import structlog

from imageflow.broker.connect import connect as connect_broker
from imageflow.errors import BrokerError, ImageFlowError, StoreError
from imageflow.model import retry_ladder
from imageflow.runtime.substrate import Substrate, open_substrate
from imageflow.settings import Settings

log = structlog.get_logger()

LINE_SECONDS = 5.0
LONGEST_PAUSE = 5.0


class Startup:
    """Opens what services stand on. `problem` says what is waited for; None: nothing."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], stack: AsyncExitStack) -> None:
        self._settings = settings
        self._environ = environ
        self._stack = stack
        self._began = time.monotonic()
        self._told = float("-inf")
        self.problem: str | None = None
        files = settings.embedded and settings.store_url.reveal().startswith("sqlite:")
        self._timeout = 0.0 if files else settings.start_seconds
        connect_broker(settings.broker_url)  # a URL that is none is an error at once

    async def open(self) -> Substrate | None:
        """One try; None where something is away and may come. Raises BrokerError and StoreError once that took too long."""
        try:
            # no deadline here: a migration may take long, and connections have deadlines of their own
            return await self._stack.enter_async_context(open_substrate(self._settings, self._environ, consumer=True))
        except (BrokerError, StoreError) as error:
            self._wait_for(error)
        return None

    def _wait_for(self, away: ImageFlowError) -> None:
        waited = time.monotonic() - self._began
        if waited >= self._timeout:
            raise away
        url = self._settings.broker_url if isinstance(away, BrokerError) else self._settings.store_url
        where = urlsplit(url.reveal()).hostname or "a file"
        self.problem = (
            f"waits for {'the queue' if isinstance(away, BrokerError) else 'the database'} at {where}: {away}"
        )
        if time.monotonic() - self._told >= LINE_SECONDS:
            self._told = time.monotonic()
            log.warning("waits at its start", where=where, error=str(away), seconds=round(waited), most=self._timeout)

    async def opened(self, stop: asyncio.Event) -> Substrate | None:
        """Try again and again; None once `stop` is set. Raises what `open` raises."""
        tries = 0
        while not stop.is_set():
            if (substrate := await self.open()) is not None:
                return substrate
            tries += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(float(retry_ladder.delay(tries)), LONGEST_PAUSE)):
                    await stop.wait()
        return None
