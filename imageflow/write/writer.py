"""The writer: takes a chunk of rows, sends each to Omnitron, settles all of them, and sends on what must wait.

What happens to a chunk: targets (the SKUs of each row) -> claims (store) -> decisions (ledger.py) -> requests, as many
at once as the gate lets through (limiter.py) -> outcomes (outcome.py) -> one settling transaction -> a new chunk for the
rows that come again, on the delay ladder. The delivery is acknowledged after that; if it comes twice, the ledger knows
which rows are written.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import structlog

from imageflow.broker import Broker, Outgoing
from imageflow.clock import Clock
from imageflow.errors import LoginError, Postponed, SecretError, StageError, StoreError, TransportError
from imageflow.http.omnitron import Access, OmnitronSessions
from imageflow.http.post_client import PostClient
from imageflow.model import messages, retry_ladder
from imageflow.model.flow import Definition
from imageflow.model.imageset import Image
from imageflow.model.messages import RowsReady
from imageflow.model.row import Row, RowLog, State, Try, digest_of, tried
from imageflow.model.run import Run
from imageflow.runtime.flow_cache import FlowCache
from imageflow.store import Claim, LedgerEntry, Store, Wanted
from imageflow.telemetry import message_headers, metrics
from imageflow.write.claim_decision import Decision, combine, decide
from imageflow.write.domain_queue import DomainQueue
from imageflow.write.image_probe import ImageProbe
from imageflow.write.outcome import Outcome, Refused, Unauthorized, Unavailable, Written, judge
from imageflow.write.preflight import explain, warning
from imageflow.write.sku_lookup import SkuLookup
from imageflow.write.unchanged_batcher import UnchangedBatcher

log = structlog.get_logger()

LEASE_SECONDS = 15.0
HEARTBEAT_SECONDS = 3.0
HELD_LEASE_SECONDS = 15.0
"""For so long the others take a domain for held by a process that does not say so again."""
BUSY_SECONDS = 1.0
HELD_SECONDS = 5.0
SETTLE_PAUSE_SECONDS = 1.0
UNCAPPED = 1 << 30
WARNED_LIMIT = 1000


class Payload(msgspec.Struct, frozen=True):
    """The body of a write, as Omnitron takes it."""

    product_sku: str
    images: tuple[Image, ...]


class Sku(msgspec.Struct):
    """One SKU that a row is written to, with what the ledger said of it and what came of it."""

    product: str
    claim: Claim | None = None
    decision: Decision = "busy"
    outcome: Outcome | None = None


class Work(msgspec.Struct):
    """A row in hand. `held`: not sent, because its domain is held, this process stops or its lease ends; `flying`: being
    sent; `spared`: what failed costs it no attempt, because Omnitron as a whole was away; `begun`: when it was sent, by the
    monotonic clock, `at`: in Unix time. `images`: what preflight found wrong with them."""

    row: Row
    digest: str
    skus: list[Sku]
    at: float
    decision: Decision = "busy"
    outcome: Outcome | None = None
    held: bool = False
    images: str | None = None
    flying: bool = False
    begun: float = float("inf")
    spared: bool = False


class Way(NamedTuple):
    """How the rows of a chunk get to Omnitron."""

    wire: PostClient
    access: Access
    gate: DomainQueue
    timeout: float


class Loose(NamedTuple):
    """What the database has yet to be told of a chunk that broke off: what its rows wrote, and which claims are over."""

    token: str
    written: Sequence[LedgerEntry]
    release: Sequence[tuple[str, str]]


_encode = msgspec.json.Encoder().encode


class Writer:
    """`run` must run beside the deliveries: it sends the rows, and keeps this process's claims alive. `close` ends them."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        clock: Clock,
        omnitron: OmnitronSessions,
        inspector: ImageProbe | None = None,
    ) -> None:
        self._store = store
        self._broker = broker
        self._clock = clock
        self._omnitron = omnitron
        self._targets = SkuLookup(omnitron, clock)
        self._inspector = inspector
        self._warned: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._gates: dict[str, DomainQueue] = {}
        self._wires: dict[str, PostClient] = {}
        self._flows = FlowCache(store)
        self._unchanged: dict[str, bool] = {}
        """By flow, whether its last rows held some that Omnitron has already."""
        self._loose: list[Loose] = []
        self._owner = secrets.token_hex(8)
        self._chunks = 0
        self._alive_at = float("-inf")
        self._told = False
        self._winding_up = False
        self._running = asyncio.Event()
        self._senders: asyncio.TaskGroup
        self._skipper: UnchangedBatcher

    # the lease -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send rows and renew the lease of this process's claims, for ever."""
        async with asyncio.TaskGroup() as senders:
            self._senders = senders
            self._skipper = UnchangedBatcher(self._store, senders, _tell_ended)
            self._running.set()
            senders.create_task(self._tie_up())
            while True:
                with contextlib.suppress(StoreError):
                    await self._renew()
                    await self._tell_held()
                await asyncio.sleep(HEARTBEAT_SECONDS)

    async def close(self) -> None:
        """End this process's connections and claims now."""
        for wire in self._wires.values():
            wire.close()
        with contextlib.suppress(StoreError):
            await self._store.gone(self._owner)
            if self._told:
                await self._store.hold(self._owner, {}, HELD_LEASE_SECONDS)

    def wind_up(self) -> None:
        """Send no more rows: chunks in hand are settled with what is written, and the rest of their rows sent on."""
        self._winding_up = True
        for gate in self._gates.values():
            gate.close()

    async def _renew(self) -> None:
        asked_at = self._clock.monotonic()
        await self._store.alive(self._owner, LEASE_SECONDS)
        self._alive_at = asked_at

    async def _tie_up(self) -> None:
        """Settle, for ever, what chunks that broke off left: a claim that nobody knows of would keep its product busy while
        this process lives. Apart from the lease, which must not wait for it."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            for loose in list(self._loose):
                try:
                    await self._store.settle(loose.token, [], written=loose.written, release=loose.release)
                except StoreError:
                    continue
                except Exception:
                    log.exception("claims cannot be ended while this process lives", products=len(loose.release))
                self._loose.remove(loose)

    async def _tell_held(self) -> None:
        """Let the other processes know which domains are held."""
        held = self.held
        if held or self._told:
            await self._store.hold(self._owner, held, HELD_LEASE_SECONDS)
        self._told = bool(held)

    async def _must_be_alive(self) -> None:
        """Claims are worth nothing without a lease: raise StoreError rather than send without one."""
        if self._clock.monotonic() - self._alive_at > LEASE_SECONDS / 2:
            await self._renew()

    @property
    def _lapsing(self) -> bool:
        """Whether the lease may end before a request does: nothing more is sent then, since others may take claims over."""
        return self._clock.monotonic() - self._alive_at > LEASE_SECONDS * 2 / 3

    # a chunk ---------------------------------------------------------------------------------------------------------

    async def handle(self, message: RowsReady) -> None:
        """Write a chunk. Raises Postponed while its domain is held (and this chunk is not the probe)."""
        await self._running.wait()
        definition = await self._flows.definition(message.flow, message.version)
        gate = self._gate(definition.omnitron.domain)
        probe = gate.hold.held and gate.hold.may_probe(self._clock.monotonic())
        if gate.hold.held and not probe:
            raise Postponed(HELD_SECONDS, f"{definition.omnitron.domain} is held: {gate.hold.reason}")
        self._chunks += 1
        token = f"{self._owner}/{self._chunks}"
        now = self._clock.now().timestamp()
        works = [await self._targeted(definition, row, now) for row in await self._changed(definition, message)]
        await self._must_be_alive()
        claims = [sku.product for work in works for sku in work.skus]  # perhaps, until the database has answered
        settled = False
        try:
            claims = await self._claim(definition, token, works)
            self._unchanged[message.flow] = len(works) < len(message.rows) or any(
                work.decision == "unchanged" for work in works
            )
            if definition.write.preflight != "off" and self._inspector is not None:
                await self._preflight(self._inspector, definition, message, works)
                await self._must_be_alive()
            await self._send_all(definition, gate, works, probe=probe)
            await self._spare(gate, works)
            if works:
                await self._settle(definition, message, token, works, claims)
            settled = True
            await self._send_on(message, definition, works)
        finally:
            if not settled:
                await self._let_go(definition, message, token, works, claims)

    async def give_up(self, message: RowsReady, reason: str) -> None:
        """Settle a chunk that cannot be handled: its rows fail with the reason."""
        logs = [_failed(message, row, Refused(reason), row.attempts, tries=row.tries) for row in message.rows]
        await self._store.settle(f"{self._owner}/give-up", logs)

    def _gate(self, domain: str) -> DomainQueue:
        if domain not in self._gates:
            self._gates[domain] = gate = DomainQueue(self._clock, self._senders, metrics.Requests(domain))
            metrics.watch_domain(
                domain,
                in_flight=lambda: gate.in_flight,
                limit=lambda: gate.limiter.limit,
                held=lambda: gate.hold.held,
            )
            if self._winding_up:
                gate.close()
        return self._gates[domain]

    @property
    def held(self) -> dict[str, str]:
        """The domains that are held now, and why."""
        return {domain: gate.hold.reason for domain, gate in self._gates.items() if gate.hold.held}

    async def _targeted(self, definition: Definition, row: Row, now: float) -> Work:
        work = Work(row, digest_of(row), [], now)
        if row.key == "sku":
            work.skus = [Sku(row.product)]
            return work
        try:
            work.skus = [Sku(sku) for sku in await self._targets.skus(definition, row.product)]
        except (StageError, TransportError, SecretError) as error:
            work.outcome = _outcome_of(error)
            return work
        if not work.skus:
            work.outcome = Refused(f"no product with base code {row.product!r} is on Omnitron")
        return work

    async def _changed(self, definition: Definition, message: RowsReady) -> Sequence[Row]:
        """The rows without those whose image set is on Omnitron already: these are settled without a claim. Tried while
        the flow has such rows."""
        if not definition.write.skip_unchanged or not self._unchanged.get(message.flow, True):
            return message.rows
        known = [row for row in message.rows if row.key == "sku"]
        if not known:
            return message.rows
        skipped = await self._skipper.skip(definition.omnitron.domain, message.run_id, known)
        changed = [row for row in message.rows if row.row not in skipped]
        self._tell_settled(message, ["unchanged"] * (len(message.rows) - len(changed)))
        return changed

    async def _claim(self, definition: Definition, token: str, works: list[Work]) -> list[str]:
        """Claim the products of all rows and decide what to do with each; returns what was claimed."""
        wanted: dict[str, Wanted] = {}
        for work in works:
            for sku in work.skus:
                if sku.product not in wanted:
                    wanted[sku.product] = Wanted(sku.product, work.row.version)
        if not wanted:
            return []
        claims = await self._store.claim(definition.omnitron.domain, self._owner, token, list(wanted.values()))
        by_product = {claim.product: claim for claim in claims}
        taken: set[str] = set()
        for work in works:
            _decide(work, by_product, taken, skip_unchanged=definition.write.skip_unchanged)
        return [claim.product for claim in claims if claim.mine]

    async def _preflight(
        self, inspector: ImageProbe, definition: Definition, message: RowsReady, works: list[Work]
    ) -> None:
        """Look at the images of the rows that are to be sent: `block` fails a row, `warn` tells the run."""
        ready = [work for work in works if work.outcome is None and work.decision == "send"]
        codes: set[str] = set()
        for work, found in zip(ready, await inspector.inspect([work.row.images for work in ready]), strict=True):
            if found is None:
                work.decision = "busy"
            elif found:
                work.images = explain(found)
                if definition.write.preflight == "block":
                    work.outcome = Refused(work.images)
                else:
                    codes.update(one.finding.code for one in found)
        for code in sorted(codes):
            await self._warn(message.run_id, code)

    async def _warn(self, run_id: str, code: str) -> None:
        """Once per run and code, as far as this process remembers; the store knows for sure."""
        if (run_id, code) not in self._warned:
            await self._store.warn(run_id, warning(code))
            self._warned[run_id, code] = None
            if len(self._warned) > WARNED_LIMIT:
                self._warned.popitem(last=False)

    async def _send_all(self, definition: Definition, gate: DomainQueue, works: list[Work], *, probe: bool) -> None:
        """Send the rows that are to be sent; those that the gate turns away keep `held`."""
        ready = [work for work in works if work.outcome is None and work.decision == "send"]
        if not ready:
            if probe:
                gate.hold.not_probed(self._clock.monotonic())
            return
        try:
            way = self._way(definition, gate)
        except (SecretError, TransportError) as error:
            for work in ready:
                work.outcome = _outcome_of(error)
            return
        for work in ready:
            work.held = True
        send = functools.partial(self._send, way)
        if probe and not gate.closed:
            await send(ready.pop(0))
        cap = UNCAPPED if definition.write.concurrency == "auto" else definition.write.concurrency
        await gate.send_all(definition.name, ready, send, cap=cap, rate=definition.write.rate_limit)

    def _way(self, definition: Definition, gate: DomainQueue) -> Way:
        """Raises SecretError, and TransportError where the URL is none that can be asked."""
        url = definition.omnitron.domain + definition.omnitron.images_path
        access = self._omnitron.access(definition)
        if (wire := self._wires.get(url)) is None:
            wire = self._wires[url] = PostClient(url)
        return Way(wire, access, gate, definition.write.timeout)

    async def _send(self, way: Way, work: Work) -> None:
        """Write a row to each of its SKUs that wants it, until one fails. Who is cancelled here leaves it `flying`: it may
        have been written."""
        work.held, work.flying, work.begun = False, True, self._clock.monotonic()
        work.at = self._clock.now().timestamp()
        for sku in [sku for sku in work.skus if sku.decision == "send"]:
            if way.gate.closed or self._lapsing:
                work.held = True
                break
            sku.outcome = await self._asked(way, sku.product, work.row.images)
            if not isinstance(sku.outcome, Written):
                work.outcome = sku.outcome
                break
        work.flying = False

    async def _spare(self, gate: DomainQueue, works: list[Work]) -> None:
        """Decide, once for settling and sending on, whether what failed is the rows' or Omnitron's."""
        if any(isinstance(work.outcome, Unavailable) and work.outcome.away for work in works):
            await gate.sure()
        for work in works:
            work.spared = gate.hold.spares(work.begun)

    async def _asked(self, way: Way, product: str, images: tuple[Image, ...]) -> Outcome:
        """One write; an error that nobody foresaw is an outcome, too."""
        try:
            return await self._ask(way, product, images)
        except Exception as error:
            log.exception("unexpected error in a write")
            return Unavailable(f"unexpected error: {type(error).__name__}: {error}")

    async def _ask(self, way: Way, product: str, images: tuple[Image, ...]) -> Outcome:
        """One write, with one more login where the token is refused."""
        started = self._clock.monotonic()
        body = _encode(Payload(product, images))
        outcome = await self._post(way, body)
        if isinstance(outcome, Unauthorized):
            started = self._clock.monotonic()
            outcome = await self._post(way, body)
        if isinstance(outcome, Unauthorized):
            outcome = Unavailable(outcome.reason, 401)
        way.gate.learn(product, outcome, self._clock.monotonic() - started)
        return outcome

    async def _post(self, way: Way, body: bytes) -> Outcome:
        try:
            token = await way.access.token()
            answer = await way.wire.post(f"Token {token}", body, way.timeout)
        except (StageError, TransportError, SecretError) as error:
            return _outcome_of(error)
        if answer.status == 401:
            way.access.invalidate(token)
        return judge(answer, self._clock.now())

    # settling --------------------------------------------------------------------------------------------------------

    async def _settle(
        self, definition: Definition, message: RowsReady, token: str, works: list[Work], claims: list[str]
    ) -> None:
        """Log what is decided. While the database is away this waits: what Omnitron took must be in the ledger."""
        domain = definition.omnitron.domain
        logs = [entry for work in works if (entry := _log(message, definition, work)) is not None]
        written = [entry for work in works for entry in _entries(domain, message, work)]
        release = [(domain, product) for product in claims]
        while True:
            try:
                ended = await self._store.settle(token, logs, written=written, release=release)
                break
            except StoreError as away:
                log.warning("database away: rows wait to be settled", rows=len(logs), error=str(away))
                await asyncio.sleep(SETTLE_PAUSE_SECONDS)
        self._tell_settled(message, [entry.state for entry in logs])
        _tell_ended(ended)

    def _tell_settled(self, message: RowsReady, states: Sequence[State]) -> None:
        metrics.rows_settled(message.flow, states, self._clock.now(), message_headers.read_at())

    async def _let_go(
        self, definition: Definition, message: RowsReady, token: str, works: list[Work], claims: list[str]
    ) -> None:
        """After an error, or where this process stops: enter what is written, and end the claims but on what is still being
        sent, which end with this process's lease. While the database is away, `_tie_up` tries again."""
        domain = definition.omnitron.domain
        sent = [work for work in works if work.decision == "send" and not work.flying]
        written = [entry for work in sent for entry in _entries(domain, message, work)]
        flying = {sku.product for work in works if work.flying for sku in work.skus}
        release = [(domain, product) for product in claims if product not in flying]
        try:
            await self._store.settle(token, [], written=written, release=release)
        except StoreError:
            self._loose.append(Loose(token, written, release))

    async def _send_on(self, message: RowsReady, definition: Definition, works: list[Work]) -> None:
        """Publish the rows that come again, one chunk for each delay."""
        later: dict[int, list[Row]] = {}
        for work in works:
            if (again := _again(work, definition)) is not None:
                row, seconds = again
                later.setdefault(retry_ladder.step(seconds), []).append(row)
        headers = message_headers.following() if later else {}
        outgoing = [
            Outgoing(
                messages.write_queue(message.flow),
                messages.encode(msgspec.structs.replace(message, rows=chunk)),
                seconds,
                headers,
            )
            for seconds, rows in later.items()
            for chunk in messages.chunked(rows)
        ]
        if outgoing:
            await self._broker.publish(*outgoing)


