"""The life of a row: what follows from each state, for every combination of facts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple, get_args

import pytest

from imageflow.model.imageset import Image
from imageflow.model.retry_ladder import LADDER
from imageflow.model.row import Row, RowLog, Try, digest_of
from imageflow.store import Claim, LedgerEntry, Wanted
from imageflow.write import row_work
from imageflow.write.outcome import Outcome, Refused, Unavailable, Written
from imageflow.write.row_work import BUSY_SECONDS, HELD_SECONDS, RULES, RowWork, State

DOMAIN, RUN = "https://omnitron.example", "r"
MAX_ATTEMPTS = 3
AT, SENT_AT, SENT = 1000.0, 1001.0, 5.0
VERSION, BEFORE = 7, 4
FIRST, LAST = 0, MAX_ATTEMPTS - 1
"""Attempts that were made before this one."""
IMAGES = (Image("https://images.example/a.jpg"),)
DIGEST = digest_of(Row(0, 0, "p", IMAGES))


class Case(NamedTuple):
    """The facts that a state is reached with."""

    skus: tuple[str, ...] = ("a",)
    attempts: int = FIRST
    retry_after: float | None = None
    mine: bool = True

    @property
    def row(self) -> Row:
        key = "sku" if len(self.skus) == 1 else "base_code"
        tries = tuple(Try(float(n), 503, "before") for n in range(self.attempts))
        return Row(3, VERSION, "a" if key == "sku" else "base", IMAGES, key, self.attempts, tries)

    def targeted(self) -> RowWork:
        return row_work.targeted(self.row, self.skus, AT)

    def decided(self, version: int = BEFORE, digest: str | None = "other", busy: bool = False) -> RowWork:
        claims = [Claim(sku, self.mine and not busy, busy, version, digest) for sku in self.skus]
        return row_work.decided([self.targeted()], claims, skip_unchanged=True)[0]

    def sending(self) -> RowWork:
        return row_work.begun(self._claimed().decided(), SENT_AT, SENT)

    def ended(self, outcome: Outcome) -> RowWork:
        """All SKUs are written but the last, which gets `outcome`."""
        work = self.sending()
        for sku in work.skus[:-1]:
            work = row_work.answered(work, sku, Written(201))
        return row_work.answered(work, work.skus[-1], outcome)

    def failed(self, status: int | None, *, outage: bool = False, unreached: bool = False) -> RowWork:
        outcome = Unavailable(f"failed with {status}", status, self.retry_after, status in (429, 503), unreached)
        return row_work.weighed(self.ended(outcome), outage=outage, max_attempts=MAX_ATTEMPTS)

    def exhausted(self, status: int | None) -> RowWork:
        return self._replace(attempts=LAST).failed(status)

    def _claimed(self) -> Case:
        return self._replace(mine=True)


CASES = [
    Case(*facts)
    for facts in itertools.product([("a",), ("a", "b", "c")], [FIRST, 1, LAST], [None, 0.5, 20.0], [True, False])
]
WAYS: dict[str, tuple[State, Callable[[Case], RowWork]]] = {
    "targeted": ("targeted", Case.targeted),
    "unknown base code": ("unsendable", lambda case: row_work.targeted(case.row, (), AT)),
    "look-up refused": ("unsendable", lambda case: row_work.untargeted(case.row, Refused("no", stage="login"), AT)),
    "look-up failed": ("not_taken", lambda case: row_work.untargeted(case.row, Unavailable("away"), AT)),
    "preflight": ("unsendable", lambda case: row_work.unsendable(case._claimed().decided(), "damaged")),
    "no time for preflight": ("busy", lambda case: row_work.not_looked_at(case._claimed().decided())),
    "unchanged": ("unchanged", lambda case: case._claimed().decided(BEFORE, DIGEST)),
    "superseded": ("superseded", lambda case: case._replace(mine=False).decided(VERSION + 1)),
    "repeated": ("repeated", lambda case: case.decided(VERSION, DIGEST)),
    "busy": ("busy", lambda case: case.decided(busy=True)),
    "claim lost": ("busy", lambda case: case._replace(mine=False).decided()),
    "rejected": ("waiting", lambda case: case._claimed().decided()),
    "queue closed": ("waiting", lambda case: row_work.stopped(case.sending(), "waiting")),
    "lease ending": ("lease_ending", lambda case: row_work.stopped(case.sending(), "lease_ending")),
    "sending": ("sending", Case.sending),
    "written": ("written", lambda case: case.ended(Written(200))),
    "refused": ("refused", lambda case: case.ended(Refused("no", 400))),
    "no credentials": (
        "refused",
        lambda case: row_work.unsent(case._claimed().decided(), Refused("no", stage="login")),
    ),
    "429": ("not_taken", lambda case: case._replace(attempts=min(case.attempts, 1)).failed(429)),
    "500": ("doubtful", lambda case: case._replace(attempts=min(case.attempts, 1)).failed(500)),
    "timeout": ("doubtful", lambda case: case._replace(attempts=min(case.attempts, 1)).failed(None)),
    "429 in an outage": ("outage", lambda case: case.failed(429, outage=True)),
    "503 in an outage": ("outage", lambda case: case.failed(503, outage=True)),
    "unreached in an outage": ("outage", lambda case: case.failed(None, outage=True, unreached=True)),
    "last 429": ("exhausted", lambda case: case.exhausted(429)),
    "last 500": ("exhausted", lambda case: case.exhausted(500)),
    "last timeout": ("exhausted", lambda case: case.exhausted(None)),
    "cancelled before it was sent": ("cancelled", lambda case: row_work.cancelled(case._claimed().decided())),
    "cancelled before it comes again": (
        "cancelled",
        lambda case: row_work.cancelled(case._replace(attempts=min(case.attempts, 1)).failed(500)),
    ),
    "cancelled when it is taken": ("cancelled", lambda case: row_work.cancelled(case.targeted())),
    "cancelled and written": ("written", lambda case: row_work.cancelled(case.ended(Written(200)))),
    "cancelled and in flight": ("sending", lambda case: row_work.cancelled(case.sending())),
}
SENT = ("refused", "429", "500", "timeout", "cancelled before it comes again")
COSTS = {"written", "refused", "not_taken", "doubtful", "exhausted"}
"""The states in which an attempt was made that counts."""


def every() -> Iterator[tuple[str, Case, State, RowWork]]:
    """Every way into a state, with every combination of facts."""
    for (name, (state, reach)), case in itertools.product(WAYS.items(), CASES):
        yield name, case, state, reach(case)


def test_every_state_is_reached():
    """The ways above lead to all states of the table and to no other."""
    assert {state for state, _ in WAYS.values()} == set(RULES) == set(get_args(State))
    for name, case, state, work in every():
        assert work.state == state, (name, case)


def test_what_becomes_of_a_row():
    """Each row of a chunk is logged, or comes again, or waits for redelivery: exactly one of these."""
    for name, case, state, work in every():
        logged, again = row_work.log(RUN, work) is not None, row_work.again(work) is not None
        redelivered = state in ("targeted", "sending")
        assert logged + again + redelivered == 1, (name, case)


@pytest.mark.parametrize(
    ("state", "logged"),
    [
        ("unchanged", "unchanged"),
        ("superseded", "superseded"),
        ("repeated", "written"),
        ("written", "written"),
        ("unsendable", "failed"),
        ("refused", "failed"),
        ("exhausted", "failed"),
    ],
)
def test_logs(state, logged):
    """A settled row's log names the row, its state and the run. Only exhausted rows are retryable."""
    found = [(case, row_work.log(RUN, work)) for _, case, found, work in every() if found == state]
    assert found
    for case, entry in found:
        assert isinstance(entry, RowLog)
        row = case.row
        assert (entry.run_id, entry.row, entry.product) == (RUN, row.row, row.product)
        assert (entry.images, entry.version, entry.key) == (row.images, row.version, row.key)
        assert entry.state == logged
        assert entry.retryable == (state == "exhausted")
        assert (entry.reason is not None) == (logged in ("failed", "superseded"))


