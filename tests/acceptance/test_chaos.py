"""Everything that can go away goes away, at random: services are killed and frozen, each one's ways to the queue and to the
database are cut, stalled and half-opened, and Omnitron takes writes without answering.

Meanwhile newer and newer image sets of the same products are posted, and the ERP changes its rows under runs that read them.
When all is back, each product has its newest set, the books say the same, no service has died, and every row is accounted for.

`python -m tests.acceptance.test_chaos --seeds 20` plays stories of their full length and prints what each one saw.
"""

import argparse
import asyncio
import json
import random
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from imageflow.model.imageset import Image, digest
from tests.acceptance.harness import balanced, free_port, get, kill, site, stop, wait_for
from tests.acceptance.network import Network
from tests.acceptance.stories import asked, ledger, play, quiet, url_of

SERVICES = ("scheduler", "reader", "transformer", "transformer", "writer", "writer", "writer", "gateway")
PRODUCTS = 150
ERP_ROWS = 200
TIMEOUT_SECONDS = 3
"""`write.timeout`: a writer that is away for much longer than that has lost its lease."""
QUIET_SECONDS = 6.0
ENDED = ("success", "partial", "failed", "empty", "cancelled")
CALM = "latency=10ms,jitter=20ms"
OMNITRON = {
    "takes a write and closes": "lost,rate=0.3",
    "takes a write and answers nothing": "lost,hang,rate=0.1",
    "answers nothing": "hang,rate=0.1",
    "is away": "down",
    "is busy": "status=429,retry_after=1,rate=0.3",
    "is slow": "latency=500ms",
    "forgets its tokens": "token_uses=40",
}
UNFORESEEN = ("unexpected error", "job failed", "Traceback")


class Kept:
    """One service as a process, with its own ways to the queue and to the database, and what is to be undone when."""

    def __init__(self, here, number: int, name: str, args: tuple[str, ...], ways: dict) -> None:
        self.name = f"{name} {number}"
        self._here, self._args, self._ways = here, (name, *args), ways
        self.state = "up"
        self.died: list[str] = []
        self.start()

    def start(self) -> None:
        self._here.environ.update({variable: proxy.url for variable, proxy in self._ways.items()})
        self.process: subprocess.Popen = self._here.spawn(*self._args)
        self.state = "up"

    def kill(self) -> None:
        kill(self.process)
        self.state = "killed"

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        self.state = "frozen"

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.state = "up"

    def look(self) -> None:
        """Start it again if it ended, though nobody killed it; that is noted."""
        if self.state != "killed" and self.process.poll() is not None:
            self.died.append(f"{self.name} ended with {self.process.returncode}")
            self.start()

    def way(self, which: str):
        return self._ways[which]


