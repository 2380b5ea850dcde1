"""Bodies and messages that are made to hurt, against a gateway with 512 MB: each is answered or parked, the gateway answers
/health meanwhile, stays within its memory, and takes the posts of others.

The limit is a memory cgroup where one can be made, and else only the peak of the process is looked at.
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from imageflow.actions import dead_letters, keys
from imageflow.actions.actor import Actor
from imageflow.broker import Outgoing
from imageflow.broker.connect import connect as connect_broker
from imageflow.clock import SystemClock
from imageflow.gateway.queue import OUTBOUND_QUEUE
from imageflow.secret import Secret
from imageflow.store.connect import connect as connect_store
from tests.acceptance.harness import COMMAND, free_port, get, stop, wait_for

KEY = "a secret key of tests"
LIMIT = 512 << 20
MIB = 1 << 20
TEN = 10 * MIB
HEALTH_SECONDS = 0.5
OMNITRON = {"domain_url": "http://127.0.0.1:9", "username": "u", "password": {"env": "P"}}
ROW = {"sku": "A", "images": ["https://cdn.example.com/a.jpg"]}
NDJSON = {"Content-Type": "application/x-ndjson"}
GZIP = {"Content-Encoding": "gzip"}


class Place(NamedTuple):
    """A gateway under the limit, and two keys: whose bombs they are, and a neighbour's."""

    process: subprocess.Popen[bytes]
    port: int
    bomber: str
    neighbour: str
    environ: dict[str, str]
    cgroup: Path | None


ALONE = """
import asyncio, os, sys, uvloop
from imageflow import bootstrap, settings
from imageflow.runtime.substrate import open_substrate
from imageflow.telemetry import log

async def main():
    async with open_substrate(settings.load(os.environ), os.environ, consumer=True) as substrate:
        await bootstrap.run_services(substrate, ["gateway"], asyncio.Event(), port=int(sys.argv[1]))

log.configure("json")
uvloop.run(main())
"""
"""The gateway alone on the embedded queue and database: `imageflow gateway` asks for RabbitMQ."""


# the gateway ----------------------------------------------------------------------------------------------------------


def make_cgroup() -> Path | None:
    """A memory cgroup below this process's own, of either version; None where that is not permitted."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        root = Path("/sys/fs/cgroup/memory" if controllers == "memory" else "/sys/fs/cgroup")
        if controllers not in ("memory", "") or (number == "0" and not (root / "cgroup.controllers").exists()):
            continue
        group = root / path.lstrip("/") / f"imageflow-bombs-{os.getpid()}"
        limit = "memory.limit_in_bytes" if controllers == "memory" else "memory.max"
        try:
            group.mkdir()
            (group / limit).write_text(str(LIMIT))
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        return group
    return None


def killed(group: Path) -> int:
    """How many processes the kernel killed for memory."""
    for name in ("memory.oom_control", "memory.events"):
        if (group / name).exists():
            fields = dict(line.split() for line in (group / name).read_text().splitlines())
            return int(fields.get("oom_kill", 0))
    return 0


@contextmanager
def gateway(folder: Path) -> Iterator[Place]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("IMAGEFLOW_")}
    environ |= {
        "IMAGEFLOW_DATA_DIR": str(folder / "data"),
        "IMAGEFLOW_SECRET_KEY": KEY,
        "IMAGEFLOW_LISTEN": "127.0.0.1",
    }
    subprocess.run([*COMMAND, "db", "upgrade"], env=environ, check=True, capture_output=True)
    bomber, neighbour = asyncio.run(two_keys(environ))
    with ExitStack() as stack:
        group = make_cgroup()
        if group is not None:
            stack.callback(group.rmdir)
        port = free_port()
        enter = f"echo $$ > {group}/cgroup.procs; " if group is not None else ""
        log = stack.enter_context((folder / "log.txt").open("wb"))
        command = ["sh", "-c", f'{enter}exec "$@"', "sh", sys.executable, "-c", ALONE, str(port)]
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        stack.callback(stop, process)
        wait_for(lambda: get(f"http://127.0.0.1:{port}/ready")[0] == 200, what="the gateway")
        yield Place(process, port, bomber, neighbour, environ, group)


async def two_keys(environ: dict[str, str]) -> tuple[str, str]:
    clock = SystemClock()
    async with connect_store(Secret(f"sqlite:///{environ['IMAGEFLOW_DATA_DIR']}/store.db"), clock) as store:
        made = []
        for name in ("posts", "others"):
            await store.save_flow({"name": name, "direction": "outbound", "omnitron": OMNITRON})
            new = await keys.add(store, KEY.encode(), name, name, None, Actor("test", "test"), clock)
            made.append(new.text)
    return made[0], made[1]


# who watches ----------------------------------------------------------------------------------------------------------


class Watch:
    """Asks /health, and posts rows of the neighbour, all the time. `slowest`: what /health took, without the time in which the
    gateway or the watch waited for a processor that others had.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._health), threading.Thread(target=self._posts)]
        self.during = ""
        self.slowest: tuple[float, str] = (0.0, "")
        self.asked = 0
        self.statuses: list[tuple[int, str]] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._place.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            answer.read()
        except OSError:
            return 0
        else:
            return answer.status
        finally:
            connection.close()

    def _health(self) -> None:
        while not self._end.is_set():
            time.sleep(0.03)
            during, began, delayed = self.during, time.monotonic(), self._delayed()
            status = self._ask("GET", "/health")
            taken = time.monotonic() - began - (self._delayed() - delayed)
            self.asked += 1
            self.slowest = max(self.slowest, (taken if status == 200 else 99.0, during))

    def _delayed(self) -> float:
        """Seconds that the gateway's event loop and this thread have waited for a processor so far."""
        waits = (
            Path(f"/proc/{who}/schedstat").read_text().split()[1] for who in (self._place.process.pid, "thread-self")
        )
        return sum(map(int, waits)) / 1e9

    def _posts(self) -> None:
        headers = {"Authorization": f"Bearer {self._place.neighbour}", "Content-Type": "application/json"}
        while not self._end.is_set():
            status = self._ask("POST", "/api/outbound/others", json.dumps(ROW).encode(), headers)
            self.statuses.append((status, self.during))
            time.sleep(0.1)