# decisions about one row: pure -----------------------------------------------------------------------------------------


def _outcome_of(error: Exception) -> Outcome:
    """What it means that there is no answer at all."""
    if isinstance(error, SecretError) or (isinstance(error, LoginError) and not error.transient):
        return Refused(str(error), stage="login")
    if isinstance(error, TransportError) and not error.transient:
        return Refused(str(error))
    return Unavailable(
        str(error), retry_after=getattr(error, "retry_after", None), slow_down=_timed_out(error), away=True
    )


def _timed_out(error: Exception) -> bool:
    return isinstance(error, TransportError) and error.kind == "timeout"


def _decide(work: Work, claims: dict[str, Claim], taken: set[str], *, skip_unchanged: bool) -> None:
    """Decide on each SKU of a row; a SKU that an earlier row of the chunk has taken is busy."""
    for sku in work.skus:
        claim = claims[sku.product]
        sku.claim = claim
        sku.decision = (
            "busy"
            if sku.product in taken
            else decide(claim, work.row.version, work.digest, skip_unchanged=skip_unchanged)
        )
    work.decision = combine([sku.decision for sku in work.skus])
    if work.decision != "busy":
        taken.update(sku.product for sku in work.skus)


def _log(message: RowsReady, definition: Definition, work: Work) -> RowLog | None:
    """The row's log, or None where it comes again."""
    row = work.row
    if isinstance(work.outcome, Refused):
        sent_it = work.decision == "send" and work.outcome.reason != work.images
        tries = _history(work) if row.tries and sent_it else row.tries
        attempts = row.attempts + (1 if sent_it else 0)
        return _failed(message, row, work.outcome, attempts, tries=tries)
    if isinstance(work.outcome, (Unavailable, Unauthorized)):
        if _burns(work) and row.attempts + 1 >= definition.write.max_attempts:
            return _failed(message, row, work.outcome, row.attempts + 1, tries=_history(work), retryable=True)
        return None
    if work.held or work.decision == "busy":
        return None
    state: Any = {"send": "written", "repeated": "written"}.get(work.decision, work.decision)
    sent = next((sku.outcome for sku in work.skus if isinstance(sku.outcome, Written)), None)
    return _row_log(
        message,
        row,
        state=state,
        http_status=sent.status if sent is not None else None,
        attempts=row.attempts + (1 if sent is not None else 0),
        tries=_history(work) if row.tries and sent is not None else row.tries,
        reason="a newer row of the product was written first" if state == "superseded" else work.images,
    )


