"""Settling: rows get their log, the ledger learns what was written, runs count. The writers' hot path.

One call settles a whole chunk in a few statements; on PostgreSQL in one, so in one round trip.

Settling is fenced by the claim's token:

1. A write enters the ledger even if its claim was lost, unless a newer version is entered already.
2. When a claim is taken over from a dead owner, the product is in doubt (claims.py, doubts.py).
3. If the first owner then settles after all, both wrote at the same time, and which request came last is unknown: the
   product is in doubt from then on, and the newest set is written again.

Locks are taken in one order everywhere: entries of the ledger by product, then rows, then runs. Every batch is sorted,
so two writers whose batches overlap wait for each other and never deadlock.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import ARRAY, BigInteger, Boolean, bindparam, column, select
from sqlalchemy import Row as SqlRow

from imageflow.model.row import STATES, Row, RowLog, digest_of
from imageflow.model.run import Run
from imageflow.store import open_failures
from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.doubts import DOUBT_SECONDS, LATE, NOW
from imageflow.store.driver_errors import CLASHES
from imageflow.store.ledger import LedgerEntry
from imageflow.store.row_record import LOG_COLUMNS, LOGGED_ALIKE, RETRYING, log_values, logged, unchanged_values
from imageflow.store.run_progress import finish
from imageflow.store.run_record import COUNTED, counted_run
from imageflow.store.tables import Instant, runs
from imageflow.store.text import keyed
from imageflow.store.transaction import Sql, writes

T = TypeVar("T")

_STATE = list(LOG_COLUMNS).index("state")
_ENTRIES = Batch(
    "entries",
    alike=("domain", "run_id"),
    domain="text",
    product="text",
    version="bigint",
    digest="text",
    run_id="text",
    number="bigint",
)
_LOGS = Batch("logs", alike=LOGGED_ALIKE, **LOG_COLUMNS)
_UNCHANGED = Batch("logs", alike=LOGGED_ALIKE, **LOG_COLUMNS, digest="text")
_SETS = Batch(
    "logs", alike=("run_id",), run_id="text", number="bigint", product="text", version="bigint", digest="text"
)

_UNDO_CANCELLED = BatchStatement(
    """
    UPDATE rows SET state = 'retrying' FROM {settled}
    WHERE rows.run_id = settled.run_id AND rows.number = settled.number AND rows.state = 'cancelled'
    RETURNING rows.run_id
    """,
    Batch("settled", run_id="text", number="bigint"),
)
_LOG_AGAIN = f"""
    ON CONFLICT (run_id, number) DO UPDATE SET
        {", ".join(f"{c} = excluded.{c}" for c in [*list(LOG_COLUMNS)[2:], "settled_at"])}
    WHERE r.state = 'retrying'
"""
"""For rows that have a log: only a row being retried changes. Without this clause PostgreSQL inserts in two thirds of the
time, and a row that has a log clashes: see `_new_first`."""
_LOG_INTO = f"""
    INSERT INTO rows AS r ({", ".join(LOG_COLUMNS)}, settled_at)
    SELECT {", ".join(f"logs.{column}" for column in LOG_COLUMNS)}, :now
"""
_LOGGED = "RETURNING run_id, state"
_LOG = f"{_LOG_INTO} FROM {{logs}} WHERE true {_LOG_AGAIN} RETURNING run_id, number, state"
# Every entry that this upsert inserts exists already. An UPDATE joined with the batch would say the same, but SQLite may
# then read the whole ledger for each row of the batch.
_SKIP = """
    INSERT INTO ledger AS l (domain, product, version, digest, run_id, number)
    SELECT :domain, logs.product, logs.version, logs.digest, logs.run_id, logs.number FROM {logs}
    WHERE logs.digest = (SELECT k.digest FROM ledger AS k WHERE k.domain = :domain AND k.product = logs.product)
    ON CONFLICT (domain, product) DO UPDATE SET
        version = excluded.version, run_id = excluded.run_id, number = excluded.number
    WHERE l.digest = excluded.digest AND l.version < excluded.version AND l.claim_token IS NULL
    RETURNING number
