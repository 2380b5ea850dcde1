#!/usr/bin/env python3
"""Builds the image and runs compose.yaml for real: several writers, one of them killed and RabbitMQ restarted mid-run.

    python3 deploy/try-compose.py [--rows 50000] [--writers 4] [--keep]

Needs Docker and Compose (1.29 or 2), of Debian: `apt-get install docker.io docker-compose debootstrap`. Where no daemon
answers, root may let this start one. Base images come from Debian's packages (debootstrap), not from a registry, unless
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
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DEPLOY = Path(__file__).resolve().parent
BASE, IMAGE = "imageflow-try-base", "imageflow-try"
STAND_INS = {"rabbitmq": "imageflow-try-rabbitmq", "postgres": "imageflow-try-postgres"}
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

    def __init__(self, rows: int, secrets: Path) -> None:
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
        program = ["docker", "compose"] if plugin else ["docker-compose"]
        self._command = [*program, "--file", str(DEPLOY / "compose.yaml"), "--project-name", PROJECT]
        self._secrets = secrets
        self._ours = {
            "COMPOSE_HTTP_TIMEOUT": "300",
            "DEMO_ROWS": str(rows),
            "IMAGEFLOW_IMAGE": IMAGE,
            "IMAGEFLOW_BASE": BASE,
            "IMAGEFLOW_SECRETS": str(secrets),
            "GATEWAY_LISTEN": "127.0.0.1:18080",
            "RABBITMQ_CONSOLE_PORT": "25673",
            **{f"{name.upper()}_IMAGE": tag for name, tag in STAND_INS.items()},
        }

    def __call__(self, *arguments: str) -> str:
        return call(*self._command, *arguments, env={**os.environ, **self._ours})

    def down(self) -> None:
        self("--profile", "demo", "down", "--volumes", "--remove-orphans")

    def remove(self) -> None:
        """Leave nothing behind but the images."""
        self.down()
        shutil.rmtree(self._secrets)

    def leave(self) -> None:
        """Leave all running, and say how to speak to it."""
        variables = " ".join(f"{name}={value}" for name, value in self._ours.items())
        say(f"left running: env {variables} {' '.join(self._command)} …")

    def containers(self, service: str) -> list[str]:
        return self("ps", "--quiet", service).split()

    def cli(self, *arguments: str) -> str:
        """An ImageFlow command, in the gateway's container: the last line that it prints."""
        return call("docker", "exec", self.containers("gateway")[0], "imageflow", *arguments).splitlines()[-1]

    def on_omnitron(self, script: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            call("docker", "exec", self.containers("omnitron")[0], "python", "-c", script)
        )
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


def moved(compose: Compose, rows: int, writers: int) -> dict[str, Any]:
    """Bring everything up, run the flow, break things meanwhile; what came of it."""
    began = time.monotonic()
    say(f"compose up --scale writer={writers}, with fake ERP of {rows} rows and fake Omnitron")
    compose("--profile", "demo", "up", "--detach", "--no-build", "--scale", f"writer={writers}")
    names = ["scheduler", "reader", "transformer", "writer", "gateway", "erp", "omnitron"]
    running = [container for name in names for container in compose.containers(name)]
    wait_for("all containers to be healthy", lambda: all(healthy(container) for container in running))
    up_seconds = round(time.monotonic() - began, 1)
    say(f"all healthy after {up_seconds} s; the run begins")
    compose("run", "--rm", "--no-deps", "-T", "cli", "flow", "apply", "/flows/demo.yaml")
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
        "writers": len(compose.containers("writer")),
        "up_seconds": up_seconds,
        "run_seconds": seconds,
        "rows_per_second": round(rows / seconds),
    }


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
    container, compose = result["container"], result["compose"]
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
        compose = Compose(options.rows, folder)
        call("sh", str(DEPLOY / "make-secrets.sh"), str(folder))
        stack.callback(compose.leave if options.keep else compose.remove)
        compose.down()
        result: dict[str, Any] = {**images(), "container": hardened()}
        try:
            result["compose"] = moved(compose, options.rows, options.writers)
        except RuntimeError as error:
            say(f"FAILED: {error}")
            say(compose("logs", "--no-color", "--tail", "20"))
            return 1
        result["wrong"] = judged(result, options.rows)
        print(json.dumps(result), flush=True)
        return 1 if result["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
