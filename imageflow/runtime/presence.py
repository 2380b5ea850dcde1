"""Says every few seconds which services of this process are alive: people see them by `GET /api/system`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Mapping

import structlog

from imageflow import __version__
from imageflow.clock import Clock
from imageflow.errors import StoreError
from imageflow.store import ServiceSeen, Store

log = structlog.get_logger()

EVERY_SECONDS = 10.0
ALIVE_SECONDS = 30.0


class Presence:
    """The services of a process, by name with what each has in hand, in a few words."""

    def __init__(self, store: Store, clock: Clock, doing: Mapping[str, Callable[[], str]]) -> None:
        self._store = store
        self._doing = doing
        host, unique = socket.gethostname(), secrets.token_hex(4)
        self._services = [
            ServiceSeen(f"{host}/{os.getpid()}/{unique}/{kind}", kind, host, os.getpid(), __version__, clock.now())
            for kind in doing
        ]

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            try:
                await self.report()
            except StoreError as error:
                log.warning("the report of services waits", error=str(error))
            await asyncio.sleep(EVERY_SECONDS)

    async def report(self) -> None:
        """Report once. Raises StoreError."""
        found = [one._replace(doing=self._doing[one.kind]()) for one in self._services]
        await self._store.report(found, ALIVE_SECONDS)

    async def end(self) -> None:
        """Say that the services have ended."""
        with contextlib.suppress(StoreError):
            await self._store.withdraw([one.owner for one in self._services])
