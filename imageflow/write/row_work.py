"""The life of one row in the writer, as a table of states. Pure.

The state of a row is a value, and each step gives a new one. Four functions of the state alone say what follows from it:
`log` (how the row is logged), `entries` (what the ledger is told), `again` (when the row comes again, and what that costs
it) and `releases_claims` (whether its claims end). RULES is the table; the ledger's entries are per SKU, see `entries`.

    targeted ──claims──> busy, superseded, repeated, unchanged
       │                 waiting ──> sending ──> written, refused, not_taken, doubtful ──weighed──> outage, exhausted
       └─> unsendable       └─> unsendable └─> waiting, lease_ending

    state         how it comes about
    targeted      its SKUs are known, its claims are not
    unsendable    refused without a request: by preflight, by the look-up of its SKUs, or given up as a whole
    unchanged     the ledger holds the same image set, of an older row
    superseded    a newer row is written
    repeated      this row is written already: its message came twice
    busy          another row of the product is in flight, or there was no time to look at the images
    waiting       to be sent; also what the queue rejected, because the circuit is open or this process stops
    lease_ending  not sent (further): the lease of its claims might end before the answer comes
    sending       a request is in flight
    written       2xx for each SKU
    refused       permanent: 400, 404, 409, 413, 422, bad credentials
    not_taken     429, or no SKU could be looked up: Omnitron has taken nothing
    doubtful      timeout, lost answer, 5xx: Omnitron may have taken it, the result is unknown
    outage        not_taken or doubtful while the circuit was open: no fault of the row
    exhausted     not_taken or doubtful, and it was the last attempt
    cancelled     a person cancelled its run before it was sent, or before it came again

A row of several SKUs combines what the ledger says of them: busy > send > repeated > unchanged > superseded. It is sent to
one SKU after the other until one fails, and comes again as a whole; SKUs that are written by then are `repeated`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from imageflow.model import retry_ladder
from imageflow.model.row import CANCELLED, Row, RowLog, StageName, Try, digest_of, tried
from imageflow.model.row import State as LogState
from imageflow.store import Claim, LedgerEntry, Wanted
from imageflow.write.claim_decision import Decision, combine, decide
from imageflow.write.outcome import Outcome, Refused, Unavailable, Written

BUSY_SECONDS = 1.0
HELD_SECONDS = 5.0
"""How long rows are put off while their domain's circuit is open."""

State = Literal[
    "targeted",
    "unsendable",
    "unchanged",
    "superseded",
    "repeated",
    "busy",
    "waiting",
    "lease_ending",
    "sending",
    "written",
    "refused",
    "not_taken",
    "doubtful",
    "outage",
    "exhausted",
    "cancelled",
]


class Rule(NamedTuple):
    """What follows from a state. `log`: None where the row is not settled. `again`: the pause after which it comes again,
    None where it does not. `attempts`: what this costs it. `releases`: whether its claims end now."""

    log: LogState | None
    again: Literal["busy", "held", "ladder"] | None
    attempts: int
    releases: bool = True


# fmt: off
RULES: Mapping[State, Rule] = {
    #                    log           again     attempts
    "targeted":     Rule(None,         None,     0),
    "unsendable":   Rule("failed",     None,     0),
    "unchanged":    Rule("unchanged",  None,     0),
    "superseded":   Rule("superseded", None,     0),
    "repeated":     Rule("written",    None,     0),
    "busy":         Rule(None,         "busy",   0),
    "waiting":      Rule(None,         "held",   0),
    "lease_ending": Rule(None,         "held",   0),
    "sending":      Rule(None,         None,     0, releases=False),
    "written":      Rule("written",    None,     1),
    "refused":      Rule("failed",     None,     1),
    "not_taken":    Rule(None,         "ladder", 1),
    "doubtful":     Rule(None,         "ladder", 1),
    "outage":       Rule(None,         "held",   0),
    "exhausted":    Rule("failed",     None,     1),
    "cancelled":    Rule("cancelled",  None,     0),
}
# fmt: on
"""`targeted` and `sending` are left only by a chunk that broke off: the delivery brings its rows again. A request in flight
keeps its claim, which ends with this process's lease: until then no other writer may write the product."""


