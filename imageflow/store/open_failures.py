"""Open failures, kept: what follows from the logs of failed rows, so that no list has to search for it.

A failure is open until a newer row of its product is logged in the flow, whatever came of that one, unless it was
superseded: then nothing was written. If the newer one failed too, it is the open one. A failure without a product is open
until it is retried, or too old to be kept.

    open_failures   the open ones, by row
    run_causes      by run and cause, how many rows failed, and how many of them are open
    causes          by flow and cause, how many are open, how many ever failed, since when, until when
    cause_days      by flow, cause and day, how many failed
    failing_flows   by flow, how many are open; its record is the lock of the flow's records in the other tables

Whatever logs rows calls `follow` in the same transaction. Where nothing failed and nothing is open that costs no
statement: the statement that counts rows on their run says whether anything is open in the flow.

Locks come last: entries of the ledger, rows, runs, then flows in `failing_flows`. Two transactions that settle two rows of
one product at the same moment, in two runs, may not see each other's row. So each open failure is looked at once more when
both have ended: see `check_failures`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import bindparam, text

from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.tables import Instant
from imageflow.store.text import keyed
from imageflow.store.transaction import Sql, writes

NOW = bindparam("now", type_=Instant())
CHECK_AFTER = timedelta(minutes=2)
"""A transaction that was under way when a failure was entered has ended by then: see the time-outs in postgresql.py."""
TROUBLED = "COALESCE((SELECT f.open FROM failing_flows AS f WHERE f.flow = runs.flow), 0) > 0 AS troubled"
"""Whether failures of the run's flow are open, in an UPDATE of `runs`."""
CLOSING = frozenset(("written", "unchanged", "cancelled", "failed", "retrying"))
"""A row in one of these states closes the older failures of its product."""


class Logged(NamedTuple):
    """A row that was logged, as far as failures are concerned."""

    run_id: str
    number: int
    product: str | None
    version: int
    state: str
    stage: str
    http_status: int | None
    reason: str | None
    fingerprint: str
    retryable: bool


class Cause(NamedTuple):
    """What a cause says for itself."""

    stage: str
    http_status: int | None
    reason: str | None


class Tally:
    """How the counts of causes move, by cause and run."""

    def __init__(self) -> None:
        self.open: Counter[tuple[str, str]] = Counter()
        self.open_retryable: Counter[str] = Counter()
        self.failed: Counter[tuple[str, str]] = Counter()
        self.failed_retryable: Counter[tuple[str, str]] = Counter()
        self.fresh: Counter[str] = Counter()
        self.words: dict[str, Cause] = {}

    def failing(self, rows: Iterable[Logged]) -> None:
        """Rows that have just failed."""
        for row in rows:
            self.fresh[row.fingerprint] += 1
            self.words[row.fingerprint] = Cause(row.stage, row.http_status, row.reason)
            self.was_logged(row.fingerprint, row.run_id, retryable=row.retryable)

    def was_logged(self, fingerprint: str, run_id: str, by: int = 1, *, retryable: bool) -> None:
        """One row of a run that has failed, or (-1) is not a failed one any more."""
        self.failed[fingerprint, run_id] += by
        self.failed_retryable[fingerprint, run_id] += by * retryable

    def opened(self, fingerprint: str, run_id: str, by: int = 1, *, retryable: bool) -> None:
        """One failure that is open, or (-1) is not open any more."""
        self.open[fingerprint, run_id] += by
        self.open_retryable[fingerprint] += by * retryable


