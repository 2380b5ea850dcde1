"""Dry runs as people read them."""

import json
from dataclasses import asdict
from typing import Any

import msgspec

from imageflow.actions import bench, shapes
from imageflow.commands.dry_run_text import report
from imageflow.inspect.dry_run import DryRow, DryRun, Step, StepError
from imageflow.jolt import Chain, compile_chain
from imageflow.model.imageset import Image
from imageflow.sandbox.outcome import FailedRow, Ran
from tests.unit.inspect.pages import SCRIPT, U, image_set, result_of


def test_json_holds_all_and_text_is_bounded() -> None:
    """A large page is whole in JSON; for people it is shortened, and nothing in it steers the terminal."""
    rows = [image_set(f"A{n}", f"{U}{n}\x1b[2J") for n in range(500)]
    found = result_of(Ran(rows, (FailedRow(3, "line 1: X", {"n": 1}),), "\x1b[31mred\n" * 1000), rows, script=SCRIPT)
    decoded = json.loads(msgspec.json.encode(shapes.dry_run(bench.not_compared(found))))
    assert [len(decoded["rows"]), len(decoded["steps"][0]["output"])] == [501, 500]
    assert set(decoded) == {"flow", "steps", "rows", "changes", "ok", "warnings"}
    assert {"step", "output", "prints", "error"} <= set(decoded["steps"][1])
    assert {"product", "images", "state", "reason"} <= set(decoded["rows"][0])
    text = report(bench.not_compared(found))
    assert "\x1b" not in text
    assert len(text.splitlines()) < 200
    assert "line 1: X" in text


def test_a_step_that_failed_ends_the_report() -> None:
    """What a script printed and why it failed are shown, and nothing is said of an output that there is not."""
    steps = (Step("input", output=[1]), Step("script", given=[1], prints="seen\n", error=StepError("line 2: oops")))
    assert report(bench.not_compared(DryRun("winter", steps))).splitlines() == [
        "== input",
        "gave a list of 1:",
        "  [",
        "    1",
        "  ]",
        "",
        "== script",
        "given a list of 1, as input gave it",
        "printed:",
        "  | seen",
        "FAILED: line 2: oops",
        "",
        "FAILED: 0 rows",
    ]


def explained(spec: list[dict[str, Any]], rows: list[Any]) -> DryRun:
    """A dry run with a mapping, as the sandbox's trace tells of it: through JSON."""
    chain = compile_chain(spec, counting=True)
    assert isinstance(chain, Chain)
    found = msgspec.json.decode(msgspec.json.encode(asdict(chain.trace(rows))))
    return DryRun("winter", (Step("input", output=rows), Step("mapping", given=rows, output=None, explained=found)))


def test_a_mapping_is_explained_where_that_is_asked_for() -> None:
    """Each line's counts, and the output of each operation but the last, which is the step's."""
    spec = [{"operation": "shift", "spec": {"*": {"kode": "[&1].sku", "url": "[&1].u"}}}, {"operation": "sort"}]
    dry = explained(spec, [{"code": "A1", "url": "x"}])
    text = report(bench.not_compared(dry), explain=True)
    assert "0x  *.kode -> [&1].sku   NEVER MATCHED; there was code, url (did you mean code?)" in text
    assert "read by no line: [*].code (1 times)" in text
    assert "mapping[0] shift gave a list of 1:" in text
    assert "NEVER MATCHED" not in report(bench.not_compared(dry))


def test_a_mapping_that_left_no_trace_says_so() -> None:
    """Of a page that is too large there is no explanation."""
    dry = DryRun("winter", (Step("mapping", given=[1]),))
    assert "explained: nothing" in report(bench.not_compared(dry), explain=True)


def row(product: str, change: bench.Effect, **fields: Any) -> bench.TriedRow:
    made = DryRow(**{"product": product, "images": (Image(f"{U}1"),), "state": "ready", **fields})
    return bench.TriedRow(made, change)


def test_what_would_change_is_said() -> None:
    """Of each row that would be sent, and in the end how many; failed rows come first where not all are shown."""
    rows = [
        row("A", "new")._replace(refused="no such SKU"),
        row("B", "changes"),
        row("C", "same"),
        row("D", "unknown", state="failed", reason="no url"),
    ]
    found = bench.Tried(DryRun("winter", (Step("rows", given=[], output=[]),), tuple(one.row for one in rows)), rows)
    text = report(found)
    assert (
        "  ready       A  1 image, new; Omnitron refused this product before: no such SKU\n  ready       B  1 image, changed\n"
        in text
    )
    assert text.endswith(
        "FAILED: 4 rows (3 ready, 1 failed)\non Omnitron, by what was written there: 1 new, 1 changed, 1 the same as now"
    )
    short = report(found, limit=1)
    assert "  failed      D  rows: no url\n  … and 3 more rows (--limit shows more, --json all)" in short
    assert shapes.dry_run(found).changes == {"new": 1, "changes": 1, "same": 1, "unknown": 1}
