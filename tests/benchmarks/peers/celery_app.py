"""The job on Celery: `celery -A tests.benchmarks.peers.celery_app worker --pool gevent --concurrency 64`.

Tuned: greenlets with one requests session that keeps its connections, late acknowledgement, one message prefetched for
each greenlet, no results, no events, no rate limits, no gossip between workers.
"""

from __future__ import annotations

import logging
from typing import Any

import requests
from celery import Celery
from celery.signals import worker_init
from requests.adapters import HTTPAdapter

from tests.benchmarks.peers import work

SETTINGS: dict[str, Any] = {
    "task_acks_late": True,
    "task_ignore_result": True,
    "task_store_errors_even_if_ignored": False,
    "worker_prefetch_multiplier": 1,
    "worker_disable_rate_limits": True,
    "worker_send_task_events": False,
    "worker_hijack_root_logger": False,
    "worker_enable_remote_control": False,
    "broker_connection_retry_on_startup": True,
    "broker_heartbeat": 0,
}
app = Celery("bench", broker=work.BROKER_URL)
app.conf.update(SETTINGS, task_default_queue="bench.celery")
session = requests.Session()
session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=work.CONCURRENCY))
session.trust_env = False


@worker_init.connect
def log_in(**_: Any) -> None:
    logging.getLogger("celery").setLevel(logging.WARNING)
    token = session.post(work.LOGIN_URL, json=work.CREDENTIALS, timeout=30).json()["key"]
    session.headers["Authorization"] = f"Token {token}"


@app.task
def write(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        answer = session.post(work.IMAGES_URL, json=row, timeout=30)
        assert answer.status_code < 300


def publish(chunks: list[list[dict[str, Any]]]) -> None:
    # `python -m` runs this file as __main__, the worker imports it by its name
    task = app.signature("tests.benchmarks.peers.celery_app.write")
    with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
        for chunk in chunks:
            task.apply_async((chunk,), producer=producer)


if __name__ == "__main__":
    work.publishing(publish)
