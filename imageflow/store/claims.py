"""Claims: which writer may send a product now.

A claim is a token on the ledger's entry of a product, with the lease (owner) that it was taken with. It counts while that
lease lasts: `owners` holds until when, by the clocks of the processes, which must agree to within a second or two.
A claim that outlived its lease is orphaned: a row of the same version or a newer one takes it over at once, an older one
only after WAIT_SECONDS, since the newer one comes again. The dead owner may have sent its request or not, so the product is
in doubt with the take-over (doubts.py), and its digest is NULL: its next row is sent whatever it holds.

Locks are taken in one order everywhere: entries of the ledger by product, then rows, then runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, select, text

from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.doubts import CLAIM_IN_DOUBT, DOUBT_SECONDS, LATE, NOW, OWNER_LIVES
from imageflow.store.tables import Instant, ledger, owners
from imageflow.store.text import keyed
from imageflow.store.transaction import Sql, writes, writes_once

WAIT_SECONDS = 60.0
"""How long a row waits for a newer one whose writer died."""

_WANTED = Batch("wanted", product="text", version="bigint")

# `doubt_until IS NULL` is not asked in RETURNING: SQLite 3.40 gets it wrong there.
# The statement leaves a claim of another token alone, even an orphaned one. Whether its owner lives can only be decided
# once the entry is locked, or a renewal of the lease in between would be missed: ON CONFLICT locks also the entries that
# its WHERE leaves unchanged, and _OTHERS then reads in a new snapshot (READ COMMITTED).
_CLAIM = BatchStatement(
    """
    INSERT INTO ledger AS l (domain, product, version, claim_token, claim_owner, claim_version)
    SELECT :domain, wanted.product, -1, :token, :owner, wanted.version FROM {wanted} WHERE true
    ON CONFLICT (domain, product) DO UPDATE SET
        claim_token = excluded.claim_token, claim_owner = excluded.claim_owner, claim_version = excluded.claim_version
    WHERE l.version <= excluded.claim_version AND (l.claim_token IS NULL OR l.claim_token = excluded.claim_token)
        AND NOT COALESCE(l.doubt_until > :now AND l.doubt_high > excluded.claim_version, false)
    RETURNING product, version, digest, doubt_until
    """,
    _WANTED,
    typed=[NOW],
)
# CROSS JOIN, as batch.py says: each product is looked up by the key.
_OTHERS = BatchStatement(
    f"""
    SELECT l.product, l.version, l.digest,
        l.claim_token IS NOT NULL AND {OWNER_LIVES}
        OR l.claim_version > wanted.version AND EXISTS (
            SELECT 1 FROM owners WHERE owners.owner = l.claim_owner AND owners.alive_until > :dead_before
        )
        OR l.doubt_until > :now AND l.doubt_high > wanted.version AS busy
    FROM {{wanted}} CROSS JOIN ledger AS l WHERE l.domain = :domain AND l.product = wanted.product
    """,  # noqa: S608 - SQL of our own
    _WANTED,
    typed=[NOW, bindparam("dead_before", type_=Instant())],
)
_TAKE_OVER = BatchStatement(
    f"""
    UPDATE ledger SET {CLAIM_IN_DOUBT},
        claim_token = :token, claim_owner = :owner, claim_version = wanted.version
    FROM {{wanted}} WHERE ledger.domain = wanted.domain AND ledger.product = wanted.product
    """,  # noqa: S608 - SQL of our own
    Batch("wanted", domain="text", product="text", version="bigint"),
    typed=[LATE],
)
_END_ALL = text(
    f"UPDATE ledger SET {CLAIM_IN_DOUBT}, claim_token = NULL, claim_owner = NULL, claim_version = NULL"  # noqa: S608 - SQL of our own
    " WHERE claim_token IS NOT NULL AND (claim_owner = :owner OR :owner = '*')"
).bindparams(LATE)


class Wanted(NamedTuple):
    """A product that a writer wants to claim for a row of this version."""

    product: str
    version: int


class Claim(NamedTuple):
    """The answer for one product. `mine`: the asking token has the claim. Otherwise another row of the product is in
    flight or may come late (`busy`), or a newer one is written already (neither). `version` and `digest` are of the image set
    written last; version is -1 where none was written, digest None where the ledger cannot tell which set is there.
    """

    product: str
    mine: bool
    busy: bool
    version: int
    digest: str | None


class ClaimsSql(Sql):
    """The methods of the store about claims."""

    @writes_once
    async def alive(self, tx: Tx, owner: str, seconds: float) -> None:
        """Renew the lease of a writer process for `seconds` from now; its claims last as long. Never shortens it."""
        until = tx.now + timedelta(seconds=seconds)
        statement = tx.insert(owners).values(owner=owner, alive_until=until)
        later = owners.c.alive_until < statement.excluded.alive_until
        await tx.execute(
            statement.on_conflict_do_update(index_elements=["owner"], set_={"alive_until": until}, where=later)
        )

    @writes
    async def gone(self, tx: Tx, owner: str) -> None:
        """End a lease and all claims that were made with it; all leases with owner "*". Their products are in doubt.

        The tokens are cleared too, or a later process with the same owner name would revive these claims.
        """
        everybody = owner == "*"
        claimed = ledger.c.claim_token.is_not(None) if everybody else ledger.c.claim_owner == owner
        locked = select(ledger.c.domain, ledger.c.product).where(claimed).order_by(ledger.c.domain, ledger.c.product)
        await tx.execute(locked.with_for_update())
        late = tx.now + timedelta(seconds=DOUBT_SECONDS)
        await tx.execute(_END_ALL, {"owner": owner, "late": late})
        await tx.execute(delete(owners) if everybody else delete(owners).where(owners.c.owner == owner))

    @writes
    async def claim(
        self,
        tx: Tx,
        domain: str,
        owner: str,
        token: str,
        wanted: Sequence[Wanted],
        *,
        doubt_seconds: float = DOUBT_SECONDS,
    ) -> list[Claim]:
        """Claim products for rows of these versions; answers in the order asked. A product is claimed unless another
        token of a living owner holds it, a newer version is written, or a newer one may be: then it is waited for. No
        product may be twice in `wanted`. What is taken over is in doubt for `doubt_seconds`.
        """
        asked = {keyed(item.product): item for item in reversed(wanted)}
        batch = sorted((product, item.version) for product, item in asked.items())
        who = {"domain": domain, "owner": owner, "token": token}
        claimed: Sequence[Any] = await tx.run(_CLAIM.bind(tx, batch, now=tx.now, **who))
        answers = {
            product: Claim(asked[product].product, True, False, version, digest if doubt is None else None)
            for product, version, digest, doubt in claimed
        }
        if rest := [item for item in batch if item[0] not in answers]:
            answers |= await _claim_others(tx, rest, asked, who, tx.now + timedelta(seconds=doubt_seconds))
        return [_answer(item, asked, answers) for item in wanted]


def _answer(item: Wanted, asked: dict[str, Wanted], answers: dict[str, Claim]) -> Claim:
    """The answer for `item`. Two products with the same key cannot be claimed at once: the second one is busy."""
    key = keyed(item.product)
    if asked[key] == item:
        return answers[key]
    return answers[key]._replace(product=item.product, mine=False, busy=True)


async def _claim_others(
    tx: Tx, rest: list[tuple[str, int]], asked: dict[str, Wanted], who: dict[str, str], late: datetime
) -> dict[str, Claim]:
    """Answers for entries that are newer or that another token claims. Takes the orphaned claims over."""
    answers: dict[str, Claim] = {}
    orphaned: list[tuple[str, int]] = []
    when = {"now": tx.now, "dead_before": tx.now - timedelta(seconds=WAIT_SECONDS)}
    others: Sequence[Any] = await tx.run(_OTHERS.bind(tx, rest, domain=who["domain"], **when))
    for product, version, digest, held in others:
        item = asked[product]
        newer = version > item.version
        busy = bool(held) and not newer
        mine = not newer and not busy
        answers[product] = Claim(item.product, mine, busy, version, None if mine else digest)
        if mine:
            orphaned.append((product, item.version))
    if orphaned:
        batch = sorted((who["domain"], *one) for one in orphaned)
        await tx.run(_TAKE_OVER.bind(tx, batch, owner=who["owner"], token=who["token"], late=late))
    return answers
