"""Every state that a run or a row can be in has a way out."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

import imageflow
from imageflow.actions.ways_out import LEFT, ROWS, RUNS, WayOut, about, again, command, to_mend
from imageflow.cli import cli
from imageflow.model.row import State
from imageflow.model.run import Run, Status, Trigger
from imageflow.store import Left

NOW = datetime(2026, 11, 24, 3, 43, 12, tzinfo=UTC)
README = Path(imageflow.__path__[0]).parent / "README.md"
DONE = {"success", "empty", "written", "unchanged", "superseded"}
"""States in which nothing is left to be done."""


def run(**fields: Any) -> Run:
    made = {"run_id": "r1", "flow": "winter", "version": 1, "trigger": Trigger("schedule"), "status": "failed"}
    return Run(**{**made, "created_at": NOW, **fields})


def test_every_state_has_a_way_out() -> None:
    """The tables know every status, state and reason; only what is done has nothing to do."""
    assert RUNS.keys() == set(get_args(Status))
    assert ROWS.keys() == set(get_args(State))
    assert LEFT.keys() == set(get_args(Left))
    for state, way in {**RUNS, **ROWS, **LEFT}.items():
        assert bool(way.do) is (state not in DONE), state
        assert way.why


@pytest.mark.parametrize("way", [*RUNS.values(), *ROWS.values(), *LEFT.values()], ids=lambda way: way.do or "done")
def test_the_commands_are_there(way: WayOut) -> None:
    """What the tables name are commands of ImageFlow."""
    for name in re.findall(r"imageflow (\S+)", command(way, about(run()))):
        assert name in cli.commands or name in cli.list_commands(None), name  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "imageflow run winter"),
        ({"since": NOW}, "imageflow run winter --since 2026-11-24T03:43:12.000000Z"),
        ({"trigger": Trigger("person", "ada", ("A",)), "since": NOW}, "imageflow run winter --ids …"),
        ({"trigger": Trigger("outbound")}, "post the rows again"),
    ],
)
def test_how_rows_are_got_once_more(fields: dict[str, Any], text: str) -> None:
    """From the ERP since when the run asked; of a post, from who posted it."""
    assert again(about(run(**fields))) == text
    assert "--since" not in again(about(run(**fields), takes_since=False))


@pytest.mark.parametrize(
    ("rows", "unread", "text"),
    [
        (
            True,
            True,
            "imageflow errors r1; mend what it names, then: imageflow retry r1; what was not read: imageflow run winter",
        ),
        (True, False, "imageflow errors r1; mend what it names, then: imageflow retry r1"),
        (False, True, "what was not read: imageflow run winter"),
    ],
)
def test_only_what_is_to_be_done(rows: bool, unread: bool, text: str) -> None:
    """Where no row can be retried, only what was not read is left to do; where all was read, only the rows are."""
    assert command(RUNS["partial"], about(run())._replace(rows=rows, unread=unread)) == text
    assert command(RUNS["draining"], about(run())._replace(rows=rows)).startswith("how far it is: imageflow log r1; ")


@pytest.mark.parametrize(
    ("stage", "incomplete", "rows", "expected"),
    [
        (None, False, 0, ""),
        (None, True, 5, "erp.pagination"),
        (None, True, 0, "erp.rows_path or erp.pagination"),
        ("read", False, 0, "what its error names"),
        ("login", False, 0, "the login (imageflow check winter)"),
    ],
)
def test_what_is_mended_before_it_is_read_again(stage: str | None, incomplete: bool, rows: int, expected: str) -> None:
    """Asked again as it is, the ERP would give the same; the command comes after that."""
    mend = to_mend("winter", stage, incomplete=incomplete, rows=rows)
    assert mend == expected
    text = command(RUNS["partial"], about(run())._replace(rows=False, mend=mend))
    assert text == f"what was not read: {f'mend {mend}, then: ' if mend else ''}imageflow run winter"


def test_the_readme_shows_the_table() -> None:
    """README.md has a line for each state that something is to be done about, with its command."""
    text = README.read_text()
    for state, way in {**RUNS, **ROWS}.items():
        for name in re.findall(r"imageflow (\S+)", way.do):
            assert re.search(rf"\| `{state}` \|[^\n]*`imageflow {name}", text), (state, name)
