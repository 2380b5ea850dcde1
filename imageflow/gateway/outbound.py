"""The outbound door: what an ERP posts becomes a run with one page, durable before it is answered.

`parse` decides, without I/O, what a post holds and why it is refused. `Outbound` does the rest, for HTTP and (the same
rules) for the queue `imageflow.outbound`.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, NamedTuple

import msgspec
import structlog

from imageflow import pointer
from imageflow.broker import Broker
from imageflow.clock import Clock
from imageflow.errors import BrokerError, NotFoundError, QueueFullError
from imageflow.gateway.problem_details import Refusal
from imageflow.model.flow import NAME_PATTERN, Definition, Flow
from imageflow.model.messages import transform_queue
from imageflow.model.page import ROWS_PER_PAGE_LIMIT
from imageflow.model.run import Run, Trigger, new_run_id
from imageflow.runtime.bounded import Recent
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.store import AcceptedPost, Store
from imageflow.telemetry import tracing

QUEUE_LIMIT = 10_000
"""Posts of one flow that may wait to be transformed; after that, 429."""
FULL_RETRY_SECONDS = 10.0
DEPTH_SECONDS = 2.0
DEPTH_CACHE_SECONDS = 0.5
SEND_SECONDS = 5.0
FLOWS_REMEMBERED = 1000
NDJSON_TYPES = frozenset(
    (
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "application/json-seq",
    )
)
_BOM = b"\xef\xbb\xbf"
_KEY = re.compile(r"[!-~]{1,255}")
_LONG_NAME = re.compile(r"\s*\{(sku|base_code)\}\s*")

log = structlog.get_logger("imageflow.gateway")


class Post(NamedTuple):
    """A post that is accepted: its JSON text (an object or a list) and how many rows it holds."""

    text: bytes
    rows: int


def parse(body: bytes, definition: Definition, *, ndjson: bool = False) -> Post:
    """What a post holds: one object, a list, or NDJSON (which becomes a list).

    The text is written anew from what was understood, so that whatever reads it later understands the same: of repeated
    keys the last counts. Refusal 400 says what is wrong and where; 413 where there are too many rows.
    """
    value = _value(body.removeprefix(_BOM), ndjson)
    rows = _count(value, definition)
    if rows > ROWS_PER_PAGE_LIMIT:
        raise Refusal(413, f"the body holds {rows:,} rows; one post takes {ROWS_PER_PAGE_LIMIT:,}")
    return Post(msgspec.json.encode(value), rows)


def _value(body: bytes, ndjson: bool) -> Any:
    if not body.strip():
        raise Refusal(400, "the body is empty; post a JSON object, a list of objects, or NDJSON")
    if ndjson:
        return _lines(body)
    try:
        return _json(body, "the body")
    except Refusal:
        if not _is_ndjson(body):
            raise
    return _lines(body)


def _is_ndjson(body: bytes) -> bool:
    """Whether there are several lines and the first is JSON by itself: then what is wrong is wrong with a line."""
    first, _, others = body.strip().partition(b"\n")
    try:
        msgspec.json.decode(first)
    except (ValueError, RecursionError):
        return False
    return bool(others)


def _lines(body: bytes) -> list[Any]:
    lines = ((number, line.strip(b" \t\r\x1e")) for number, line in enumerate(body.split(b"\n"), 1))
    return [_json(line, f"line {number}") for number, line in lines if line]


def _json(text: bytes, where: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except UnicodeDecodeError as error:
        raise Refusal(400, f"{where} is not UTF-8 text") from error
    except RecursionError as error:
        raise Refusal(400, f"{where} is nested too deeply") from error
    except msgspec.MsgspecError as error:
        raise Refusal(400, f"{where} is not JSON: {error}") from error


def _count(value: Any, definition: Definition) -> int:
    """How many rows there are before script and mapping. A flow that has either may take elements of any kind."""
    if not isinstance(value, dict | list):
        raise Refusal(400, f"the body is {_named(value)}; post a JSON object, a list of objects, or NDJSON")
    elements = value if isinstance(value, list) else _at(value, definition)
    if elements is None:
        return 1
    if not elements:
        raise Refusal(400, "the body holds no rows: the list is empty")
    if definition.script is None and definition.mapping is None:
        _check_elements(elements, strings=not _LONG_NAME.fullmatch(definition.filename_template))
    return len(elements)


def _at(value: dict[str, Any], definition: Definition) -> list[Any] | None:
    """The list at the flow's rows_path; None where the object itself is the row, or a script will make rows of it."""
    path = definition.rows_path
    if not path:
        return None
    found = pointer.find(value, path)
    if isinstance(found, list):
        return found
    if definition.script is not None:
        return None
    raise Refusal(400, f"the body has no list at {path!r}, where this flow's rows are (rows_path)")


