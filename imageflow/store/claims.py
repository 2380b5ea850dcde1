"""Claims: which writer may send a product now.

A claim is a token on the ledger's entry of a product, with the process (owner) that took it. It counts while the lease
of its owner lasts: `owners` holds until when, by the clocks of the processes, which must agree to within a lease.
A claim that outlived its owner is orphaned: the next writer takes it over. The dead owner may have sent its request or
not, so the digest is set to NULL with the take-over, and the next row of the product is sent whatever it holds.

Locks are taken in one order everywhere: entries of the ledger by product, then rows, then runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, select, update

from imageflow.store.batch import Batch, BatchStatement
from imageflow.store.database import Tx
from imageflow.store.tables import Instant, ledger, owners
from imageflow.store.text import keyed
from imageflow.store.transaction import Sql, writes

NOW = bindparam("now", type_=Instant())
OWNER_LIVES = "EXISTS (SELECT 1 FROM owners WHERE owners.owner = l.claim_owner AND owners.alive_until > :now)"
"""Whether the owner of the claim on entry `l` holds its lease."""

_WANTED = Batch("wanted", product="text", version="bigint")

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
    RETURNING product, version, digest
    """,
    _WANTED,
)
_OTHERS = BatchStatement(
    f"""
    SELECT l.product, l.version, l.digest, {OWNER_LIVES} AS claimed
    FROM ledger AS l JOIN {{wanted}} ON l.product = wanted.product WHERE l.domain = :domain
    """,  # noqa: S608 - SQL of our own
    _WANTED,
    typed=[NOW],
)
_TAKE_OVER = BatchStatement(
    """
    UPDATE ledger SET claim_token = :token, claim_owner = :owner, claim_version = wanted.version, digest = NULL
    FROM {wanted} WHERE ledger.domain = :domain AND ledger.product = wanted.product
    """,
    _WANTED,
)


class Wanted(NamedTuple):
    """A product that a writer wants to claim for a row of this version."""

    product: str
    version: int


class Claim(NamedTuple):
    """The answer for one product. `mine`: the asking token has the claim. Otherwise another row of the product is in
    flight (`busy`), or a newer one is written already (neither). `version` and `digest` are of the image set written
    last; version is -1 where none was written, digest None where the ledger cannot tell which set is there.
    """

    product: str
    mine: bool
    busy: bool
    version: int
    digest: str | None


class ClaimsSql(Sql):
    """The methods of the store about claims."""

    @writes
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
        """End the lease and all claims of a writer process that stops; of every one with owner "*".

        The tokens are cleared too, or a later process with the same owner name would revive these claims.
        """
        everybody = owner == "*"
        claimed = ledger.c.claim_token.is_not(None) if everybody else ledger.c.claim_owner == owner
        locked = select(ledger.c.domain, ledger.c.product).where(claimed).order_by(ledger.c.domain, ledger.c.product)
        await tx.execute(locked.with_for_update())
        await tx.execute(update(ledger).where(claimed).values(claim_token=None, claim_owner=None, digest=None))
        await tx.execute(delete(owners) if everybody else delete(owners).where(owners.c.owner == owner))

    @writes
    async def claim(self, tx: Tx, domain: str, owner: str, token: str, wanted: Sequence[Wanted]) -> list[Claim]:
        """Claim products for rows of these versions; answers in the order asked. A product is claimed unless another
        token of a living owner holds it, or a newer version is written. No product may be twice in `wanted`.
        """
        asked = {keyed(item.product): item for item in reversed(wanted)}
        batch = sorted((product, item.version) for product, item in asked.items())
        who = {"domain": domain, "owner": owner, "token": token}
        claimed: Sequence[Any] = await tx.all(*_CLAIM.bind(tx, batch, **who))
        answers = {
            product: Claim(asked[product].product, True, False, version, digest) for product, version, digest in claimed
        }
        if rest := [item for item in batch if item[0] not in answers]:
            answers |= await _claim_others(tx, rest, asked, who)
        return [_answer(item, asked, answers) for item in wanted]


def _answer(item: Wanted, asked: dict[str, Wanted], answers: dict[str, Claim]) -> Claim:
    """The answer for `item`. Two products with the same key cannot be claimed at once: the second one is busy."""
    key = keyed(item.product)
    if asked[key] == item:
        return answers[key]
    return answers[key]._replace(product=item.product, mine=False, busy=True)


async def _claim_others(
    tx: Tx, rest: list[tuple[str, int]], asked: dict[str, Wanted], who: dict[str, str]
) -> dict[str, Claim]:
    """Answers for entries that are newer or that another token claims. Takes the orphaned claims over."""
    answers: dict[str, Claim] = {}
    orphaned: list[tuple[str, int]] = []
    others: Sequence[Any] = await tx.all(*_OTHERS.bind(tx, rest, domain=who["domain"], now=tx.now))
    for product, version, digest, claimed in others:
        item = asked[product]
        newer = version > item.version
        busy = bool(claimed) and not newer
        mine = not newer and not busy
        answers[product] = Claim(item.product, mine, busy, version, None if mine else digest)
        if mine:
            orphaned.append((product, item.version))
    if orphaned:
        await tx.execute(*_TAKE_OVER.bind(tx, sorted(orphaned), **who))
    return answers
