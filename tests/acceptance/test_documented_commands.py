"""Command lines of README.md, docs/outbound.md and docs/moving.md: each is run, in the order of its page, with the names of a small
shop in the places of FLOW, RUN and the like. docs/guide.md and docs/erps have tests of their own.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import Site, free_port, get, site, wait_for

ROOT = Path(__file__).parents[2]
NIFI = ROOT / "tests" / "unit" / "flows" / "nifi" / "list.json"
SERVED = ("up", "demo", "scheduler", "reader", "transformer", "writer", "gateway")
"""They stay, and have tests of their own; `up` runs in the test below."""
PASSES = (0, 1)
"""1 is a result, too: rows failed, a case failed."""


def lines_of(page: str) -> Iterator[str]:
    """The command lines that stand on lines of their own, without what is said of them."""
    for line in (ROOT / page).read_text().splitlines():
        plain = line.strip()
        if plain.startswith("imageflow ") and "`" not in plain:
            yield re.split(r"\s{2,}|\s#", plain)[0]


def first_alternative(line: str) -> str:
    """`show ID [--body]` and `replay ID | --all` in their shortest form."""
    return re.sub(r"\s*(\[[^\]]*\]|\|.*)", "", line)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Site]:
    """A shop with an inbound flow that has run by its second version, an outbound flow and its posts, and files that the pages name."""
    with site(tmp_path, OMNITRON_USERNAME="demo") as here:
        here.emulators(20)
        here.environ["IMAGEFLOW_LISTEN"] = "127.0.0.1"
        settings = {"sku": {"key": "sku", "type": "string"}}
        erp = {"endpoint_url": f"{here.erp}/images/next/", "rows_path": "results", "pagination": {"type": "next"}}
        erp |= {"modified_date_key": "modified_date__gt", "query_settings": settings}
        here.flow("winter-images", erp=erp, timezone="UTC")
        here.call("flow", "apply", str(here.flows / "winter-images.yaml"))
        here.flow("winter-images", erp=erp, timezone="Europe/Istanbul")
        here.flow("posts", direction="outbound", erp=None, script=None, mapping=None)
        for flow in here.flows.iterdir():
            flow.rename(here.folder / flow.name)
        (here.folder / "winter-images.test.yaml").write_text("- {name: none, input: {results: []}, expect: []}\n")
        (here.folder / "answer.json").write_text(json.dumps({"results": []}))
        (here.folder / "rows.json").write_text(json.dumps([{"sku": "A-1", "images": ["https://c.example/1.jpg"]}]))
        here.call("flow", "apply", "winter-images.yaml", "posts.yaml")
        here.call("run", "winter-images", "--wait")
        yield here


def run(here: Site, line: str, names: dict[str, str]) -> None:
    """One line, with the shop's names; it ends well, or with a result that is a 1."""
    words = [names.get(word, word) for word in shlex.split(line)]
    assert words[0] == "imageflow"
    done = here.call(*words[1:], check=False, stdin="long-enough-1\n")
    assert done.returncode in PASSES, f"{line} ended {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(900)
def test_the_readme(shop: Site) -> None:
    """From the first flow to keys; what deletes the flow comes last."""
    newest = shop.json("runs", "winter-images")[0]["run_id"]
    names = {
        "FLOW": "winter-images",
        "RUN": newest,
        "SKU": "SKU-000001",
        "SKU1,SKU2": "SKU-000001",
        "VERSION": "1",
        "DIR": "all",
    }
    (shop.folder / "all").mkdir()
    for name in ("winter-images.yaml", "posts.yaml"):
        shutil.copy(shop.folder / name, shop.folder / "all")
    names |= {"URL": f"{shop.erp}/images/next/"}
    lines = [first_alternative(line) for line in lines_of("README.md")]
    lines = [
        line.replace("flow new winter-images", "flow new written") for line in lines if line.split()[1] not in SERVED
    ]
    assert len(lines) > 20
    for line in sorted(lines, key=lambda line: " delete " in line):
        flow = "posts" if " key add " in line else names["FLOW"]
        run(shop, line, {**names, "FLOW": flow})


@pytest.mark.timeout(900)
def test_outbound(shop: Site) -> None:
    """Rows are published and taken in; a message that is not JSON is parked, shown, replayed and dropped."""
    port = str(free_port())
    shop.spawn("up", "--port", port)
    wait_for(lambda: get(f"http://127.0.0.1:{port}/ready")[0] == 200, what="up")
    shop.call(*shlex.split("publish posts rows.json --id delivery-4713"))
    wait_for(lambda: shop.json("runs", "posts"), what="the run of what was published")
    shop.call("publish", "posts", "-", stdin="{nonsense")
    parked = wait_for(lambda: shop.json("parked", "list"), what="the message that is not JSON")
    for line in map(first_alternative, lines_of("docs/outbound.md")):
        run(shop, line, {"ID": parked[0]["id"]})
        if " replay " in line:
            parked = wait_for(lambda: shop.json("parked", "list"), what="the message that is parked again")


def test_moving(shop: Site) -> None:
    """An import makes files, and lint says what is left to ask."""
    shutil.copy(NIFI, shop.folder / "flows.json")
    lines = list(lines_of("docs/moving.md"))
    assert len(lines) == 2
    for line in lines:
        done = shop.call(*shlex.split(line)[1:], check=False)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    assert list((shop.folder / "flows").glob("*.yaml"))
