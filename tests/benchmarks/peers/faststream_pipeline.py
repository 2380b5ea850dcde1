"""Three stages on FastStream: `BENCH_STAGE=read python -m tests.benchmarks.peers.faststream_pipeline`; `start` starts it.

Tuned as faststream_app.py is.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

from tests.benchmarks.peers import stages, work

broker = RabbitBroker(work.BROKER_URL, apply_types=False, logger=None)
queues = {stage: RabbitQueue(f"bench.faststream.{stage}", durable=True) for stage in stages.STAGES}
app = FastStream(broker, logger=None)
erp = stages.Erp()
poster = work.Poster()


async def read(url: str | None) -> None:
    while url:
        page, url = await erp.page(url)
        await broker.publish(page, queues[stages.TRANSFORM], persist=True)


async def transform(page: list[dict[str, Any]]) -> None:
    publishing = (broker.publish(rows, queues[stages.WRITE], persist=True) for rows in stages.messages(page))
    await asyncio.gather(*publishing)


async def write(rows: list[dict[str, Any]]) -> None:
    await poster.post(rows)


def be(stage: str) -> None:
    """Consume for a stage."""
    session = {stages.READ: erp, stages.WRITE: poster}.get(stage)
    if session is not None:
        app.on_startup(session.open)
        app.after_shutdown(session.close)
    handler = {stages.READ: read, stages.TRANSFORM: transform, stages.WRITE: write}[stage]
    channel = Channel(prefetch_count=work.CONCURRENCY)
    broker.subscriber(queues[stage], channel=channel, ack_policy=AckPolicy.NACK_ON_ERROR)(handler)
    uvloop.run(app.run())


async def start() -> None:
    async with RabbitBroker(work.BROKER_URL, logger=None) as publisher:
        await publisher.publish(stages.FIRST, queues[stages.READ], persist=True)


if __name__ == "__main__":
    if stages.starting():
        uvloop.run(start())
    else:
        be(stages.STAGE)