_BY_PRODUCT = Batch("named", product="text", version="bigint")
_MATCHES = BatchStatement(
    """
    SELECT found.hit FROM (
        SELECT (
            SELECT 1 FROM open_failures AS o
            WHERE o.flow = :flow AND o.product = named.product AND o.version < named.version LIMIT 1
        ) AS hit FROM {named}
    ) AS found WHERE found.hit IS NOT NULL LIMIT 1
    """,
    _BY_PRODUCT,
)
_CLOSE = BatchStatement(
    """
    DELETE FROM open_failures WHERE (run_id, number) IN (
        SELECT o.run_id, o.number FROM {named} CROSS JOIN open_failures AS o
        WHERE o.flow = :flow AND o.product = named.product AND o.version < named.version
    ) RETURNING fingerprint, run_id, retryable
    """,
    _BY_PRODUCT,
)
_BY_ROW = Batch("chosen", run_id="text", number="bigint")
_REMOVE = BatchStatement(
    """
    DELETE FROM open_failures WHERE (run_id, number) IN (SELECT chosen.run_id, chosen.number FROM {chosen})
    RETURNING flow, fingerprint, run_id, retryable
    """,
    _BY_ROW,
)
_CHECKED = BatchStatement(
    "UPDATE open_failures SET checked = true WHERE (run_id, number) IN (SELECT chosen.run_id, chosen.number FROM {chosen})",
    _BY_ROW,
)
# Here and below: a subquery in the select list is never merged into a join, so each product is looked up by its index.
_NEWER = """(
    SELECT 1 FROM rows AS n WHERE n.product = failing.product AND n.version > failing.version AND n.state <> 'superseded'
        AND (SELECT runs.flow FROM runs WHERE runs.run_id = n.run_id) = :flow LIMIT 1
)"""
_OVERTAKEN = BatchStatement(
    f"SELECT failing.run_id, failing.number, {_NEWER} AS newer FROM {{failing}}",  # noqa: S608 - SQL of our own
    Batch("failing", run_id="text", number="bigint", product="text", version="bigint"),
)
_NEWEST = BatchStatement(
    """
    SELECT named.product, (
        SELECT max(n.version) FROM rows AS n WHERE n.product = named.product AND n.state <> 'superseded'
            AND (SELECT runs.flow FROM runs WHERE runs.run_id = n.run_id) = :flow
    ) AS version FROM {named}
    """,
    Batch("named", product="text"),
)
_FAILED_AT = BatchStatement(
    """
    SELECT r.run_id, r.number, r.product, r.version, r.state, r.stage, r.http_status, r.reason,
        COALESCE(r.fingerprint, '') AS fingerprint, r.images, r.page
    FROM {named} CROSS JOIN rows AS r
    WHERE r.product = named.product AND r.version = named.version AND r.state = 'failed'
        AND (SELECT runs.flow FROM runs WHERE runs.run_id = r.run_id) = :flow
    """,
    _BY_PRODUCT,
)
_OPEN = BatchStatement(
    """
    INSERT INTO open_failures (run_id, number, flow, product, version, fingerprint, retryable, failed_at, checked)
    SELECT opened.run_id, opened.number, :flow, opened.product, opened.version, opened.fingerprint, opened.retryable,
        :now, opened.product IS NULL
    FROM {opened} WHERE true ON CONFLICT (run_id, number) DO NOTHING
    RETURNING fingerprint, run_id, retryable
    """,
    Batch(
        "opened",
        run_id="text",
        number="bigint",
        product="text",
        version="bigint",
        fingerprint="text",
        retryable="boolean",
    ),
    typed=[NOW],
)
_COUNT_CAUSES = BatchStatement(
    """
    INSERT INTO causes AS c (
        flow, fingerprint, stage, http_status, reason, open, retryable, total, first_at, last_at, closed_at
    )
    SELECT :flow, moved.fingerprint, moved.stage, CAST(moved.http_status AS integer), moved.reason, moved.open,
        moved.retryable, moved.total, :now, :now, CASE WHEN moved.open <= 0 THEN :now END
    FROM {moved} WHERE true
    ON CONFLICT (flow, fingerprint) DO UPDATE SET
        open = c.open + excluded.open,
        retryable = c.retryable + excluded.retryable,
        total = c.total + excluded.total,
        stage = CASE WHEN excluded.total > 0 THEN excluded.stage ELSE c.stage END,
        http_status = CASE WHEN excluded.total > 0 THEN excluded.http_status ELSE c.http_status END,
        reason = CASE WHEN excluded.total > 0 THEN excluded.reason ELSE c.reason END,
        last_at = CASE WHEN excluded.total > 0 THEN excluded.last_at ELSE c.last_at END,
        closed_at = CASE
            WHEN c.open + excluded.open > 0 THEN NULL
            WHEN c.closed_at IS NULL OR excluded.total > 0 THEN :now
            ELSE c.closed_at
        END
    """,
    Batch(
        "moved",
        fingerprint="text",
        stage="text",
        http_status="bigint",
        reason="text",
        open="bigint",
        retryable="bigint",
        total="bigint",
    ),
    typed=[NOW],
)
_COUNT_RUNS = BatchStatement(
    """
    INSERT INTO run_causes AS c (run_id, fingerprint, flow, created_at, failed, retryable, open)
    SELECT runs.run_id, moved.fingerprint, runs.flow, runs.created_at, moved.failed, moved.retryable, moved.open
    FROM {moved} JOIN runs ON runs.run_id = moved.run_id WHERE true
    ON CONFLICT (run_id, fingerprint) DO UPDATE SET
        failed = c.failed + excluded.failed, retryable = c.retryable + excluded.retryable, open = c.open + excluded.open
    """,
    Batch("moved", fingerprint="text", run_id="text", failed="bigint", retryable="bigint", open="bigint"),
)
_COUNT_DAYS = BatchStatement(
    """
    INSERT INTO cause_days AS c (flow, fingerprint, day, rows)
    SELECT :flow, moved.fingerprint, :day, moved.rows FROM {moved} WHERE true
    ON CONFLICT (flow, fingerprint, day) DO UPDATE SET rows = c.rows + excluded.rows
    """,
    Batch("moved", fingerprint="text", rows="bigint"),
    typed=[bindparam("day", type_=Instant())],
)
_COUNT_FLOW = text(
    "INSERT INTO failing_flows AS f (flow, open) VALUES (:flow, :open)"
    " ON CONFLICT (flow) DO UPDATE SET open = f.open + excluded.open"
)
_UNCHECKED = """
    SELECT o.run_id, o.number, o.flow, r.product, o.version FROM open_failures AS o
    JOIN rows AS r ON r.run_id = o.run_id AND r.number = o.number
    WHERE NOT o.checked AND o.failed_at <= :before ORDER BY o.failed_at LIMIT :most
"""
_BY_INDEX = text(
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),"
    " set_config('enable_mergejoin', 'off', true)"
)
"""Settings of this transaction alone: a plan that was made while `rows` was small must be right for one of any size."""


