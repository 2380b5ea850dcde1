"""The ledger: the image set that was written last for each product of a domain, by which row."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import BigInteger, Integer, column, select

from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.doubts import NOW, OWNER_LIVES
from imageflow.store.tables import ledger
from imageflow.store.text import clean, keyed
from imageflow.store.transaction import Sql, reads


class LedgerEntry(NamedTuple):
    """The image set that is on Omnitron for a product since this row was settled.

    Where the result of a write is unknown: digest, run and row None. Then the product is in doubt, and no row of it is
    unchanged until one is written.
    """

    domain: str
    product: str
    version: int
    digest: str | None
    run_id: str | None
    row: int | None


class LedgerState(NamedTuple):
    """What the ledger knows of a product. `version`, `digest`, `run_id` and `row` are of the image set written last
    (version -1 or 0: no write is known); `in_flight` is the version of the row that a living writer has claimed it for.
    `doubt_until`: until then a late write may come over it, see doubts.py. `rewrites`: how often it was written again for
    that.
    """

    domain: str
    product: str
    version: int
    digest: str | None
    run_id: str | None
    row: int | None
    in_flight: int | None
    doubt_until: datetime | None = None
    rewrites: int = 0

    @property
    def tells(self) -> bool:
        """Whether it says anything of the product: a claim whose write was refused leaves an entry that does not."""
        return self.version > 0 or self.in_flight is not None or self.doubt_until is not None


_HEAD = re.compile(r"[^1-9]*(?=[1-9])", re.DOTALL)
_PAST_DIGITS = ":"
"""What comes after 9."""
LAST = "\U0010ffff"
"""After every letter."""

_STATES = f"""
    SELECT l.domain, l.product, l.version, l.digest, l.run_id, l.number,
        CASE WHEN l.claim_token IS NOT NULL AND {OWNER_LIVES} THEN l.claim_version END AS in_flight,
        l.doubt_until, COALESCE(l.rewrites, 0) AS rewrites
    FROM ledger AS l
"""  # noqa: S608 - SQL of our own
_COLUMNS = (
    *(ledger.c[name] for name in ("domain", "product", "version", "digest", "run_id", "number")),
    column("in_flight", BigInteger),
    ledger.c.doubt_until,
    column("rewrites", Integer),
)
_OF_PRODUCT = BatchStatement(
    _STATES + "JOIN {domains} ON domains.domain = l.domain WHERE l.product = :product ORDER BY l.domain",
    Batch("domains", domain="text"),
    typed=[NOW],
    returns=_COLUMNS,
)
# CROSS JOIN, as batch.py says: each product is looked up by the key.
_WRITTEN = BatchStatement(
    "SELECT l.product, l.digest FROM {products} CROSS JOIN ledger AS l "
    "WHERE l.domain = :domain AND l.product = products.product AND l.version > 0",
    Batch("products", product="text"),
    returns=(ledger.c.product, ledger.c.digest),
)
_WRITTEN_SINCE = BatchStatement(
    "SELECT l.product FROM {products} CROSS JOIN ledger AS l "
    "WHERE l.domain = :domain AND l.product = products.product AND l.version > 0 AND l.run_id <> :run_id",
    Batch("products", product="text"),
    returns=(ledger.c.product,),
)
_OVERTAKEN = BatchStatement(
    "SELECT l.product FROM {wanted} CROSS JOIN ledger AS l "
    "WHERE l.domain = :domain AND l.product = wanted.product AND l.version > wanted.version",
    Batch("wanted", product="text", version="bigint"),
    returns=(ledger.c.product,),
)
_OF_ROW = BatchStatement(
    _STATES + "WHERE l.domain = :domain AND l.run_id = :run_id AND l.number = :number ORDER BY l.product",
    typed=[NOW],
    returns=_COLUMNS,
)


class LedgerSql(Sql):
    """The methods of the store about the ledger."""

    @reads
    async def ledger(self, tx: Tx, product: str, domains: Sequence[str]) -> list[LedgerState]:
        """What is known of a product on these domains."""
        asked = sorted({(clean(domain),) for domain in domains})
        found = await tx.run(_OF_PRODUCT.bind(tx, asked, product=keyed(product), now=tx.now))
        return [LedgerState._make(row) for row in found]

    @reads
    async def written_digests(self, tx: Tx, domain: str, products: Collection[str]) -> dict[str, str | None]:
        """The digest of the image set that was written last, for each of the products that were written to the domain;
        None where the result of a write is unknown.
        """
        asked = {keyed(product): product for product in products}
        found = await tx.run(_WRITTEN.bind(tx, sorted((name,) for name in asked), domain=clean(domain)))
        return {asked[row.product]: row.digest for row in found}

    @reads
    async def written_since(self, tx: Tx, domain: str, run_id: str, products: Collection[str]) -> set[str]:
        """Which of the products, all written to the domain by the run, another run has written, or found unchanged,
        since.
        """
        asked = {keyed(product): product for product in products}
        batch = sorted((name,) for name in asked)
        found = await tx.run(_WRITTEN_SINCE.bind(tx, batch, domain=clean(domain), run_id=clean(run_id)))
        return {asked[row.product] for row in found}

    @reads
    async def overtaken(self, tx: Tx, domain: str, versions: Mapping[str, int]) -> set[str]:
        """The products of which the domain has a newer version than `versions` says."""
        asked = {keyed(product): (product, version) for product, version in versions.items()}
        batch = sorted((name, version) for name, (_, version) in asked.items())
        found = await tx.run(_OVERTAKEN.bind(tx, batch, domain=clean(domain)))
        return {asked[row.product][0] for row in found}

    @reads
    async def products(self, tx: Tx, prefix: str, domains: Sequence[str], *, limit: int = 20) -> list[str]:
        """The products of these domains that begin with `prefix`, in order. One range of the key for each domain."""
        low = clean(prefix)
        found: set[str] = set()
        for domain in sorted({clean(domain) for domain in domains}):
            mine = (ledger.c.domain == domain, ledger.c.product >= low, ledger.c.product < low + LAST)
            in_order = select(ledger.c.product).where(*mine).order_by(ledger.c.product).limit(limit)
            found.update(row.product for row in await tx.all(in_order))
        return sorted(found)[:limit]

    @reads
    async def product_heads(self, tx: Tx, domains: Sequence[str], *, limit: int = 40) -> list[str]:
        """What stands before the number in products of these domains, with its leading zeros: of each domain the first `limit`.
        One look at the key for each: what begins alike is passed over.
        """
        found: set[str] = set()
        for domain in sorted({clean(domain) for domain in domains}):
            after = ""
            for _ in range(limit):
                mine = (ledger.c.domain == domain, ledger.c.product >= after)
                name = await tx.value(select(ledger.c.product).where(*mine).order_by(ledger.c.product).limit(1))
                if name is None:
                    break
                head = _HEAD.match(name)
                found.update([head[0]] if head is not None else ())
                after = head[0] + _PAST_DIGITS if head is not None else name + "\x01"
        return sorted(found)

    @reads
    async def targets(self, tx: Tx, domain: str, run_id: str, row: int) -> list[LedgerState]:
        """The products that have the image set of that row: of a base code, its SKUs. Reads the whole domain."""
        found = await tx.run(_OF_ROW.bind(tx, domain=clean(domain), run_id=clean(run_id), number=row, now=tx.now))
        return [LedgerState._make(row) for row in found]
