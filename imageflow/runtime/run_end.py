"""The line that a log has of each run that ends."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import structlog

from imageflow.model.run import Run

_log = structlog.get_logger()


def log_ended(runs: Iterable[Run]) -> None:
    """Log runs that a transaction has ended."""
    for run in runs:
        about = msgspec.to_builtins(run.counts)
        _log.info("run ended", run=run.run_id, flow=run.flow, status=run.status, **about)
