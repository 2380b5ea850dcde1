"""The store seam: flows, runs, pages, rows, the ledger, watermarks, users. The truth of everything but the queues.

One implementation in SQL over SQLite and PostgreSQL (`sql.py`, `tables.py`, `migrations/`);
tests/contract/test_store.py holds for both. Every method is one transaction; every method may be repeated after a
crash without counting anything twice. Raises StoreError (transient) when the database is away, NotFoundError where
something is asked for by name and is not there.

The outbox: a state that must be followed by a message is stored together with that message, in one transaction. The
caller publishes and then calls `sent`; whatever a crash left behind is found by `unsent` and published again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol, Self

import msgspec

from imageflow.model.flow import Flow
from imageflow.model.imageset import Image
from imageflow.model.page import Page
from imageflow.model.row import Row, RowLog
from imageflow.model.run import Run


class Unsent(NamedTuple):
    """A message of the outbox that has not been published yet."""

    id: int
    queue: str
    body: bytes


class SavedPage(NamedTuple):
    """A page is stored. `outbox` are the ids of its messages: PageRead, and ReadPage where more pages follow."""

    seq: int
    outbox: tuple[Unsent, ...]
    run: Run


class AcceptedPost(NamedTuple):
    """An outbound post is stored as page 1 of `run_id`. `repeated`: the idempotency key was known, nothing was added;
    `conflict`: it was known with another body.
    """

    run_id: str
    rows: int
    seq: int
    outbox: tuple[Unsent, ...]
    repeated: bool = False
    conflict: bool = False


class Registered(NamedTuple):
    """The numbers that a page's rows have: the row at index i of the page has `numbers[i]`. They stay the same however
    often the page is registered.
    """

    numbers: tuple[int, ...]
    outbox: tuple[Unsent, ...]
    first_time: bool


class Wanted(NamedTuple):
    """A product that a writer wants to claim for a row of this version."""

    product: str
    version: int


class Claim(NamedTuple):
    """What the ledger says of a product. `mine`: claimed for the asking token; otherwise another row of the product is
    in flight (`busy`) or a newer one is written already (neither). `version` and `digest` are of the last image set
    written; version is -1 where nothing was written yet.
    """

    product: str
    mine: bool
    busy: bool
    version: int
    digest: str | None


class Skipped(NamedTuple):
    """The numbers of the rows that were settled as unchanged, and the runs that ended by it."""

    rows: frozenset[int]
    ended: list[Run]


class LedgerEntry(NamedTuple):
    """The image set that is on Omnitron for a product since this row was settled.

    Where a write may have been taken or not, nobody knows what is there: no digest, no row, and the version that the ledger
    had when the product was claimed, 0 where it had none. Then no row is unchanged until one is written.
    """

    domain: str
    product: str
    version: int
    digest: str | None
    run_id: str | None
    row: int | None


class LedgerState(NamedTuple):
    """What the ledger knows of a product. `version`, `digest`, `run_id` and `row` are of the last image set written
    (version -1 or 0: none was, as far as is known); `in_flight` is the version of the row that a living writer has in hand.
    """

    domain: str
    product: str
    version: int
    digest: str | None
    run_id: str | None
    row: int | None
    in_flight: int | None


class HeldRow(NamedTuple):
    """A row of a run with `group: run`, held back until the read is complete. `position` orders a product's images."""

    product: str
    key: Literal["sku", "base_code"]
    version: int
    images: tuple[Image, ...]


class User(msgspec.Struct, frozen=True):
    """A person or machine that may log in."""

    name: str
    password_hash: str
    role: Literal["viewer", "operator", "admin"]


class ApiKey(msgspec.Struct, frozen=True):
    """A machine's key: it opens the outbound door of one flow and nothing else, until it expires (None: never)."""

    id: str
    flow: str
    name: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None


