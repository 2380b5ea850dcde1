"""Claims, the ledger, and settling: the writers' hot path, in statements over a whole batch.

A claim is a mark on the ledger's entry of a product: which token holds it, and of which process (owner). It counts
while that process lives; `owners` says how long, by the clocks of the processes: they have to agree within a lease.
Settling is fenced: what is on Omnitron is entered by whoever wrote it, claim or not, unless something newer is entered
already. Whoever dies with a claim may have written or not: the digest is forgotten with its claim, and again where it
turns out to live.

What writers do locks entries of the ledger first, by product, then rows, then the run.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import ARRAY, BigInteger, Select, and_, bindparam, case, column, delete, exists, select, text, update
from sqlalchemy import Row as SqlRow
from sqlalchemy.exc import IntegrityError

from imageflow.model.row import STATES, Row, RowLog, digest_of
from imageflow.model.run import Run
from imageflow.store import Claim, LedgerEntry, LedgerState, Skipped, Wanted
from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.rowlog import LOG_COLUMNS, LOGGED_ALIKE, log_values, unchanged_values
from imageflow.store.runlog import COUNTED, counted_run, finish
from imageflow.store.tables import Instant, ledger, owners, runs
from imageflow.store.text import clean, keyed
from imageflow.store.transaction import Sql, reads, writes

T = TypeVar("T")

_WANTED = Batch("wanted", product="text", version="bigint")
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

# What another token holds is not taken here, dead or not: whether its owner lives must be read after the entry is
# locked. An entry that the WHERE leaves alone is locked all the same.
_CLAIM = BatchStatement(
    """
    INSERT INTO ledger AS l (domain, product, version, claim_token, claim_owner, claim_version)
    SELECT :domain, wanted.product, -1, :token, :owner, wanted.version FROM {wanted} WHERE true
    ON CONFLICT (domain, product) DO UPDATE SET
        claim_token = excluded.claim_token, claim_owner = excluded.claim_owner, claim_version = excluded.claim_version
    WHERE l.version <= excluded.claim_version AND (l.claim_token IS NULL OR l.claim_token = excluded.claim_token)
    RETURNING product, version, digest
    """,
    _WANTED,
)
_OTHERS = BatchStatement(
    """
    SELECT l.product, l.version, l.digest,
        EXISTS (SELECT 1 FROM owners WHERE owners.owner = l.claim_owner AND owners.alive_until > :now) AS held
    FROM ledger AS l JOIN {wanted} ON l.product = wanted.product WHERE l.domain = :domain
    """,
    _WANTED,
    typed=[bindparam("now", type_=Instant())],
)
_TAKE_OVER = BatchStatement(
    """
    UPDATE ledger SET claim_token = :token, claim_owner = :owner, claim_version = wanted.version, digest = NULL
    FROM {wanted} WHERE ledger.domain = :domain AND ledger.product = wanted.product
    """,
    _WANTED,
)

_LOG_AGAIN = f"""
    ON CONFLICT (run_id, number) DO UPDATE SET
        {", ".join(f"{c} = excluded.{c}" for c in [*list(LOG_COLUMNS)[2:], "settled_at"])}
    WHERE r.state = 'retrying'
"""
"""What becomes of rows that have a log. Without it, PostgreSQL inserts in two thirds of the time, and refuses those."""
_LOG_INTO = f"""
    INSERT INTO rows AS r ({", ".join(LOG_COLUMNS)}, settled_at)
    SELECT {", ".join(f"logs.{column}" for column in LOG_COLUMNS)}, :now