def _check_elements(elements: list[Any], *, strings: bool) -> None:
    for number, element in enumerate(elements, 1):
        if not isinstance(element, dict) and not (strings and isinstance(element, str)):
            wanted = "an object or an image's URL" if strings else "an object"
            raise Refusal(400, f"element {number} of the list is {_named(element)}, not {wanted}")


def _named(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return kinds[type(value)]


def check_key(values: list[str]) -> str | None:
    """The Idempotency-Key of a request, from its headers of that name. Refusal 400 when there is no using it."""
    if not values:
        return None
    if len(values) > 1 or not _KEY.fullmatch(values[0]):
        raise Refusal(400, "Idempotency-Key must be one header of 1 to 255 visible ASCII characters")
    return values[0]


class Outbound:
    """Accepts posts: the flow is found, there is room, the rows are durable, the transformer is told."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        publisher: OutboxPublisher,
        clock: Clock,
        *,
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        self._store = store
        self._broker = broker
        self._publisher = publisher
        self._clock = clock
        self._queue_limit = queue_limit
        self._full: Recent[str, tuple[float, bool]] = Recent(FLOWS_REMEMBERED)
        self._asking: set[str] = set()

    async def flow(self, name: str) -> Flow:
        """The outbound flow of that name. Refusal 404 where there is none that takes posts."""
        if not re.fullmatch(NAME_PATTERN, name):
            raise Refusal(404, "there is no such flow")
        try:
            flow = await self._store.flow(name)
        except NotFoundError as error:
            raise Refusal(404, f"there is no flow {name!r}") from error
        if flow.definition.inbound:
            raise Refusal(404, f"the flow {name!r} is inbound: it reads from the ERP and takes no posts")
        if not flow.definition.enabled:
            raise Refusal(404, f"the flow {name!r} is disabled")
        return flow

    async def check_room(self, flow: str) -> None:
        """Refusal 429 while too much of the flow waits to be transformed. An absent broker is no reason to refuse.

        Of many posts at once one asks the broker, and the others go by what was known before.
        """
        until, full = self._full.get(flow, (0.0, False))
        if until <= self._clock.monotonic() and flow not in self._asking:
            self._asking.add(flow)
            try:
                full = await self._is_full(flow)
                self._remember(flow, full=full)
            finally:
                self._asking.discard(flow)
        if full:
            raise Refusal(
                429, f"the queue of the flow {flow!r} is full; try again later", retry_after=FULL_RETRY_SECONDS
            )

    async def _is_full(self, flow: str) -> bool:
        try:
            async with asyncio.timeout(DEPTH_SECONDS):
                return (await self._broker.depth(transform_queue(flow))).ready >= self._queue_limit
        except (BrokerError, TimeoutError):
            return False

    def _remember(self, flow: str, *, full: bool) -> None:
        self._full.put(flow, (self._clock.monotonic() + DEPTH_CACHE_SECONDS, full))

    async def accept(self, flow: Flow, post: Post, *, key: str | None, by: str) -> AcceptedPost:
        """Store the post as a run and tell the transformer. Once this returns nothing can be lost.

        Refusal 422 where the idempotency key was used for another body; StoreError when the database is away: then
        nothing was accepted, or the same key finds it.
        """
        run = self._run(flow, by)
        with tracing.span("gateway", run.run_id, flow.name, {}, rows=post.rows):
            accepted = await self._store.accept_post(run, post.text, rows=post.rows, key=key)
            if accepted.conflict:
                raise Refusal(422, f"the Idempotency-Key was used for another body (run {accepted.run_id})")
            await self._tell(flow.name, accepted, post)
        return accepted

    def _run(self, flow: Flow, by: str) -> Run:
        now = self._clock.now()
        return Run(
            run_id=new_run_id(now),
            flow=flow.name,
            version=flow.version,
            trigger=Trigger("outbound", by=by),
            status="draining",
            created_at=now,
            started_at=now,
            pages=1,
            read_complete=True,
        )

    async def _tell(self, flow: str, accepted: AcceptedPost, post: Post) -> None:
        """Publish what the outbox has of the post. Whatever hinders that now, the sweep of the outbox does it later."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._publisher.send(accepted.outbox, page=post.text)
        except QueueFullError:
            self._remember(flow, full=True)
        except Exception as error:
            log.warning(
                "message left to the outbox", flow=flow, run_id=accepted.run_id, error=str(error) or repr(error)
            )
