"""The job on FastStream: `python -m tests.benchmarks.peers.faststream_app [publish ROWS SALT]`.

Tuned: uvloop, orjson, prefetch as wide as the concurrency, no type casting and no log line per message.
"""

from __future__ import annotations

from typing import Any

import uvloop
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

from tests.benchmarks.peers import work

broker = RabbitBroker(work.BROKER_URL, apply_types=False, logger=None)
queue = RabbitQueue("bench.faststream", durable=True)
app = FastStream(broker, logger=None)
poster = work.Poster()

app.on_startup(poster.open)
app.after_shutdown(poster.close)


@broker.subscriber(queue, channel=Channel(prefetch_count=work.CONCURRENCY), ack_policy=AckPolicy.NACK_ON_ERROR)
async def write(rows: list[dict[str, Any]]) -> None:
    await poster.post(rows)


def publish(chunks: list[list[dict[str, Any]]]) -> None:
    async def all_of_them() -> None:
        async with RabbitBroker(work.BROKER_URL, logger=None) as publisher:
            await publisher.declare_queue(queue)
            for chunk in chunks:
                await publisher.publish(chunk, queue, persist=True)

    uvloop.run(all_of_them())


if __name__ == "__main__" and not work.publishing(publish):
    uvloop.run(app.run())
