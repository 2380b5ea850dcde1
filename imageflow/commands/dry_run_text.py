"""A dry run as people read it: inputs and outputs shortened, errors whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imageflow.actions.bench import Effect, Tried, TriedRow
from imageflow.actions.shapes import changes
from imageflow.commands.texts import counted, printable_text
from imageflow.inspect.dry_run import Step
from imageflow.jolt.explain import explanation_of
from imageflow.jolt.explain_text import lines_of
from imageflow.pointer import describe

_EFFECTS: Mapping[Effect, str] = {"new": "new", "changes": "changed", "same": "the same as now"}
"""What a row would be on Omnitron, in words."""
SHOWN_LINES = 24
SHOWN_ROWS = 50
SHOWN_CHARS = 160


def report(tried: Tried, *, explain: bool = False, limit: int = SHOWN_ROWS) -> str:
    """The dry run for people: inputs and outputs shortened, errors whole. `explain`: with what each line of the mapping did. `limit`:
    so many rows are shown, those that failed first.
    """
    lines: list[str] = []
    before = Step("input")
    for step in tried.dry.steps:
        shown = _row_lines(tried.rows, limit) if step.step == "rows" else []
        lines += [*_step_lines(step, before), *shown, *(_explained(step) if explain else []), ""]
        before = step
    return printable_text("\n".join([*lines, _total(tried)]))


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


def _step_lines(step: Step, before: Step) -> Iterator[str]:
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
        return
    yield f"gave {describe(step.output)}:"
    yield from _excerpt(step.output)


def _excerpt(value: Any) -> list[str]:
    lines = json.dumps(value, indent=2, ensure_ascii=False).splitlines()
    return _first([f"  {_short(line)}" for line in lines], SHOWN_LINES, "lines")


def _first(lines: list[str], count: int, what: str, how: str = "--json shows all") -> list[str]:
    if len(lines) <= count:
        return lines
    return [*lines[:count], f"  … and {len(lines) - count:,} more {what} ({how})"]


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def _row_lines(rows: Sequence[TriedRow], limit: int) -> list[str]:
    failed_first = sorted(rows, key=lambda one: one.row.state != "failed") if len(rows) > limit else rows
    width = max((len(one.row.product or "-") for one in rows), default=0)
    lines = [_row_line(one, min(width, 40)) for one in failed_first]
    return _first(lines, limit, "rows", "--limit shows more, --json all")


def _row_line(tried: TriedRow, width: int) -> str:
    row = tried.row
    what = f"{row.stage}: {row.reason}" if row.state == "failed" else row.reason or counted(len(row.images), "image")
    change = f", {_EFFECTS[tried.change]}" if tried.change in _EFFECTS else ""
    refused = "" if tried.refused is None else f"; Omnitron refused this product before: {_short(tried.refused)}"
    return f"  {row.state:10}  {row.product or '-':{width}}  {what}{change}{refused}"


def _total(tried: Tried) -> str:
    states = [one.row.state for one in tried.rows]
    parts = [f"{states.count(state):,} {state}" for state in ("ready", "superseded", "failed") if state in states]
    text = f"{'ok' if tried.dry.ok else 'FAILED'}: {counted(len(states), 'row')}"
    text += f" ({', '.join(parts)})" if parts else ""
    known = [f"{count:,} {_EFFECTS[effect]}" for effect, count in changes(tried).items() if effect in _EFFECTS]
    text += f"\non Omnitron, by what was written there: {', '.join(known)}" if known else ""
    return "\n".join([text, *(f"warning: {warning}" for warning in tried.dry.warnings)])
