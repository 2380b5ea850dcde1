"""Doubts: which products may get a late write over their newest image set, and the messages that write that set again.

A request may reach Omnitron late: its process was frozen or killed, or its answer was lost and it hangs in between. As long
as that may happen, the product is in doubt. Its entry of the ledger holds:

    doubt_low, doubt_high   the versions of the rows that may still come, the lowest and the highest
    doubt_until             when the last of them has come, or never will: the answer's time-out and a margin later
    rewrites                how often the newest set was written again because of it

What follows:

1. A row that is older than `doubt_high` waits until then, for the newer row may be there.
2. The newest row's own write ends the doubt if it was sent after `doubt_until`, or if only that row was in doubt: the late
   write would bring the same set. Otherwise the doubt stays, and the set is written again after `doubt_until`.
3. To write again is to publish the row that the ledger names, with its version and its images from its log, by the newest
   version of its flow, which may know Omnitron better. The writer handles it like a delivery that comes twice: it counts
   nowhere. Meanwhile the digest is NULL, so that nothing passes for unchanged.
4. If that write is in doubt too, it is written again, after the PAUSES. After the last of them people have to look.

The promise is bounded: a request that comes later than `doubt_until` is not noticed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import bindparam, text

from imageflow.model.messages import RowsReady, chunked
from imageflow.model.row import Row
from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.outbox import Unsent, post
from imageflow.store.row_record import decode_images
from imageflow.store.tables import Instant
from imageflow.store.text import clean, keyed
from imageflow.store.transaction import Sql, reads, writes

NOW = bindparam("now", type_=Instant())
LATE = bindparam("late", type_=Instant())
LATE_SECONDS = 5.0
"""How long after its time-out a request may still come."""
DOUBT_SECONDS = 30.0 + LATE_SECONDS
"""How long claims stay in doubt whose flow is not known: with the default of `write.timeout`."""
PAUSES = (0.0, 60.0, 300.0, 900.0, 3600.0)
"""How long after `doubt_until` the newest set is written again: the first time, the second, and so on."""

OWNER_LIVES = "EXISTS (SELECT 1 FROM owners WHERE owners.owner = l.claim_owner AND owners.alive_until > :now)"
"""Whether the owner of the claim on entry `l` holds its lease."""
CLAIM_IN_DOUBT = """
    digest = NULL,
    doubt_low = CASE WHEN doubt_low < claim_version THEN doubt_low ELSE COALESCE(claim_version, 0) END,
    doubt_high = CASE WHEN doubt_high > claim_version THEN doubt_high ELSE COALESCE(claim_version, 0) END,
    doubt_until = CASE WHEN doubt_until > :late THEN doubt_until ELSE :late END
"""
"""What an UPDATE of the ledger sets where a claim ends and its owner cannot say whether its request went out."""

_DUE = f"""
    (l.doubt_low < l.version OR l.digest IS NULL) AND l.doubt_high <= l.version
    AND (l.claim_token IS NULL OR NOT {OWNER_LIVES}) AND (
        {" OR ".join(f"COALESCE(l.rewrites, 0) = {n} AND l.doubt_until <= :due_{n}" for n in range(len(PAUSES)))}
    )
"""
_WRITE_AGAIN = f"""
    UPDATE ledger SET digest = NULL, rewrites = COALESCE(rewrites, 0) + 1
    WHERE (domain, product) IN (
        SELECT l.domain, l.product FROM ledger AS l WHERE l.doubt_until <= :now AND {_DUE}
        ORDER BY l.domain, l.product LIMIT :most {{locked}}
    )
    RETURNING domain, product, version, run_id, number
"""  # noqa: S608 - SQL of our own
_TIMES = [NOW, *(bindparam(f"due_{n}", type_=Instant()) for n in range(len(PAUSES)))]
_WRITE_AGAIN_IN = {
    True: text(_WRITE_AGAIN.format(locked="FOR UPDATE SKIP LOCKED")).bindparams(*_TIMES),
    False: text(_WRITE_AGAIN.format(locked="")).bindparams(*_TIMES),
}
"""For PostgreSQL, and for SQLite, which has no locks of rows."""
_NAMED = Batch("named", domain="text", product="text")
_NEWEST = BatchStatement(
    """
    SELECT l.product, l.version, l.run_id, l.number, r.product AS name, r.key, r.images, runs.flow, flows.version AS newest
    FROM {named}
    JOIN ledger AS l ON l.domain = named.domain AND l.product = named.product
    JOIN rows AS r ON r.run_id = l.run_id AND r.number = l.number
    JOIN runs ON runs.run_id = l.run_id
    JOIN flows ON flows.name = runs.flow
    WHERE l.rewrites > 0
    """,
    _NAMED,
)


class Rewrites(NamedTuple):
    """Messages that write products again, and of how many products for each flow."""

    outbox: list[Unsent]
    products: Mapping[str, int]


class DoubtsSql(Sql):
    """The methods of the store about doubts."""

    @writes
    async def write_again(self, tx: Tx, *, limit: int = 500) -> Rewrites:
        """Put into the outbox the newest rows of products whose late write has come by now, and those whose last rewrite
        is due again. Where the row's log or its flow is deleted, there is nothing to write.
        """
        due = {f"due_{n}": tx.now - timedelta(seconds=pause) for n, pause in enumerate(PAUSES)}
        found = await tx.all(_WRITE_AGAIN_IN[tx.postgresql], {"now": tx.now, "most": limit, **due})
        newest = await tx.run(_NEWEST.bind(tx, sorted((row.domain, row.product) for row in found))) if found else ()
        by_run: dict[tuple[str, str, int], list[Row]] = {}
        for row in newest:
            by_run.setdefault((row.run_id, row.flow, row.newest), []).append(_row(row))
        return Rewrites(
            [
                await post(tx, RowsReady(run_id, flow, version, chunk, rewrite=True))
                for (run_id, flow, version), rows in sorted(by_run.items(), key=lambda item: item[0])
                for chunk in chunked(rows)
            ],
            Counter(row.flow for row in newest),
        )

    @reads
    async def to_write_again(self, tx: Tx, domain: str, run_id: str, products: Sequence[str]) -> dict[str, Row]:
        """By product, the rows of a run that are to be written again, as the store has them; those of other products, and of
        products that a newer row has meanwhile, are left out."""
        named = sorted({(clean(domain), keyed(product)) for product in products})
        found = await tx.run(_NEWEST.bind(tx, named)) if named else ()
        rows = [_row(row) for row in found if row.run_id == run_id]
        return {row.product: row for row in rows}


def _row(found: Any) -> Row:
    """A row for the SKU of the ledger's entry alone: of a base code, its other SKUs are not in doubt."""
    product = found.name if found.key == "sku" else found.product
    return Row(found.number, found.version, product, decode_images(found.images))
