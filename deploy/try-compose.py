#!/usr/bin/env python3
"""Builds the image and runs compose.yaml for real: several writers, one of them killed and RabbitMQ restarted mid-run; posts
over TLS; what accounts and networks refuse; an upgrade, a backup and its restore, as docs/operations.md has them.

    python3 deploy/try-compose.py [--rows 50000] [--writers 4] [--keep]

Needs Docker and Compose (1.29 or 2) and openssl, of Debian: `apt-get install docker.io docker-compose debootstrap openssl`.
Where no daemon answers, root may let this start one. Base images come from Debian's packages (debootstrap), not from a registry, unless
they are there already under the tags below. Progress goes to stderr; the last line of stdout is the result as JSON; exit
status 0: everything was as it must be. What it makes is removed at the end, but for the images.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DEPLOY = Path(__file__).resolve().parent
BASE, IMAGE = "imageflow-try-base", "imageflow-try"
STAND_INS = {name: f"imageflow-try-{name}" for name in ("rabbitmq", "postgres", "proxy")}
SERVICES = ("scheduler", "reader", "transformer", "writer", "gateway")
PROJECT = "imageflowtry"
HARDENED = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp"]
PATIENCE_SECONDS = 900.0
FINAL = ("success", "partial", "failed", "empty")

SLOWED = """
import json, urllib.request
body = json.dumps({"faults": ["latency=0.3"]}).encode()
urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:8002/_emulator/faults", body))
print("{}")
"""
COUNTERS = """
import json, urllib.request
print(json.dumps(json.load(urllib.request.urlopen("http://127.0.0.1:8002/_emulator/state?sku=none"))["counters"]))
"""
DIFFERENCES = """
import json, urllib.request
def get(url):
    return json.load(urllib.request.urlopen(url, timeout=300))
def images(found):
    return sorted((i["order"], i["url"], i.get("image_type", "default")) for i in found)
want, have = get("http://erp:8001/_emulator/expected"), get("http://127.0.0.1:8002/_emulator/state")["products"]
print(json.dumps({
    "expected": len(want),
    "missing": len(want.keys() - have.keys()),
    "unexpected": len(have.keys() - want.keys()),
    "different": sum(images(want[sku]) != images(have[sku]) for sku in want.keys() & have.keys()),
}))
"""
PRIVILEGES = """
import json, os
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
try:
    open("/opt/imageflow/x", "w")
    writable = True
except OSError:
    writable = False
print(json.dumps({"uid": os.getuid(), "capabilities": int(status["CapEff"], 16), "root_file_system_writable": writable}))
"""

STATEMENTS = """
import asyncio, asyncpg, json, sys
async def main():
    connection = await asyncpg.connect(open("/run/secrets/store_url").read())
    found = []
    for statement in sys.argv[1:]:
        try:
            await connection.execute(statement)
            found.append("done")
        except asyncpg.InsufficientPrivilegeError:
            found.append("refused")
    print(json.dumps(found))
asyncio.run(main())
"""
AMQP = """
import asyncio, aiormq, json, sys
from aiormq.exceptions import ChannelAccessRefused
async def ignore(_):
    pass
async def attempt(url, verb, name):
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        if verb == "consume":
            await channel.basic_consume(name, ignore)
        else:
            await channel.basic_publish(b"{}", exchange=name, routing_key="nowhere")
        return "done"
    except ChannelAccessRefused:
        return "refused"
    finally:
        await connection.close()
async def main():
    url = sys.argv[1] or open("/run/secrets/broker_url").read()
    print(json.dumps([await attempt(url, *words.split(" ")) for words in sys.argv[2:]]))
asyncio.run(main())
"""
REACHABLE = """
import json, socket, sys
def reachable(place):
    host, port = place.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 3).close()
        return True
    except OSError:
        return False
