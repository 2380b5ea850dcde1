"""Puts the parts together: settings in, running services out."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog

from imageflow import settings as settings_
from imageflow.errors import Postponed, StoreError
from imageflow.http.client import Transport
from imageflow.http.omnitron import OmnitronSessions
from imageflow.http.proxy import proxy_of
from imageflow.http.public_address import Allowed
from imageflow.model import messages
from imageflow.model.flow import Flow
from imageflow.read.reader import Reader
from imageflow.runtime import service
from imageflow.runtime.kept import KeptJobs
from imageflow.runtime.presence import Presence
from imageflow.runtime.service import M, Service, Stage
from imageflow.runtime.step_keeper import StepKeeper
from imageflow.runtime.substrate import Substrate
from imageflow.sandbox.supervisor import Sandbox
from imageflow.schedule.alarm_watcher import AlarmWatcher
from imageflow.schedule.bookkeeper import Bookkeeper
from imageflow.schedule.fetch import MissingFetcher
from imageflow.schedule.queue_metrics import QueueMetrics
from imageflow.schedule.retention import Retention
from imageflow.schedule.rewriter import Rewriter
from imageflow.schedule.scheduler import Scheduler, release_only
from imageflow.secret import Bounds
from imageflow.store.connect import connect
from imageflow.telemetry import metrics, tracing
from imageflow.transform.transformer import Transformer
from imageflow.write import writer as writing
from imageflow.write.image_probe import ImageProbe
from imageflow.write.writer import Writer

if TYPE_CHECKING:  # the doors are imported where a gateway is built: other processes start without them
    from imageflow.gateway.app import Gateway

log = structlog.get_logger()

SERVICES = ("scheduler", "reader", "transformer", "writer", "gateway")
OMNITRON_CONNECTIONS = 100
ERP_CONNECTIONS = 100
FETCH_CONNECTIONS = 32
WEBHOOK_CONNECTIONS = 32
ASKING_CONNECTIONS = 4
LOOKING_CONNECTIONS = 4
LOOKING_SECONDS = 2.0
"""Of the console's pages: their readers take no connection from the work, and no statement of theirs goes on for long."""

READ_PREFETCH = 8
TRANSFORM_PREFETCH = 2
WRITE_PREFETCH = 48  # chunks: what three statements of unchanged rows take, and the next ones
LOOK_SECONDS = 5.0
FIRST_LOOK_SECONDS = 0.5
"""While a process is not ready, which is mostly its first second."""
OTHER_FLOW_SECONDS = 2.0
"""How long a message of another flow is put off where the services handle one flow alone."""


async def run_services(
    substrate: Substrate,
    names: Iterable[str],
    stop: asyncio.Event,
    *,
    port: int | None = None,
    started: Callable[[int | None], None] | None = None,
    ending: Callable[[], None] = lambda: None,
    opened: Callable[[str, str | None], None] | None = None,
    only: str | None = None,
) -> None:
    """Run services until `stop` is set, then stop them in order: the gateway and scheduler first, the writer last.

    `port`: where the gateway listens (0: any free port); `started` is told which it became. Services without a gateway
    show /health, /ready and /metrics on METRICS_PORT. `opened` is told the console's address and, while there is no user, the
    address that makes the first one, once. `ending` is called when they begin to stop, for whatever reason.
    `only`: the services handle messages of this flow alone, and let its queued runs begin.
    """
    wanted = [name for name in SERVICES if name in set(names)]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(tracing.finish, tracing.start(substrate.environ))
        parts = await _Parts.build(substrate, wanted, stack, only)
        await stack.enter_async_context(service.background(parts.jobs, parts.kept))
        host = listen_host(substrate.settings, wanted)
        bound = await _listen(substrate, parts, stack, host, port if "gateway" in wanted else None)
        if started is not None:
            started(bound)
        log.info("started", services=",".join(wanted), port=bound)
        if opened is not None and parts.gateway is not None and bound is not None:
            await _tell(parts.gateway, host, bound, opened)
        async with asyncio.TaskGroup() as group:
            for name, run in parts.runs.items():
                group.create_task(parts.kept.keep(name, functools.partial(run, stop)), name=name)
            try:
                await stop.wait()
            finally:
                ending()
        log.info("stopped", services=",".join(wanted))


