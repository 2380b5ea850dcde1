"""Three stages on Celery: `celery -A tests.benchmarks.peers.celery_pipeline worker -Q bench.celery.read`; `start` starts it.

Tuned as celery_app.py is.
"""

from __future__ import annotations

from typing import Any

from celery import Celery

from tests.benchmarks.peers import stages
from tests.benchmarks.peers.celery_app import SETTINGS, session
from tests.benchmarks.peers.work import BROKER_URL, IMAGES_URL

NAME = "tests.benchmarks.peers.celery_pipeline"

app = Celery("bench_pipeline", broker=BROKER_URL)
app.conf.update(
    SETTINGS,
    task_routes={f"{NAME}.{stage}": {"queue": f"bench.celery.{stage}"} for stage in stages.STAGES},
)


@app.task(name=f"{NAME}.read")
def read(url: str | None) -> None:
    while url:
        answer = session.get(url, timeout=30)
        answer.raise_for_status()
        found = answer.json()
        transform.delay(found["results"])
        url = found["next"]


@app.task(name=f"{NAME}.transform")
def transform(page: list[dict[str, Any]]) -> None:
    for rows in stages.messages(page):
        write.delay(rows)


@app.task(name=f"{NAME}.write")
def write(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert session.post(IMAGES_URL, json=row, timeout=30).status_code < 300


if __name__ == "__main__":
    read.delay(stages.FIRST)
