"""ImageFlow as its users run it: the command line as processes, the emulators beside it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

COMMAND = [sys.executable, "-m", "imageflow"]
WAIT_SECONDS = 90.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def get(url: str, *, data: bytes | None = None, headers: dict[str, str] | None = None):
    """Status and body of a request; an error status is an answer like any other."""
    request = urllib.request.Request(url, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def wait_for(condition, seconds: float = WAIT_SECONDS, what: str = "it"):
    """The first true value of `condition`, asked again and again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if value := condition():
                return value
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


class Site:
    """A folder with flow files, an environment, the emulators, and the processes that were started in it."""

    def __init__(self, folder: Path, stack: ExitStack, **environ: str) -> None:
        self.folder = folder
        self.stack = stack
        self.flows = folder / "flows"
        self.flows.mkdir(parents=True)
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("IMAGEFLOW_")},
            "IMAGEFLOW_DATA_DIR": str(folder / "data"),
            "OMNITRON_PASSWORD": "demo",
            **environ,
        }
        self.log = (folder / "log.txt").open("ab")
        stack.callback(self.log.close)
        self.erp = self.omnitron = ""
        self.own_accounts: dict[str, dict[str, str]] = {}
        """What a service's environment has beside: the URLs with its own accounts."""

    def spawn(self, *args: str, stdout=None) -> subprocess.Popen:
        process = subprocess.Popen(
            [*COMMAND, *args],
            env={**self.environ, **self.own_accounts.get(args[0], {})},
            cwd=self.folder,
            stdout=stdout or self.log,
            stderr=self.log,
            text=stdout is not None,
        )
        self.stack.callback(stop, process)
        return process

    def emulate(self, which: str, *args: str) -> str:
        process = self.spawn("emulate", which, *args, stdout=subprocess.PIPE)
        self.stack.callback(process.stdout.close)
        return process.stdout.readline().strip()

    def emulators(self, rows: int, *, erp: tuple[str, ...] = (), omnitron: tuple[str, ...] = ()) -> None:
        self.erp = self.emulate("erp", "--rows", str(rows), *(f"--fault={fault}" for fault in erp))
        self.omnitron = self.emulate("omnitron", "--rows", "0", *(f"--fault={fault}" for fault in omnitron))

    def call(
        self, *args: str, check: bool = True, stdin: str | None = None, timeout: float = WAIT_SECONDS
    ) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [*COMMAND, *args],
            env={**self.environ, **self.own_accounts.get("gateway", {})},
            cwd=self.folder,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=timeout,
            check=False,
        )
        self.log.write(done.stderr.encode())
        self.log.flush()
        if check and done.returncode != 0:
            raise AssertionError(f"{args} ended {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *args: str, **options):
        return json.loads(self.call(*args, "--json", **options).stdout.splitlines()[-1])

    def flow(self, name: str = "main", **changes) -> dict:
        """Write a flow file: inbound, pages by `next`, with a script and a mapping."""
        document = {
            "name": name,
            "direction": "inbound",
            "omnitron": {"domain_url": self.omnitron, "username": "demo", "password": {"env": "OMNITRON_PASSWORD"}},
            "erp": {
                "endpoint_url": f"{self.erp}/images/next/",
                "extra_params": {"limit": 50},
                "modified_date_key": "modified_date__gt",
                "rows_path": "results",
                "pagination": {"type": "next"},
            },
            "script": "def process_row(row):\n    return {'sku': row['sku'], 'pictures': row['images']}\n",
            "mapping": [
                {
                    "operation": "shift",
                    "spec": {
                        "*": {
                            "sku": "[&1].sku",
                            "pictures": {"*": {"url": "[&3].images[&1].url", "order": "[&3].images[&1].order"}},
                        }
                    },
                }
            ],
            **changes,
        }
        (self.flows / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        return document

    def state(self) -> dict:
        """What the fake Omnitron holds: SKU -> images, sorted."""
        status, body = get(f"{self.omnitron}/_emulator/state")
        assert status == 200
        return json.loads(body)

    def images(self) -> dict[str, list]:
        return {sku: sorted(map(_image, images)) for sku, images in self.state()["products"].items()}


def _image(image: dict) -> tuple:
    return image["order"], image["url"], image["image_type"]


def stop(process: subprocess.Popen) -> None:
    """Ask politely, then not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def kill(process: subprocess.Popen) -> None:
    """kill -9."""
    process.kill()
    process.wait()


def balanced(result: dict) -> bool:
    rows = result["rows"]
    return rows["total"] == sum(count for state, count in rows.items() if state != "total")


@contextmanager
def site(folder: Path, **environ: str):
    with ExitStack() as stack:
        yield Site(folder, stack, **environ)
