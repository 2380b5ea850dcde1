"""How large the numbers of a flow file may be, each with the reason. Pure.

Not bounds of the types: a version that was saved before a bound was set still runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from imageflow.model import flow, pagination
from imageflow.model.field_types import Complaints, Duration

MIB = 1 << 20
MINUTE, DAY = 60, 86_400


class Limit(NamedTuple):
    """The largest value of a field, how it is written, and why no more."""

    most: int
    written: str
    why: str


_YEAR = Limit(366 * DAY, "366d", "a longer time is hardly meant")
_DELIVERY = "the message of a page must be settled within 30 minutes, and others wait meanwhile"
_PAGES = Limit(1_000_000, "1000000", "a read of more pages is taken for one that never ends")
_PAGE_ROWS = Limit(100_000, "100000", "a page is held in memory as a whole")

LIMITS: dict[tuple[type, str], Limit] = {
    (flow.Schedule, "every"): _YEAR,
    (flow.Definition, "script_timeout"): Limit(5 * MINUTE, "5m", _DELIVERY),
    (flow.Erp, "timeout"): Limit(10 * MINUTE, "10m", _DELIVERY),
    (flow.Erp, "overlap"): _YEAR,
    (flow.Erp, "max_answer_bytes"): Limit(256 * MIB, "268435456 (256 MiB)", "the reader holds an answer in memory"),
    (flow.FetchMissing, "productization_date_limit_days"): Limit(36_500, "36500 days", "no product is older"),
    (flow.FetchMissing, "batch_size"): Limit(1_000, "1000", "the identifiers of a batch travel in one request"),
    (flow.FetchMissing, "every"): _YEAR,
    (flow.Write, "concurrency"): Limit(1_000, "1000", "each request takes a connection, and Omnitron takes fewer"),
    (flow.Write, "max_attempts"): Limit(100, "100", "with the delays between them that is more than a day"),
    (flow.Write, "timeout"): Limit(5 * MINUTE, "5m", "a writer that is killed keeps its products for that long"),
    (flow.Alarms, "average_flow_time"): _YEAR,
    (flow.Alarms, "silence"): _YEAR,
    **{
        (kind, field): limit
        for kind in pagination.TYPES
        for field, limit in (
            ("max_pages", _PAGES),
            ("limit", _PAGE_ROWS),
            ("start", Limit(2**31 - 1, "2147483647", "a larger number is no number of a row or page")),
        )
        if field in kind.__struct_fields__
    },
}
"""Fields with bounds in their types (`error_rate`, `statuses`, rates) are not here."""


def check(limit: Limit) -> Callable[[Any], Complaints]:
    """What is wrong with a value of a type that is right."""

    def complain(value: Any) -> Complaints:
        number = value if isinstance(value, int) else Duration.parse(value) if value != "auto" else 0
        if number > limit.most:
            yield "", f"must be at most {limit.written}: {limit.why}"

    return complain
