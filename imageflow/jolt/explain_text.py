"""An explanation as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from imageflow.jolt.explain import Difference, Explanation, Line, Step


def lines_of(explanation: Explanation) -> list[str]:
    """For people: each operation, each of its lines, and what no line read."""
    found = [text for step in explanation.steps for text in _step(step)]
    return [*found, difference_line(explanation.difference)] if explanation.difference is not None else found


def difference_line(difference: Difference) -> str:
    """Where a result differs first from what was expected, and the operation that last changed that."""
    by = f"  <- mapping[{difference.step}]" if difference.step is not None else ""
    return f"first difference to expected: {difference.at} is {difference.found}, expected {difference.expected}{by}"


def troubles_of(explanation: Explanation) -> list[str]:
    """Only what is worth a look: lines that never matched or dropped something, and what no line read."""
    found: list[str] = []
    for step in explanation.steps:
        texts = [text for line in step.lines if line.dropped or not line.matched for text in _line(line)]
        found += [f"mapping[{step.index}] {step.name}", *texts, *_unread(step)] if texts or step.unread else []
    return found


def _step(step: Step) -> Iterator[str]:
    result = f"failed: {step.error}" if step.error else f"gave {step.gave}"
    yield f"mapping[{step.index}] {step.name}: given {step.given}, {result}"
    for line in step.lines:
        yield from _line(line)
    yield from _unread(step)


def _unread(step: Step) -> Iterator[str]:
    if step.unread:
        yield "  read by no line: " + ", ".join(f"{pattern} ({count} times)" for pattern, count in step.unread)


def _line(line: Line) -> Iterator[str]:
    right = f" -> {line.text}" if line.text else ""
    head = f"{line.matched:>5}x  {line.where.removeprefix('spec.')}{right}"
    if not line.matched:
        hint = f" (did you mean {line.near}?)" if line.near else ""
        there = f"; there was {', '.join(line.there)}" if line.there else "; nothing came this far"
        yield f"{head}   NEVER MATCHED{there}{hint}"
        return
    dropped = sum(count for count, _ in line.dropped.values())
    counts = f"   {line.written} written" if line.written or dropped else ""
    yield head + counts + (f", {dropped} dropped" if dropped else "")
    for reason, (count, first) in line.dropped.items():
        yield f"         dropped {count} times: {reason}" + (f" (first at {first})" if first else "")