def _history(work: Work) -> tuple[Try, ...]:
    """The row's tries, this one included."""
    failed = work.outcome
    if failed is None:
        sent = next((sku.outcome for sku in work.skus if isinstance(sku.outcome, Written)), None)
        return tried(work.row.tries, Try(work.at, sent.status if sent is not None else None))
    assert isinstance(failed, (Refused, Unavailable, Unauthorized))
    status = 401 if isinstance(failed, Unauthorized) else failed.status
    sku = next((sku.product for sku in work.skus if sku.outcome is failed and work.row.key == "base_code"), None)
    return tried(work.row.tries, Try(work.at, status, failed.reason, sku))


def _burns(work: Work) -> bool:
    """Whether a failure costs the row one of its attempts: not while Omnitron as a whole is away."""
    failed = work.outcome
    return not (work.spared and isinstance(failed, Unavailable) and (failed.away or failed.slow_down))


def _again(work: Work, definition: Definition) -> tuple[Row, float] | None:
    """The row as it comes again, and after how many seconds; None where it is settled."""
    row = work.row
    if isinstance(work.outcome, (Unavailable, Unauthorized)):
        if not _burns(work):
            return msgspec.structs.replace(row, tries=_history(work)), HELD_SECONDS
        attempts = row.attempts + 1
        if attempts >= definition.write.max_attempts:
            return None
        asked = work.outcome.retry_after if isinstance(work.outcome, Unavailable) else None
        return msgspec.structs.replace(
            row, attempts=attempts, first_error=row.first_error or work.outcome.reason, tries=_history(work)
        ), float(retry_ladder.delay(attempts, asked))
    if work.outcome is not None:
        return None
    if work.held:
        return row, HELD_SECONDS
    return (row, BUSY_SECONDS) if work.decision == "busy" else None


