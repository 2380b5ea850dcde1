"""Opens and closes the alarms of every flow (alarm.py decides), and posts them to webhooks."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from imageflow.clock import Clock
from imageflow.errors import NotFoundError, SecretError, TransportError
from imageflow.http.client import Transport
from imageflow.http.origin import exact_origin
from imageflow.model.flow import Definition, Flow
from imageflow.schedule import alarm, leased_job
from imageflow.schedule.leased_job import LeasedJob
from imageflow.secret import resolve
from imageflow.store import HeldDomain, Notice, Store

log = structlog.get_logger()

LOOK_SECONDS = 5.0
POST_SECONDS = 10.0
ROUND_SECONDS = 30.0
"""No post begins later in a round. It ends within POST_SECONDS, and the lease outlasts both."""

LEASE_SECONDS = 60.0
MAX_ANSWER_BYTES = 64 * 1024


class AlarmWatcher:
    """Any number may run: one at a time evaluates, one at a time posts."""

    def __init__(
        self, store: Store, clock: Clock, environ: Mapping[str, str], transport: Transport, secret_key: bytes
    ) -> None:
        self._store = store
        self._clock = clock
        self._environ = environ
        self._transport = transport
        self._secret_key = secret_key
        self._enabled: dict[str, tuple[int, datetime]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set."""
        holder = secrets.token_hex(8)
        jobs = (
            LeasedJob("alarms", LOOK_SECONDS, LEASE_SECONDS, self.look),
            LeasedJob("notices", LOOK_SECONDS / 2, LEASE_SECONDS, self.post),
        )
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(leased_job.repeat(job, self._store, holder, stop))

    # looking ----------------------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Open and close the alarms of all flows."""
        holds = await self._store.holds()
        for flow in await self._store.flows():
            await self._look_at(flow, holds)

    async def _look_at(self, flow: Flow, holds: Sequence[HeldDomain]) -> None:
        known = await self._known(flow, holds)
        found = alarm.alarming(flow, known, self._clock.now())
        notify = flow.definition.alarms.webhook_url is not None
        for changed in await self._store.sound(flow.name, found, notify=notify):
            what = "alarm opened" if changed.closed_at is None else "alarm closed"
            log.warning(what, flow=flow.name, kind=changed.kind, text=changed.text)

    async def _known(self, flow: Flow, holds: Sequence[HeldDomain]) -> alarm.Known:
        if not flow.definition.enabled:
            return alarm.Known(())
        now = self._clock.now()
        runs = await self._store.recent_runs(flow.name, now - alarm.WINDOW)
        silence = flow.definition.alarms.silence
        if silence is None or await self._store.rows_since(flow.name, now - timedelta(seconds=silence)):
            return alarm.Known(runs, holds=holds)
        return alarm.Known(runs, await self._enabled_since(flow), rows_came=False, holds=holds)

    async def _enabled_since(self, flow: Flow) -> datetime:
        """When the flow was enabled: when the oldest version was saved of the newest ones that are all enabled."""
        version, since = self._enabled.get(flow.name, (0, None))
        if since is None or version != flow.version:
            for saved in await self._store.flow_versions(flow.name):
                if not (await self._store.flow(flow.name, saved.version)).definition.enabled:
                    break
                since = saved.saved_at
            assert since is not None, "the newest version is enabled"
            self._enabled[flow.name] = (flow.version, since)
        return since

    # posting ----------------------------------------------------------------------------------------------------------

    async def post(self) -> None:
        """Post the notices that are due: one after the other within a flow, all flows at once."""
        by_flow: dict[str, list[Notice]] = {}
        for notice in await self._store.due_notices():
            by_flow.setdefault(notice.alarm.flow, []).append(notice)
        deadline = self._clock.monotonic() + ROUND_SECONDS
        async with asyncio.TaskGroup() as group:
            for notices in by_flow.values():
                group.create_task(self._post_all(notices, deadline))

    async def _post_all(self, notices: Sequence[Notice], deadline: float) -> None:
        """Post until one fails: the ones after it would fail too, and must not overtake it."""
        for notice in notices:
            if self._clock.monotonic() >= deadline or not await self._post(notice):
                return

    async def _post(self, notice: Notice) -> bool:
        """Post a notice and store the result. Returns whether the next one may follow."""
        if alarm.outdated(notice):
            await self._store.notice_sent(notice.id, "not posted: it closed before it could be")
            return True
        try:
            definition = await self._definition(notice.alarm.flow)
            if definition is None or definition.alarms.webhook_url is None:
                await self._store.notice_sent(notice.id, "not posted: the flow has no webhook any more")
                return True
            url = resolve(definition.alarms.webhook_url, self._environ, bounded=definition.bounded).reveal()
            wrong = await self._send(url, notice, bounded=definition.bounded)
        except SecretError as error:
            wrong = str(error)
        if wrong is None:
            await self._store.notice_sent(notice.id, f"posted that it {notice.event}")
            return True
        return await self._failed(notice, wrong)

    async def _failed(self, notice: Notice, wrong: str) -> bool:
        wait = alarm.retry_in(notice.attempts + 1)
        what = "given up" if wait is None else f"again in {wait:g} s"
        log.warning("webhook failed", flow=notice.alarm.flow, error=wrong, attempts=notice.attempts + 1)
        await self._store.notice_sent(notice.id, f"not posted: {wrong}; {what}", again_in=wait)
        return wait is None

    async def _send(self, url: str, notice: Notice, *, bounded: bool) -> str | None:
        """Post once. Returns what went wrong. Redirects are not followed: only the flow names the host."""
        try:
            exact_origin(url)
            content = alarm.body(notice)
            key = alarm.webhook_key(self._secret_key, notice.alarm.flow)
            answer = await self._transport.request(
                "POST",
                url,
                headers=alarm.signed(key, content, self._clock.now()),
                body=content,
                timeout=POST_SECONDS,
                max_bytes=MAX_ANSWER_BYTES,
                bounded=bounded,
            )
        except TransportError as error:
            return str(error)
        except ValueError as error:
            return f"the webhook's URL cannot be used: {error}"
        return None if answer.ok else f"the webhook answered {answer.status}"

    async def _definition(self, flow: str) -> Definition | None:
        try:
            return (await self._store.flow(flow)).definition
        except NotFoundError:
            return None
