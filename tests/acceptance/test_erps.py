"""Each page of docs/erps: its answer is what such an ERP gives, and its commands lead from the first look to Omnitron."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
import yaml
from click.testing import CliRunner

from imageflow.cli import cli
from imageflow.emulator import FakeErp, FakeOmnitron
from imageflow.emulator.shapes import SHAPES
from imageflow.flows import file as flow_file
from imageflow.model.flow import Erp, decode_custom
from tests.acceptance.harness import get

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted((DOCS / "erps").glob("*.md"))
ROWS = 230
TOUCHED = "SKU-000007"


def block(page: Path, language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"{page.name} has {len(found)} blocks of {language}"
    return str(found[0])


def skeleton(value: Any) -> Any:
    """What an answer is made of: names of fields, and the first element of each list."""
    if isinstance(value, dict):
        return {name: skeleton(item) for name, item in value.items()}
    return [skeleton(item) for item in value[:1]] if isinstance(value, list) else type(value).__name__


def first_answer(url: str, erp: dict[str, Any]) -> bytes:
    """The first page, asked for as the flow asks for it."""
    body = json.dumps(erp["extra_params"]).encode() if erp.get("method") == "POST" else None
    status, answer = get(url.replace("{modified_date}", "2020-01-01T00:00:00Z"), data=body)
    assert status == 200
    return answer


def settings(erp: dict[str, Any]) -> Any:
    """The settings that a probe proposes, with their defaults."""
    wanted = {name: erp[name] for name in ("rows_path", "pagination", "format") if name in erp}
    found = msgspec.convert(wanted, Erp, dec_hook=decode_custom)
    return found.rows_path, found.pagination, found.answer_format


class Beside:
    """A fake ERP and a fake Omnitron in a thread of their own: the commands have the main one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._erp, self._omnitron = FakeErp(rows=ROWS), FakeOmnitron()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(60)
        self.erp, self.omnitron = self._erp.url, self._omnitron.url
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        async with self._erp.serve(), self._omnitron.serve():
            self._ready.set()
            await self._stop.wait()

    def reset(self) -> None:
        for emulator in (self.erp, self.omnitron):
            get(f"{emulator}/_emulator/reset", data=b"")

    def held(self) -> dict[str, list[Any]]:
        """The images that Omnitron holds, by SKU."""
        return in_order(json.loads(get(f"{self.omnitron}/_emulator/state")[1])["products"])

    def wanted(self) -> dict[str, list[Any]]:
        """What it should hold."""
        found = in_order(json.loads(get(f"{self.erp}/_emulator/expected")[1]))
        assert len(found) == ROWS
        return found


def in_order(products: dict[str, Any]) -> dict[str, list[Any]]:
    return {
        sku: sorted((image["order"], image["url"], image["image_type"]) for image in images)
        for sku, images in products.items()
    }


@pytest.fixture(scope="module")
def beside() -> Iterator[Beside]:
    with Beside() as made:
        yield made


def test_every_shape_has_its_page():
    """The index names each page, and the emulator serves each shape."""
    assert {page.stem for page in PAGES} == set(SHAPES)
    index = (DOCS / "erps.md").read_text()
    assert all(f"(erps/{page.name})" in index and f"/shapes/{page.stem}/" in index for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_from_probe_to_omnitron(tmp_path: Path, page: Path, beside: Beside, monkeypatch: pytest.MonkeyPatch):
    """The page's commands end well, the probe proposes what the flow says, Omnitron holds what the ERP has; and a change in the ERP
    reaches Omnitron with the next run, which asks for changes alone where the shape allows that.
    """
    beside.reset()
    monkeypatch.chdir(tmp_path)
    for name in ("OMNITRON_USERNAME", "OMNITRON_PASSWORD"):
        monkeypatch.setenv(name, "demo")
    monkeypatch.setenv("IMAGEFLOW_DATA_DIR", str(tmp_path / "data"))

    def call(*args: str) -> str:
        done = CliRunner().invoke(cli, args, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    def there(text: str) -> str:
        text = text.replace("https://erp.example.com", f"{beside.erp}/shapes")
        return text.replace("https://brand.omnitron.net", beside.omnitron)

    text = there(block(page, "yaml"))
    name = text.partition("\n")[0].removeprefix("# ").removesuffix(".yaml")
    Path(f"{name}.yaml").write_text(text)
    erp = flow_file.load(Path(f"{name}.yaml"))["erp"]
    answer = first_answer(erp["endpoint_url"], erp)
    if page.stem == "csv":
        assert block(page, "csv").splitlines()[0] == answer.decode("cp1254").splitlines()[0]
    else:
        assert skeleton(json.loads(block(page, "json"))) == skeleton(json.loads(answer))
    said = {}
    for program, verb, *rest in (shlex.split(there(line)) for line in block(page, "sh").splitlines()):
        assert program == "imageflow"
        said[verb] = call(verb, *rest)
    assert {"probe", "flow", "check", "try", "run"} <= said.keys()
    assert settings(yaml.safe_load(said["probe"])["erp"]) == settings(erp), said["probe"]
    assert beside.held() == beside.wanted()
    get(f"{beside.erp}/_emulator/rows", data=json.dumps({"touch": [TOUCHED]}).encode())
    again = json.loads(call("run", name, "--flows", ".", "--wait", "--json").splitlines()[-1])
    assert beside.held() == beside.wanted()
    assert (again["status"], again["warnings"]) == ("success", [])
    assert again["rows"]["written"] == 1
    assert again["rows"]["total"] == (ROWS if page.stem == "csv" else 1)