def test_attempts_rise_only_where_one_was_made():
    """A row pays for a request that was answered or lost, unless there was an outage."""
    for name, case, state, work in every():
        before = work.row.attempts
        entry, again = row_work.log(RUN, work), row_work.again(work)
        after = entry.attempts if entry else again.row.attempts if again else before
        assert after - before == (1 if state in COSTS else 0), (name, case)


def test_the_claim_of_a_request_in_flight_is_never_released():
    """Every other row's claims end with its chunk, if they are ours."""
    for name, case, state, work in every():
        released = row_work.released([work])
        ours = [sku.product for sku in work.skus if sku.claim is None or sku.claim.mine]
        assert released == ([] if state == "sending" else ours), (name, case)


def test_claims_that_the_database_did_not_answer_for_are_released():
    """The claim may have been committed before the connection broke."""
    assert row_work.released([Case(("a", "b")).targeted(), Case(("b", "c")).targeted()]) == ["a", "b", "c"]


def test_logs_of_a_chunk():
    """Each row that is settled has a log, the others have none."""
    settled, flying = row_work.unsent(Case().decided(), Refused("no secret")), Case().sending()
    assert row_work.logs(RUN, [settled, flying]) == [row_work.log(RUN, settled)]


def test_a_claim_shared_with_a_request_in_flight_is_kept():
    """Two rows of a chunk may share a product: one that is not sent does not release what the other is writing."""
    sending, other = Case(("a", "b")).sending(), Case(("b", "c")).decided()
    assert row_work.released([sending, other]) == ["c"]
    assert row_work.released([other, sending]) == ["c"]


