"""A private RabbitMQ server for tests: `IMAGEFLOW_TEST_AMQP_URL`, or one started from the installed programs.

`python -m tests.rabbitmq_server` starts one, prints its URL and runs until SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika
import pytest

URL_VARIABLE = "IMAGEFLOW_TEST_AMQP_URL"
DEFAULT_URL = "amqp://guest:guest@127.0.0.1:5672/"
START_SECONDS = 90.0
STOP_SECONDS = 30.0
CONTROL_SECONDS = 240.0
"""How long `rabbitmqctl` may take: a quarter of a second, but minutes where others keep the processors and the disk busy."""
KEEPER = (
    'trap "" INT TERM HUP; log=$1; shift; "$@" </dev/null >>"$log" 2>&1 & '
    "echo $!; read how; kill -${how:-KILL} $!; wait $!"
)
"""The shell between us and a program: its standard input ends with us, however we end, and then it kills the program."""
CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{port}
default_user = imageflow
default_pass = {password}
log.console = false
log.file.level = warning
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
raft.wal_max_size_bytes = 67108864
"""
ERLANG_OPTIONS = (
    "+S 1:1 +A 4 +sbwt none -kernel inet_dist_use_interface {127,0,0,1} "
    # how long a queue of the ladder waits for the confirm of a message that it passed on while its target had no leader
    "-rabbit dead_letter_worker_publisher_confirm_timeout 10000"
)


class Rabbit:
    """A server that is up, at `url`. This one is not ours: a test that would stop it is skipped."""

    def __init__(self, url: str) -> None:
        self.url = url

    def start(self) -> None:
        """Start it again after `stop` or `kill`, with what was in its queues; returns when it answers."""
        self._not_ours()

    def stop(self) -> None:
        """Stop it in good order."""
        self._not_ours()

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._not_ours()

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing answers."""
        self._not_ours()

    def resume(self) -> None:
        """End a pause."""
        self._not_ours()

    def control(self, *arguments: str) -> str:
        """What `rabbitmqctl` prints."""
        self._not_ours()
        raise AssertionError

    def new_vhost(self) -> str:
        """The URL of a new virtual host (of a server that is not ours: its own URL)."""
        return self.url

    def restart(self) -> None:
        """Stop it in good order and start it again."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Leave nothing behind."""

    def _not_ours(self) -> None:
        pytest.skip("this RabbitMQ server is not ours to stop")


