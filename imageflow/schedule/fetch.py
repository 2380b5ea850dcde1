"""Fetch missing: looks for products without images on Omnitron, and triggers the flow for exactly those.

Any number of schedulers may run. A round is a tick, which the store accepts once, together with the round's runs. If
Omnitron cannot be asked, one scheduler tries again each minute; after some minutes the round becomes a failed run, so
that people see it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from imageflow.clock import Clock
from imageflow.errors import BrokerError, ImageFlowError, SecretError, StageError, StoreError, TransportError
from imageflow.http.omnitron import OmnitronError, OmnitronSessions
from imageflow.model.flow import Flow
from imageflow.model.row import RowLog
from imageflow.model.run import Run
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.schedule import missing
from imageflow.schedule.missing import Asked, Product
from imageflow.store import Store
from imageflow.text.instant import iso

log = structlog.get_logger()

LOOK_SECONDS = 5.0
TRY_SECONDS = 60.0
LIST_SECONDS = 1800.0
LOOKUPS_AT_ONCE = 8
FLOWS_AT_ONCE = 4
ACTIVE_RUNS = 100_000
JUDGED_RUNS = 200
ROWS_AT_ONCE = 1000


class Found(NamedTuple):
    """The products without images, and what is to be asked for."""

    missing: list[Product]
    asked: Asked


class Begun(NamedTuple):
    """What a person's request began: its runs (none if nothing is missing), and warnings for the person."""

    runs: list[Run]
    warnings: tuple[str, ...] = ()