class Sku(msgspec.Struct, frozen=True, gc=False):
    """One SKU that a row is written to. `claim` is None until the database has answered, `outcome` until Omnitron has."""

    product: str
    claim: Claim | None = None
    decision: Decision = "busy"
    outcome: Outcome | None = None


class RowWork(msgspec.Struct, frozen=True, gc=False):
    """A row in hand.

    `answer`: the failure that ended the sending, else the first answer. `images`: what preflight found wrong with images
    that are sent all the same. `begun`: when it was sent, by the monotonic clock (infinity: it was not); `at`: that in Unix
    time, or when it was taken.
    """

    row: Row
    digest: str
    at: float
    skus: tuple[Sku, ...] = ()
    state: State = "targeted"
    answer: Outcome | None = None
    images: str | None = None
    begun: float = float("inf")


class Again(NamedTuple):
    """A row as it comes again, after `seconds`."""

    row: Row
    seconds: float


# steps -------------------------------------------------------------------------------------------------------------------


def targeted(row: Row, skus: Iterable[str], at: float) -> RowWork:
    """A row that is to be written to these SKUs."""
    if work_skus := tuple([Sku(sku) for sku in skus]):
        return RowWork(row, digest_of(row), at, work_skus)
    return untargeted(row, Refused(f"no product with base code {row.product!r} is on Omnitron"), at)


def untargeted(row: Row, answer: Refused | Unavailable, at: float) -> RowWork:
    """A row whose SKUs are not known."""
    state: State = "unsendable" if isinstance(answer, Refused) else "not_taken"
    return RowWork(row, digest_of(row), at, state=state, answer=answer)


def wanted(works: Iterable[RowWork]) -> list[Wanted]:
    """The claims that these rows need, each product once."""
    versions: dict[str, int] = {}
    for work in works:
        for sku in work.skus:
            versions.setdefault(sku.product, work.row.version)
    return [Wanted(product, version) for product, version in versions.items()]


def decided(works: Iterable[RowWork], claims: Iterable[Claim], *, skip_unchanged: bool) -> list[RowWork]:
    """What to do with each row of a chunk, given the claims on its products.

    A product that an earlier row of the chunk has is busy for the later ones, even if that row is not sent: what it enters
    in the ledger comes only with settling, so the claim does not show it yet.
    """
    by_product = {claim.product: claim for claim in claims}
    taken: set[str] = set()
    return [_decided(work, by_product, taken, skip_unchanged) if work.skus else work for work in works]


def _decided(work: RowWork, claims: Mapping[str, Claim], taken: set[str], skip_unchanged: bool) -> RowWork:
    skus = tuple([_decided_sku(work, claims[sku.product], taken, skip_unchanged) for sku in work.skus])
    decision = combine([sku.decision for sku in skus])
    if decision != "busy":
        taken.update(sku.product for sku in skus)
    return RowWork(work.row, work.digest, work.at, skus, "waiting" if decision == "send" else decision)


def _decided_sku(work: RowWork, claim: Claim, taken: set[str], skip_unchanged: bool) -> Sku:
    if claim.product in taken:
        return Sku(claim.product, claim, "busy")
    return Sku(claim.product, claim, decide(claim, work.row.version, work.digest, skip_unchanged=skip_unchanged))


def not_looked_at(work: RowWork) -> RowWork:
    """There was no time to look at its images."""
    return msgspec.structs.replace(work, state="busy")


def warned(work: RowWork, images: str) -> RowWork:
    """Preflight found fault with its images, and it is sent all the same."""
    return msgspec.structs.replace(work, images=images)


