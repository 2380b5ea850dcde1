"""RunHandlers, steps and rows as the logs of Akinon's Integrator: main (1), sub (2) and line (3) logs.

Their numbers: state 1 start, 2 in progress, 3 finished; status 1 in progress, 2 success, 3 failed, 4 empty. Instants are
milliseconds since 1970, as text. A run's id is its `filename_uuid`; its steps and rows have it as
`original_filename_uuid`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from imageflow.gateway.problem_details import Refusal
from imageflow.model.flow import Definition
from imageflow.model.row import RowLog
from imageflow.model.run import Run

MAIN, SUB, LINE = 1, 2, 3
START, IN_PROGRESS, FINISHED = 1, 2, 3
STATUS = {"success": 2, "partial": 3, "failed": 3, "empty": 4, "cancelled": 3}
"""A run of which some rows failed or were cancelled is shown as failed: somebody has to look."""
UNDER_WAY, SUCCESS, FAILED = 1, 2, 3
DEFAULT_LIMIT, MAX_LIMIT = 25, 100
MAX_PAGE = 1_000_000


class Query(NamedTuple):
    """What is asked for."""

    log_type: int
    limit: int
    page: int
    flow: str | None
    run_id: str | None

    @property
    def start(self) -> int:
        return (self.page - 1) * self.limit


def asked(query: Mapping[str, str]) -> Query:
    """The query of a request. Refusal 400 names the parameter that is wrong."""
    return Query(
        log_type=_number(query, "log_type", MAIN, LINE),
        limit=_number(query, "limit", DEFAULT_LIMIT, MAX_LIMIT),
        page=_number(query, "page", 1, MAX_PAGE),
        flow=query.get("flowId") or None,
        run_id=query.get("filename_uuid") or query.get("original_filename_uuid") or None,
    )


def _number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) <= 7 and 1 <= int(text) <= most):
        raise Refusal(400, f"{name} must be a number from 1 to {most}")
    return int(text)


def main_log(run: Run) -> dict[str, Any]:
    """A run."""
    return {
        "id": run.run_id,
        "flow_id": run.flow,
        "log_type": MAIN,
        "filename_uuid": run.run_id,
        "original_filename_uuid": run.run_id,
        "state": FINISHED if run.ended else START if run.status == "queued" else IN_PROGRESS,
        "status": STATUS.get(run.status, UNDER_WAY),
        "triggered_by": run.trigger.by if run.trigger.kind in ("person", "outbound") and run.trigger.by else "System",
        "is_triggered": run.trigger.kind == "person",
        "created": _milliseconds(run.created_at),
        "finished": _milliseconds(run.finished_at),
        "message": run.error or "",
        "rows": msgspec.to_builtins(run.counts),
    }


def sub_logs(run: Run, definition: Definition) -> list[dict[str, Any]]:
    """The steps of a run, in order."""
    steps = ["login"] + ["read"] * definition.inbound
    steps += ["script"] * (definition.script is not None) + ["mapping"] * (definition.mapping is not None) + ["write"]
    return [_sub_log(run, step, number) for number, step in enumerate(steps, 1)]


def _sub_log(run: Run, step: str, number: int) -> dict[str, Any]:
    state, status = _progress(run, step)
    return {
        "id": f"{run.run_id}-{number}",
        "flow_id": run.flow,
        "log_type": SUB,
        "name": step,
        "original_filename_uuid": run.run_id,
        "state": state,
        "status": status,
        "message": (run.error or "") if run.error_stage == step else "",
    }


def _progress(run: Run, step: str) -> tuple[int, int]:
    if run.error_stage == step:
        return FINISHED, FAILED
    if run.status == "queued":
        return START, UNDER_WAY
    if step == "write" and run.ended:
        return FINISHED, STATUS[run.status]
    done = {
        "login": run.pages > 0 or run.ended,
        "read": run.read_complete,
        "script": run.read_complete and run.pages_done >= run.pages,
        "mapping": run.read_complete and run.pages_done >= run.pages,
        "write": False,
    }
    return (FINISHED, SUCCESS) if done[step] else (IN_PROGRESS, UNDER_WAY)


def line_log(row: RowLog, flow: str) -> dict[str, Any]:
    """A row that is settled."""
    return {
        "id": f"{row.run_id}-{row.row}",
        "flow_id": flow,
        "log_type": LINE,
        "original_filename_uuid": row.run_id,
        "identifier": row.product,
        "state": FINISHED,
        "status": FAILED if row.state in ("failed", "cancelled") else SUCCESS,
        "result": row.state,
        "step": row.stage,
        "message": row.reason or "",
        "http_status": row.http_status,
    }


def envelope(query: Query, count: int, results: list[dict[str, Any]]) -> dict[str, Any]:
    """A page of logs; `previous` and `next` are page numbers or null. Refusal 404 when there is nothing on it."""
    if not results:
        raise Refusal(404, "there are no logs")
    return {
        "count": count,
        "limit": query.limit,
        "page": query.page,
        "previous": query.page - 1 if query.page > 1 else None,
        "next": query.page + 1 if query.start + query.limit < count else None,
        "results": results,
    }


def _milliseconds(instant: datetime | None) -> str | None:
    return None if instant is None else str(int(instant.timestamp() * 1000))
