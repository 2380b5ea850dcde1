"""Dry runs as people read them."""

import json

import msgspec

from imageflow.actions import shapes
from imageflow.commands.dry_run_text import report
from imageflow.sandbox.outcome import FailedRow, Ran
from tests.unit.inspect.test_dry_run import SCRIPT, U, image_set, result_of


def test_json_holds_all_and_text_is_bounded() -> None:
    """A large page is whole in JSON; for people it is shortened, and nothing in it steers the terminal."""
    rows = [image_set(f"A{n}", f"{U}{n}\x1b[2J") for n in range(500)]
    found = result_of(Ran(rows, (FailedRow(3, "line 1: X", {"n": 1}),), "\x1b[31mred\n" * 1000), rows, script=SCRIPT)
    decoded = json.loads(msgspec.json.encode(shapes.dry_run(found)))
    assert [len(decoded["rows"]), len(decoded["steps"][0]["output"])] == [501, 500]
    assert set(decoded) == {"flow", "steps", "rows", "ok"}
    assert {"step", "output", "prints", "error"} <= set(decoded["steps"][1])
    assert {"product", "images", "state", "reason"} <= set(decoded["rows"][0])
    text = report(found)
    assert "\x1b" not in text
    assert len(text.splitlines()) < 200
    assert "line 1: X" in text