def unsendable(work: RowWork, reason: str) -> RowWork:
    """Preflight found fault with its images, and it is not sent."""
    return msgspec.structs.replace(work, state="unsendable", answer=Refused(reason))


def begun(work: RowWork, at: float, monotonic: float) -> RowWork:
    """Its first request goes out now."""
    return RowWork(work.row, work.digest, at, work.skus, "sending", images=work.images, begun=monotonic)


def stopped(work: RowWork, state: Literal["waiting", "lease_ending"]) -> RowWork:
    """Some of its SKUs are not sent."""
    return msgspec.structs.replace(work, state=state)


def unsent(work: RowWork, answer: Refused | Unavailable) -> RowWork:
    """No request can be made for it: the flow's credentials or Omnitron's URL cannot be used."""
    state: State = "refused" if isinstance(answer, Refused) else "not_taken"
    return msgspec.structs.replace(work, state=state, answer=answer)


def answered(work: RowWork, sku: Sku, outcome: Outcome) -> RowWork:
    """The request for one of its SKUs has ended. The row stays `sending` while another SKU is to be sent."""
    done = Sku(sku.product, sku.claim, sku.decision, outcome)
    skus = tuple([done if one is sku else one for one in work.skus])
    answer = outcome if work.answer is None or not isinstance(outcome, Written) else work.answer
    state = _after(outcome, skus)
    return RowWork(work.row, work.digest, work.at, skus, state, answer, work.images, work.begun)


def _after(outcome: Outcome, skus: Sequence[Sku]) -> State:
    if isinstance(outcome, Refused):
        return "refused"
    if isinstance(outcome, Unavailable):
        return "doubtful" if _may_be_taken(outcome) else "not_taken"
    return "sending" if any(map(to_be_sent, skus)) else "written"


def to_be_sent(sku: Sku) -> bool:
    return sku.decision == "send" and sku.outcome is None


def weighed(work: RowWork, *, outage: bool, max_attempts: int) -> RowWork:
    """A failed row, once it is known whether there was an outage: that costs no attempt. Others are left as they are."""
    if work.state not in ("not_taken", "doubtful"):
        return work
    failed = work.answer
    assert isinstance(failed, Unavailable)
    if outage and (failed.unreached or failed.slow_down):
        return msgspec.structs.replace(work, state="outage")
    if work.row.attempts + RULES[work.state].attempts >= max_attempts:
        return msgspec.structs.replace(work, state="exhausted")
    return work


def cancelled(work: RowWork) -> RowWork:
    """A row of a cancelled run: it does not come again. What is settled or in flight is left as it is."""
    if RULES[work.state].again is None and work.state != "targeted":
        return work
    return msgspec.structs.replace(work, state="cancelled")


# what follows from a state -----------------------------------------------------------------------------------------------


def log(run_id: str, work: RowWork) -> RowLog | None:
    """How the row is logged; None where it is not settled."""
    row, rule = work.row, RULES[work.state]
    if rule.log is None:
        return None
    attempts = row.attempts + rule.attempts
    return RowLog(
        run_id=run_id,
        row=row.row,
        product=row.product,
        state=rule.log,
        stage=_stage(work),
        reason=_reason(work, attempts),
        http_status=work.answer.status if work.answer is not None else None,
        attempts=attempts,
        images=row.images,
        retryable=work.state == "exhausted",
        version=row.version,
        key=row.key,
        tries=_tries(work) if work.state == "exhausted" or (row.tries and rule.attempts) else row.tries,
    )


def entries(domain: str, run_id: str, work: RowWork) -> list[LedgerEntry]:
    """What the ledger is told of the row's SKUs when the row is settled or comes again: see `_entry`."""
    return [entry for sku in work.skus if (entry := _entry(domain, run_id, work, sku)) is not None]