def test_unknown_results_leave_no_digest():
    """What Omnitron may have taken is entered with digest NULL, under the version of the row; a 429 is not."""
    for name, case, _, work in every():
        entries = row_work.entries(DOMAIN, RUN, work)
        doubtful = [entry.product for entry in entries if entry.digest is None]
        expected = isinstance(work.answer, Unavailable) and work.answer.status != 429 and name != "look-up failed"
        assert doubtful == ([case.skus[-1]] if expected else []), (name, case)
        assert all(
            entry == LedgerEntry(DOMAIN, entry.product, work.row.version, None, None, None)
            for entry in entries
            if entry.digest is None
        )


def test_what_is_on_omnitron_is_entered():
    """Written SKUs are entered with the row's version and digest, in whatever state the row ends; nothing else is, but for
    unchanged SKUs, whose version rises."""
    for name, case, state, work in every():
        entered = [entry for entry in row_work.entries(DOMAIN, RUN, work) if entry.digest is not None]
        if state in ("written", "unchanged"):
            products = list(case.skus)
        else:
            sent = name in SENT or state in ("outage", "exhausted")
            products = list(case.skus[:-1]) if sent else []
        assert entered == [LedgerEntry(DOMAIN, sku, VERSION, DIGEST, RUN, case.row.row) for sku in products], (
            name,
            case,
        )


def test_an_unchanged_sku_under_a_foreign_claim_is_not_entered():
    """Only the holder of a claim may raise the version."""
    claim = Claim("a", False, False, BEFORE, DIGEST)
    sku = row_work.Sku("a", claim, "unchanged")
    assert row_work.entries(DOMAIN, RUN, RowWork(Case().row, DIGEST, AT, (sku,), "unchanged")) == []


def test_when_rows_come_again():
    """Busy rows soon, held rows after the pause of an open circuit, failed ones on the ladder, not before Retry-After."""
    for name, case, state, work in every():
        again = row_work.again(work)
        if state == "busy":
            assert again == (work.row, BUSY_SECONDS)
        elif state in ("waiting", "lease_ending"):
            assert again == (work.row, HELD_SECONDS)
        elif state == "outage":
            assert again is not None
            assert again.seconds == HELD_SECONDS
        elif state in ("not_taken", "doubtful"):
            assert again is not None
            rung = float(LADDER[work.row.attempts])
            asked = {None: rung, 0.5: rung, 20.0: 60.0}
            assert again.seconds == asked[case.retry_after if name != "look-up failed" else None], (name, case)
        else:
            assert again is None


def test_a_row_does_not_come_again_without_end():
    """Each failure costs an attempt until `max_attempts` are made; then the row is settled."""
    row = Case().row
    for attempt in range(1, MAX_ATTEMPTS + 1):
        work = row_work.begun(
            row_work.decided(
                [row_work.targeted(row, ["a"], AT)], [Claim("a", True, False, 0, None)], skip_unchanged=True
            )[0],
            SENT_AT,
            SENT,
        )
        work = row_work.answered(work, work.skus[0], Unavailable("slower", 429, slow_down=True))
        work = row_work.weighed(work, outage=False, max_attempts=MAX_ATTEMPTS)
        again = row_work.again(work)
        assert (again is None) == (attempt == MAX_ATTEMPTS)
        if again is not None:
            row = again.row
    entry = row_work.log(RUN, work)
    assert entry is not None
    assert entry.attempts == MAX_ATTEMPTS
    assert entry.reason == f"slower (given up after {MAX_ATTEMPTS} attempts)"
    assert [one.status for one in entry.tries] == [429] * MAX_ATTEMPTS