class AuditEntry(msgspec.Struct, frozen=True):
    """A change as the audit log keeps it: `who` changed `what` (`flow.save`, `user.remove`, …) on which `object`, from
    where (`origin`: an address, or `command line`). `detail` never holds a secret.
    """

    who: str
    what: str
    object: str
    origin: str
    detail: dict[str, Any] = {}


class AuditRecord(msgspec.Struct, frozen=True):
    """An audit entry, and when it was made."""

    id: int
    at: datetime
    entry: AuditEntry


class FlowVersion(msgspec.Struct, frozen=True):
    """A saved version of a flow, by whom and when."""

    version: int
    author: str
    saved_at: datetime


class ErrorGroup(msgspec.Struct, frozen=True):
    """Failed rows of a run that have one cause. `group` is their fingerprint; `reason` that of row `example_row`;
    `retryable` how many of them could be written again.
    """

    group: str
    stage: str
    http_status: int | None
    reason: str | None
    rows: int
    retryable: int
    example_row: int
    example_product: str | None


class OpenError(msgspec.Struct, frozen=True):
    """A cause for which products of a flow have failed and have not come through since: in how many `rows` of how many
    `runs`, the first of which was created at `since`. `run_id`, `row`, `product` and `reason` are of the newest.
    """

    group: str
    stage: str
    http_status: int | None
    reason: str | None
    rows: int
    runs: int
    since: datetime
    run_id: str
    row: int
    product: str | None


class HeldDomain(msgspec.Struct, frozen=True):
    """A domain that at least one writer holds back from: `since` the first of them does, and why."""

    domain: str
    reason: str
    since: datetime
    writers: int


class Alarm(msgspec.Struct, frozen=True):
    """Something that is worth waking somebody, open until it has passed. `notice`: what became of its last post to the
    webhook; None while there is none.
    """

    id: int
    flow: str
    kind: str
    text: str
    opened_at: datetime
    closed_at: datetime | None
    notice: str | None


class Notice(msgspec.Struct, frozen=True):
    """An alarm's opening or closing, to be posted to the flow's webhook."""

    id: int
    event: Literal["opened", "closed"]
    attempts: int
    alarm: Alarm


class OldRun(NamedTuple):
    """A run that ended long ago. What is kept of it, and why, `forget_run` knows."""

    created_at: datetime
    run_id: str