def again(work: RowWork) -> Again | None:
    """The row as it comes again, and when; None where it is settled, or comes again by redelivery."""
    rule = RULES[work.state]
    if rule.again is None:
        return None
    row = work.row
    if isinstance(work.answer, Unavailable):
        row = msgspec.structs.replace(row, attempts=row.attempts + rule.attempts, tries=_tries(work))
    return Again(row, _pause(rule, row.attempts, work.answer))


def releases_claims(work: RowWork) -> bool:
    """Whether the row's claims end when its chunk ends, in whatever way."""
    return RULES[work.state].releases


def _pause(rule: Rule, attempts: int, answer: Outcome | None) -> float:
    if rule.again == "ladder":
        return float(retry_ladder.delay(attempts, answer.retry_after if isinstance(answer, Unavailable) else None))
    return BUSY_SECONDS if rule.again == "busy" else HELD_SECONDS


def _entry(domain: str, run_id: str, work: RowWork, sku: Sku) -> LedgerEntry | None:
    """A SKU that is written, or unchanged under our claim, has the row's image set now. If a write's result is unknown, the
    entry has digest NULL: the product is in doubt, and the next row is sent whatever it holds."""
    row, claim = work.row, sku.claim
    if claim is None:
        return None
    if isinstance(sku.outcome, Written) or (sku.decision == "unchanged" and claim.mine):
        return LedgerEntry(domain, sku.product, row.version, work.digest, run_id, row.row)
    if _may_be_taken(sku.outcome):
        return LedgerEntry(domain, sku.product, row.version, None, None, None)
    return None


def _may_be_taken(outcome: Outcome | None) -> bool:
    """Whether Omnitron may have taken a write that failed: the answer was lost, or came from something in between."""
    return isinstance(outcome, Unavailable) and outcome.status != 429


def _stage(work: RowWork) -> StageName:
    return work.answer.stage if isinstance(work.answer, Refused) else "write"


def _reason(work: RowWork, attempts: int) -> str | None:
    if work.state == "superseded":
        return "a newer row of the product was written first"
    if work.state == "cancelled":
        return CANCELLED
    if work.answer is None or isinstance(work.answer, Written):
        return work.images
    given_up = f" (given up after {attempts} attempts)" if work.state == "exhausted" else ""
    return work.answer.reason + given_up


def _tries(work: RowWork) -> tuple[Try, ...]:
    """The row's history with this attempt. Of a row with a base code it names the SKU that failed."""
    answer = work.answer
    if answer is None or isinstance(answer, Written):
        return tried(work.row.tries, Try(work.at, answer.status if answer is not None else None))
    sku = (
        next((sku.product for sku in work.skus if sku.outcome is answer), None) if work.row.key == "base_code" else None
    )
    return tried(work.row.tries, Try(work.at, answer.status, answer.reason, sku))


# a chunk -----------------------------------------------------------------------------------------------------------------


def logs(run_id: str, works: Iterable[RowWork]) -> list[RowLog]:
    """How the settled rows of a chunk are logged."""
    return [entry for work in works if (entry := log(run_id, work)) is not None]


def released(works: Sequence[RowWork]) -> list[str]:
    """The products whose claims end with the chunk: those that are ours, or may be because the database has not answered.

    Rows of one chunk may share a product, and so a claim: it is kept while any of them has a request in flight.
    """
    kept = {sku.product for work in works if not releases_claims(work) for sku in work.skus}
    ours = {sku.product: None for work in works for sku in work.skus if sku.claim is None or sku.claim.mine}
    return [product for product in ours if product not in kept]


def broken_off(domain: str, run_id: str, works: Iterable[RowWork]) -> list[LedgerEntry]:
    """What the ledger is told when a chunk breaks off: what Omnitron answered. Nothing else is entered because no log goes
    with it: an unchanged row would be `repeated` when it is redelivered, and be logged as written."""
    answered_skus = [
        (work, sku) for work in works if work.state != "sending" for sku in work.skus if sku.outcome is not None
    ]
    return [entry for work, sku in answered_skus if (entry := _entry(domain, run_id, work, sku)) is not None]
