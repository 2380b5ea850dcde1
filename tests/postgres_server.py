"""A private PostgreSQL server for tests: `IMAGEFLOW_TEST_POSTGRES_URL`, or one started from installed binaries.

`python -m tests.postgres_server` starts one, prints its URL and runs until SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
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
from typing import Any

import asyncpg
import pytest

URL_VARIABLE = "IMAGEFLOW_TEST_POSTGRES_URL"
START_SECONDS = 60.0
STOPPER = 'trap "" INT TERM HUP; "$@" & pid=$!; read _; kill -INT $pid; wait $pid'
"""The shell between us and the server: its standard input ends with us, however we end, and then it stops the server."""
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "timezone": "Asia/Tokyo",  # code that forgets a time zone fails
}


class Postgres:
    """A server that is up. `url` is of its maintenance database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._databases: list[str] = []

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"imageflow_{secrets.token_hex(6)}"
        self.execute(f'CREATE DATABASE "{name}"')
        self._databases.append(name)
        return self.url.rpartition("/")[0] + f"/{name}"

    def execute(self, statement: str) -> None:
        """Run a statement in the maintenance database; may be called with or without a running event loop."""
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _execute(self.url, statement)).result()

    def start(self) -> None:
        pytest.skip(f"{URL_VARIABLE} names a server that is not ours to start")

    def stop(self) -> None:
        pytest.skip(f"{URL_VARIABLE} names a server that is not ours to stop")

    def restart(self) -> None:
        """Stop at once, whatever is going on, and start again."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Leave nothing behind."""
        for name in self._databases:
            self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


class PrivatePostgres(Postgres):
    """A server of our own, in a temporary folder, on a free port of 127.0.0.1.

    Not `durable`: what is committed outlives every end of the server, but not of the machine; that is much faster.
    """

    def __init__(self, binaries: Path, *, durable: bool = True) -> None:
        self._binaries = binaries
        self._options = OPTIONS if durable else OPTIONS | {"fsync": "off", "full_page_writes": "off"}
        self._account = _account()
        self._shell: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="imageflow-postgres-"))
        self._folder.chmod(0o755)
        self._password = secrets.token_hex(12)
        self._port = _free_port()
        super().__init__(f"postgresql://imageflow:{self._password}@127.0.0.1:{self._port}/postgres")
        try:
            self._initialise()
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _initialise(self) -> None:
        self._data.mkdir()
        password = self._folder / "password"
        password.write_text(self._password)
        if self._account is not None:
            os.chown(self._data, self._account.pw_uid, self._account.pw_gid)
            os.chown(password, self._account.pw_uid, self._account.pw_gid)
        initdb: list[str | Path] = [
            self._binaries / "initdb",
            "-D",
            self._data,
            "-U",
            "imageflow",
            "--pwfile",
            password,
        ]
        initdb += ["-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(initdb, capture_output=True, text=True, check=False, **self._as_account())
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr[-2000:]}")

    def _as_account(self) -> dict[str, Any]:
        """How a child is started: elsewhere than in our folder, and never as root (PostgreSQL refuses that)."""
        where: dict[str, Any] = {"cwd": self._folder, "env": {"PATH": os.defpath, "LC_ALL": "C"}}
        if self._account is None:
            return where
        return where | {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}

    def start(self) -> None:
        command: list[str | Path] = [
            "sh",
            "-c",
            STOPPER,
            "sh",
            self._binaries / "postgres",
            "-D",
            self._data,
            "-p",
            str(self._port),
        ]
        for name, value in self._options.items():
            command += ["-c", f"{name}={value}"]
        with (self._folder / "log").open("ab") as log:
            self._shell = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, **self._as_account()
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL did not start: " + (self._folder / "log").read_text()[-2000:])
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    def stop(self) -> None:
        if self._shell is None:
            return
        shell, self._shell = self._shell, None
        try:
            shell.communicate(b"stop\n", timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()

    def close(self) -> None:
        self.stop()
        # Not waited for: it is the last test's time, and hundreds of databases are a hundred thousand files.
        subprocess.run(["sh", "-c", 'rm -rf "$0" >/dev/null 2>&1 </dev/null &', str(self._folder)], check=False)


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _account() -> pwd.struct_passwd | None:
    """The account that the server runs as; None: ours. PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    accounts = {entry.pw_name: entry for entry in pwd.getpwall()}
    return accounts.get("postgres") or accounts["nobody"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _binaries() -> Path | None:
    """The folder of PostgreSQL's programs, the newest version first."""
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parts[-2].zfill(4), reverse=True
    )
    on_path = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    for folder in [*installed, *on_path]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return None


def open_server(*, durable: bool = True) -> Postgres | None:
    """The server that the environment names, or a private one; None where there is neither."""
    if url := os.environ.get(URL_VARIABLE):
        return Postgres(url)
    folder = _binaries()
    return PrivatePostgres(folder, durable=durable) if folder is not None else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = open_server(durable=False)
    if server is None:
        why = f"no PostgreSQL: set {URL_VARIABLE}, or install the server's programs"
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
        print("no PostgreSQL is installed", file=sys.stderr)
        return 1
    try:
        print(server.url, flush=True)
        stopping.wait()
    finally:
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