class Store(Protocol):
    """Use as an async context manager: entering connects, leaving closes."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def upgrade(self) -> None:
        """Bring the schema to the newest revision. Any number of processes may ask at once: one does it, all wait."""
        ...

    async def ping(self) -> None:
        """Raises StoreError when the database does not answer."""
        ...

    # flows ----------------------------------------------------------------------------------------------------------

    async def save_flow(self, document: dict[str, Any], author: str = "", *, audit: AuditEntry | None = None) -> Flow:
        """Save a flow's document (valid, see flowfile.parse) as a new version; an equal one makes no new version."""
        ...

    async def flow_versions(self, name: str) -> list[FlowVersion]:
        """All versions of a flow, newest first."""
        ...

    async def flow(self, name: str, version: int | None = None) -> Flow:
        """A version of a flow, the newest by default. NotFoundError says which flows there are."""
        ...

    async def flows(self) -> list[Flow]:
        """The newest version of every flow, by name."""
        ...

    # runs -----------------------------------------------------------------------------------------------------------

    async def create_run(self, run: Run, *, fire_time: datetime | None = None, audit: AuditEntry | None = None) -> bool:
        """Add an inbound run, `queued` and waiting. With `fire_time`: once per (flow, fire time), else False."""
        ...

    async def create_missing_runs(
        self, key: str, fire_time: datetime, runs: Sequence[Run], *, domain: str, without_images: Sequence[str]
    ) -> bool:
        """Add the runs of a fetch-missing round, all or none, once per (key, fire time), else False. Of the products
        `without_images` the ledger forgets what was written last: it is not there, so it is not `unchanged`.
        """
        ...

    async def note_fire(self, flow: str, fire_time: datetime) -> bool:
        """Remember that the tick was seen and made no run (overlap_policy: skip). False if it was seen before."""
        ...

    async def last_fire(self, flow: str) -> datetime | None:
        """The newest fire time seen of a flow."""
        ...

    async def release_runs(self) -> list[Unsent]:
        """Let waiting inbound runs begin: of each flow the oldest, where no other run of that flow that was released is
        still going on. Returns the outbox messages (ReadPage of page 1), stored with it.
        """
        ...

    async def run(self, run_id: str) -> Run: ...

    async def runs(
        self,
        flow: str | None = None,
        *,
        limit: int = 100,
        active: bool = False,
        status: str | None = None,
        before: tuple[datetime, str] | None = None,
    ) -> list[Run]:
        """Runs, newest first; `active`: only those that have not ended; `before`: older than the one that was created
        then and has that id.
        """
        ...

    async def start_reading(self, run_id: str, since: datetime | None, until: datetime | None) -> Run:
        """Queued -> reading, with the bounds and `started_at`. Whoever asks again gets the run with the first bounds."""
        ...

    async def save_page(
        self, run_id: str, page: int, body: bytes, *, cursor: str | None, last: bool, moves_watermark: bool = True
    ) -> SavedPage | None:
        """Store page `page` of a run that is `reading`, its messages and the cursor of the next page; None if that page
        is stored already or the run has ended its read (somebody else was faster).

        `last`: the read is complete: the run becomes `draining` (or ends), and where `moves_watermark` and the run has
        an `until`, the flow's watermark moves to it, never backwards.
        """
        ...

    async def end_read(
        self, run_id: str, *, error: str | None, stage: str | None = None, moves_watermark: bool = False
    ) -> Run:
        """End the read without another page: with `error` the run will end `failed` (the watermark does not move)."""
        ...

    async def warn(self, run_id: str, text: str) -> None:
        """Add a warning to a run, once per text, at most 20."""
        ...

    async def page(self, run_id: str, page: int) -> Page: ...

    async def page_of(self, seq: int) -> Page:
        """The page that has this number over all runs (see page.row_version). Raises NotFoundError."""
        ...

    async def watermark(self, flow: str) -> datetime | None: ...

    async def set_watermark(self, flow: str, since: datetime | None, *, audit: AuditEntry | None = None) -> None:
        """Set (or clear) by hand, backwards too. Runs that are being read do not move it any more: they lose their
        `until`.
        """
        ...

    # outbound -------------------------------------------------------------------------------------------------------

    async def accept_post(self, run: Run, body: bytes, *, rows: int, key: str | None) -> AcceptedPost:
        """Store an outbound post: its run (given as `draining`, read complete, one page), page 1 and the PageRead
        message. A `key` that the flow has seen within the last 24 hours returns the first post's run instead.
        """
        ...

    # pages and rows -------------------------------------------------------------------------------------------------

    async def register_page(
        self, run_id: str, page: int, total: int, settled: Sequence[RowLog], *, held: Sequence[HeldRow] = ()
    ) -> Registered:
        """The page's transformation gave `total` rows: number them, count them on the run, and log those that are
        settled already (invalid, superseded; their `row` is the index within the page, from 0). `held` are kept for the
        join of `group: run` and are not counted in `total`. Pages below 0 are parts of the join.

        Repeating it changes nothing. If a script that is not deterministic gives another number of rows the second
        time, additional rows get additional numbers, and missing ones are logged as failed with that reason.
        """
        ...

    async def held_rows(self, run_id: str, after: str | None, products: int) -> list[HeldRow]:
        """Held rows of the next `products` products after product `after`, by product, then version, complete products."""
        ...

    async def end_join(self, run_id: str) -> None:
        """All held rows are registered as pages below 0 and published: forget them; the run may end."""
        ...

    async def alive(self, owner: str, seconds: float) -> None:
        """A writer process lives for at least `seconds` more: its claims hold so long."""
        ...

    async def gone(self, owner: str) -> None:
        """A writer process stops (or nobody else can be alive, owner "*"): its claims end now."""
        ...

    async def claim(self, domain: str, owner: str, token: str, wanted: Sequence[Wanted]) -> list[Claim]:
        """Claim products for rows of these versions; answers in the order asked. A product is claimed unless another
        token of a living owner holds it, or a newer version is written. No product twice in `wanted`.
        """
        ...

    async def skip(self, domain: str, run_id: str, rows: Sequence[Row]) -> Skipped:
        """Settle rows of a run as unchanged where the ledger has this very image set for the product by an older row, and
        nobody holds a claim on it: at once what `claim` and `settle` do. All others are left as they are. Only rows that
        are written to a SKU, each product once.
        """
        ...

    async def settle(
        self,
        token: str,
        logs: Sequence[RowLog],
        *,
        written: Sequence[LedgerEntry] = (),
        release: Sequence[tuple[str, str]] = (),
    ) -> list[Run]:
        """Log rows, enter what is now on Omnitron in the ledger (never an older version over a newer one, and without a
        digest where the token lost its claim), end the token's claims on `release` (domain, product) and on what was
        written, and count on the runs: each row once, however often it is settled; a row being retried changes in place.
        Returns runs that ended by it.
        """
        ...

    async def rows(
        self,
        run_id: str,
        *,
        state: str | None = None,
        stage: str | None = None,
        product: str | None = None,
        group: str | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> list[RowLog]:
        """Row logs of a run by row number; `group` is a fingerprint of failed rows."""
        ...

    async def errors(self, run_id: str, limit: int = 100) -> list[ErrorGroup]:
        """The failed rows of a run by cause, the largest groups first."""
        ...

    async def open_errors(self, flow: str, limit: int = 100) -> list[OpenError]:
        """The failures of a flow that are still open, over all runs by cause, the largest first. A product's failure is
        closed by any newer row of the product in the flow (if that failed too, it is the open one); one of no product,
        by the next run that has rows.
        """
        ...

    async def product_rows(self, product: str, *, limit: int = 100) -> list[RowLog]:
        """Row logs of a product over all runs, newest first."""
        ...

    async def nameless_rows(self, text: str, *, limit: int = 1000) -> list[RowLog]:
        """Failed rows of which no product is known and whose payload holds `text`, in whatever case; newest first."""
        ...

    async def ledger(self, product: str, domains: Sequence[str]) -> list[LedgerState]:
        """What is known of a product on these domains."""
        ...

    async def targets(self, domain: str, run_id: str, row: int) -> list[LedgerState]:
        """The products that have the image set of that row: of a base code, its SKUs. Looks at the whole domain."""
        ...

    async def reopen(
        self,
        run_id: str,
        *,
        row: int | None = None,
        group: str | None = None,
        limit: int = 10_000,
        audit: AuditEntry | None = None,
    ) -> tuple[int, list[Unsent]]:
        """Take failed rows that have an image set (stages login and write; of a run, one row or one error group) back
        into flight: attempts from 0, the run `draining` again. Returns how many, and their RowsReady messages.
        """
        ...

    # outbox ---------------------------------------------------------------------------------------------------------

    async def unsent(self, older_than: float, limit: int = 100) -> list[Unsent]:
        """Messages stored at least `older_than` seconds ago and not yet marked as sent."""
        ...

    async def sent(self, ids: Sequence[int]) -> None: ...

    # users ----------------------------------------------------------------------------------------------------------

    async def save_user(self, user: User, *, audit: AuditEntry | None = None) -> None:
        """Add a user, or change their password and role. Another password ends their tokens."""
        ...

    async def user(self, name: str) -> User | None: ...

    async def users(self) -> list[User]:
        """All users by name."""
        ...

    async def set_role(self, name: str, role: str, *, audit: AuditEntry | None = None) -> None:
        """Raises NotFoundError."""
        ...

    async def remove_user(self, name: str, *, audit: AuditEntry | None = None) -> None:
        """The user and their tokens. Raises NotFoundError."""
        ...

    async def save_token(self, digest: str, user: str, expires_at: datetime) -> None: ...

    async def token_user(self, digest: str, now: datetime) -> User | None:
        """Whose unexpired token that is."""
        ...

    async def revoke_token(self, digest: str) -> None: ...

    async def add_key(self, key: ApiKey, digest: str, *, audit: AuditEntry | None = None) -> None:
        """Add a machine's key; only its digest is kept."""
        ...

    async def keys(self, flow: str | None = None) -> list[ApiKey]:
        """Keys by flow, then name; also those that have expired."""
        ...

    async def key(self, digest: str, now: datetime) -> ApiKey | None:
        """The unexpired key with that digest."""
        ...

    async def revoke_key(self, key_id: str, *, audit: AuditEntry | None = None) -> ApiKey:
        """Forget a key. Raises NotFoundError."""
        ...

    # audit log ------------------------------------------------------------------------------------------------------

    async def note(self, audit: AuditEntry) -> None:
        """Enter a change in the audit log. Methods with an `audit` do so in their own transaction, if they change anything."""
        ...

    async def audit(
        self, *, before: int | None = None, who: str | None = None, what: str | None = None, limit: int = 100
    ) -> list[AuditRecord]:
        """The audit log, newest first; `before`: entries older than the one with that id."""
        ...

    # alarms and holds -----------------------------------------------------------------------------------------------

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Whether `holder` has the lease now, for `seconds` from now: it had it, or nobody else's is unexpired."""
        ...

    async def recent_runs(self, flow: str, since: datetime, limit: int = 200) -> list[Run]:
        """The newest runs of a flow that have ended after `since` or not at all; at least the newest that has ended."""
        ...

    async def rows_since(self, flow: str, since: datetime) -> bool:
        """Whether a run of the flow that was going on after `since` had rows."""
        ...

    async def sound(self, flow: str, alarming: dict[str, str], *, notify: bool) -> list[Alarm]:
        """Open an alarm of each kind in `alarming` (kind: text) that is not open, and close those that are not in it;
        an open one's text follows. `notify`: with a notice for each that opened or closed. Returns those.
        """
        ...

    async def alarms(
        self, flow: str | None = None, *, is_open: bool | None = None, before: int | None = None, limit: int = 100
    ) -> list[Alarm]:
        """Alarms, newest first; `before`: older than the one with that id."""
        ...

    async def due_notices(self, limit: int = 100) -> list[Notice]:
        """Notices to post now, oldest first."""
        ...

    async def notice_sent(self, notice: int, outcome: str, *, again_in: float | None = None) -> None:
        """A notice was posted, and what became of that (kept with its alarm); `again_in`: it is due again then."""
        ...

    async def hold(self, owner: str, held: dict[str, str], seconds: float) -> None:
        """The domains (and why) that a writer process holds now, for at least `seconds` more: these and no others."""
        ...

    async def holds(self) -> list[HeldDomain]:
        """The domains that writers hold."""
        ...

    # retention ------------------------------------------------------------------------------------------------------

    async def old_runs(self, before: datetime, *, after: OldRun | None = None, limit: int = 100) -> list[OldRun]:
        """Runs that ended before `before`, by creation, those after `after`."""
        ...

    async def forget_run(self, run_id: str, before: datetime, *, limit: int = 1000) -> int:
        """Delete up to `limit` records of a run that ended before `before`: its pages, rows, and at last the run itself;
        how many (0: nothing is left to delete). One that does not exist any more, or goes on, is left alone.

        Rows with an open error stay, with what they would need to be written again, and so does their run: those that
        failed at login or write, and no newer row of their product came in the flow.
        """
        ...

    async def forget_rest(self, before: datetime, *, limit: int = 1000) -> int:
        """Delete up to `limit` of each: ticks of schedules and closed alarms from before `before`; idempotency keys,
        tokens and leases of writers that have expired. How many. The newest tick of each schedule stays.
        """
        ...
