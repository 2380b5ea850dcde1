"""`flow new --probe` writes a flow that reads what was looked at: over HTTP, for each kind of ERP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from click.testing import CliRunner

from imageflow.cli import cli
from imageflow.emulator.erp import KINDS
from imageflow.emulator.shapes import SHAPES
from tests.acceptance.test_erps import ROWS, Beside, in_order
from tests.integration.reading import served

DOCS = Path(__file__).parents[2] / "docs" / "erps"


@pytest.fixture(scope="module")
def beside() -> Iterator[Beside]:
    with Beside() as made:
        yield made


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGEFLOW_DATA_DIR", str(tmp_path / "data"))
    for name in ("OMNITRON_USERNAME", "OMNITRON_PASSWORD"):
        monkeypatch.setenv(name, "demo")
    return tmp_path


def call(*args: str) -> str:
    done = CliRunner().invoke(cli, args, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def tried(*args: str) -> dict[str, list[Any]]:
    """The image sets that a try of a new flow gives, by SKU; all of them ready."""
    call("flow", "new", "found", "--probe", *args)
    assert call("flow", "lint", "found.yaml") == "found.yaml: ok\n"
    rows = json.loads(call("try", "found.yaml", "--live", "--json"))["rows"]
    assert {row["state"] for row in rows} == {"ready"}
    return in_order({row["product"]: row["images"] for row in rows})


def cut(products: dict[str, list[Any]], wanted: dict[str, list[Any]]) -> None:
    """The products of a page are those of the ERP; the last one of a page of a flat table may go on."""
    assert len(products) >= 40
    *whole, last = products
    assert {sku: products[sku] for sku in whole} == {sku: wanted[sku] for sku in whole}
    assert set(products[last]) <= set(wanted[last])


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_way_to_page(beside: Beside, kind: str, method: str) -> None:
    """The emulator's rows have ImageFlow's own names: they need no script, and only changes are asked for."""
    cut(tried(f"{beside.erp}/images/{kind}/", "--method", method), beside.wanted())
    flow = yaml.safe_load(Path("found.yaml").read_text())
    assert "script" not in flow
    assert flow["erp"]["modified_date_key"] == "modified_date__gt"


def body_of(shape: str) -> list[str]:
    """The options for a shape that is posted: the body of its page in docs/erps."""
    if SHAPES[shape].method == "GET":
        return []
    text = (DOCS / f"{shape}.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    return ["--body", json.dumps(yaml.safe_load(text)["erp"]["extra_params"])]


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape(beside: Beside, shape: str) -> None:
    """A run of the flow, unchanged but for Omnitron's address, writes every product with its images; the next one finds no change."""
    beside.reset()
    wanted = beside.wanted()
    cut(tried(f"{beside.erp}/shapes/{shape}/", *body_of(shape)), wanted)
    path = Path("found.yaml")
    path.write_text(path.read_text().replace("https://brand.omnitron.net", beside.omnitron))
    done = json.loads(call("run", "found", "--flows", ".", "--wait", "--json").splitlines()[-1])
    assert (done["status"], done["rows"]["written"], done["warnings"]) == ("success", ROWS, [])
    assert beside.held() == wanted
    changes = json.loads(call("try", "found.yaml", "--live", "--json"))["changes"]
    assert changes.pop("changes", 0) <= SHAPES[shape].flat  # the page ends within a product
    assert changes.keys() == {"same"}
    assert json.loads(call("run", "found", "--wait", "--json").splitlines()[-1])["rows"]["written"] == 0


U = "https://c.example/"
ANSWERS: dict[str, Any] = {
    "comma": {"items": [{"code": f"S{n}", "images": f"{U}S{n}-1.jpg, {U}S{n}-2.jpg"} for n in range(9)]},
    "numbered": [{"StokKodu": f"S{n}", "Resim1": f"{U}S{n}-1.jpg", "Resim2": f"{U}S{n}-2.jpg"} for n in range(9)],
    "keyed": {f"S{n}": [f"{U}S{n}-1.jpg", f"{U}S{n}-2.jpg"] for n in range(9)},
    "files": [{"url": f"{U}S{n}_{i}.jpg"} for n in range(9) for i in (1, 2)],
    "xml": "<c>"
    + "".join(f"<p><sku>S{n}</sku><i>{U}S{n}-1.jpg</i><i>{U}S{n}-2.jpg</i></p>" for n in range(9))
    + "</c>",
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_other_answers(name: str) -> None:
    """Texts with commas, numbered fields, products as fields, names of files, XML."""

    async def handler(_: web.BaseRequest) -> web.Response:
        answer = ANSWERS[name]
        return web.Response(text=answer if isinstance(answer, str) else json.dumps(answer))

    async with served(handler) as url:
        products = await asyncio.to_thread(tried, url)
    assert list(products) == [f"S{n}" for n in range(9)]
    assert all(len(images) == 2 and sku in images[0][1] for sku, images in products.items())


async def test_what_cannot_be_told() -> None:
    """The file is right, and asks; its sample of a script is a comment."""

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(text=json.dumps([{"when": "2026-01-01", "what": "x"}]))

    async with served(handler) as url:
        await asyncio.to_thread(call, "flow", "new", "found", "--probe", url)
        assert "where are a product's images? A row has when, what" in Path("found.yaml").read_text()
        assert await asyncio.to_thread(call, "flow", "lint", "found.yaml") == "found.yaml: ok\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--body", "[]"], "must be a JSON object"),
        (["--body", "{"], "--body is not JSON"),
        (["--body", "@nowhere"], "nowhere cannot be read"),
        (["--body", "{}", "--method", "GET"], "--body goes with POST"),
        (["--header", "X"], "write 'Name: value'"),
    ],
)
def test_wrong_options(args: list[str], said: str) -> None:
    """They are refused before anything is asked or written."""
    for command in (["probe", "http://127.0.0.1:9/"], ["flow", "new", "found", "--probe", "http://127.0.0.1:9/"]):
        done = CliRunner().invoke(cli, [*command, *args])
        assert (done.exit_code, said in done.output) == (2, True)
    assert CliRunner().invoke(cli, ["flow", "new", "found", *args]).exit_code == 2
    assert not Path("found.yaml").exists()


def test_a_body_from_a_file(beside: Beside) -> None:
    """As curl takes it; what it holds is in the flow, and a secret in it is named instead."""
    Path("body.json").write_text(json.dumps({"paging": {"pageNo": 1, "pageSize": 50}, "password": "p"}))
    call("flow", "new", "found", "--probe", f"{beside.erp}/shapes/nested/", "--body", "@body.json")
    erp = yaml.safe_load(Path("found.yaml").read_text())["erp"]
    assert erp["extra_params"] == {"paging": {"pageNo": 1, "pageSize": 50}, "password": {"env": "ERP_PASSWORD"}}
    assert "script" in yaml.safe_load(call("probe", f"{beside.erp}/shapes/nested/", "--body", "@body.json"))