"""
_SAME = """
    UPDATE ledger AS l SET version = same.version, run_id = same.run_id, number = same.number
    FROM (
        SELECT logs.*, known.place FROM {logs} CROSS JOIN LATERAL (
            SELECT k.ctid AS place FROM ledger AS k
            WHERE k.domain = :domain AND k.product = logs.product
                AND k.digest = logs.digest AND k.version < logs.version AND k.claim_token IS NULL
            OFFSET 0
        ) AS known
    ) AS same
    WHERE l.ctid = same.place
        AND (l.digest = same.digest AND l.version < same.version AND l.claim_token IS NULL) = (same.place IS NOT NULL)
    RETURNING same.*
"""
"""What _SKIP does, in half of its time. It needs this plan, whatever PostgreSQL believes of the ledger's size, for a ledger
grows faster than it is analysed (from EXPLAIN, PostgreSQL 15):

    Update on ledger l
      ->  Nested Loop
            ->  Function Scan on logs                           the batch, in its order: the order of the locks
            ->  Nested Loop
                  ->  Subquery Scan on known
                        ->  Index Scan using ledger_pkey on ledger k
                  ->  Tid Scan on ledger l                      the entry's place, no second look-up
                        TID Cond: (ctid = known.place)

Four tricks lead there. OFFSET 0 keeps the planner from merging the subquery into the join, so each row is looked up by the
key. The update finds the entry by its ctid. The conditions come twice, because an entry may have changed by the time that
it is locked; the second time they are compared with a tautology (`place IS NOT NULL`), which hides their selectivity: the
planner would take the ledger for nearly empty after them. _ROW_BY_ROW takes the alternatives away.