# bodies by key --------------------------------------------------------------------------------------------------------


def gz(data: bytes) -> bytes:
    return gzip.compress(data, 6)


def fat_header(size: int) -> bytes:
    """A gzip whose file name is that long."""
    packed = zlib.compressobj(wbits=-15)
    body = packed.compress(b"[]") + packed.flush()
    head = b"\x1f\x8b\x08\x08\0\0\0\0\0\x03" + b"n" * size + b"\0"
    return head + body + struct.pack("<II", zlib.crc32(b"[]"), 2)


WHOLE = json.dumps(ROW).encode()
LARGE = json.dumps({"sku": "A", "images": [f"https://cdn.example.com/catalog/{n}.jpg" for n in range(8)]}).encode()
POSTS: dict[str, tuple[Callable[[], bytes], dict[str, str], set[int]]] = {
    "gzip of objects, a line each": (lambda: gz(b"{}\n" * 3_495_252), NDJSON | GZIP, {413}),
    "gzip of numbers, a line each": (lambda: gz(b"1\n" * 5_000_000), NDJSON | GZIP, {413}),
    "empty lines": (lambda: b"\n" * TEN, NDJSON, {400, 413}),
    "lines of blanks": (lambda: (b" " * 1000 + b"\n") * 10_000, NDJSON, {400, 413}),
    "400,000 gzip members": (lambda: gz(b"") * 400_000, NDJSON | GZIP, {413}),
    "members with a row each": (lambda: gz(WHOLE + b"\n") * 1_500, NDJSON | GZIP, {413}),
    "an object of 900,000 keys": (lambda: b"{" + b",".join(b'"%d":1' % n for n in range(900_000)) + b"}", {}, {413}),
    "one key 900,000 times": (lambda: b"{" + b",".join([b'"a":1'] * 900_000) + b"}", {}, {413}),
    "empty lists": (lambda: b"[" + b"[]," * 3_000_000 + b"[]]", {}, {413}),
    "empty objects": (lambda: gz(b"[" + b"{}," * 3_000_000 + b"{}]"), GZIP, {413}),
    "lists within lists": (lambda: b"[" * 5_000_000 + b"]" * 5_000_000, {}, {400, 413}),
    "lists that never close": (lambda: b"[" * TEN, {}, {400, 413}),
    "just as many lists as are taken": (lambda: b"[" + b"[]," * 290_000 + b"[]]", {}, {202, 400, 413}),
    "299,000 lists within each other": (lambda: b"[" * 299_000 + b"]" * 299_000, {}, {400, 413}),
    "objects within objects": (lambda: b'{"a":' * 290_000 + b"1" + b"}" * 290_000, {}, {400, 413}),
    "numbers side by side": (lambda: b"[" + b"1," * 5_000_000 + b"1]", {}, {413}),
    "a number of 9 million digits": (lambda: b'{"sku": ' + b"9" * 9_000_000 + b"}", {}, {202, 400}),
    "an exponent of 9 million digits": (lambda: b'[{"sku": 1e' + b"9" * 9_000_000 + b"}]", {}, {202, 400}),
    "500,000 huge exponents": (lambda: b"[" + b"1e400," * 500_000 + b"1]", {}, {202, 400}),
    "a text of ten megabytes": (lambda: b'{"sku": "' + b"a" * (TEN - 100) + b'"}', {}, {202, 400}),
    "a text of escapes": (lambda: b'{"sku": "' + b"\\u00e9" * 1_700_000 + b'"}', {}, {202, 400}),
    "a text of half surrogates": (lambda: b'{"sku": "' + b"\\ud800" * 1_700_000 + b'"}', {}, {202, 400}),
    "a text that never ends": (lambda: b'{"sku": "' + b"\\" * 9_000_000, {}, {400}),
    "bytes that are no text": (lambda: b"\xff\xfe" * 5_000_000, {}, {400}),
    "gzip of 200 megabytes": (lambda: gz(b" " * (200 * MIB)), GZIP, {413}),
    "gzip in gzip": (lambda: gz(gz(b"0" * (100 * MIB))), GZIP, {400}),
    "a gzip that breaks off": (lambda: gz(os.urandom(4 * MIB))[:-8], GZIP, {400}),
    "a gzip with a false length": (lambda: gz(WHOLE)[:-4] + b"\xff\xff\xff\x7f", GZIP, {400}),
    "a gzip with a long name": (lambda: fat_header(9 * MIB), GZIP, {202, 400}),
    "two encodings": (lambda: gz(gz(WHOLE)), {"Content-Encoding": "gzip, gzip"}, {415}),
    "299,000 rows, a line each": (lambda: b'{"sku":1}\n' * 299_000, NDJSON, {202}),
    "as many values as are taken": (lambda: b'{"a":[' + b"1," * 599_000 + b"1]}", {}, {202}),
    "ten megabytes of rows": (lambda: b"[" + b",".join([LARGE] * (TEN // (len(LARGE) + 2))) + b"]", {}, {202}),
    "eleven megabytes of rows": (lambda: b"[" + b",".join([WHOLE] * (11 * MIB // len(WHOLE))) + b"]", {}, {413}),
}


def post(
    place: Place, body: bytes, headers: dict[str, str], *, path: str = "/api/outbound/posts", key: str = ""
) -> int:
    """The status of a post; 0: the connection was closed without one."""
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=30)
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {key or place.bomber}", **headers}
    try:
        connection.request("POST", path, body, sent)
        answer = connection.getresponse()
        answer.read()
    except (BrokenPipeError, ConnectionResetError, http.client.HTTPException):
        return 0
    else:
        return answer.status
    finally:
        connection.close()


# bodies by the wire, of strangers and of the key ----------------------------------------------------------------------


def head(length: int | str, *more: str, path: str = "/api/outbound/posts", key: str = "none") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", f"Content-Length: {length}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


CHUNKED = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def wire(place: Place) -> dict[str, bytes]:
    """What a client writes that keeps no rules."""
    start = (
        f"POST /api/outbound/posts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {place.bomber}\r\n{CHUNKED}".encode()
    )
    return {
        "a chunk for each byte": start + b"".join(b"1\r\n%c\r\n" % byte for byte in WHOLE * 2_000) + b"0\r\n\r\n",
        "a chunk of 2^60 bytes": start + b"1000000000000000\r\n" + b"x" * MIB,
        "chunk extensions": start + b"1;" + b"a" * MIB + b"\r\n1\r\n0\r\n\r\n",
        "a stranger's ten megabytes": head(TEN) + b"x" * TEN,
        "headers without an end": b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 200_000,
        "one header of a megabyte": b"GET / HTTP/1.1\r\nX-A: " + b"a" * MIB + b"\r\n\r\n",
        "a path of a megabyte": b"GET /" + b"a" * MIB + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        "a negative length": head(-1),
        "two lengths": head(5, "Content-Length: 6") + b"hello",
        "length and chunks": head(5, "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        "no HTTP": os.urandom(MIB),
        "2,000 requests in a row": b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 2_000,
        "a login of ten megabytes": head(TEN, path="/api/login") + b"x" * TEN,
        "a deep login": head(16_000, path="/api/login") + b"[" * 16_000,
        "a packed login": (packed := gz(b" " * TEN))
        and head(len(packed), "Content-Encoding: gzip", path="/api/login") + packed,
    }


def write(place: Place, data: bytes) -> bytes:
    """The beginning of what is answered, at most a second after all was written."""
    with socket.create_connection(("127.0.0.1", place.port), timeout=10) as connection:
        try:
            connection.sendall(data)
            connection.settimeout(1.0)
            return connection.recv(64)
        except (BrokenPipeError, ConnectionResetError):
            return b"closed"
        except TimeoutError:
            return b""


def hold_back(place: Place, count: int) -> list[socket.socket]:
    """Posts of ten megabytes each, of which the last bytes do not come."""
    body = gz(b" " * (9 * MIB) + WHOLE)
    sockets = []
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", place.port), timeout=10)
        one.sendall(head(len(body), "Content-Encoding: gzip", key=place.bomber) + body[:-8])
        sockets.append(one)
    return sockets


# messages -------------------------------------------------------------------------------------------------------------

MESSAGES: dict[str, tuple[Callable[[], bytes], dict[str, str]]] = {
    "gzip of objects": (
        lambda: gz(b"{}\n" * 3_495_252),
        {"content_encoding": "gzip", "content_type": "application/x-ndjson"},
    ),
    "gzip members": (lambda: gz(b"") * 40_000, {"content_encoding": "gzip"}),
    "gzip of 200 megabytes": (lambda: gz(b" " * (200 * MIB)), {"content_encoding": "gzip"}),
    "900,000 keys": (lambda: b"{" + b",".join(b'"%d":1' % n for n in range(900_000)) + b"}", {}),
    "lists within lists": (lambda: b"[" * 5_000_000, {}),
    "a huge number": (lambda: b'{"sku": ' + b"9" * 5_000_000, {}),
    "no such encoding": (lambda: WHOLE, {"content_encoding": "zstd"}),
    "no text": (lambda: b"\xff" * MIB, {}),
    "nothing": (lambda: b"", {}),
    "another flow": (lambda: WHOLE, {"flow": "nobody"}),
    "a strange flow": (lambda: WHOLE, {"flow": "../" * 1000}),
    "a forged message": (
        lambda: b'{"type":"read_page","run_id":"x","flow":"posts","version":9223372036854775808,"page":1}',
        {"flow": ""},
    ),
}


async def publish(environ: dict[str, str]) -> None:
    async with connect_broker(Secret(f"sqlite:///{environ['IMAGEFLOW_DATA_DIR']}/broker.db"), consumer=False) as broker:
        for make, headers in MESSAGES.values():
            await broker.publish(Outgoing(OUTBOUND_QUEUE, make(), headers={"flow": "posts", **headers}))
        await broker.publish(Outgoing(OUTBOUND_QUEUE, WHOLE, headers={"flow": "others"}))


async def parked(environ: dict[str, str]) -> list[Any]:
    async with connect_broker(Secret(f"sqlite:///{environ['IMAGEFLOW_DATA_DIR']}/broker.db"), consumer=False) as broker:
        return list(await dead_letters.look(broker, 100))


# the story ------------------------------------------------------------------------------------------------------------


def test_bombs(tmp_path: Path) -> None:
    """All of them, one after the other, and what the watch saw of /health, memory and the neighbour."""
    with gateway(tmp_path) as place:
        bodies = {name: (make(), headers, right) for name, (make, headers, right) in POSTS.items()}
        written = wire(place)
        wrong: dict[str, Any] = {}
        with Watch(place) as watch:
            for name, (body, headers, right) in bodies.items():
                watch.during = name
                status = post(place, body, headers)
                if status not in right:
                    wrong[name] = status
            for name, data in written.items():
                watch.during = name
                said = write(place, data)
                if said not in (b"", b"closed") and not said.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4", b"HTTP/1.0 4")):
                    wrong[name] = said
            watch.during = "bodies that are held back"
            held = hold_back(place, 26)
            time.sleep(1.0)
            watch.during = "messages"
            asyncio.run(publish(place.environ))
            wait_for(lambda: len(asyncio.run(parked(place.environ))) == len(MESSAGES), 30, "the messages")
            found = asyncio.run(parked(place.environ))
            for one in held:
                one.close()
            idle = [socket.create_connection(("127.0.0.1", place.port)) for _ in range(200)]
            watch.during = "connections that say nothing"
            time.sleep(0.5)
            for one in idle:
                one.close()
        assert wrong == {}
        assert place.process.poll() is None
        assert all(one.reason for one in found)
        status = Path(f"/proc/{place.process.pid}/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) << 10
        print(
            f"\n{len(POSTS) + len(written) + 2} bodies and {len(MESSAGES)} messages; peak {peak >> 20} MiB; "
            f"cgroup: {place.cgroup is not None}; /health: {watch.asked} times, slowest {watch.slowest[0]:.3f} s "
            f"({watch.slowest[1]}); the neighbour posted {len(watch.statuses)} times"
        )
        assert peak < LIMIT
        assert place.cgroup is None or killed(place.cgroup) == 0
        assert watch.asked > 20
        assert watch.slowest < (HEALTH_SECONDS, "")
        assert len(watch.statuses) > 10
        assert {one for one in watch.statuses if one[0] != 202} == set()