print(json.dumps({place: reachable(place) for place in sys.argv[1:]}))
"""
PRODUCTS = """
import json, urllib.request
have = json.load(urllib.request.urlopen("http://127.0.0.1:8002/_emulator/state", timeout=300))["products"]
print(json.dumps({"posted": sum(sku.startswith("TLS-") for sku in have)}))
"""
ROLES = {
    "transformer": {
        "SELECT count(*) FROM flows": "done",
        "SELECT * FROM users": "refused",
        "SELECT * FROM api_keys": "refused",
        "UPDATE flow_versions SET document = '{}'": "refused",
        "DELETE FROM rows": "refused",
        "CREATE TABLE mine (x int)": "refused",
    },
    "reader": {"SELECT * FROM users": "refused", "DELETE FROM pages": "refused"},
    "writer": {"SELECT * FROM pages": "refused", "UPDATE flows SET version = 1": "refused"},
    "scheduler": {"SELECT user_name FROM tokens": "refused", "DELETE FROM ledger": "refused"},
    "gateway": {"SELECT count(*) FROM users": "done", "DELETE FROM audit_log": "refused"},
}
"""What is tried in PostgreSQL with the account of each service, and what must come of it."""
ACCOUNTS = {
    "transformer": {
        "publish imageflow": "done",
        "consume imageflow.write.demo": "refused",
        "publish amq.direct": "refused",
    },
    "reader": {"consume imageflow.transform.demo": "refused", "consume imageflow.parked": "refused"},
    "writer": {"consume imageflow.read": "refused"},
    "scheduler": {"consume imageflow.read": "refused", "publish imageflow": "done"},
    "gateway": {"consume imageflow.write.demo": "refused"},
    "erp": {
        "publish imageflow.outbound": "done",
        "publish imageflow": "refused",
        "consume imageflow.outbound": "refused",
    },
}
"""The same in RabbitMQ."""
PLACES = ("postgres:5432", "rabbitmq:5672", "erp:8001", "omnitron:8002", "gateway:8080")
REACHED = {
    "transformer": {"postgres:5432", "rabbitmq:5672", "gateway:8080"},
    "writer": set(PLACES),
    "proxy": {"gateway:8080"},
}
"""Which of the places a container reaches, by name."""


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def call(*command: str, **options: Any) -> str:
    """What a command prints. Raises RuntimeError with its errors where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command[:6])} … ended {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        )
    return done.stdout.strip()


def wait_for(what: str, condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS, pause: float = 0.5) -> Any:
    """The first true value of `condition`, asked again and again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(RuntimeError, ValueError, OSError):
            if value := condition():
                return value
        time.sleep(pause)
    raise RuntimeError(f"waited {seconds:.0f} s for {what}")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has, all different."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


# daemon and images --------------------------------------------------------------------------------------------------------


def _answers() -> bool:
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def daemon() -> Iterator[None]:
    """A Docker daemon: the one that answers, or one of our own for as long as the body lasts."""
    if _answers():
        yield
        return
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        raise SystemExit("no Docker daemon answers; start one, or run this as root with Debian's docker.io installed")
    state = Path(tempfile.gettempdir()) / "imageflow-dockerd"
    state.mkdir(exist_ok=True)
    say(f"no Docker daemon answers: starting one on {state}")
    places = ["--data-root", state / "data", "--exec-root", state / "exec", "--pidfile", state / "pid"]
    with (state / "log").open("ab") as log:
        process = subprocess.Popen(["dockerd", *places], stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(f"dockerd, see {state}/log", _answers, 60)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def has_image(tag: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", tag], capture_output=True, check=False).returncode == 0


def build(tag: str, dockerfile: Path, context: Path) -> float:
    """Build an image on the base; how many seconds it took."""
    began = time.monotonic()
    builder = (
        {"DOCKER_BUILDKIT": "0"}
        if subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False).returncode
        else {}
    )
    arguments = ["--file", str(dockerfile), "--build-arg", f"BASE={BASE}", "--tag", tag, str(context)]
    call("docker", "build", "--quiet", *arguments, env={**os.environ, **builder})
    return round(time.monotonic() - began, 1)


def make_base() -> None:
    """Debian with Python, and with this machine's certificates: builds may have to go through its proxy."""
    with tempfile.TemporaryDirectory(prefix="imageflow-base-") as folder:
        include = "python3,python3-venv,ca-certificates"
        call("debootstrap", "--variant=minbase", f"--include={include}", "bookworm", folder)
        ours, theirs = Path("/etc/ssl/certs/ca-certificates.crt"), Path(folder, "etc/ssl/certs/ca-certificates.crt")
        if ours.exists():
            theirs.write_bytes(ours.read_bytes())
        for package in Path(folder, "var/cache/apt/archives").glob("*.deb"):
            package.unlink()
        with subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE) as tar:
            call("docker", "import", "-", BASE, stdin=tar.stdout)