@pytest.mark.parametrize("attempts", range(5))
def test_the_last_attempt(attempts):
    """A row is given up exactly when this attempt was its last one, whether it was looked up or sent."""
    expected = attempts + 1 >= MAX_ATTEMPTS
    sent = Case(attempts=attempts).failed(500)
    looked_up = row_work.untargeted(Case(attempts=attempts).row, Unavailable("away"), AT)
    looked_up = row_work.weighed(looked_up, outage=False, max_attempts=MAX_ATTEMPTS)
    assert [work.state == "exhausted" for work in (sent, looked_up)] == [expected, expected]


@pytest.mark.parametrize(
    ("slow_down", "unreached", "free"),
    [(False, False, False), (True, False, True), (False, True, True), (True, True, True)],
)
def test_an_outage_costs_no_attempt(slow_down, unreached, free):
    """Timeouts and unreached requests do not, even on the last attempt; a 500 does, since it may be the row's fault."""
    outcome = Unavailable("failed", None, None, slow_down, unreached)
    for attempts in (FIRST, LAST):
        work = row_work.weighed(Case(attempts=attempts).ended(outcome), outage=True, max_attempts=MAX_ATTEMPTS)
        assert (work.state == "outage") == free


def test_only_failures_are_weighed():
    """An outage that others have leaves rows alone that are written, refused or not sent."""
    for _, _, state, work in every():
        if state not in ("not_taken", "doubtful"):
            assert row_work.weighed(work, outage=True, max_attempts=1) is work


def test_history():
    """A row that comes again carries each try; a row that is settled at its first attempt carries none."""
    [before] = Case(attempts=1).row.tries
    again = row_work.again(Case(attempts=1).failed(500))
    assert again is not None
    assert again.row.tries == (before, Try(SENT_AT, 500, "failed with 500"))
    first, second = (row_work.log(RUN, Case(attempts=n).ended(Written(201))) for n in (0, 1))
    assert first is not None
    assert second is not None
    assert first.tries == ()
    assert second.tries == (before, Try(SENT_AT, 201))
    refused = row_work.log(RUN, Case(attempts=1).ended(Refused("no", 400)))
    assert refused is not None
    assert refused.tries == (before, Try(SENT_AT, 400, "no"))


def test_history_names_the_sku_of_a_base_code():
    """Of several SKUs, the one that failed."""
    again = row_work.again(Case(("a", "b")).failed(500))
    assert again is not None
    assert again.row.tries == (Try(SENT_AT, 500, "failed with 500", "b"),)


def test_rows_without_a_request_keep_their_history():
    """What preflight refuses, and what is unchanged, was not tried."""
    for name in ("preflight", "unknown base code", "look-up refused", "unchanged", "superseded", "repeated"):
        case = Case(attempts=1)
        entry = row_work.log(RUN, WAYS[name][1](case))
        assert entry is not None
        assert entry.tries == case.row.tries
        assert entry.http_status is None


def test_reasons_and_statuses():
    """The log has Omnitron's words and status; a written row has what preflight found."""
    written = Case().decided()
    written = row_work.begun(row_work.warned(written, "images[0] is damaged"), SENT_AT, SENT)
    written = row_work.answered(written, written.skus[0], Written(201))
    login = row_work.unsent(Case().decided(), Refused("wrong password", stage="login"))
    seen = [
        (entry.state, entry.stage, entry.http_status, entry.reason)
        for work in (
            written,
            Case().ended(Refused("bad", 400)),
            login,
            row_work.unsendable(Case().decided(), "damaged"),
        )
        if (entry := row_work.log(RUN, work)) is not None
    ]
    assert seen == [
        ("written", "write", 201, "images[0] is damaged"),
        ("failed", "write", 400, "bad"),
        ("failed", "login", None, "wrong password"),
        ("failed", "write", None, "damaged"),
    ]


def test_an_error_before_the_first_request_is_transient_or_not():
    """Where no request can be made, a transient error comes again, and nothing may have been taken."""
    work = row_work.unsent(Case().decided(), Unavailable("away"))
    assert work.state == "not_taken"
    assert row_work.entries(DOMAIN, RUN, work) == []


