"""Three stages on taskiq: `BENCH_STAGE=read taskiq worker tests.benchmarks.peers.taskiq_pipeline:broker`; `start` starts it.

Tuned as taskiq_app.py is. Each stage has a queue of its own, and its worker takes from that one.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from taskiq import TaskiqEvents, TaskiqState
from taskiq.serializers import ORJSONSerializer
from taskiq_aio_pika import AioPikaBroker, Exchange, Queue

from tests.benchmarks.peers import stages, work


def opened(stage: str) -> AioPikaBroker:
    """A broker whose tasks go to the queue of a stage."""
    broker = AioPikaBroker(work.BROKER_URL, qos=work.CONCURRENCY, exchange=Exchange(name=f"bench.taskiq.{stage}"))
    return broker.with_queue(Queue(name=f"bench.taskiq.{stage}")).with_serializer(ORJSONSerializer())


brokers = {stage: opened(stage) for stage in stages.STAGES}
broker = brokers[stages.STAGE or stages.READ]
"""What this worker consumes from."""
following = brokers[stages.WRITE if stages.STAGE == stages.TRANSFORM else stages.TRANSFORM]
erp = stages.Erp()
poster = work.Poster()


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_all(_: TaskiqState) -> None:
    await erp.open()
    await poster.open()
    await following.startup()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_all(_: TaskiqState) -> None:
    await following.shutdown()
    await poster.close()
    await erp.close()


@brokers[stages.READ].task(task_name="read")
async def read(url: str | None) -> None:
    while url:
        page, url = await erp.page(url)
        await transform.kiq(page)


@brokers[stages.TRANSFORM].task(task_name="transform")
async def transform(page: list[dict[str, Any]]) -> None:
    await asyncio.gather(*(write.kiq(rows) for rows in stages.messages(page)))


@brokers[stages.WRITE].task(task_name="write")
async def write(rows: list[dict[str, Any]]) -> None:
    await poster.post(rows)


async def start() -> None:
    first = brokers[stages.READ]
    await first.startup()
    await read.kiq(stages.FIRST)
    await first.shutdown()


if __name__ == "__main__":
    uvloop.run(start())