def images() -> dict[str, Any]:
    """All images; what was seen of ours."""
    if not has_image(BASE):
        say("making a base image from Debian's packages: some minutes")
        make_base()
    for name, tag in STAND_INS.items():
        if not has_image(tag):
            say(f"building a stand-in for the image of {name}")
            build(tag, DEPLOY / "try" / f"{name}.Dockerfile", DEPLOY / "try")
    say("building the image of ImageFlow")
    seconds = build(IMAGE, DEPLOY / "Dockerfile", DEPLOY.parent)
    size, base = (int(call("docker", "image", "inspect", "--format", "{{.Size}}", tag)) for tag in (IMAGE, BASE))
    return {"image_mb": round(size / 1e6), "base_image_mb": round(base / 1e6), "build_seconds": seconds}


# one container, hardened --------------------------------------------------------------------------------------------------


def hardened() -> dict[str, Any]:
    """The demo, with a flow whose script runs in the sandbox, in a container without privileges."""
    say("the demo in a container: --read-only --cap-drop ALL, not root")
    python = ["docker", "run", "--rm", *HARDENED, "--entrypoint", "python", IMAGE, "-c", PRIVILEGES]
    seen: dict[str, Any] = json.loads(call(*python))
    demo = json.loads(
        call("docker", "run", "--rm", *HARDENED, IMAGE, "demo", "--rows", "500", "--json").splitlines()[-1]
    )
    return {**seen, "demo_ok": demo["ok"], "start_seconds": start_seconds()}


def start_seconds() -> float:
    """From `docker run` until all services of one process answer /health."""
    began = time.monotonic()
    data = ["--tmpfs", "/data:uid=10001,gid=10001"]
    name = call("docker", "run", "--detach", *HARDENED, *data, IMAGE, "up", "--port", "8080")
    try:
        check = ["docker", "exec", name, "python", "-I", "-S", "/opt/imageflow/health.py", "8080"]
        wait_for(
            "the gateway", lambda: subprocess.run(check, capture_output=True, check=False).returncode == 0, 60, 0.05
        )
        return round(time.monotonic() - began, 1)
    finally:
        call("docker", "rm", "--force", name)


# compose ------------------------------------------------------------------------------------------------------------------