class OpenFailuresSql(Sql):
    """The method of the store about keeping open failures."""

    @writes
    async def check_failures(self, tx: Tx, *, limit: int = 500) -> int:
        """Look once more at open failures that are a few minutes old, and close those that a newer row had overtaken: it was
        settled at the same moment. Returns how many were looked at.
        """
        before = bindparam("before", type_=Instant())
        found = await tx.all(text(_UNCHECKED).bindparams(before), {"before": tx.now - CHECK_AFTER, "most": limit})
        for flow in sorted({row.flow for row in found}):
            await _lock(tx, flow)
            mine = [(row.run_id, row.number, row.product, row.version) for row in found if row.flow == flow]
            overtaken = await _overtaken(tx, flow, mine)
            await remove(tx, overtaken)
            await tx.run(_CHECKED.bind(tx, [row[:2] for row in mine]))
        return len(found)


async def follow(tx: Tx, flow: str, rows: Sequence[Logged], *, again: bool) -> None:
    """Rows of a flow were logged just now: failures become open, and others are closed by them. Locks the flow where something
    changes. `again`: some of the rows may have been logged before.
    """
    failed = [row for row in rows if row.state == "failed"]
    superseded = [row for row in rows if row.state == "superseded" and row.product is not None] if again else []
    closing = sorted(_by_product(row for row in rows if row.state in CLOSING).items())
    if not failed and not superseded and not (closing and await tx.run(_MATCHES.bind(tx, closing, flow=flow))):
        return
    await _lock(tx, flow)
    tally = Tally()
    tally.failing(failed)
    if closing:
        for gone in await tx.run(_CLOSE.bind(tx, closing, flow=flow)):
            tally.opened(gone.fingerprint, gone.run_id, -1, retryable=gone.retryable)
    named = [(row.run_id, row.number, row.product, row.version) for row in failed if row.product is not None]
    overtaken = await _overtaken(tx, flow, named)
    opened = [row for row in failed if (row.run_id, row.number) not in overtaken]
    opened += await _open_again(tx, flow, sorted({row.product or "" for row in superseded}))
    if opened:
        for new in await tx.run(_OPEN.bind(tx, [_record(row) for row in opened], flow=flow, now=tx.now)):
            tally.opened(new.fingerprint, new.run_id, retryable=new.retryable)
    await _count(tx, flow, tally)


