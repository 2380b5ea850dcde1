"""No case is left out."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.cases.erp import DATA


def test_every_case_is_played():
    """Each folder of cases is named by a test, or found by what it holds."""
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    cases = sorted(path for path in DATA.iterdir() if path.is_dir())
    assert len(cases) == 41
    found = [path for path in cases if path.name.startswith("jolt_") or (path / "fires.json").is_file()]
    assert [path.name for path in cases if path not in found and f'"{path.name}"' not in tests] == []
