"""A reader on a real store and a real broker, against servers that listen on a free port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from imageflow.broker import Outgoing
from imageflow.broker.sqlite import SqliteBroker
from imageflow.errors import Postponed
from imageflow.http.client import Transport
from imageflow.http.omnitron import OmnitronSessions
from imageflow.model import messages
from imageflow.model.messages import PageRead, ReadPage
from imageflow.model.run import Run, Trigger, new_run_id
from imageflow.pointer import find
from imageflow.read.reader import Reader
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.secret import Secret
from imageflow.store.connect import connect
from tests import schemas
from tests.draining import drain

ENVIRON = {"OMNITRON_PASSWORD": "om-secret-word", "ERP_USER": "demo", "ERP_PASSWORD": "demo"}


class Clock:
    """A clock that stands still, from the moment it is made (the emulator's dates are real), until somebody sleeps by it."""

    def __init__(self) -> None:
        self.began = datetime.now(UTC).replace(microsecond=0)
        self.passed = 0.0
        self.sleeps: list[float] = []

    def now(self) -> datetime:
        return self.began + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.passed += seconds


class Bench:
    """One reader and what it stands on. `store`, `broker` and `publisher` may be wrapped by a test before it reads."""

    def __init__(self, path: Path, transport: Transport) -> None:
        self.clock = Clock()
        self.store: Any = connect(Secret(schemas.lay(path / "store.db")), self.clock)
        self.broker: Any = SqliteBroker(path / "broker.db")
        self.transport = transport
        self.environ = dict(ENVIRON)
        self.chance = 0.01

    def reader(self, *, store: Any = None, broker: Any = None) -> Reader:
        """A reader as a process has it when it starts: nothing remembered."""
        store, broker = store or self.store, broker or self.broker
        return Reader(
            store,
            broker,
            OutboxPublisher(store, broker),
            self.clock,
            self.environ,
            self.transport,
            OmnitronSessions(self.transport, self.environ, self.clock),
            sleep=self.clock.sleep,
            chance=lambda: self.chance,
        )

    async def begin(self, definition: dict[str, Any], *, ids: Iterable[str] = ()) -> Run:
        """Save the flow and release a run of it: its first message is in the read queue."""
        flow = await self.store.save_flow(definition)
        trigger = Trigger("person", ids=tuple(ids))
        run = Run(
            run_id=new_run_id(self.clock.now()),
            flow=flow.name,
            version=flow.version,
            trigger=trigger,
            status="queued",
            created_at=self.clock.now(),
        )
        await self.store.create_run(run)
        publisher = OutboxPublisher(self.store, self.broker)
        await publisher.send(await self.store.release_runs())
        await publisher.finish()
        return run

    async def pump(self, run_id: str, reader: Callable[[], Reader]) -> Run:
        """Handle what is in the read queue until the run's read is complete. An error leaves the message unsettled."""
        async with self.broker.consume(messages.READ_QUEUE, prefetch=1) as deliveries:
            async for delivery in deliveries:
                try:
                    await reader().handle(messages.decode(delivery.body))
                except Postponed as later:
                    self.clock.passed += later.retry_after or 0
                    await self.broker.publish(Outgoing(delivery.queue, delivery.body))
                except Exception:
                    await delivery.requeue()
                    raise
                await delivery.ack()
                run: Run = await self.store.run(run_id)
                if run.read_complete:
                    return run
        raise AssertionError

    async def read(self, definition: dict[str, Any], *, ids: Iterable[str] = ()) -> Run:
        """Read a whole run with one reader; its pages count as transformed, so that the flow's next run may begin."""
        run = await self.begin(definition, ids=ids)
        reader = self.reader()
        run = await self.pump(run.run_id, lambda: reader)
        await self.transformed(run)
        return run

    async def transformed(self, run: Run) -> None:
        """Count all pages of a run as transformed, without rows."""
        for page in range(1, run.pages + 1):
            await self.store.register_page(run.run_id, page, 0, [])

    async def rows(self, run: Run, path: str = "results") -> list[Any]:
        """All rows of the run's pages, in order."""
        pages = [await self.store.page(run.run_id, number) for number in range(1, run.pages + 1)]
        return [row for page in pages for row in find(msgspec.json.decode(page.body), path)]

    async def sent(self, run: Run) -> list[PageRead]:
        """The PageRead messages in the transform queue (they are taken out of it)."""
        queue = messages.transform_queue(run.flow)
        found = [messages.decode(body) for body in await drain(self.broker, queue)]
        return [message for message in found if isinstance(message, PageRead)]


@asynccontextmanager
async def bench(path: Path) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        made = Bench(path, await stack.enter_async_context(Transport()))
        await stack.enter_async_context(made.store)
        await stack.enter_async_context(made.broker)
        yield made


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """A server of one handler; gives its URL without a trailing slash."""
    runner = web.ServerRunner(web.Server(handler, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def inbound(endpoint: str, omnitron: str, **erp: Any) -> dict[str, Any]:
    """A flow document."""
    return {
        "name": "winter",
        "direction": "inbound",
        "omnitron": {"domain_url": omnitron, "username": "demo", "password": {"env": "OMNITRON_PASSWORD"}},
        "erp": {"endpoint_url": endpoint, "timeout": "5s", "rows_path": "results", **erp},
    }


def first_message(run: Run) -> ReadPage:
    return ReadPage(run.run_id, run.flow, run.version, 1)
