"""The job on taskiq: `taskiq worker tests.benchmarks.peers.taskiq_app:broker --workers 1 --max-async-tasks 64`.

Tuned: uvloop (it takes it by itself), orjson, prefetch as wide as the concurrency, no parsing of arguments, no results,
no log line per task. Its queue is a quorum queue, as is its default.
"""

from __future__ import annotations

from typing import Any

import uvloop
from taskiq import TaskiqEvents, TaskiqState
from taskiq.serializers import ORJSONSerializer
from taskiq_aio_pika import AioPikaBroker

from tests.benchmarks.peers import work

broker = AioPikaBroker(work.BROKER_URL, qos=work.CONCURRENCY).with_serializer(ORJSONSerializer())
poster = work.Poster()


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_session(_: TaskiqState) -> None:
    await poster.open()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_session(_: TaskiqState) -> None:
    await poster.close()


@broker.task(task_name="write")
async def write(rows: list[dict[str, Any]]) -> None:
    await poster.post(rows)


def publish(chunks: list[list[dict[str, Any]]]) -> None:
    async def all_of_them() -> None:
        await broker.startup()
        for chunk in chunks:
            await write.kiq(chunk)
        await broker.shutdown()

    uvloop.run(all_of_them())


if __name__ == "__main__":
    work.publishing(publish)
