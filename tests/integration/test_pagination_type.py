"""A pagination type is one file: with it alone, lint, the schema and the reader know a new type."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from imageflow.flows.file import dump

from .reading import inbound

REPOSITORY = Path(__file__).parents[2]

TOY = '''
"""`type: parts`: the answer says how many parts there are."""

from typing import Any, ClassVar

from imageflow import pointer
from imageflow.errors import ReadError
from imageflow.model.field_types import Text, json_path
from imageflow.model.pagination.contract import Got, Last, More, Pagination, Turn
from imageflow.model.pagination.cursor import Cursor


class PartsPagination(Pagination, frozen=True, tag="parts"):
    """Pages by the number of a part."""

    meanings: ClassVar = {"parts_path": json_path}
    param: Text = "part"
    parts_path: Text = "parts"

    def parameters(self, cursor: Cursor) -> dict[str, Any]:
        return {self.param: cursor.position or 0}

    def turn(self, cursor: Cursor, got: Got) -> Turn:
        parts = pointer.find(got.document, self.parts_path)
        if not isinstance(parts, int):
            raise ReadError(f"the answer has no number of parts at {self.parts_path!r}")
        following = (cursor.position or 0) + 1
        return Last() if following >= parts else More(cursor.but(position=following))
'''

READ = """
import asyncio, pathlib, sys
from aiohttp import web
from imageflow.emulator import FakeOmnitron
from tests.integration.reading import bench, inbound, served

async def erp(request):
    part = int(request.query["part"])
    return web.json_response({"parts": 3, "results": [{"sku": f"P{part}-{n}"} for n in range(2)]})

async def main():
    omnitron = FakeOmnitron()
    async with bench(pathlib.Path(sys.argv[1])) as reading, served(erp) as url, omnitron.serve():
        reading.environ["OMNITRON_PASSWORD"] = "demo"
        run = await reading.read(inbound(url, omnitron.url, pagination={"type": "parts"}))
        print(run.pages, [row["sku"] for row in await reading.rows(run)], run.error)

asyncio.run(main())
"""


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """A copy of the product with the toy type's file in it."""
    shutil.copytree(REPOSITORY / "imageflow", tmp_path / "imageflow", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "imageflow" / "model" / "pagination" / "parts.py").write_text(TOY)
    return tmp_path


def run(product: Path, *arguments: str) -> str:
    environ = {**os.environ, "PYTHONPATH": f"{product}:{REPOSITORY}"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=product, env=environ, capture_output=True, text=True, check=False, timeout=100
    )
    return done.stdout + done.stderr


def linted(product: Path, **pagination: str | list[str]) -> str:
    document = inbound("http://erp/", "http://omnitron", pagination={"type": "parts", **pagination})
    (product / "flow.yaml").write_text(dump(document | {"script": "def process_row(row):\n    return row\n"}))
    return run(product, "-m", "imageflow", "flow", "lint", "flow.yaml")


def test_lint_and_schema_know_a_new_type(product: Path):
    """Its fields are checked, by their types and by their meanings, and editors complete them."""
    assert linted(product, parts_path="meta.parts").endswith("ok\n")
    assert "erp.pagination.parts_path: must be a dotted path" in linted(product, parts_path="$.parts")
    assert "erp.pagination.ignore[0]: must be a dotted path" in linted(product, ignore=["$.total"])
    assert "erp.pagination.limit: unknown field" in linted(product, limit="5")
    schema = json.loads(run(product, "-m", "imageflow", "flow", "schema"))
    assert set(schema["$defs"]["PartsPagination"]["properties"]) == {"type", "ignore", "param", "parts_path"}


def test_the_reader_reads_by_a_new_type(product: Path):
    """Every page of a real server is asked for, and no page after the last."""
    said = run(product, "-c", READ, str(product))
    assert said.splitlines()[-1] == "3 ['P0-0', 'P0-1', 'P1-0', 'P1-1', 'P2-0', 'P2-1'] None"
