"""What the stories that are played by hand have in common: servers of their own, many at once, and a look at the end."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg

from tests import postgres_server, rabbitmq_server


def url_of(version: int, product: int) -> str:
    """The picture of a product in a version."""
    return f"https://img.example.com/v{version}/{product}.jpg"


def quiet(here, seconds: float) -> dict:
    """What Omnitron holds once nothing was written for a while: who wakes late may have no run that waits for it."""
    state, since = here.state(), time.monotonic()
    while time.monotonic() < since + seconds:
        time.sleep(0.5)
        newer = here.state()
        if newer["counters"]["written"] != state["counters"]["written"]:
            state, since = newer, time.monotonic()
    return state


async def asked(database: str, query: str) -> list[asyncpg.Record]:
    """The rows that a query gives."""
    connection = await asyncpg.connect(database)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


async def ledger(database: str) -> dict[str, str]:
    """The digest of each product in the ledger."""
    return {row["product"]: row["digest"] for row in await asked(database, "SELECT product, digest FROM ledger")}


def play(
    numbers: Iterable[int],
    at_once: int,
    tell: Callable[[Path, str, str, int], dict],
    faulty: Callable[[dict], bool],
    *,
    said: Callable[[int], object] = lambda _: "",
    keep: Path | None = None,
) -> None:
    """Tell the stories of these numbers, each on a RabbitMQ and a database of its own, print what each one saw, and exit.
    `tell` gets a folder, the two URLs and the number. `keep`: a folder for the logs of stories that went wrong.
    """
    postgres = postgres_server.open_server()
    if postgres is None:
        raise SystemExit("needs PostgreSQL")
    told, bad = list(numbers), []

    def one(number: int) -> None:
        rabbit = rabbitmq_server.open_server()
        if rabbit is None:
            raise SystemExit("needs RabbitMQ")
        with tempfile.TemporaryDirectory() as folder:
            try:
                result = tell(Path(folder), rabbit.url, postgres.new_database(), number)
            except Exception as error:
                result = {"error": f"{type(error).__name__}: {error}"}
            finally:
                rabbit.close()
            good = "error" not in result and not faulty(result)
            if not good:
                bad.append(number)
                if keep is not None:
                    (keep / f"{number}.log").write_bytes((Path(folder) / "log.txt").read_bytes())
        print(f"{'ok ' if good else 'BAD'} {number} {said(number)} {json.dumps(result)}", flush=True)

    try:
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(one, told))
    finally:
        postgres.close()
    print(f"{len(told)} stories, {len(bad)} wrong")
    sys.exit(bool(bad))