An entry that another transaction changes meanwhile is either checked again in its new version or not updated at all. Its
row then counts as not skipped, and goes the long way. tests/contract/test_store_plans.py holds the plan."""
_ROW_BY_ROW = BatchStatement(
    "SELECT set_config('plan_cache_mode', 'force_generic_plan', true),"
    " set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),"
    " set_config('enable_mergejoin', 'off', true), set_config('enable_memoize', 'off', true)"
)
"""Settings of this transaction alone, in one round trip. The generic plan is made once for each connection, perhaps while
the ledger is empty, and must be right for one of any size: so no sequential scan, hash or merge join, and no memoizing of
look-ups, each of which has another key."""
_OURS = "COALESCE(l.claim_token, '') = :token"
_KNOWN = f"""(
    NOT {_OURS} AND l.claim_token IS NULL
    AND (excluded.digest = l.digest OR excluded.version = l.version AND l.digest IS NOT NULL)
)"""
"""A late writer wrote the set that the ledger has, and nobody has claimed the product: nothing is in doubt by that."""
_SURE = f"(excluded.digest IS NOT NULL AND {_OURS} AND excluded.version >= l.version)"
"""A write that is the newest, by a writer that has the claim."""
_STAYS = """(
    l.doubt_until > :since AND NOT (l.doubt_low = excluded.version AND l.doubt_high = excluded.version)
)"""
"""Another row's request may come after such a write, or may have."""
_LOWEST = (
    "CASE WHEN excluded.digest IS NOT NULL AND excluded.version > l.version THEN l.version ELSE excluded.version END"
)
"""The lower version of two that were written at the same time. NULL loses each comparison below."""
_LATEST = "CASE WHEN excluded.digest IS NULL THEN :late ELSE :now END"
"""A write that was answered will not come later than now."""
_ENTER = f"""
    INSERT INTO ledger AS l (domain, product, version, digest, run_id, number)
    SELECT entries.domain, entries.product, entries.version, entries.digest, entries.run_id, entries.number
    FROM {{entries}} WHERE true
    ON CONFLICT (domain, product) DO UPDATE SET
        version = CASE
            WHEN excluded.digest IS NOT NULL AND excluded.version > l.version THEN excluded.version ELSE l.version
        END,
        run_id = CASE
            WHEN excluded.digest IS NOT NULL AND excluded.version >= l.version THEN excluded.run_id ELSE l.run_id
        END,
        number = CASE
            WHEN excluded.digest IS NOT NULL AND excluded.version >= l.version THEN excluded.number ELSE l.number
        END,
        digest = CASE
            WHEN excluded.version < 0 OR {_KNOWN} THEN l.digest
            WHEN {_SURE} AND NOT COALESCE({_STAYS} AND l.doubt_high > excluded.version, false) THEN excluded.digest
        END,
        doubt_low = CASE
            WHEN excluded.version < 0 OR {_KNOWN} OR {_SURE} AND {_STAYS} THEN l.doubt_low
            WHEN {_SURE} THEN NULL
            WHEN l.doubt_low < {_LOWEST} THEN l.doubt_low
            ELSE {_LOWEST}
        END,
        doubt_high = CASE
            WHEN excluded.version < 0 OR {_KNOWN} OR {_SURE} AND {_STAYS} THEN l.doubt_high
            WHEN {_SURE} THEN NULL
            WHEN l.doubt_high > excluded.version THEN l.doubt_high
            ELSE excluded.version
        END,
        doubt_until = CASE
            WHEN excluded.version < 0 OR {_KNOWN} OR {_SURE} AND {_STAYS} THEN l.doubt_until
            WHEN {_SURE} THEN NULL
            WHEN l.doubt_until > {_LATEST} THEN l.doubt_until
            ELSE {_LATEST}
        END,
        rewrites = CASE WHEN {_SURE} AND NOT COALESCE({_STAYS}, false) THEN NULL ELSE l.rewrites END,
        claim_token = CASE WHEN {_OURS} THEN NULL ELSE l.claim_token END,
        claim_owner = CASE WHEN {_OURS} THEN NULL ELSE l.claim_owner END,
        claim_version = CASE WHEN {_OURS} THEN NULL ELSE l.claim_version END
    WHERE excluded.version >= 0 OR {_OURS}
"""  # noqa: S608 - SQL of our own
"""The fence, in SQL; see (1) and (3) above. A version of -1 only releases the claim; a version without a digest is in doubt.
A writer with the claim enters its digest. One without it leaves a doubt, and so does its write of an older version than the
ledger has by then."""
_COUNTED = ", ".join([*(f"runs.{column.name}" for column in COUNTED), open_failures.TROUBLED])
_RETURNED = (*COUNTED, column("troubled", Boolean))
_TIMES = [NOW, LATE, bindparam("since", type_=Instant())]
_LOG_ALONE = BatchStatement(_LOG, _LOGS, typed=[NOW])
_LOG_NEW = BatchStatement(f"{_LOG_INTO} FROM {{logs}}", _LOGS, typed=[NOW])
"""SQLite's driver hands its lock over for each row that comes back, and other threads take it: so none comes back."""
_ENTER_ALONE = BatchStatement(_ENTER, _ENTRIES, typed=_TIMES)
_COUNT = BatchStatement(
    f"""
    UPDATE runs SET {", ".join(f"{state} = {state} + :{state}" for state in STATES)}
    WHERE run_id = :run_id RETURNING {_COUNTED}
    """,  # noqa: S608 - columns of our own
    returns=_RETURNED,
)
_COUNT_LOGGED = f"""
    counted AS (
        SELECT run_id, {", ".join(f"count(*) FILTER (WHERE state = '{state}') AS {state}" for state in STATES)}
        FROM logged GROUP BY run_id
    )
    UPDATE runs SET {", ".join(f"{state} = runs.{state} + counted.{state}" for state in STATES)}
    FROM counted WHERE runs.run_id = counted.run_id RETURNING {_COUNTED}
"""  # noqa: S608 - columns of our own


def _settling(again: str = "") -> BatchStatement:
    after = "(SELECT count(*) FROM entered) >= 0"
    return BatchStatement(
        f"""
        WITH entered AS ({_ENTER} RETURNING 1),
        logged AS ({_LOG_INTO} FROM {{logs}} WHERE {after} {again} {_LOGGED}), {_COUNT_LOGGED}
        """,
        _LOGS,
        _ENTRIES,
        typed=_TIMES,
        returns=_RETURNED,
    )