class PrivateRabbit(Rabbit):
    """A server of our own: temporary folder, free ports of 127.0.0.1, its own epmd."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._folder = Path(tempfile.mkdtemp(prefix="imageflow-rabbitmq-"))
        self._port, self._dist_port, self._epmd_port = _free_ports(3)
        password = secrets.token_hex(12)
        super().__init__(f"amqp://imageflow:{password}@127.0.0.1:{self._port}/")
        for name, text in {
            "rabbitmq.conf": CONFIGURATION.format(port=self._port, password=password),
            "plugins": "[].\n",
            "env.conf": "",
        }.items():
            (self._folder / name).write_text(text)
        self._environment = self._environ()
        self._server: Kept | None = None
        self._epmd: Kept | None = None
        try:
            epmd = shutil.which("epmd") or "epmd"
            self._epmd = Kept([epmd, "-port", str(self._epmd_port), "-address", "127.0.0.1"], self._folder, "epmd.log")
            self.start()
        except BaseException:
            self.close()
            raise

    def _environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._folder),
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"imageflow-{secrets.token_hex(4)}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_OPTIONS,
            "detached": "yes",  # the start script becomes the server instead of a shell that waits for it
        }

    def start(self) -> None:
        assert self._server is None, "it runs already"
        self._server = Kept([str(self._program)], self._folder, "server.log", self._environment)
        deadline = time.monotonic() + START_SECONDS
        while not answers(self.url):
            if time.monotonic() > deadline or not self._server.alive():
                raise RuntimeError("RabbitMQ did not start:\n" + self._logs())
            time.sleep(0.2)

    def _logs(self) -> str:
        logs = [self._folder / "server.log", self._folder / "epmd.log", *(self._folder / "log").glob("*.log")]
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-2000:]}" for log in logs if log.exists())

    def stop(self) -> None:
        self._end("TERM")

    def kill(self) -> None:
        self._end("KILL")

    def _end(self, how: str) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            server.end(how)

    def pause(self) -> None:
        assert self._server is not None
        os.kill(self._server.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._server is not None
        os.kill(self._server.pid, signal.SIGCONT)

    def control(self, *arguments: str) -> str:
        command = [str(self._program.with_name("rabbitmqctl")), "--quiet", *arguments]
        done = subprocess.run(
            command,
            env=self._environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=CONTROL_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {arguments[0]} failed: {done.stdout} {done.stderr}")
        return done.stdout

    def new_vhost(self) -> str:
        name = f"test-{secrets.token_hex(4)}"
        rights = dict.fromkeys(("configure", "write", "read"), ".*")
        permissions = [{"user": "imageflow", "vhost": name, **rights}]
        file = self._folder / f"{name}.json"  # by one command: each is an Erlang machine that starts
        file.write_text(json.dumps({"vhosts": [{"name": name}], "permissions": permissions}))
        self.control("import_definitions", str(file))
        return self.url.rstrip("/") + "/" + name

    def close(self) -> None:
        self._end("KILL")
        if self._epmd is not None:
            self._epmd.end("KILL")
        shutil.rmtree(self._folder, ignore_errors=True)


class Kept:
    """A program that does not outlive us."""

    def __init__(self, command: list[str], folder: Path, log: str, environment: dict[str, str] | None = None) -> None:
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", KEEPER, "keeper", str(folder / log), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        assert self._keeper.stdout is not None
        self.pid = int(self._keeper.stdout.readline())

    def alive(self) -> bool:
        """Whether it still runs (one that ended stays a zombie until its keeper ends)."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        return not Path("/proc").exists()

    def end(self, how: str) -> None:
        """Send it the signal `how`, wait for its end, and take with it what it started."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._keeper.communicate(f"{how}\n".encode(), timeout=STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._keeper.pid, signal.SIGKILL)
        self._keeper.wait()
        for pipe in (self._keeper.stdin, self._keeper.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def answers(url: str) -> bool:
    """Whether a server accepts connections there; may be called with or without a running event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, _answers(url)).result()


async def _answers(url: str) -> bool:
    target = urlsplit(url)
    try:
        async with asyncio.timeout(10):
            # the library logs each refused connection as an error, so knock with a plain socket first
            _, knock = await asyncio.open_connection(target.hostname, target.port or 5672)
            knock.close()
            connection = await aio_pika.connect(url)
            await connection.close()
    except (OSError, TimeoutError, aio_pika.exceptions.AMQPError):
        return False
    return True


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _program() -> Path | None:
    """The server's own start script. Packages put a wrapper on the PATH that insists on an account: not that one."""
    installed = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"), reverse=True)
    on_path = shutil.which("rabbitmq-server")
    for script in [*installed, *([Path(on_path)] if on_path else [])]:
        if script.exists() and script.resolve().name == "rabbitmq-server" and shutil.which("erl"):
            return script.resolve()
    return None


def open_server() -> Rabbit | None:
    """The server that the environment names, a private one, or one on the usual port; None where none is to be had."""
    if url := os.environ.get(URL_VARIABLE):
        return Rabbit(url)
    if (program := _program()) is not None:
        return PrivateRabbit(program)
    return Rabbit(DEFAULT_URL) if answers(DEFAULT_URL) else None


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[Rabbit]:
    server = open_server()
    if server is None:
        why = f"no RabbitMQ: set {URL_VARIABLE}, or install the server's programs"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    try:
        yield server
    finally:
        server.close()


def main() -> int:
    """Start a server, print its URL, and run until SIGTERM or SIGINT."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    server = open_server()
    if server is None:
        print("no RabbitMQ is installed", file=sys.stderr)
        return 1
    try:
        print(server.url, flush=True)
        stopping.wait()
    finally:
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
