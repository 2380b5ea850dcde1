"""Services that start before what they need."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.harness import free_port, get, site, wait_for
from tests.acceptance.network import Network
from tests.postgres_server import Postgres

HALF_A_HANDSHAKE = b"\x01\x00\x00\x00\x00\x00\x10\x00\x0a\x00\x0a\x00\x09"
DOORS: dict[str, Callable[[socket.socket], None]] = {
    "closes": lambda _: None,
    "resets": lambda caller: caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"),
    "answers garbage": lambda caller: caller.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "says half": lambda caller: caller.sendall(HALF_A_HANDSHAKE),
}


@contextmanager
def door(manner: str) -> Iterator[int]:
    """What accepts connections and is no RabbitMQ; `stalls` keeps them open."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    caller = listening.accept()[0]
                except OSError:
                    return
                if manner == "stalls":
                    held.append(caller)
                    continue
                with caller:
                    DOORS[manner](caller)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        for caller in held:
            caller.close()


@pytest.mark.parametrize("manner", [*DOORS, "stalls"])
def test_whatever_answers_for_rabbitmq(tmp_path: Path, manner: str) -> None:
    """All five services live, say why they are not ready, and end when they are asked to."""
    with door(manner) as port:
        metrics = free_port()
        environ = {
            "IMAGEFLOW_BROKER_URL": f"amqp://u:sesam-oeffne-dich@127.0.0.1:{port}/",
            "IMAGEFLOW_METRICS_PORT": str(metrics),
        }
        with site(tmp_path, **environ) as place:
            service = place.spawn("up", "--port", "0")
            status, body = wait_for(lambda: get(f"http://127.0.0.1:{metrics}/ready"), what="/ready")
            assert status == 503
            [problem] = json.loads(body)["problems"]
            assert problem.startswith("waits for the queue at 127.0.0.1: RabbitMQ at 127.0.0.1:")
            assert get(f"http://127.0.0.1:{metrics}/health")[0] == 200
            assert get(f"http://127.0.0.1:{metrics}/api/outbound/x", data=b"[]")[0] == 503
            time.sleep(2)
            assert service.poll() is None
            service.send_signal(signal.SIGTERM)
            assert service.wait(60) == 0
            assert "sesam" not in (tmp_path / "log.txt").read_text()


def test_commands_and_the_impatient_fail_at_once(tmp_path: Path) -> None:
    """A command that a person calls does not wait, nor does a service with START_SECONDS 0: exit status 1, and why."""
    environ = {"IMAGEFLOW_BROKER_URL": f"amqp://u:p@127.0.0.1:{free_port()}/", "IMAGEFLOW_START_SECONDS": "0"}
    with site(tmp_path, **environ) as place:
        for command in (["parked", "list"], ["reader"]):
            done = place.call(*command, check=False, timeout=60)
            assert done.returncode == 1, done.stderr
            assert "cannot be reached" in done.stderr
            assert "Traceback" not in done.stderr


def test_a_database_that_comes_late(tmp_path: Path, postgres: Postgres) -> None:
    """Services wait for the database, say so, and begin once it is there."""
    network = Network()
    proxy = network.proxy(postgres.new_database())
    proxy.be("cut")
    try:
        with site(tmp_path, IMAGEFLOW_STORE_URL=proxy.url) as place:
            port = free_port()
            service = place.spawn("up", "--port", str(port))
            status, body = wait_for(lambda: get(f"http://127.0.0.1:{port}/ready"), what="/ready")
            assert (status, b"waits for the database at 127.0.0.1" in body) == (503, True)
            proxy.be("open")
            wait_for(lambda: get(f"http://127.0.0.1:{port}/ready")[0] == 200, what="ready")
            service.send_signal(signal.SIGTERM)
            assert service.wait(60) == 0
    finally:
        network.close()