def _settling_unsent(again: str = "") -> BatchStatement:
    """Of rows that leave no entry in the ledger: so it is not named, and who settles needs no right on it."""
    return BatchStatement(
        f"WITH logged AS ({_LOG_INTO} FROM {{logs}} WHERE true {again} {_LOGGED}), {_COUNT_LOGGED}",
        _LOGS,
        typed=[NOW],
        returns=_RETURNED,
    )


def _skipping(again: str, logged: str) -> BatchStatement:
    return BatchStatement(
        f"""
        WITH same AS ({_SAME}), logged AS ({_LOG_INTO.replace("logs.", "same.")} FROM same WHERE true {again})
        SELECT array_agg(number) AS skipped, {logged} AS logged FROM same
        """,  # noqa: S608 - columns of our own
        _UNCHANGED,
        typed=[NOW],
        returns=(column("skipped", ARRAY(BigInteger)), column("logged", BigInteger)),
    )


_SETTLE, _SETTLE_NEW = _settling(_LOG_AGAIN), _settling()
_SETTLE_UNSENT, _SETTLE_UNSENT_NEW = _settling_unsent(_LOG_AGAIN), _settling_unsent()
_SKIP_ALONE = BatchStatement(_SKIP, _SETS)
_SKIP_AND_LOG = _skipping(f"{_LOG_AGAIN} RETURNING 1", "(SELECT count(*) FROM logged)")
_SKIP_AND_LOG_NEW = _skipping("", "count(*)")
"""For new rows the number that is logged is the number that is skipped: a RETURNING on the INSERT would cost a tenth."""


class Sent(NamedTuple):
    """With which claims a chunk was sent: see Store.settle."""

    token: str
    since: datetime | None
    doubt_seconds: float

    def parameters(self, now: datetime) -> dict[str, Any]:
        """What _ENTER needs."""
        late = now + timedelta(seconds=self.doubt_seconds)
        return {"token": self.token, "now": now, "late": late, "since": self.since or now}


class Skipped(NamedTuple):
    """The numbers of the rows that were settled as unchanged, and the runs that ended with them."""

    rows: frozenset[int]
    ended: list[Run]


class SettlingSql(Sql):
    """The methods of the store about settling."""

    async def skip(self, domain: str, run_id: str, rows: Sequence[Row]) -> Skipped:
        """Settle the rows of a run that are unchanged: the ledger has this image set for the product by an older row, and the
        product is not claimed. One statement that does what `claim` and `settle` would do; all other rows are left as they
        are. Only for rows that are written to a SKU, each product once.
        """
        return await _new_first(rows, functools.partial(self._skip, domain, run_id, rows))

    @writes
    async def _skip(self, tx: Tx, domain: str, run_id: str, rows: Sequence[Row], *, new: bool) -> Skipped:
        known = sorted((row for row in rows if row.product == keyed(row.product)), key=lambda row: row.product)
        if not known:
            return Skipped(frozenset(), [])
        if tx.postgresql:
            records = [(*unchanged_values(run_id, row), digest_of(row)) for row in known]
            await tx.run(_ROW_BY_ROW.bind(tx))
            statement = _SKIP_AND_LOG_NEW if new else _SKIP_AND_LOG
            [found] = await tx.run(statement.bind(tx, records, domain=domain, now=tx.now))
            skipped = frozenset(found.skipped or ())
            changed = await _count(tx, run_id, unchanged=found.logged)
        else:
            sets = [(run_id, row.row, row.product, row.version, digest_of(row)) for row in known]
            skipped = frozenset(row.number for row in await tx.run(_SKIP_ALONE.bind(tx, sets, domain=domain)))
            rows_of = [unchanged_values(run_id, row) for row in known if row.row in skipped]
            changed = (await _log_stepwise(tx, rows_of, new=new)).runs
        if any(run.troubled for run in changed):
            values = [unchanged_values(run_id, row) for row in known if row.row in skipped]
            await _follow(tx, changed, values, again=not new)
        return Skipped(skipped, await _finish(tx, changed))

    async def settle(
        self,
        token: str,
        logs: Sequence[RowLog],
        *,
        written: Sequence[LedgerEntry] = (),
        release: Sequence[tuple[str, str]] = (),
        since: datetime | None = None,
        doubt_seconds: float = DOUBT_SECONDS,
    ) -> list[Run]:
        """Settle rows, in one transaction: log them; enter `written` in the ledger, never an older version over a newer one,
        and without a digest where the token lost its claim; end the token's claims on `written` and `release` (domain,
        product); count on the runs. Each row counts once, however often it is settled; a row being retried changes in
        place. Returns the runs that ended with it.

        `since`: when the claims were asked for, so that nothing was sent before (None: now). Writes whose result is unknown
        leave their product in doubt for `doubt_seconds`.
        """
        work = functools.partial(self._settle, Sent(token, since, doubt_seconds), logs, written, release)
        return await (work(new=False) if _any_failed(logs) else _new_first(logs, work))

    @writes
    async def _settle(
        self,
        tx: Tx,
        sent: Sent,
        logs: Sequence[RowLog],
        written: Sequence[LedgerEntry],
        release: Sequence[tuple[str, str]],
        *,
        new: bool,
    ) -> list[Run]:
        undone = {} if new else await _undo_cancelled(tx, logs)
        ended = await _settle_within(tx, sent, logs, _entries(written, release), new=new)
        for run_id, count in undone.items():
            ended += await _finish(tx, await _count(tx, run_id, cancelled=-count))
        return ended