def test_sending_stops_at_the_first_failure():
    """The row is sent to one SKU after the other; after a failure, it is `sending` no more."""
    work = Case(("a", "b", "c")).sending()
    assert [sku.product for sku in work.skus if row_work.to_be_sent(sku)] == ["a", "b", "c"]
    work = row_work.answered(work, work.skus[0], Written(200))
    assert work.state == "sending"
    assert [sku.product for sku in work.skus if row_work.to_be_sent(sku)] == ["b", "c"]
    assert row_work.answered(work, work.skus[1], Unavailable("lost")).state == "doubtful"
    assert row_work.answered(work, work.skus[1], Refused("no", 400)).state == "refused"


def test_written_skus_of_a_stopped_row_are_entered():
    """A row that stops between two SKUs comes again as it was, with the written SKU in the ledger."""
    work = Case(("a", "b")).sending()
    work = row_work.stopped(row_work.answered(work, work.skus[0], Written(200)), "lease_ending")
    assert [entry.product for entry in row_work.entries(DOMAIN, RUN, work)] == ["a"]
    assert row_work.again(work) == (work.row, HELD_SECONDS)


# a chunk -----------------------------------------------------------------------------------------------------------------


def chunk(*rows: tuple[str, ...]) -> list[RowWork]:
    return [row_work.targeted(Row(n, n, "+".join(skus), IMAGES), skus, AT) for n, skus in enumerate(rows)]


def test_each_product_is_claimed_once():
    """Of several rows of a product, with the first one's version."""
    works = [*chunk(("a", "b"), ("b", "c")), row_work.untargeted(Case().row, Unavailable("away"), AT)]
    assert row_work.wanted(works) == [Wanted("a", 0), Wanted("b", 0), Wanted("c", 1)]


@pytest.mark.parametrize(
    ("version", "digest", "first"),
    [(-1, None, "waiting"), (-1, DIGEST, "unchanged"), (0, DIGEST, "repeated"), (9, None, "superseded")],
)
def test_a_product_comes_once_in_a_chunk(version, digest, first):
    """A later row of a product that an earlier one has is busy, whatever becomes of the earlier one."""
    works = row_work.decided(chunk(("a",), ("a",)), [Claim("a", True, False, version, digest)], skip_unchanged=True)
    assert [work.state for work in works] == [first, "busy"]


def test_a_busy_row_takes_nothing():
    """What a busy row does not write, a later row of the chunk may."""
    claims = [Claim("a", True, False, -1, None), Claim("b", False, True, -1, None)]
    works = row_work.decided(chunk(("a", "b"), ("a",)), claims, skip_unchanged=True)
    assert [work.state for work in works] == ["busy", "waiting"]


def test_without_skip_unchanged_everything_is_sent():
    """The same image set is sent again where the flow wants that."""
    works = row_work.decided(chunk(("a",)), [Claim("a", True, False, -1, DIGEST)], skip_unchanged=False)
    assert [work.state for work in works] == ["waiting"]


def test_rows_without_skus_are_not_decided():
    """A failed look-up stays what it is."""
    works = [row_work.untargeted(Case().row, Unavailable("away"), AT)]
    assert row_work.decided(works, [], skip_unchanged=True) == works


def test_a_chunk_that_breaks_off_enters_what_omnitron_answered():
    """Written and doubtful SKUs are entered; unchanged rows and requests in flight are not, since no log goes with them."""
    for name, case, state, work in every():
        entered = row_work.broken_off(DOMAIN, RUN, [work])
        expected = [] if state in ("unchanged", "sending") else row_work.entries(DOMAIN, RUN, work)
        assert entered == expected, (name, case)


def test_a_row_between_two_skus_enters_nothing_when_its_chunk_breaks_off():
    """An entry would end the claim that protects the request in flight; with the lease, all claims of the row end."""
    work = Case(("a", "b")).sending()
    work = row_work.answered(work, work.skus[0], Written(200))
    assert work.state == "sending"
    assert row_work.broken_off(DOMAIN, RUN, [work]) == []
    assert row_work.released([work]) == []


def test_an_unchanged_sku_is_not_entered_when_its_chunk_breaks_off():
    """Beside a SKU that was written, too."""
    claims = [Claim("a", True, False, BEFORE, DIGEST), Claim("b", True, False, BEFORE, "other")]
    [work] = row_work.decided([Case(("a", "b")).targeted()], claims, skip_unchanged=True)
    work = row_work.begun(work, SENT_AT, SENT)
    work = row_work.answered(work, work.skus[1], Written(200))
    assert [entry.product for entry in row_work.entries(DOMAIN, RUN, work)] == ["a", "b"]
    assert [entry.product for entry in row_work.broken_off(DOMAIN, RUN, [work])] == ["b"]
