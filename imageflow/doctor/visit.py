"""Gathers the facts that `checks.py` judges: one look at everything, which changes nothing and never fails."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imageflow import secret
from imageflow.broker.rabbitmq_topology import delay_arguments, delay_name, queue_arguments
from imageflow.broker.sqlite import messages_in
from imageflow.clock import SystemClock
from imageflow.doctor import rabbit
from imageflow.doctor.facts import Database, Embedded, Facts, FlowFacts, Rabbit
from imageflow.errors import ImageFlowError, SecretError
from imageflow.flows import file as flow_file
from imageflow.model import messages, retry_ladder
from imageflow.model.flow import Flow
from imageflow.sandbox import check as sandbox_check
from imageflow.settings import Settings
from imageflow.store.checkup import checkup
from imageflow.store.connect import connect
from imageflow.store.data_dir import DataDirBusy, data_dir_lock, missing
from imageflow.store.place import place_of

DATABASE_SECONDS = 20.0


async def visit(settings: Settings, environ: Mapping[str, str], management: str | None = None) -> Facts:
    """Everything that can be seen from this process."""
    database, flows, flows_error = await _database(settings)
    wanted = queues([flow.name for flow in flows])
    layers, sandbox_error = await asyncio.to_thread(_layers)
    return Facts(
        broker=await _broker(settings, wanted, management),
        database=database,
        flows=tuple(_flow(flow, environ) for flow in flows),
        flows_error=flows_error,
        layers=layers,
        sandbox_error=sandbox_error,
        python=sys.version_info[:3],
        free_bytes=_free(settings.data_dir),
        data_dir=str(settings.data_dir),
        secret_key_set=settings.secret_key is not None,
        wanted=wanted,
    )


def queues(flows: list[str]) -> dict[str, dict[str, Any]]:
    """The queues that there should be, with their arguments."""
    shared = [messages.READ_QUEUE, messages.OUTBOUND_QUEUE, messages.PARKED_QUEUE]
    of_flows = [queue(flow) for flow in flows for queue in (messages.transform_queue, messages.write_queue)]
    ladder = {delay_name(seconds): delay_arguments(seconds) for seconds in retry_ladder.LADDER}
    return {name: queue_arguments(name) for name in [*shared, *of_flows]} | ladder


async def _broker(
    settings: Settings, wanted: Mapping[str, Mapping[str, Any]], management: str | None
) -> Rabbit | Embedded:
    if settings.embedded:
        return await asyncio.to_thread(_embedded, settings)
    return await rabbit.visit(settings.broker_url, wanted, management)


def _embedded(settings: Settings) -> Embedded:
    path = Path(settings.broker_url.reveal().removeprefix("sqlite:///"))
    if not path.exists():
        return Embedded(str(path), missing=True, running=_running(settings))
    try:
        return Embedded(str(path), running=_running(settings), messages=messages_in(path))
    except sqlite3.Error as error:
        return Embedded(str(path), error=str(error))


def _running(settings: Settings) -> bool:
    """Whether a process holds the data directory."""
    if not (settings.data_dir / "lock").exists():
        return False
    try:
        with data_dir_lock(settings):
            return False
    except DataDirBusy:
        return True


async def _database(settings: Settings) -> tuple[Database, list[Flow], str | None]:
    url = settings.store_url
    where = place_of(url)
    if (why := missing(settings)) is not None:
        return Database(where, missing=why), [], None
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            found = Database(where, checkup=await checkup(url, SystemClock()))
    except (ImageFlowError, TimeoutError) as error:
        why = str(error) or "no answer in time"
        return Database(where, error=why), [], "the database cannot be used"
    try:
        async with connect(url, SystemClock()) as store:
            return found, await store.flows(), None
    except ImageFlowError as error:
        return found, [], str(error)


def _flow(flow: Flow, environ: Mapping[str, str]) -> FlowFacts:
    missing = []
    for ref in flow_file.referenced_secrets(flow.definition):
        try:
            secret.resolve(ref, environ, bounded=flow.definition.bounded)
        except SecretError as error:
            missing.append((str(ref), str(error)))
    return FlowFacts(flow.name, flow.definition.enabled, tuple(missing))


def _layers() -> tuple[dict[str, str | None], str | None]:
    try:
        return sandbox_check.layers(), None
    except ImageFlowError as error:
        return {}, str(error)


def _free(folder: Path) -> int | None:
    while not folder.exists() and folder != folder.parent:
        folder = folder.absolute().parent
    try:
        return shutil.disk_usage(folder).free if os.access(folder, os.R_OK) else None
    except OSError:
        return None