def _entries(domain: str, message: RowsReady, work: Work) -> list[LedgerEntry]:
    """What is on Omnitron now because of this row: SKUs written, and those where the same set was there already. Of what
    may have been taken or not: that nobody knows."""
    row, entries = work.row, []
    for sku in work.skus:
        claim = sku.claim
        if isinstance(sku.outcome, Written) or (sku.decision == "unchanged" and claim is not None and claim.mine):
            entries.append(LedgerEntry(domain, sku.product, row.version, work.digest, message.run_id, row.row))
        elif claim is not None and _doubtful(sku.outcome):
            entries.append(LedgerEntry(domain, sku.product, max(claim.version, 0), None, None, None))
    return entries


def _doubtful(outcome: Outcome | None) -> bool:
    """Whether Omnitron may have taken the write all the same: its answer was lost, or came from something in between."""
    return isinstance(outcome, Unavailable) and outcome.status != 429


def _failed(
    message: RowsReady,
    row: Row,
    outcome: Outcome,
    attempts: int,
    *,
    tries: tuple[Try, ...] = (),
    retryable: bool = False,
) -> RowLog:
    assert isinstance(outcome, (Refused, Unavailable, Unauthorized))
    status = 401 if isinstance(outcome, Unauthorized) else outcome.status
    reason = outcome.reason if not retryable else f"{outcome.reason} (given up after {attempts} attempts)"
    stage: Any = outcome.stage if isinstance(outcome, Refused) else "write"
    return _row_log(
        message,
        row,
        state="failed",
        stage=stage,
        reason=reason,
        http_status=status,
        attempts=attempts,
        tries=tries,
        retryable=retryable,
    )


def _row_log(message: RowsReady, row: Row, **fields: Any) -> RowLog:
    return RowLog(
        run_id=message.run_id,
        row=row.row,
        product=row.product,
        images=row.images,
        version=row.version,
        key=row.key,
        **fields,
    )


def _tell_ended(runs: Sequence[Run]) -> None:
    for run in runs:
        about = msgspec.to_builtins(run.counts)
        log.info("run ended", run=run.run_id, flow=run.flow, status=run.status, **about)


def queues(flows: Sequence[Any]) -> list[str]:
    """The queues that writers take from."""
    return [messages.write_queue(flow.name) for flow in flows]
