"""What the handlers of the API stand on, and what each call brings."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import msgspec
import structlog
from msgspec import UnsetType

from imageflow.actions.actor import Actor
from imageflow.broker import Broker
from imageflow.clock import Clock
from imageflow.errors import BrokerError
from imageflow.gateway.access import Access
from imageflow.gateway.problem_details import Refusal
from imageflow.gateway.shapes import Page
from imageflow.model.flow import Definition, Flow
from imageflow.model.run import Run
from imageflow.runtime.outbox_publisher import OutboxPublisher
from imageflow.store import Store, Unsent, User

T = TypeVar("T")
U = TypeVar("U")

SEND_SECONDS = 5.0

log = structlog.get_logger("imageflow.gateway")


class Tools(NamedTuple):
    """What the API does with parts that the gateway does not import; bootstrap hands them in.

    `read(text, is_yaml)` gives a document and `check` the flow that it describes, script and mapping compiled: both
    raise FlowFileError, and both block. `write` is a document as YAML. `instant` and `since` are read.request's.
    `trace(product, rows)` is the trace's JSON, or a NotFoundError.
    `fetch_missing(flow, who)` gives the runs that it began, and warnings.
    """

    read: Callable[[bytes, bool], Any]
    check: Callable[[dict[str, Any]], Definition]
    write: Callable[[dict[str, Any]], str]
    instant: Callable[[str, str], datetime]
    since: Callable[[Definition, datetime | None], datetime | None]
    trace: Callable[[str, int], Awaitable[bytes]]
    fetch_missing: Callable[[Flow, str], Awaitable[tuple[Sequence[Run], Sequence[str]]]]


class Deps(NamedTuple):
    """The same for all calls."""

    store: Store
    broker: Broker
    publisher: OutboxPublisher
    clock: Clock
    access: Access
    tools: Tools


class Call(NamedTuple):
    """One request: who, from where, and what it holds, of the types that its endpoint says.

    `body` is bytes where the endpoint's body has no type; `media` is its content type then.
    """

    user: User
    actor: Actor
    path: Mapping[str, Any]
    query: Any
    body: Any
    media: str
    authorization: list[str]


class LatePublisher(OutboxPublisher):
    """Publishes soon or leaves it to the outbox: what is stored is done, whatever hinders the broker now."""

    async def send(self, unsent: Sequence[Unsent], *, page: bytes | None = None) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await super().send(unsent, page=page)
        except (BrokerError, TimeoutError) as error:
            log.warning("messages left to the outbox", messages=len(unsent), error=str(error) or repr(error))


def cursor(*position: int | str) -> str:
    """Where a page ends, as people shall not read it."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def position(text: str | UnsetType, kind: type[T]) -> T | None:
    """What `cursor` made, a tuple of type `kind`; None where none is given. Refusal 400 for anything else."""
    if isinstance(text, UnsetType):
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=kind)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "cursor: none of this list; give `next` of the page before") from error


def page(found: Sequence[T], limit: int, show: Callable[[T], U], place: Callable[[T], str]) -> Page[U]:
    """A page of what was found, which is one more than `limit` where there is more; `place` is an item's cursor."""
    items = found[:limit]
    return Page([show(item) for item in items], place(items[-1]) if len(found) > limit else None)