class MissingFetcher:
    """Fetches missing images: in rounds for all flows that enable it, or once for one flow."""

    def __init__(self, store: Store, publisher: OutboxPublisher, clock: Clock, omnitron: OmnitronSessions) -> None:
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._omnitron = omnitron
        self._failing_since: dict[str, datetime] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Begin rounds until `stop` is set, which cancels a round that still asks: it is due again."""
        async with asyncio.TaskGroup() as group:
            rounds = group.create_task(self._rounds())
            await stop.wait()
            rounds.cancel()

    async def _rounds(self) -> None:
        while True:
            try:
                await self.tick()
            except* (StoreError, BrokerError) as away:
                log.warning("fetch missing waits", error=str(away.exceptions[0]))
            await asyncio.sleep(LOOK_SECONDS)

    async def tick(self) -> None:
        """Begin the rounds that are due now."""
        turns = asyncio.Semaphore(FLOWS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for flow in await self._store.flows():
                if missing.wanted(flow.definition):
                    group.create_task(self._consider(flow, turns))

    async def _consider(self, flow: Flow, turns: asyncio.Semaphore) -> None:
        async with turns:
            now = self._clock.now()
            key = missing.key(flow.name)
            last = await self._store.last_fire(key)
            if last is None:
                # a new flow: its rounds count from now, for every scheduler
                await self._store.note_fire(key, now)
                return
            due = missing.due_round(flow.definition.fetch_missing, last, now)
            if due is not None and await self._store.note_fire(f"{key}-try", _minute(now)):
                await self._round(flow, due)

    async def _round(self, flow: Flow, due: datetime) -> None:
        """One round of one flow. If Omnitron cannot be asked: again in a minute, or a failed run."""
        by = iso(due) or ""
        try:
            found = await self._look(flow)
        except (ImageFlowError, TimeoutError) as error:
            if isinstance(error, StoreError | BrokerError):
                raise
            now = self._clock.now()
            since = self._failing_since.setdefault(flow.name, now)
            log.warning("fetch missing failed", flow=flow.name, error=str(error), since=iso(since))
            if not missing.gives_up(error, now - since):
                return
            runs, products = [missing.failed_run(flow, by, now, _stage(error), _said(error))], []
        else:
            runs, products = missing.runs_for(flow, found.asked, by, self._clock.now()), found.missing
            for text in found.asked.warnings if not runs else ():
                log.warning("fetch missing", flow=flow.name, warning=text)
            await self._judge_ended(flow, found.missing)
        self._failing_since.pop(flow.name, None)
        if await self._add(flow, missing.key(flow.name), due, runs, products):
            log.info("missing images looked for", flow=flow.name, fire_time=by, runs=len(runs), missing=len(products))

    async def ask_now(self, flow: Flow, by: str, check: Callable[[Flow], None] | None = None) -> Begun:
        """Look now, for a person, whether or not the flow enables rounds. `check` raises where the flow can have no such run; it is
        asked only if there is to be one.

        If Omnitron cannot be asked, that is a failed run. Raises SecretError for a secret that cannot be read.
        """
        now = self._clock.now()
        try:
            found = await self._look(flow)
        except SecretError:
            raise
        except (StageError, TransportError, TimeoutError) as error:
            runs = [missing.failed_run(flow, by, now, _stage(error), _said(error))]
            await self._store.create_missing_runs(
                f"{missing.key(flow.name)}-{runs[0].run_id}",
                now,
                runs,
                domain=flow.definition.omnitron.domain,
                without_images=(),
            )
            return Begun(runs)
        runs = missing.runs_for(flow, found.asked, by, now)
        if runs and check is not None:
            check(flow)
        await self._judge_ended(flow, found.missing)
        if runs:
            # the key holds the run's id: two people may ask in the same microsecond
            await self._add(flow, f"{missing.key(flow.name)}-{runs[0].run_id}", now, runs, found.missing)
        return Begun(runs, (*found.asked.warnings, *_busy(found.asked)))

    async def _add(self, flow: Flow, key: str, due: datetime, runs: Sequence[Run], products: Sequence[Product]) -> bool:
        added = await self._store.create_missing_runs(
            key,
            due,
            runs,
            domain=flow.definition.omnitron.domain,
            without_images=[one.sku for one in products if one.sku is not None],
        )
        if added:
            await self._publisher.send(await self._store.release_runs())
        return added

    async def _look(self, flow: Flow) -> Found:
        """Ask Omnitron. Raises what OmnitronSessions.get_json raises, and TimeoutError."""
        async with asyncio.timeout(LIST_SECONDS):
            products = await self._without_images(flow)
        busy = missing.under_way(await self._store.runs(flow.name, active=True, limit=ACTIVE_RUNS))
        return Found(products, missing.plan(flow.definition.fetch_missing, products, busy))

    async def _without_images(self, flow: Flow) -> list[Product]:
        """All products of the window that have no images, each once."""
        found: dict[tuple[str | None, str | None], Product] = {}
        path: str | None = missing.list_path(flow.definition, self._clock.now())
        seen: set[str] = set()
        while path is not None:
            if path in seen or len(seen) >= missing.MAX_PAGES:
                raise OmnitronError("Omnitron's list of products goes in circles")
            seen.add(path)
            fields, path = await self._page(flow, path)
            listed = [missing.product(one, flow.definition.fetch_missing.identifier_path) for one in fields]
            for one in await self._only_without(flow, listed):
                found[one.pk, one.sku] = one
        return list(found.values())

    async def _page(self, flow: Flow, path: str) -> tuple[list[dict[str, object]], str | None]:
        document = await self._omnitron.get_json(flow.definition, path)
        try:
            return missing.listed(document)
        except missing.Shape as error:
            raise OmnitronError(str(error)) from error

    async def _only_without(self, flow: Flow, products: Sequence[Product]) -> list[Product]:
        """Those without images; products that do not say are looked up, a few at once."""
        turns = asyncio.Semaphore(LOOKUPS_AT_ONCE)

        async def has_none(one: Product) -> bool:
            if one.has_images is not None or one.pk is None:
                return not one.has_images
            async with turns:
                document = await self._omnitron.get_json(flow.definition, missing.images_path(flow.definition, one.pk))
            try:
                return not missing.has_images(document)
            except missing.Shape as error:
                raise OmnitronError(str(error)) from error

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(has_none(one)) for one in products]
        except* (ImageFlowError, TimeoutError) as errors:
            raise errors.exceptions[0] from errors
        return [one for one, task in zip(products, tasks, strict=True) if task.result()]

    # what came of earlier rounds -------------------------------------------------------------------------------------

    async def _judge_ended(self, flow: Flow, products: Sequence[Product]) -> None:
        """Say on the runs of the last round which of what they asked for the ERP does not have, and which it has but
        failed: of what is still without images.
        """
        names = missing.names_of(products)
        earlier = [
            run
            for run in await self._store.runs(flow.name, limit=JUDGED_RUNS)
            if run.ended and run.trigger.kind == "fetch_missing" and run.trigger.ids
        ]
        by = earlier[0].trigger.by if earlier else None
        for run in earlier:
            if run.trigger.by == by:
                await self._judge(run, names)

    async def judge(self, flow: Flow, ended: Sequence[Run]) -> list[Run]:
        """The same for runs that have just ended; the runs, with what is to be said of them."""
        try:
            names = missing.names_of(await self._without_images(flow))
        except (StageError, TransportError) as error:
            log.warning("fetch missing cannot look at what came of it", flow=flow.name, error=str(error))
            return list(ended)
        for run in ended:
            await self._judge(run, names)
        return [await self._store.run(run.run_id) for run in ended]

    async def _judge(self, run: Run, names: dict[str, frozenset[str]]) -> None:
        if run.error is None:
            for text in missing.told_apart(run, await self._rows(run.run_id), names):
                await self._store.warn(run.run_id, text)

    async def _rows(self, run_id: str) -> list[RowLog]:
        logs: list[RowLog] = []
        while True:
            more = await self._store.rows(run_id, after=logs[-1].row if logs else 0, limit=ROWS_AT_ONCE)
            logs += more
            if len(more) < ROWS_AT_ONCE:
                return logs


def _busy(asked: Asked) -> tuple[str, ...]:
    return (f"{asked.under_way} identifiers are asked for by runs that have not ended",) if asked.under_way else ()


def _minute(now: datetime) -> datetime:
    seconds = now.timestamp() // TRY_SECONDS * TRY_SECONDS
    return datetime.fromtimestamp(seconds, UTC)


def _stage(error: Exception) -> str:
    """Where a run shows the error: nothing was read, whether for the login or for the list."""
    return "login" if isinstance(error, SecretError) or getattr(error, "stage", "") == "login" else "read"


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"looking for products without images took longer than {LIST_SECONDS:.0f} s"
    return f"looking for products without images: {error}"