class Weather:
    """What goes wrong, drawn by the seed, and when each of it is over."""

    def __init__(self, here, services: list[Kept], seed: int) -> None:
        self._here, self._services = here, services
        self._dice = random.Random(seed)
        self._undo: list[tuple[float, object]] = []
        self._omnitron_until = 0.0
        self.seen: list[str] = []

    def blow(self, seconds: float) -> None:
        """Let something happen again and again, then mend everything."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            self._strike(now)
            pause = now + self._dice.uniform(0.3, 2.5)
            while time.monotonic() < min(pause, end):
                self._mend(time.monotonic())
                time.sleep(0.1)
        self._mend(float("inf"))

    def _strike(self, now: float) -> None:
        what = self._dice.choices(("kill", "freeze", "network", "omnitron"), (2, 2, 4, 2))[0]
        service = self._dice.choices(self._services, [1 if one.name[:7] == "gateway" else 2 for one in self._services])[
            0
        ]
        lasting = self._dice.choice((0.3, 1, 3, 8, 16))
        if what == "omnitron":
            self._omnitron(now, lasting)
        elif what == "network":
            self._network(service, now, lasting)
        elif service.state == "up":
            getattr(service, what)()
            self._note(f"{what} {service.name} for {lasting} s")
            self._undo.append((now + lasting, service.start if what == "kill" else service.thaw))

    def _network(self, service: Kept, now: float, lasting: float) -> None:
        which = self._dice.choice(("IMAGEFLOW_BROKER_URL", "IMAGEFLOW_STORE_URL"))
        state = self._dice.choice(("cut", "stall", "half_open"))
        proxy = service.way(which)
        proxy.be(state)
        self._note(f"{state} {which.split('_')[1].lower()} of {service.name} for {lasting} s")
        self._undo.append((now + lasting, lambda: proxy.be("open")))

    def _omnitron(self, now: float, lasting: float) -> None:
        if now < self._omnitron_until:
            return
        name = self._dice.choice(sorted(OMNITRON))
        self._set_faults(CALM, OMNITRON[name])
        self._note(f"Omnitron {name} for {lasting} s")
        self._omnitron_until = now + lasting
        self._undo.append((now + lasting, lambda: self._set_faults(CALM)))

    def _set_faults(self, *faults: str) -> None:
        get(f"{self._here.omnitron}/_emulator/faults", data=json.dumps(faults).encode())

    def _note(self, text: str) -> None:
        self.seen.append(text)

    def _mend(self, until: float) -> None:
        due = [undo for when, undo in self._undo if when <= until]
        self._undo = [(when, undo) for when, undo in self._undo if when > until]
        for undo in due:
            undo()
        for service in self._services:
            service.look()


class Traffic:
    """What the ERP sends and changes meanwhile: each post again and again with its key until it is taken."""

    def __init__(self, here, port: int, seed: int) -> None:
        self._here, self._port = here, port
        self._dice = random.Random(-seed)
        self._url = f"http://127.0.0.1:{port}"
        self._token = ""
        self.over = threading.Event()
        self.posted = 0
        self.newest = 0
        self.asked = 0

    def flow(self) -> None:
        while not self.over.is_set():
            self.post()
            if self._dice.random() < 0.3:
                self.change()

    def post(self) -> None:
        version = self.newest + 1
        products = self._dice.sample(range(PRODUCTS), PRODUCTS)
        body = json.dumps([{"sku": f"P-{p:03}", "images": [url_of(version, p)]} for p in products]).encode()
        wait_for(lambda: self._taken(version, body), 120, "a post to be taken")
        self.newest = version
        self.posted += PRODUCTS
        self.over.wait(self._dice.uniform(0.1, 2.0))

    def change(self) -> None:
        """Rows of the ERP are changed, and a run is asked for."""
        skus = [f"SKU-{n:06}" for n in self._dice.sample(range(1, ERP_ROWS + 1), 30)]
        get(f"{self._here.erp}/_emulator/rows", data=json.dumps({"touch": skus}).encode())
        self._here.call("run", "main", check=False)
        self.asked += 1

    def _taken(self, version: int, body: bytes) -> bool:
        if not self._token:
            status, text = get(f"{self._url}/api/nifi/login", data=b"username=erp&password=correct+horse")
            if status != 200:
                return False
            self._token = text.decode()
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Idempotency-Key": f"v{version}",
        }
        return get(f"{self._url}/api/outbound/posts", data=body, headers=headers)[0] == 202


@contextmanager
def services(here, network: Network, broker: str, database: str):
    """The services as processes, with the gateway's port."""
    port = free_port()
    kept = []
    try:
        for number, name in enumerate(SERVICES):
            args = ("--port", str(port)) if name == "gateway" else ()
            ways = {"IMAGEFLOW_BROKER_URL": network.proxy(broker), "IMAGEFLOW_STORE_URL": network.proxy(database)}
            kept.append(Kept(here, number, name, args, ways))
        here.environ.update(IMAGEFLOW_BROKER_URL=broker, IMAGEFLOW_STORE_URL=database)
        yield port, kept
    finally:
        for service in kept:
            if service.state == "frozen":
                service.thaw()
            stop(service.process)


def tell(folder: Path, broker: str, database: str, seed: int, seconds: float) -> dict:
    """Play a story; gives what is wrong in the end, and what went wrong on the way."""
    network = Network()
    environ = {"IMAGEFLOW_BROKER_URL": broker, "IMAGEFLOW_STORE_URL": database, "IMAGEFLOW_SECRET_KEY": "k" * 40}
    try:
        with site(folder, **environ) as here:
            here.emulators(ERP_ROWS)
            write = {"timeout": f"{TIMEOUT_SECONDS}s", "concurrency": random.Random(seed).choice((4, "auto"))}
            here.flow(write=write)
            here.flow("posts", direction="outbound", erp={"rows_path": ""}, script=None, mapping=None, write=write)
            here.call("flow", "apply", *map(str, here.flows.glob("*.yaml")))
            here.call("user", "add", "erp", stdin="correct horse\n")
            with services(here, network, broker, database) as (port, kept):
                return _tell(here, kept, port, database, seed, seconds)
    finally:
        network.close()


