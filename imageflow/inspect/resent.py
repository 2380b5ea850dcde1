"""Which versions of its flow a run's rows went by, besides its own: a retry goes by the newest one. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from imageflow.model.run import Run
from imageflow.store import AuditRecord


class Resent(NamedTuple):
    """So many rows were put through again by a version, the last of them at an instant."""

    version: int
    rows: int
    at: datetime


def resent(run: Run, steered: Iterable[AuditRecord]) -> list[Resent]:
    """The other versions that rows of the run were retried by, the oldest first. A row that was retried twice counts twice."""
    found: dict[int, Resent] = {}
    for one in steered:
        version = one.entry.detail.get("version")
        if one.entry.what != "run.retry" or one.entry.object != f"run {run.run_id}" or not isinstance(version, int):
            continue
        rows = one.entry.detail.get("rows", 0)
        if version != run.version and rows:
            before = found.get(version)
            found[version] = Resent(version, rows + (before.rows if before is not None else 0), one.at)
    return sorted(found.values())
