"""Results as people read them, one line each."""

from __future__ import annotations

from imageflow.actions.shapes import KeyShown, NoRun, OpenErrorShown, Retried, RunShown
from imageflow.actions.ways_out import RUNS, About, command
from imageflow.model.row import STATES, RowLog
from imageflow.store import ErrorGroup
from imageflow.text.printable import lines


def run_text(run: RunShown | NoRun) -> str:
    """A run, and its warnings each on a line of its own."""
    counts = run.rows
    parts = [f"{number} {state}" for state in STATES if (number := getattr(counts, state))]
    text = f"{run.run_id}  {run.flow:20}  {run.status:8}  {run.pages} pages, {counts.total} rows"
    text += f" ({', '.join(parts)})" if parts else ""
    text += f"  {run.error}" if run.error else ""
    return "\n    warning: ".join([text, *run.warnings])


def way_out_text(run: RunShown | NoRun) -> str:
    """What leads out of the state of a run; empty where nothing is to be done."""
    if isinstance(run, NoRun):
        return ""
    ids = bool(run.trigger.identifiers)
    rows = bool(run.rows.failed or run.rows.cancelled)
    return command(RUNS[run.status], About(run.run_id, run.flow, run.trigger.kind, ids, run.since, rows))


def retry_text(done: Retried) -> str:
    """What a retry took and, of the other rows, why not and what to do."""
    total = done.rows + sum(left.rows for left in done.left)
    lines = [f"{done.rows:,} of {counted(total, 'row')} of run {done.run_id} are put through again"]
    lines += [f"{counted(left.rows, 'row')} {left.why}: {left.do}" for left in done.left]
    return "\n    ".join([*lines, done.note] if done.note else lines)


def row_text(row: RowLog) -> str:
    """A row and why it failed."""
    text = f"{row.row:8}  {row.product or '-':30}  {row.state:10}"
    return f"{text}  {row.stage}: {row.reason}" if row.reason else text


def error_text(error: ErrorGroup | OpenErrorShown) -> str:
    """A cause of failures, with an example."""
    cause = f"{error.stage}: {error.reason}"
    again = "" if error.retryable == error.rows else f", {error.retryable} can be retried"
    if isinstance(error, OpenErrorShown):
        newest = f"newest: run {error.run_id}, row {error.row}, {error.product or 'no product'}"
        counts = f"{counted(error.rows, 'row')} in {counted(error.runs, 'run')}"
        return f"{error.group}  {counts}{again} since {error.since}  {cause} ({newest})"
    example = f"e.g. row {error.example_row}, {error.example_product or 'no product'}"
    return f"{error.group}  {counted(error.rows, 'row')}{again}  {cause} ({example})"


def key_validity(key: KeyShown, now: str) -> str:
    """Until when a key is good. `now` is an instant as the key's are."""
    if key.expires_at is None:
        return "good until it is revoked"
    return f"{'was good' if key.expires_at <= now else 'good'} until {key.expires_at}"


def counted(number: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def printable_text(text: str) -> str:
    """Without what would steer a terminal."""
    return lines(text)