async def _undo_cancelled(tx: Tx, logs: Sequence[RowLog]) -> Counter[str]:
    """Make rows that the cancel of their run settled ready for another log: their request was in flight, and what came of it
    is the truth. Returns how many, by run; their counts are corrected once the new logs are counted.
    """
    numbers = sorted({(log.run_id, log.row) for log in logs if log.state != "cancelled"})
    if not numbers:
        return Counter()
    return Counter(row.run_id for row in await tx.run(_UNDO_CANCELLED.bind(tx, numbers)))


async def _new_first(logs: Sequence[Row | RowLog], work: Callable[..., Awaitable[T]]) -> T:
    """Do `work` for rows that have no log yet, if none was tried before; where one has a log all the same, do it again with
    the clause for rows that have one.
    """
    if not any(log.tries for log in logs):
        with contextlib.suppress(*CLASHES):
            return await work(new=True)
    return await work(new=False)


async def settle(tx: Tx, token: str, logs: Sequence[RowLog]) -> list[Run]:
    """Settle rows that were not sent, within a transaction. Several runs are locked by their ids."""
    return await _settle_within(tx, Sent(token, None, 0.0), logs, [], new=False)


def _any_failed(logs: Sequence[RowLog]) -> bool:
    return any(log.state == "failed" for log in logs)


async def _settle_within(
    tx: Tx, sent: Sent, logs: Sequence[RowLog], entries: list[tuple[Any, ...]], *, new: bool
) -> list[Run]:
    """What Store.settle does, within a transaction. `new`: no row has a log yet; raises one of CLASHES where one has.

    Rows that failed go step by step: which of them were logged now must be known.
    """
    rows = _sorted_logs(logs)
    run_ids = sorted({row[0] for row in rows})
    if len(run_ids) > 1:
        in_order = select(runs.c.run_id).where(runs.c.run_id.in_(run_ids)).order_by(runs.c.run_id)
        await tx.execute(in_order.with_for_update())
    given = sent.parameters(tx.now)
    changed: Sequence[SqlRow[Any]]
    if not tx.postgresql or _any_failed(logs):  # SQLite has no INSERT within WITH
        if entries:
            await tx.run(_ENTER_ALONE.bind(tx, entries, **given))
        changed, rows = await _log_stepwise(tx, rows, new=new)
    elif entries:
        statement = _SETTLE_NEW if new else _SETTLE
        changed = await tx.run(statement.bind(tx, rows, entries, **given))
    else:
        unsent = _SETTLE_UNSENT_NEW if new else _SETTLE_UNSENT
        changed = await tx.run(unsent.bind(tx, rows, now=tx.now))
    await _follow(tx, changed, rows, again=not new)
    return await _finish(tx, changed)