def _tell(here, kept: list[Kept], port: int, database: str, seed: int, seconds: float) -> dict:
    wait_for(lambda: get(f"http://127.0.0.1:{port}/ready")[0] == 200, 120, what="the gateway")
    traffic, weather = Traffic(here, port, seed), Weather(here, kept, seed)
    here.call("run", "main")
    with ThreadPoolExecutor(1) as pool:
        flowing = pool.submit(traffic.flow)
        try:
            weather.blow(seconds)
        finally:
            traffic.over.set()
        flowing.result(150)
    wait_for(lambda: ended(here), 240, "the runs to end")
    here.json("run", "main", "--wait", timeout=240)
    runs = wait_for(lambda: ended(here), 240, "the last runs to end")
    wait_for(lambda: not asyncio.run(in_doubt(database)), 180, "the last rewrites")
    state = quiet(here, QUIET_SECONDS)
    for service in kept:
        service.look()
    expected = {sku: images_of(images) for sku, images in expected_of(here).items()}
    expected |= {f"P-{p:03}": (Image(url_of(traffic.newest, p)),) for p in range(PRODUCTS)}
    held = {sku: images_of(images) for sku, images in state["products"].items()}
    known = asyncio.run(ledger(database))
    logged = Path(here.log.name).read_text(errors="replace").splitlines()
    return {
        "wrong": sorted(sku for sku in expected | held if expected.get(sku) != held.get(sku)),
        "ledger_differs": sorted(
            sku for sku in known.keys() | held if known.get(sku) != (digest(held[sku]) if sku in held else None)
        ),
        "unbalanced": [run["run_id"] for run in runs if not balanced(run)],
        "lost": traffic.posted - sum(run["rows"]["total"] for run in runs if run["flow"] == "posts"),
        "statuses": sorted({run["status"] for run in runs}),
        "rows": {name: sum(run["rows"][name] for run in runs) for name in runs[0]["rows"]},
        "parked": here.json("parked", "list"),
        "died": [death for service in kept for death in service.died],
        "unforeseen": [line for line in logged if any(sign in line for sign in UNFORESEEN)][:10],
        "versions": traffic.newest,
        "runs": len(runs),
        "writes": state["counters"]["written"],
        "weather": weather.seen,
    }


def images_of(images: list[dict]) -> tuple[Image, ...]:
    return tuple(sorted((Image(**image) for image in images), key=lambda image: (image.order, image.url)))


def expected_of(here) -> dict:
    """What the ERP would have Omnitron hold."""
    return json.loads(get(f"{here.erp}/_emulator/expected")[1])


def ended(here):
    found = json.loads(here.call("runs", "--limit", "1000", "--json").stdout)
    return found if all(run["status"] in ENDED for run in found) else None


async def in_doubt(database: str) -> bool:
    open_ = "doubt_until IS NOT NULL OR digest IS NULL OR claim_token IS NOT NULL"
    return bool(await asked(database, f"SELECT 1 FROM ledger WHERE {open_} LIMIT 1"))


def faulty(result: dict) -> bool:
    wrong = ("wrong", "ledger_differs", "unbalanced", "lost", "parked", "died", "unforeseen")
    return any(result[name] for name in wrong) or not set(result["statuses"]) <= {"success", "empty"}


@pytest.mark.timeout(600)
def test_everything_goes_away(tmp_path, rabbitmq_vhost, postgres):
    """A short story of one seed: whatever goes away comes back, and the newest image sets are there."""
    result = tell(tmp_path, rabbitmq_vhost, postgres.new_database(), seed=1, seconds=15)
    assert not faulty(result), json.dumps(result, indent=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder for the logs of stories that went wrong")
    options = parser.parse_args()

    def story(folder: Path, broker: str, database: str, seed: int) -> dict:
        return tell(folder, broker, database, seed, options.seconds)

    seeds = range(options.first, options.first + options.seeds)
    play(seeds, options.at_once, story, faulty, keep=options.keep)


if __name__ == "__main__":
    main()