"""
_LOGGED = "RETURNING run_id, state"
_LOG = f"{_LOG_INTO} FROM {{logs}} WHERE true {_LOG_AGAIN} {_LOGGED}"
# An upsert of entries that are there: joined with a batch, SQLite may read the whole ledger for each of its rows.
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
"""What _SKIP does, in half of the time, given _ROW_BY_ROW. OFFSET makes PostgreSQL look up row by row, in the order of the
batch; what it thinks of how many entries there are must not matter: a ledger grows faster than it is analysed. The
conditions come twice because an entry may have changed when it is locked, and are compared with something always true
so that nobody guesses how few entries meet them."""
_ROW_BY_ROW = text(
    "SELECT set_config('plan_cache_mode', 'force_generic_plan', true),"
    " set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),"
    " set_config('enable_mergejoin', 'off', true), set_config('enable_memoize', 'off', true)"
)
"""No choice is left: the plan is made once for each connection, and must be right for a ledger of any size."""
_ENTER = """
    INSERT INTO ledger AS l (domain, product, version, digest, run_id, number)
    SELECT entries.domain, entries.product, entries.version, entries.digest, entries.run_id, entries.number
    FROM {entries} WHERE true
    ON CONFLICT (domain, product) DO UPDATE SET
        version = CASE WHEN excluded.version >= l.version THEN excluded.version ELSE l.version END,
        digest = CASE
            WHEN l.claim_token = :token AND excluded.version < 0 THEN l.digest
            WHEN l.claim_token = :token AND l.claim_version IS NOT NULL OR excluded.digest = l.digest THEN excluded.digest
        END,
        run_id = CASE WHEN excluded.version >= l.version THEN COALESCE(excluded.run_id, l.run_id) ELSE l.run_id END,
        number = CASE WHEN excluded.version >= l.version THEN COALESCE(excluded.number, l.number) ELSE l.number END,
        claim_token = CASE WHEN l.claim_token = :token THEN NULL ELSE l.claim_token END,
        claim_owner = CASE WHEN l.claim_token = :token THEN NULL ELSE l.claim_owner END,
        claim_version = CASE WHEN l.claim_token = :token THEN l.claim_version END
    WHERE excluded.version >= 0 OR l.claim_token = :token