class Compose:
    """compose.yaml under a project name of its own."""

    def __init__(self, rows: int, writers: int, secrets: Path) -> None:
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
        program = ["docker", "compose"] if plugin else ["docker-compose"]
        self._command = [*program, "--file", str(DEPLOY / "compose.yaml"), "--project-name", PROJECT]
        self.secrets = secrets
        self.door, self.tls, console = free_ports(3)
        self._ours = {
            "COMPOSE_HTTP_TIMEOUT": "300",
            "COMPOSE_PROFILES": "demo,tls",
            "DEMO_ROWS": str(rows),
            "WRITERS": str(writers),
            "IMAGEFLOW_IMAGE": IMAGE,
            "IMAGEFLOW_BASE": BASE,
            "IMAGEFLOW_SECRETS": str(secrets),
            "IMAGEFLOW_FLOWS": str(secrets / "flow-files"),
            "GATEWAY_LISTEN": f"127.0.0.1:{self.door}",
            "TLS_LISTEN": f"127.0.0.1:{self.tls}",
            "RABBITMQ_CONSOLE_PORT": str(console),
            **{f"{name.upper()}_IMAGE": tag for name, tag in STAND_INS.items()},
        }

    def __call__(self, *arguments: str) -> str:
        return call(*self._command, *arguments, env={**os.environ, **self._ours})

    def down(self) -> None:
        self("down", "--volumes", "--remove-orphans")

    def remove(self) -> None:
        """Leave nothing behind but the images."""
        self.down()
        shutil.rmtree(self.secrets)

    def leave(self) -> None:
        """Leave all running, and say how to speak to it."""
        variables = " ".join(f"{name}={value}" for name, value in self._ours.items())
        say(f"left running: env {variables} {' '.join(self._command)} …")

    def containers(self, service: str) -> list[str]:
        return self("ps", "--quiet", service).split()

    def shell(self, service: str, *command: str, **options: Any) -> str:
        """What a command prints in a service's container."""
        return call("docker", "exec", "--interactive", self.containers(service)[0], *command, **options)

    def cli(self, *arguments: str, **options: Any) -> str:
        """An ImageFlow command, in the gateway's container: the last line that it prints."""
        return self.shell("gateway", "imageflow", *arguments, **options).splitlines()[-1]

    def python(self, service: str, script: str, *arguments: str) -> Any:
        """What a script prints, as JSON, in a service's container."""
        return json.loads(self.shell(service, "python", "-c", script, *arguments))

    def on_omnitron(self, script: str) -> dict[str, Any]:
        found: dict[str, Any] = self.python("omnitron", script)
        return found


def crash(container: str) -> None:
    """End a container's process with SIGKILL from outside, as the kernel would where memory ends."""
    pid = int(call("docker", "inspect", "--format", "{{.State.Pid}}", container))
    if os.geteuid() == 0:
        os.kill(pid, signal.SIGKILL)
    else:
        call("docker", "kill", container)
        call("docker", "start", container)


def healthy(container: str) -> bool:
    return call("docker", "inspect", "--format", "{{.State.Health.Status}}", container) == "healthy"


def all_healthy(compose: Compose) -> None:
    names = [*SERVICES, "erp", "omnitron", "proxy", "rabbitmq", "postgres"]
    wait_for(
        "all containers to be healthy", lambda: all(healthy(c) for name in names for c in compose.containers(name))
    )


