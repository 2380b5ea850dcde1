"""A dry run as people read it: inputs and outputs shortened, errors whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from imageflow.commands.texts import counted, printable_text
from imageflow.inspect.dry_run import DryRow, DryRun, Step
from imageflow.jolt.explain import explanation_of
from imageflow.jolt.explain_text import lines_of
from imageflow.pointer import describe

SHOWN_LINES = 24
SHOWN_ROWS = 50
SHOWN_CHARS = 160


def report(dry: DryRun, *, explain: bool = False) -> str:
    """The dry run for people: inputs and outputs shortened, errors whole. `explain`: with what each line of the mapping did."""
    lines: list[str] = []
    before = Step("input")
    for step in dry.steps:
        lines += [*_step_lines(step, before, dry), *(_explained(step) if explain else []), ""]
        before = step
    return printable_text("\n".join([*lines, _total(dry)]))


def _explained(step: Step) -> Iterator[str]:
    """What each operation of the mapping did, and gave."""
    if step.step != "mapping":
        return
    if step.explained is None:
        yield "explained: nothing; the page is too large, or the process ended"
        return
    explanation = explanation_of(step.explained)
    yield "explained:"
    yield from (f"  {line}" for line in lines_of(explanation))
    for each in explanation.steps[:-1]:
        yield f"mapping[{each.index}] {each.name} gave {each.gave}:"
        yield from _excerpt(each.output)


def _step_lines(step: Step, before: Step, dry: DryRun) -> Iterator[str]:
    yield f"== {step.step}"
    if step.step != "input":
        same = step.given == before.output
        yield f"given {describe(step.given)}" + (f", as {before.step} gave it" if same else ":")
        yield from [] if same else _excerpt(step.given)
    if step.prints:
        yield "printed:"
        yield from _first([f"  | {line}" for line in step.prints.splitlines()], SHOWN_LINES, "lines")
    if step.error is not None:
        yield f"FAILED: {step.error.reason}"
        return
    yield from (f"FAILED for element {index}: {error.reason}" for index, error in step.row_errors.items())
    if step.step == "rows":
        yield from _first([_row_line(row) for row in dry.rows], SHOWN_ROWS, "rows")
        return
    yield f"gave {describe(step.output)}:"
    yield from _excerpt(step.output)


def _excerpt(value: Any) -> list[str]:
    lines = json.dumps(value, indent=2, ensure_ascii=False).splitlines()
    return _first([f"  {_short(line)}" for line in lines], SHOWN_LINES, "lines")


def _first(lines: list[str], count: int, what: str) -> list[str]:
    if len(lines) <= count:
        return lines
    return [*lines[:count], f"  … and {len(lines) - count:,} more {what} (--json shows all)"]


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def _row_line(row: DryRow) -> str:
    what = f"{row.stage}: {row.reason}" if row.state == "failed" else row.reason or counted(len(row.images), "image")
    return f"  {row.state:10}  {row.product or '-':30}  {what}"


def _total(dry: DryRun) -> str:
    states = [row.state for row in dry.rows]
    parts = [f"{states.count(state)} {state}" for state in ("ready", "superseded", "failed") if state in states]
    return f"{'ok' if dry.ok else 'FAILED'}: {counted(len(states), 'row')}" + (
        f" ({', '.join(parts)})" if parts else ""
    )
