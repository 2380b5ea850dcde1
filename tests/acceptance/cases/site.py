"""All services in one thread of the test's process, on files, for all cases: each case has its own ERP and Omnitron."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import uvloop
import yaml

from imageflow import bootstrap, settings
from imageflow.actions import rows as row_actions
from imageflow.actions import runs as run_actions
from imageflow.actions import shapes
from imageflow.actions.actor import Actor
from imageflow.actions.run_watch import until_ended
from imageflow.commands.runs import GOOD
from imageflow.emulator.omnitron import FakeOmnitron
from imageflow.flows import file as flow_file
from imageflow.inspect import product_history
from imageflow.inspect.dry_run import DryRun, dry_run
from imageflow.model.row import RowLog
from imageflow.runtime.substrate import Substrate, open_substrate
from imageflow.sandbox.supervisor import Sandbox
from tests.acceptance.cases.erp import DATA, Player, Step, steps

SECRETS = {
    "OMNITRON_USERNAME": "demo",
    "OMNITRON_PASSWORD": "demo",
    "ERP_KEY": "erp-key-1",
    "ERP_PASSWORD": "erp-password",
}
SERVICES = ("scheduler", "reader", "transformer", "writer")
ACTOR = Actor("ada", "test")
T = TypeVar("T")
CALL_SECONDS = 200.0
"""Longer than any wait within a call, which says better what it waited for."""

Pictures = dict[str, list[str]]


class Ended(NamedTuple):
    """A run that has ended. `shown` is what `run --wait --json` prints, `exit` its exit status."""

    shown: dict[str, Any]
    exit: int
    logs: tuple[RowLog, ...]
    """Of the rows that failed."""

    @property
    def failed(self) -> dict[str | None, str]:
        """Why rows failed, by product."""
        return {log.product: log.reason or "" for log in self.logs}

    @property
    def status(self) -> str:
        return self.shown["status"]

    @property
    def rows(self) -> dict[str, int]:
        """The counts that are not zero."""
        return {state: count for state, count in self.shown["rows"].items() if count}

    @property
    def took(self) -> float:
        """Seconds from its beginning to its end."""
        begun, ended = (datetime.fromisoformat(self.shown[name]) for name in ("started_at", "finished_at"))
        return (ended - begun).total_seconds()

    @property
    def says(self) -> str:
        """Error and warnings."""
        return "\n".join([self.shown["error"] or "", *self.shown["warnings"]])


def document(case: str, file: str = "flow.yaml") -> dict[str, Any]:
    """A flow file of a case, its addresses not yet placed."""
    return flow_file.load(DATA / case / file)


def page(case: str, index: int = 0) -> bytes:
    """The body of a stored answer."""
    return steps(case)[index].body({})


class Stage:
    """A case on the stage: its ERP, its Omnitron, its flows."""

    def __init__(self, site: Site, case: str, erp: Player, omnitron: FakeOmnitron) -> None:
        self._site = site
        self.case = case
        self.erp = erp
        self.omnitron = omnitron
        self._runs: set[str] = set()

    def flow(self, file: str = "flow.yaml", **changes: Any) -> str:
        """Save a flow of the case under a name that no other has; `changes` are merged into it, dotted as in `erp__x`."""
        made = self._placed(document(self.case, file), changes)
        self._site.call(self._site.substrate.store.save_flow(made))
        return made["name"]

    def write(self, folder: Path, file: str = "flow.yaml", **changes: Any) -> str:
        """Write a flow of the case as a file; gives its name."""
        made = self._placed(document(self.case, file), changes)
        (folder / f"{made['name']}.yaml").write_text(yaml.safe_dump(made), "utf-8")
        return made["name"]

    def _placed(self, made: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        text = msgspec.json.encode({**made, "name": self._site.new_name()}).decode()
        text = text.replace("http://OMNITRON", self.omnitron.url).replace("http://ERP", f"http://{self.erp.host}")
        found = msgspec.json.decode(text.replace("INNER-HOST", self.erp.inner))
        for path, value in changes.items():
            *parts, last = path.split("__")
            place = found
            for part in parts:
                place = place.setdefault(part, {})
            place[last] = value
        return found

    def run(self, file: str = "flow.yaml", ids: Iterable[str] = (), **changes: Any) -> Ended:
        """Save a flow of the case and run it to its end."""
        return self.again(self.flow(file, **changes), ids)

    def again(self, name: str, ids: Iterable[str] = ()) -> Ended:
        """Run a saved flow to its end."""
        return self._site.call(self._run(name, tuple(ids)))

    async def _run(self, name: str, ids: Sequence[str]) -> Ended:
        s = self._site.substrate
        begun = await run_actions.start(s.store, s.publisher, name, ids, ACTOR, s.clock.now())
        self._runs.add(begun.run.run_id)
        async with asyncio.timeout(60):
            await until_ended(s.store, begun.run.run_id)
        shown = msgspec.to_builtins(shapes.run_shown(await run_actions.show(s.store, begun.run.run_id)))
        logs = await row_actions.listed(s.store, begun.run.run_id, state="failed")
        return Ended(shown, 0 if shown["status"] in GOOD else 1, tuple(logs))

    def trace(self, product: str) -> list[str]:
        """The states of a product's rows in this case's runs, by its trace."""
        found = self._site.call(product_history.trace(self._site.substrate.store, self._site.sandbox, product))
        return [row.log.state for row in found.rows if row.log.run_id in self._runs]

    @property
    def products(self) -> dict[str, list[tuple[str, int, str]]]:
        """What Omnitron holds: product to its images, each with URL, order and type, by order."""
        return {
            sku: sorted(((i.url, i.order, i.image_type) for i in images), key=lambda image: image[1])
            for sku, images in self.omnitron.images.items()
        }

    @property
    def pictures(self) -> Pictures:
        """What Omnitron holds: product to its URLs, by order."""
        return {sku: [url for url, *_ in images] for sku, images in self.products.items()}


class Site:
    """The services, on a loop of their own."""

    substrate: Substrate
    sandbox: Sandbox

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._names = 0

    def new_name(self) -> str:
        self._names += 1
        return f"case-{self._names}"

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Await on the services' loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS)

    def tried(self, definition: dict[str, Any], body: bytes) -> DryRun:
        """What `try` shows of an answer."""
        return self.call(dry_run(self.sandbox, flow_file.parse(definition), body))

    @contextmanager
    def stage(self, case: str, *, answers: list[Step] | None = None, faults: Sequence[Any] = ()) -> Iterator[Stage]:
        """The servers of a case, for as long as the body lasts."""
        erp, omnitron = Player(steps(case) if answers is None else answers), FakeOmnitron(faults=faults)
        stack = AsyncExitStack()

        async def begin() -> None:
            await stack.enter_async_context(erp.serve())
            await stack.enter_async_context(omnitron.serve())

        self.call(begin())
        try:
            yield Stage(self, case, erp, omnitron)
        finally:
            self.call(stack.aclose())


@contextmanager
def services(folder: Path, broker_url: str | None = None) -> Iterator[Site]:
    """All services but the gateway, while the body lasts; with it where `broker_url` names a RabbitMQ."""
    ready = threading.Event()
    found: list[tuple[Site, asyncio.Event]] = []
    wrong: list[BaseException] = []

    async def main() -> None:
        broker = {} if broker_url is None else {"IMAGEFLOW_BROKER_URL": broker_url}
        loaded = settings.load({"IMAGEFLOW_DATA_DIR": str(folder), "IMAGEFLOW_LISTEN": "127.0.0.1", **broker})
        names = bootstrap.SERVICES if broker_url is not None else SERVICES
        site, stop = Site(asyncio.get_running_loop()), asyncio.Event()
        async with (
            open_substrate(loaded, SECRETS, consumer=True) as site.substrate,
            Sandbox() as site.sandbox,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(bootstrap.run_services(site.substrate, names, stop))
            found.append((site, stop))
            ready.set()
            await stop.wait()

    def body() -> None:
        try:
            uvloop.run(main())
        except BaseException as error:  # raised again where the test can see it
            wrong.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=body, name="services")
    thread.start()
    ready.wait()
    try:
        if found:
            yield found[0][0]
    finally:
        if found:
            found[0][0]._loop.call_soon_threadsafe(found[0][1].set)
        thread.join()
        if wrong:
            raise wrong[0]