async def _tell(gateway: Gateway, host: str, port: int, opened: Callable[[str, str | None], None]) -> None:
    address = console_address(host, port)
    try:
        link = await gateway.sessions.setup_link()
    except StoreError as error:
        log.warning("no link for a first user", error=str(error))
        link = None
    opened(address, None if link is None else f"{address}setup?once={link}")


def console_address(host: str, port: int) -> str:
    """Where a browser of this machine finds the console of a gateway that listens there."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - a name
    return f"http://{shown}:{port}/"


async def _listen(
    substrate: Substrate, parts: _Parts, stack: AsyncExitStack, host: str, port: int | None
) -> int | None:
    settings = substrate.settings
    bound = None
    if parts.gateway is None and settings.metrics_port is None:
        return None
    from imageflow.gateway.app import monitoring, serve  # noqa: PLC0415 - see TYPE_CHECKING above

    if parts.gateway is not None:
        app = parts.gateway.app(watched_elsewhere=settings.metrics_port not in (None, port))
        bound = await stack.enter_async_context(serve(app, host, port or 0, settings.stop_seconds))
    if settings.metrics_port is not None and settings.metrics_port != bound:
        await stack.enter_async_context(
            serve(monitoring(parts.problems), host, settings.metrics_port, settings.stop_seconds)
        )
    return bound


@asynccontextmanager
async def waiting(
    settings: settings_.Settings, names: Collection[str], problem: Callable[[], str | None], port: int | None
) -> AsyncIterator[None]:
    """Serve /health, /ready and /metrics on the ports of the services until start-up ends; answer 503 to all else."""
    ports = {port if "gateway" in names else None, settings.metrics_port} - {None, 0}
    if not ports:
        yield
        return
    from imageflow.gateway.app import monitoring, serve  # noqa: PLC0415 - see TYPE_CHECKING above

    async def ready() -> list[str]:
        return [problem() or "it starts"]

    async with AsyncExitStack() as stack:
        for one in ports:
            app = monitoring(ready, alone=False)
            await stack.enter_async_context(serve(app, listen_host(settings, names), one or 0, settings.stop_seconds))
        yield


def listen_host(settings: settings_.Settings, names: Collection[str]) -> str:
    """Where a process listens: as LISTEN says; else only this machine reaches a process that runs all services, and a service
    of its own, which mostly runs in a container, is reached from outside.
    """
    if settings.listen is not None:
        return settings.listen
    return "127.0.0.1" if set(names) == set(SERVICES) else "0.0.0.0"  # noqa: S104 - see above


@asynccontextmanager
async def missing_fetcher(substrate: Substrate) -> AsyncIterator[MissingFetcher]:
    """What looks for products without images, with connections of its own."""
    s = substrate
    async with _transport(s, FETCH_CONNECTIONS) as transport:
        yield MissingFetcher(s.store, s.publisher, s.clock, OmnitronSessions(transport, s.environ, s.clock))


def _transport(substrate: Substrate, connections: int) -> Transport:
    return Transport.of(substrate.settings, connections=connections)


def _limited(stage: Stage[M], flow: str) -> Stage[M]:
    """The stage for one flow. Where flows share a queue, messages of the others are put off."""

    async def handle(message: M) -> None:
        if message.flow != flow:
            raise Postponed(OTHER_FLOW_SECONDS, f"this process handles the flow {flow} alone")
        await stage.handle(message)

    def queues(flows: Sequence[Flow]) -> list[str]:
        return stage.queues([one for one in flows if one.name == flow])

    return stage._replace(queues=queues, handle=handle)


class _Parts:
    """The services of this process and what runs beside them."""

    def __init__(self, substrate: Substrate, only: str | None) -> None:
        self.substrate = substrate
        self.only = only
        self.kept = KeptJobs()
        self.runs: dict[str, Callable[[asyncio.Event], Awaitable[None]]] = {}
        """What ends when the process is asked to stop, by name; `jobs` go on until then."""
        self.jobs: dict[str, Callable[[], Awaitable[None]]] = {
            "the outbox sweep": functools.partial(service.sweep, substrate.publisher),
            "the look at readiness": self._look,
        }
        self.services: list[Service[Any]] = []
        self.steps = StepKeeper(substrate.store, substrate.clock)
        self.gateway: Gateway | None = None
        self.writer: Writer | None = None

    @classmethod
    async def build(
        cls, substrate: Substrate, names: list[str], stack: AsyncExitStack, only: str | None = None
    ) -> _Parts:
        parts = cls(substrate, only)
        if only is not None:
            parts.runs["the release of runs"] = functools.partial(
                release_only, substrate.store, substrate.publisher, only
            )
        builders: dict[str, Callable[[AsyncExitStack], Awaitable[None]]] = {
            "scheduler": parts._scheduler,
            "reader": parts._reader,
            "transformer": parts._transformer,
            "writer": parts._writer,
            "gateway": parts._gateway,
        }
        for name in names:
            await builders[name](stack)
        presence = Presence(
            substrate.store, substrate.clock, {name: functools.partial(parts._doing, name) for name in names}
        )
        stack.push_async_callback(presence.end)
        parts.jobs["the report of services"] = presence.run
        stack.push_async_callback(parts.steps.keep)
        parts.jobs["the times of steps"] = parts.steps.run
        return parts

    def _doing(self, name: str) -> str:
        """What a service has in hand, in a few words."""
        found = sum(one.in_hand for one in self.services if one.name == name)
        return f"{found} {'delivery' if found == 1 else 'deliveries'}" if found else ""

    async def _look(self) -> None:
        """Keep the metric of readiness up to date, until cancelled."""
        while True:
            ready = not await self.problems()
            metrics.READY.set(ready)
            await asyncio.sleep(LOOK_SECONDS if ready else FIRST_LOOK_SECONDS)

    async def problems(self) -> list[str]:
        """Why this process is not ready; empty when it is."""
        found = self.kept.problems
        found += [problem for one in self.services if (problem := one.problem) is not None]
        if (wrong := self.substrate.broker.healthy) is not None:
            found.append(wrong)
        try:
            async with asyncio.timeout(5):
                await self.substrate.store.ping()
        except (StoreError, TimeoutError) as error:
            found.append(f"database: {error or 'no answer within 5 s'}")
        if self.writer is not None:
            found += [f"{domain} is held: {why}" for domain, why in self.writer.open_circuits.items()]
        return found

    async def _scheduler(self, stack: AsyncExitStack) -> None:
        s = self.substrate
        scheduler = Scheduler(s.store, s.publisher, s.clock)
        self.runs["the scheduler"] = scheduler.run
        self.jobs["the metrics of queues"] = QueueMetrics(s.store, s.broker, s.clock).run
        fetcher = await stack.enter_async_context(missing_fetcher(s))
        self.runs["fetch missing"] = fetcher.run
        webhooks = await stack.enter_async_context(_transport(s, WEBHOOK_CONNECTIONS))
        watcher = AlarmWatcher(s.store, s.clock, s.environ, webhooks, settings_.secret_key(s.settings))
        self.runs["the watch for alarms"] = watcher.run
        self.runs["the rewriter"] = Rewriter(s.store, s.publisher).run
        self.runs["the bookkeeper"] = Bookkeeper(s.store, s.broker).run
        if s.settings.retention_days:
            retention = Retention(s.store, s.clock, s.settings.retention_days)
            self.runs["retention"] = retention.run

    async def _reader(self, stack: AsyncExitStack) -> None:
        s = self.substrate
        transport = await stack.enter_async_context(_transport(s, ERP_CONNECTIONS))
        omnitron = OmnitronSessions(transport, s.environ, s.clock)
        reader = Reader(s.store, s.broker, s.publisher, s.clock, s.environ, transport, omnitron, steps=self.steps)
        self._stage(
            Stage(
                "reader",
                READ_PREFETCH,
                lambda _: [messages.READ_QUEUE],
                service.decoder(messages.ReadPage),
                reader.handle,
                reader.give_up,
            )
        )

    async def _transformer(self, stack: AsyncExitStack) -> None:
        s = self.substrate
        sandbox = await stack.enter_async_context(Sandbox(best_effort=s.settings.jail == "best-effort"))
        transformer = Transformer(s.store, s.broker, s.publisher, s.clock, sandbox, self.steps)
        self._stage(
            Stage(
                "transformer",
                TRANSFORM_PREFETCH,
                lambda flows: [messages.transform_queue(flow.name) for flow in flows],
                service.decoder(messages.PageRead, messages.RunRead, messages.ReplayPage),
                transformer.handle,
                transformer.give_up,
            )
        )

    async def _writer(self, stack: AsyncExitStack) -> None:
        s = self.substrate
        transport = await stack.enter_async_context(_transport(s, OMNITRON_CONNECTIONS))
        image_probe = await stack.enter_async_context(
            ImageProbe(s.clock, Allowed(s.settings.preflight_allow_private), proxy_of(s.settings))
        )
        omnitron = OmnitronSessions(transport, s.environ, s.clock)
        writer = Writer(s.store, s.broker, s.clock, omnitron, image_probe, self.steps)
        stack.push_async_callback(writer.close)
        self.writer = writer
        self.jobs["the writer's lease"] = writer.run
        self._stage(
            Stage(
                "writer",
                WRITE_PREFETCH,
                writing.queues,
                service.decoder(messages.RowsReady),
                writer.handle,
                writer.give_up,
                wind_up=writer.wind_up,
            )
        )

    async def _gateway(self, stack: AsyncExitStack) -> None:
        from imageflow.console.app import console  # noqa: PLC0415 - see TYPE_CHECKING above
        from imageflow.flows.bounded import Reach  # noqa: PLC0415 - the same
        from imageflow.gateway.app import Gateway  # noqa: PLC0415 - the same
        from imageflow.gateway.deps import Tools  # noqa: PLC0415 - the same
        from imageflow.gateway.late_publisher import LatePublisher  # noqa: PLC0415 - the same
        from imageflow.gateway.outbound import Outbound  # noqa: PLC0415 - the same
        from imageflow.gateway.queue import OutboundQueue  # noqa: PLC0415 - the same
        from imageflow.inspect.live import Live  # noqa: PLC0415 - the same

        s = self.substrate
        key = settings_.secret_key(s.settings)
        sandbox = await stack.enter_async_context(Sandbox())
        reach = Reach(Bounds(s.settings.secret_dirs, s.settings.secret_env_prefixes), Allowed(s.settings.allow_private))
        asking = await stack.enter_async_context(_transport(s, ASKING_CONNECTIONS))
        fetcher = await stack.enter_async_context(missing_fetcher(s))
        tools = Tools(sandbox, fetcher, reach, Live(asking, s.environ, s.clock))
        looks = connect(
            s.settings.store_url, s.clock, connections=LOOKING_CONNECTIONS, statement_seconds=LOOKING_SECONDS
        )
        pages = console(await stack.enter_async_context(looks), pictures=s.settings.console_pictures == "direct")
        self.gateway = Gateway(
            s.store,
            s.broker,
            s.clock,
            key,
            ready=self.problems,
            tools=tools,
            trusted=s.settings.trusted_proxies,
            pages=pages,
        )
        published = Outbound(s.store, s.broker, LatePublisher(s.store, s.broker), s.clock)
        stack.push_async_callback(published.finish)
        self._stage(OutboundQueue(published).stage)

    def _stage(self, stage: Stage[M]) -> None:
        if self.only is not None:
            stage = _limited(stage, self.only)
        one = Service(stage, self.substrate.store, self.substrate.broker, self.kept)
        self.services.append(one)
        self.runs[f"the service {stage.name}"] = functools.partial(
            one.run, stop_seconds=self.substrate.settings.stop_seconds
        )