async def _follow(tx: Tx, changed: Sequence[SqlRow[Any]], values: Sequence[tuple[Any, ...]], *, again: bool) -> None:
    """Keep the open failures of the flows whose rows were logged (see open_failures.py), where there are any or come any."""
    for flow in sorted({run.flow for run in changed}):
        its_runs = [run for run in changed if run.flow == flow]
        run_ids = {run.run_id for run in its_runs}
        its_rows = [one for one in values if one[0] in run_ids]
        if any(run.troubled for run in its_runs) or any(_opens(one[_STATE], again=again) for one in its_rows):
            await open_failures.follow(tx, flow, [logged(one) for one in its_rows], again=again)


def _opens(state: str, *, again: bool) -> bool:
    """Whether a row with that log may open a failure."""
    return state == "failed" or (again and state == "superseded")


async def _finish(tx: Tx, changed: Sequence[SqlRow[Any]]) -> list[Run]:
    """End the runs, of those whose counts changed, that have nothing more to come."""
    ended = [await finish(tx, counted_run(row)) for row in changed]
    return [run for run in ended if run is not None]


async def log_rows(tx: Tx, flow: str, values: Sequence[tuple[Any, ...]]) -> list[Run]:
    """Log rows of a locked run of the flow, given as `log_values` gives them: new ones, and those that are being retried. Counts
    those that are settled with it. Returns the run if it ended.
    """
    changed, rows = await _log_stepwise(tx, sorted(values, key=lambda row: row[:2]), new=False)
    await open_failures.follow(tx, flow, [logged(one) for one in rows], again=True)
    return await _finish(tx, changed)


class _Logged(NamedTuple):
    """Runs whose counts changed, as they are then, and the values of the rows that were logged."""

    runs: list[SqlRow[Any]]
    rows: list[tuple[Any, ...]]


async def _log_stepwise(tx: Tx, rows: list[tuple[Any, ...]], *, new: bool) -> _Logged:
    """Log rows and count them on their runs. `new`: none has a log yet; raises one of CLASHES where one has."""
    there = await _log(tx, rows, new=new) if rows else rows
    counts: dict[str, Counter[str]] = {}
    for row in there:
        if row[_STATE] != RETRYING:
            counts.setdefault(row[0], Counter())[row[_STATE]] += 1
    changed: list[SqlRow[Any]] = []
    for run_id, moved in counts.items():
        changed += await _count(tx, run_id, **moved)
    return _Logged(changed, there)


async def _log(tx: Tx, rows: list[tuple[Any, ...]], *, new: bool) -> list[tuple[Any, ...]]:
    """The rows that were logged now."""
    if new:
        await tx.run(_LOG_NEW.bind(tx, rows, now=tx.now))
        return rows
    found = await tx.run(_LOG_ALONE.bind(tx, rows, now=tx.now))
    if len(found) == len(rows):
        return rows
    there = {(row.run_id, row.number) for row in found}
    return [row for row in rows if row[:2] in there]


async def _count(tx: Tx, run_id: str, **moved: int) -> Sequence[SqlRow[Any]]:
    """Count rows, by state, on their run; the run as it is then, or nothing where nothing moved."""
    if not any(moved.values()):
        return ()
    return await tx.run(_COUNT.bind(tx, run_id=run_id, **(dict.fromkeys(STATES, 0) | moved)))


def _sorted_logs(logs: Sequence[RowLog]) -> list[tuple[Any, ...]]:
    """Values of the batch by (run, row); of one row that is settled twice, the first log."""
    first = {(log.run_id, log.row): log for log in reversed(logs)}
    return [log_values(first[key]) for key in sorted(first)]


def _entries(written: Sequence[LedgerEntry], release: Sequence[tuple[str, str]]) -> list[tuple[Any, ...]]:
    """Values of the batch by product: what was written (of one product, the newest), and what is only released."""
    entries: dict[tuple[str, str], tuple[Any, ...]] = {}
    for domain, product in release:
        key = (domain, keyed(product))
        entries[key] = (*key, -1, None, None, None)
    for item in sorted(written, key=lambda entry: entry.version):
        key = (item.domain, keyed(item.product))
        entries[key] = (*key, item.version, item.digest, item.run_id, item.row)
    return [entries[key] for key in sorted(entries)]