async def remove(tx: Tx, rows: Iterable[tuple[str, int]], tally: Tally | None = None) -> None:
    """These rows (run, number) are not open any more, if they were. `tally` counts what else changes; their flow is one."""
    tally = tally or Tally()
    chosen = sorted(rows)
    flow = None
    for gone in await tx.run(_REMOVE.bind(tx, chosen)) if chosen else ():
        flow = gone.flow
        tally.opened(gone.fingerprint, gone.run_id, -1, retryable=gone.retryable)
    if flow is not None:
        await _count(tx, flow, tally)


async def taken(tx: Tx, flow: str, run_id: str, rows: Sequence[tuple[int, str, bool]]) -> None:
    """Failed rows of a run (number, fingerprint, whether it can be retried) are not failed ones any more: they are being
    retried, or are deleted.
    """
    if not rows:
        return
    await _lock(tx, flow)
    tally = Tally()
    for _, fingerprint, retryable in rows:
        tally.was_logged(fingerprint, run_id, -1, retryable=retryable)
    for gone in await tx.run(_REMOVE.bind(tx, sorted((run_id, number) for number, _, _ in rows))):
        tally.opened(gone.fingerprint, gone.run_id, -1, retryable=gone.retryable)
    await _count(tx, flow, tally)


def retryable(stage: str, product: str | None, images: str, page: int | None) -> bool:
    """Whether a failed row can be retried: as it is, or from its page. `images` is JSON."""
    return (stage in ("login", "write") and product is not None and images != "[]") or (page or 0) > 0


async def _lock(tx: Tx, flow: str) -> None:
    if tx.postgresql:
        await tx.execute(_BY_INDEX)
    await tx.execute(_COUNT_FLOW, {"flow": flow, "open": 0})


async def _overtaken(
    tx: Tx, flow: str, failing: Sequence[tuple[str, int, str | None, int]]
) -> frozenset[tuple[str, int]]:
    """Which of these failed rows (run, number, product, version) have a newer row of the product in the flow."""
    if not failing:
        return frozenset()
    found = await tx.run(_OVERTAKEN.bind(tx, sorted(failing), flow=flow))
    return frozenset((row.run_id, row.number) for row in found if row.newer is not None)


async def _open_again(tx: Tx, flow: str, products: Sequence[str]) -> list[Logged]:
    """The failures that are open of products whose newest row, which was being retried, ended superseded."""
    if not products:
        return []
    newest = await tx.run(_NEWEST.bind(tx, [(product,) for product in products], flow=flow))
    at = [(row.product, row.version) for row in newest if row.version is not None]
    found = await tx.run(_FAILED_AT.bind(tx, at, flow=flow)) if at else ()
    return [Logged._make((*row[:9], retryable(row.stage, row.product, row.images, row.page))) for row in found]


def _by_product(rows: Iterable[Logged]) -> dict[str, int]:
    """The highest version of each product, by its key."""
    found: dict[str, int] = {}
    for row in rows:
        if row.product is not None:
            key = keyed(row.product)
            found[key] = max(row.version, found.get(key, -1))
    return found


def _record(row: Logged) -> tuple[Any, ...]:
    key = None if row.product is None else keyed(row.product)
    return (row.run_id, row.number, key, row.version, row.fingerprint, row.retryable)


async def _count(tx: Tx, flow: str, tally: Tally) -> None:
    """Move the kept counts of a locked flow."""
    by_cause: Counter[str] = Counter()
    for (fingerprint, _), count in tally.open.items():
        by_cause[fingerprint] += count
    nothing = Cause("", None, None)
    moved = [
        (one, *tally.words.get(one, nothing), by_cause[one], tally.open_retryable[one], tally.fresh[one])
        for one in sorted({*by_cause, *tally.fresh})
    ]
    if moved:
        await tx.run(_COUNT_CAUSES.bind(tx, moved, flow=flow, now=tx.now))
    of_runs = [
        (*key, tally.failed[key], tally.failed_retryable[key], tally.open[key])
        for key in sorted({*tally.open, *tally.failed})
    ]
    if of_runs:
        await tx.run(_COUNT_RUNS.bind(tx, of_runs))
    if tally.fresh:
        day = _day(tx.now)
        await tx.run(_COUNT_DAYS.bind(tx, sorted(tally.fresh.items()), flow=flow, day=day))
    if change := sum(by_cause.values()):
        await tx.execute(_COUNT_FLOW, {"flow": flow, "open": change})


def _day(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)