"""
"""What was written without the claim was written beside another's writes: which of them came last nobody knows, so no
digest is known either, unless the late one finds its own set there. Nor is it once the other is done: its claim has lost its version by
then."""
_COUNTED = ", ".join(f"runs.{column.name}" for column in COUNTED)
_NOW = bindparam("now", type_=Instant())
_LOG_ALONE = BatchStatement(_LOG, _LOGS, typed=[_NOW])
_ENTER_ALONE = BatchStatement(_ENTER, _ENTRIES)
_COUNT = BatchStatement(
    f"""
    UPDATE runs SET {", ".join(f"{state} = {state} + :{state}" for state in STATES)}
    WHERE run_id = :run_id RETURNING {_COUNTED}
    """,  # noqa: S608 - columns of our own
    returns=COUNTED,
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
        typed=[_NOW],
        returns=COUNTED,
    )


def _skipping(again: str, logged: str) -> BatchStatement:
    return BatchStatement(
        f"""
        WITH same AS ({_SAME}), logged AS ({_LOG_INTO.replace("logs.", "same.")} FROM same WHERE true {again})
        SELECT array_agg(number) AS skipped, {logged} AS logged FROM same
        """,  # noqa: S608 - columns of our own
        _UNCHANGED,
        typed=[_NOW],
        returns=(column("skipped", ARRAY(BigInteger)), column("logged", BigInteger)),
    )


_SETTLE, _SETTLE_NEW = _settling(_LOG_AGAIN), _settling()
_SKIP_ALONE = BatchStatement(_SKIP, _UNCHANGED)
_SKIP_AND_LOG = _skipping(f"{_LOG_AGAIN} RETURNING 1", "(SELECT count(*) FROM logged)")
_SKIP_AND_LOG_NEW = _skipping("", "count(*)")
"""That all of them are logged goes without saying: to have PostgreSQL return what it inserts costs a tenth."""


class LedgerSql(Sql):
    """The methods of the store about writers."""

    @writes
    async def alive(self, tx: Tx, owner: str, seconds: float) -> None:
        until = tx.now + timedelta(seconds=seconds)
        statement = tx.insert(owners).values(owner=owner, alive_until=until)
        later = owners.c.alive_until < statement.excluded.alive_until
        await tx.execute(
            statement.on_conflict_do_update(index_elements=["owner"], set_={"alive_until": until}, where=later)
        )

    @writes
    async def gone(self, tx: Tx, owner: str) -> None:
        """The marks are taken off as well: a later process of the same name shall not bring them back to life."""
        everybody = owner == "*"
        claimed = ledger.c.claim_token.is_not(None) if everybody else ledger.c.claim_owner == owner
        locked = select(ledger.c.domain, ledger.c.product).where(claimed).order_by(ledger.c.domain, ledger.c.product)
        await tx.execute(locked.with_for_update())
        await tx.execute(update(ledger).where(claimed).values(claim_token=None, claim_owner=None, digest=None))
        await tx.execute(delete(owners) if everybody else delete(owners).where(owners.c.owner == owner))

    @writes
    async def claim(self, tx: Tx, domain: str, owner: str, token: str, wanted: Sequence[Wanted]) -> list[Claim]:
        asked = {keyed(item.product): item for item in reversed(wanted)}
        batch = sorted((product, item.version) for product, item in asked.items())
        who = {"domain": domain, "owner": owner, "token": token}
        claimed: Sequence[Any] = await tx.all(*_CLAIM.bind(tx, batch, **who))
        answers = {
            product: Claim(asked[product].product, True, False, version, digest) for product, version, digest in claimed
        }
        if rest := [item for item in batch if item[0] not in answers]:
            answers |= await _claim_held(tx, rest, asked, who)
        return [_of(item, asked, answers) for item in wanted]

    async def skip(self, domain: str, run_id: str, rows: Sequence[Row]) -> Skipped:
        return await _new_first(rows, functools.partial(self._skip, domain, run_id, rows))

    @writes
    async def _skip(self, tx: Tx, domain: str, run_id: str, rows: Sequence[Row], *, new: bool) -> Skipped:
        known = sorted((row for row in rows if row.product == keyed(row.product)), key=lambda row: row.product)
        if not known:
            return Skipped(frozenset(), [])
        records = [(*unchanged_values(run_id, row), digest_of(row)) for row in known]
        if tx.postgresql:
            await tx.execute(_ROW_BY_ROW)
            statement = _SKIP_AND_LOG_NEW if new else _SKIP_AND_LOG
            [found] = await tx.all(*statement.bind(tx, records, domain=domain, now=tx.now))
            skipped = frozenset(found.skipped or ())
            changed = await _count(tx, run_id, unchanged=found.logged)
        else:
            skipped = frozenset(row.number for row in await tx.all(*_SKIP_ALONE.bind(tx, records, domain=domain)))
            changed = await _log_stepwise(tx, [unchanged_values(run_id, row) for row in known if row.row in skipped])
        return Skipped(skipped, await _finish(tx, changed))

    async def settle(
        self,
        token: str,
        logs: Sequence[RowLog],
        *,
        written: Sequence[LedgerEntry] = (),
        release: Sequence[tuple[str, str]] = (),
    ) -> list[Run]:
        return await _new_first(logs, functools.partial(self._settle, token, logs, written, release))

    @writes
    async def _settle(
        self,
        tx: Tx,
        token: str,
        logs: Sequence[RowLog],
        written: Sequence[LedgerEntry],
        release: Sequence[tuple[str, str]],
        *,
        new: bool,
    ) -> list[Run]:
        return await settle(tx, token, logs, written, release, new=new)

    @reads
    async def ledger(self, tx: Tx, product: str, domains: Sequence[str]) -> list[LedgerState]:
        mine = (ledger.c.domain.in_([clean(domain) for domain in domains]), ledger.c.product == keyed(product))
        found = await tx.all(_states(tx).where(*mine).order_by(ledger.c.domain))
        return [LedgerState._make(row) for row in found]

    @reads
    async def targets(self, tx: Tx, domain: str, run_id: str, row: int) -> list[LedgerState]:
        mine = (ledger.c.domain == clean(domain), ledger.c.run_id == clean(run_id), ledger.c.number == row)
        return [LedgerState._make(found) for found in await tx.all(_states(tx).where(*mine).order_by(ledger.c.product))]


def _states(tx: Tx) -> Select[Any]:
    """Columns in the order of LedgerState."""
    alive = exists().where(owners.c.owner == ledger.c.claim_owner, owners.c.alive_until > tx.now)
    in_flight = case((and_(ledger.c.claim_token.is_not(None), alive), ledger.c.claim_version), else_=None)
    written = (ledger.c.version, ledger.c.digest, ledger.c.run_id, ledger.c.number)
    return select(ledger.c.domain, ledger.c.product, *written, in_flight)


def _of(item: Wanted, asked: dict[str, Wanted], answers: dict[str, Claim]) -> Claim:
    """The answer for `item`. Two products that are one key in the database cannot be claimed at once: one waits."""
    key = keyed(item.product)
    if asked[key] == item:
        return answers[key]
    return answers[key]._replace(product=item.product, mine=False, busy=True)


async def _claim_held(
    tx: Tx, rest: list[tuple[str, int]], asked: dict[str, Wanted], who: dict[str, str]
) -> dict[str, Claim]:
    """Claims on entries that are newer, or that another token holds: taken over where its owner is dead."""
    answers: dict[str, Claim] = {}
    orphaned: list[tuple[str, int]] = []
    others: Sequence[Any] = await tx.all(*_OTHERS.bind(tx, rest, domain=who["domain"], now=tx.now))
    for product, version, digest, held in others:
        item = asked[product]
        newer = version > item.version
        busy = bool(held) and not newer
        mine = not newer and not busy
        answers[product] = Claim(item.product, mine, busy, version, None if mine else digest)
        if mine:
            orphaned.append((product, item.version))
    if orphaned:
        await tx.execute(*_TAKE_OVER.bind(tx, sorted(orphaned), **who))
    return answers


async def _new_first(logs: Sequence[Row | RowLog], work: Callable[..., Awaitable[T]]) -> T:
    """Take rows for new ones that were never tried before; where one of them has a log all the same, look."""
    if not any(log.tries for log in logs):
        with contextlib.suppress(IntegrityError):
            return await work(new=True)
    return await work(new=False)


async def settle(
    tx: Tx,
    token: str,
    logs: Sequence[RowLog],
    written: Sequence[LedgerEntry] = (),
    release: Sequence[tuple[str, str]] = (),
    *,
    new: bool = False,
) -> list[Run]:
    """See Store.settle. Runs are locked in the order of their ids where there are several. `new`: no row has a log yet;
    raises IntegrityError where one has.
    """
    rows = _sorted_logs(logs)
    entries = _entries(written, release)
    run_ids = sorted({row[0] for row in rows})
    if len(run_ids) > 1:
        in_order = select(runs.c.run_id).where(runs.c.run_id.in_(run_ids)).order_by(runs.c.run_id)
        await tx.execute(in_order.with_for_update())
    if tx.postgresql:
        statement = _SETTLE_NEW if new else _SETTLE
        changed = await tx.all(*statement.bind(tx, rows, entries, token=token, now=tx.now))
    else:
        changed = await _settle_stepwise(tx, token, rows, entries)
    return await _finish(tx, changed)


async def _finish(tx: Tx, changed: Sequence[SqlRow[Any]]) -> list[Run]:
    """End the runs, of those whose counts changed, that have nothing more to come."""
    ended = [await finish(tx, counted_run(row)) for row in changed]
    return [run for run in ended if run is not None]


async def _settle_stepwise(
    tx: Tx, token: str, rows: list[tuple[Any, ...]], entries: list[tuple[Any, ...]]
) -> list[SqlRow[Any]]:
    """SQLite has no INSERT within WITH."""
    if entries:
        await tx.execute(*_ENTER_ALONE.bind(tx, entries, token=token))
    return await _log_stepwise(tx, rows)


async def _log_stepwise(tx: Tx, rows: list[tuple[Any, ...]]) -> list[SqlRow[Any]]:
    """Log rows and count them on their runs; the runs as they are then."""
    counts: dict[str, Counter[str]] = {}
    for row in await tx.all(*_LOG_ALONE.bind(tx, rows, now=tx.now)) if rows else ():
        counts.setdefault(row.run_id, Counter())[row.state] += 1
    changed: list[SqlRow[Any]] = []
    for run_id, moved in counts.items():
        changed += await _count(tx, run_id, **moved)
    return changed


async def _count(tx: Tx, run_id: str, **moved: int) -> Sequence[SqlRow[Any]]:
    """Count rows, by state, on their run; the run as it is then, or nothing where nothing moved."""
    if not any(moved.values()):
        return ()
    return await tx.all(*_COUNT.bind(tx, run_id=run_id, **(dict.fromkeys(STATES, 0) | moved)))


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