def moved(compose: Compose, rows: int) -> dict[str, Any]:
    """Bring everything up, run the flow, break things meanwhile; what came of it."""
    began = time.monotonic()
    say(f"compose up, with fake ERP of {rows} rows, fake Omnitron and TLS on port {compose.tls}")
    compose("up", "--detach", "--no-build")
    all_healthy(compose)
    up_seconds = round(time.monotonic() - began, 1)
    say(f"all healthy after {up_seconds} s; the run begins")
    wait_for("the folder's flow and the demo's", lambda: {"demo", "folder", "posts"} <= flow_names(compose), 120)
    victim = compose.containers("writer")[0]
    compose.on_omnitron(SLOWED)  # answers like a shop's, so that there is a middle in which to break things
    began = time.monotonic()
    run_id = json.loads(compose.cli("run", "demo", "--json"))["run_id"]
    when_killed = _at(compose, rows // 10)
    crash(victim)
    say("killed a writer with SIGKILL")
    _at(compose, rows // 5)
    call("docker", "restart", "--time", "30", compose.containers("rabbitmq")[0])
    say("restarted RabbitMQ")
    when_restarted = _at(compose, 0)
    run = wait_for("the run to end", lambda: _ended(compose, run_id))
    seconds = round(time.monotonic() - began, 1)
    say(f"the run ended: {run['status']}")
    wait_for("the killed writer to be back", lambda: healthy(victim), 120)
    counters, products = compose.on_omnitron(COUNTERS), compose.on_omnitron(DIFFERENCES)
    return {
        "run": run,
        "products": products,
        "posts": counters["written"],
        "posts_repeated": counters["written"] - rows,
        "memory": memory(),
        "written_when_killed": when_killed,
        "written_when_rabbitmq_was_back": when_restarted,
        "up_seconds": up_seconds,
        "run_seconds": seconds,
        "rows_per_second": round(rows / seconds),
    }


def flow_names(compose: Compose) -> set[str]:
    return {flow["name"] for flow in json.loads(compose.cli("flow", "list", "--json"))}


# the door, the locks ------------------------------------------------------------------------------------------------------


def certificate(secrets: Path) -> None:
    """A certificate of our own, for localhost."""
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(secrets / "tls.key"), "-out", str(secrets / "tls.crt")]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2"]
    call("openssl", "req", "-x509", *kind, *subject, *files)
    for name in ("tls.key", "tls.crt"):
        (secrets / name).chmod(0o444)


class Door:
    """What the proxy answers over TLS, with its certificate checked."""

    def __init__(self, compose: Compose) -> None:
        self._port = compose.tls
        self._trust = ssl.create_default_context(cafile=str(compose.secrets / "tls.crt"))

    def __call__(self, path: str, data: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
        """Status, headers and body."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"https://localhost:{self._port}{path}", data=data, headers=named)
        try:
            with urllib.request.urlopen(request, timeout=60, context=self._trust) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def speaks(self, version: ssl.TLSVersion) -> bool:
        """Whether a client gets in that knows nothing newer than this version of TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
        context.set_ciphers("ALL:@SECLEVEL=0")
        try:
            with socket.create_connection(("127.0.0.1", self._port), 10) as raw, context.wrap_socket(raw):
                return True
        except (OSError, ssl.SSLError):
            return False


def posted(compose: Compose, posts: int = 40, rows: int = 50) -> dict[str, Any]:
    """Posts over TLS, through to Omnitron; what the door shows and what it does not."""
    say(f"{posts} posts of {rows} rows over TLS")
    door = Door(compose)
    bearer = f"Bearer {compose.cli('key', 'add', 'posts', 'try')}"
    statuses = []
    for number in range(posts):
        body = [
            {"sku": f"TLS-{number}-{n}", "images": [f"https://img.example.com/{number}/{n}.jpg"]} for n in range(rows)
        ]
        status, headers, _ = door(
            "/api/outbound/posts", json.dumps(body).encode(), Authorization=bearer, Idempotency_Key=str(number)
        )
        statuses.append(status)
    wait_for("the posts on Omnitron", lambda: compose.on_omnitron(PRODUCTS)["posted"] == posts * rows)
    return {
        "accepted": statuses.count(202),
        "on_omnitron": compose.on_omnitron(PRODUCTS)["posted"],
        "answers": {path: door(path)[0] for path in ("/health", "/metrics", "/ready", "/api/flows")},
        "headers": {
            name: headers.get(name) for name in ("Strict-Transport-Security", "X-Content-Type-Options", "Server")
        },
        "too_large": door("/api/outbound/posts", b" " * (12 << 20), Authorization=bearer)[0],
        "tls": {version.name: door.speaks(version) for version in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_3)},
        "origin": origin(compose, door),
    }


def origin(compose: Compose, door: Door) -> dict[str, str]:
    """Where the audit log says a call came from that lied about it, and where from the proxy saw it."""
    compose.cli("user", "add", "boss", "--role", "admin", input="a phrase for this try alone\n")
    login = json.dumps({"username": "boss", "password": "a phrase for this try alone"}).encode()
    token = json.loads(door("/api/login", login, Content_Type="application/json")[2])["token"]
    made = {"Authorization": f"Bearer {token}", "Content_Type": "application/json", "X_Forwarded_For": "6.6.6.6"}
    status, _, _ = door("/api/flows/posts/keys", b'{"name": "liar"}', **made)
    log = json.loads(door("/api/audit?limit=50", Authorization=made["Authorization"])[2])["items"]
    entry = next(one for one in log if one["who"] == "boss")
    seen = compose("logs", "--no-color", "proxy").rpartition("/api/flows/posts/keys")[0].splitlines()[-1].split()[-2]
    return {"status": str(status), "audit": entry["origin"], "proxy": seen}


def locked(compose: Compose) -> dict[str, Any]:
    """What the accounts of the services may do, and which places their containers reach."""
    say("what accounts and networks refuse")
    erp = (compose.secrets / "broker_url_erp").read_text()
    bash = 'for place in "$@"; do (exec 3<>"/dev/tcp/${place%:*}/${place#*:}") 2>/dev/null && echo "$place"; done; :'
    reached = {name: compose.python(name, REACHABLE, *PLACES) for name in REACHED if name != "proxy"}
    return {
        "roles": {
            name: dict(zip(tried, compose.python(name, STATEMENTS, *tried), strict=True))
            for name, tried in ROLES.items()
        },
        "accounts": {
            name: dict(
                zip(
                    tried,
                    compose.python("gateway" if name == "erp" else name, AMQP, erp if name == "erp" else "", *tried),
                    strict=True,
                )
            )
            for name, tried in ACCOUNTS.items()
        },
        "reached": {name: sorted(place for place, open_ in found.items() if open_) for name, found in reached.items()}
        | {"proxy": sorted(compose.shell("proxy", "timeout", "60", "bash", "-c", bash, "bash", *PLACES).split())},
    }


# upgrade, backup, restore -------------------------------------------------------------------------------------------------


def kept(compose: Compose) -> dict[str, Any]:
    """An upgrade and a restore, as the guide has them: how many writers, runs and users there are after each."""
    counts = {"before": count(compose)}
    say("an upgrade: migration, accounts, each service in turn")
    for step in ("migrate", "accounts"):
        compose("run", "--rm", "-T", step)
    for service in SERVICES:
        compose("up", "--detach", "--no-deps", "--no-build", "--force-recreate", service)
    all_healthy(compose)
    counts["upgraded"] = count(compose)
    say("a backup, and its restore")
    owner = ["--username", "imageflow"]
    dump = subprocess.run(
        ["docker", "exec", compose.containers("postgres")[0], "pg_dump", *owner, "--format", "custom", "imageflow"],
        capture_output=True,
        check=True,
    ).stdout
    compose("stop", *SERVICES)
    compose.shell("postgres", "dropdb", *owner, "--force", "imageflow")
    compose.shell("postgres", "createdb", *owner, "imageflow")
    restore = ["docker", "exec", "--interactive", compose.containers("postgres")[0], "pg_restore", *owner]
    subprocess.run([*restore, "--no-privileges", "--dbname", "imageflow"], input=dump, check=True)
    compose("up", "--detach", "--no-build")
    all_healthy(compose)
    counts["restored"] = count(compose)
    return counts


def count(compose: Compose) -> dict[str, int]:
    listed = {
        what: json.loads(compose.cli(*words, "--json"))
        for what, words in (("runs", ["runs"]), ("users", ["user", "list"]))
    }
    return {"writers": len(compose.containers("writer"))} | {what: len(found) for what, found in listed.items()}


def memory() -> dict[str, str]:
    """What each container uses now."""
    lines = call("docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}").splitlines()
    named = (line.split() for line in lines)
    return {name.removeprefix(PROJECT).strip("-_"): used for name, used, *_ in named if name.startswith(PROJECT)}


def _at(compose: Compose, rows: int) -> int:
    """Wait until so many rows are on Omnitron; how many it became."""
    counters = wait_for(
        f"{rows} rows on Omnitron", lambda: (c := compose.on_omnitron(COUNTERS))["written"] >= rows and c
    )
    written: int = counters["written"]
    say(f"{written} rows are on Omnitron")
    return written


def _ended(compose: Compose, run_id: str) -> dict[str, Any] | None:
    time.sleep(2)
    found = next(run for run in json.loads(compose.cli("runs", "demo", "--json")) if run["run_id"] == run_id)
    say(f"{found['status']}: {found['rows']}")
    return found if found["status"] in FINAL else None


def judged(result: dict[str, Any], rows: int) -> list[str]:
    """What is not as it must be."""
    container, compose, posts, locks = (result[part] for part in ("container", "compose", "posts", "locks"))
    door, kept_ = posts["answers"], result["kept"]
    run, products = compose["run"], compose["products"]
    counts = run["rows"]
    checks = {
        "the container runs as root": container["uid"] == 0,
        "the container has capabilities": container["capabilities"] != 0,
        "the container's root file system can be written": container["root_file_system_writable"],
        "the demo failed in a hardened container": not container["demo_ok"],
        f"the run is {run['status']}, not success": run["status"] != "success",
        f"the run has {counts['total']} rows, not {rows}": counts["total"] != rows,
        "the run does not balance": counts["total"]
        != sum(counts[state] for state in ("written", "unchanged", "superseded", "failed", "cancelled")),
        f"{counts['failed']} rows failed": counts["failed"] > 0,
        "Omnitron does not hold what the ERP has": bool(
            products["missing"] or products["unexpected"] or products["different"]
        ),
        "the run was over before all was broken": compose["written_when_rabbitmq_was_back"] >= rows,
        "posts over TLS were lost": not posts["accepted"] == 40 == posts["on_omnitron"] / 50,
        "the door shows what is for monitoring": (door["/metrics"], door["/ready"]) != (404, 404),
        "the door is shut, or open": (door["/health"], door["/api/flows"], posts["too_large"]) != (200, 401, 413),
        "headers are missing": None in posts["headers"].values() or posts["headers"]["Server"] != "nginx",
        "TLS is of the wrong versions": posts["tls"] != {"TLSv1_1": False, "TLSv1_3": True},
        "the audit log believes a client's X-Forwarded-For, or sees the proxy": posts["origin"]["audit"]
        != posts["origin"]["proxy"],
        "roles may do too much or too little": locks["roles"] != ROLES,
        "accounts may do too much or too little": locks["accounts"] != ACCOUNTS,
        "networks are open or shut": {name: set(found) for name, found in locks["reached"].items()} != REACHED,
        "an upgrade or a restore lost something": not kept_["before"] == kept_["upgraded"] == kept_["restored"],
        "writers were not scaled": kept_["before"]["writers"] != result["writers"],
    }
    return [what for what, wrong in checks.items() if wrong]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--keep", action="store_true", help="leave everything running")
    options = parser.parse_args()
    with daemon(), contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="imageflow-secrets-"))
        compose = Compose(options.rows, options.writers, folder)
        call("sh", str(DEPLOY / "make-secrets.sh"), str(folder))
        certificate(folder)
        flow_files = folder / "flow-files"
        flow_files.mkdir(0o755)
        posts_flow = (DEPLOY / "demo" / "posts.yaml").read_text()
        (flow_files / "folder.yaml").write_text(posts_flow.replace("name: posts", "name: folder"))
        stack.callback(compose.leave if options.keep else compose.remove)
        compose.down()
        result: dict[str, Any] = {**images(), "container": hardened(), "writers": options.writers}
        try:
            result["compose"] = moved(compose, options.rows)
            result["posts"], result["locks"] = posted(compose), locked(compose)
            result["kept"] = kept(compose)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            say(f"FAILED: {error}")
            say(compose("logs", "--no-color", "--tail", "20"))
            return 1
        result["wrong"] = judged(result, options.rows)
        print(json.dumps(result), flush=True)
        return 1 if result["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
