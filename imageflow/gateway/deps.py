"""What the handlers of the API stand on, and what each call brings."""

from __future__ import annotations

import asyncio
from typing import Generic, NamedTuple, TypeVar

import msgspec

from imageflow.actions.actor import Actor
from imageflow.broker import Broker
from imageflow.clock import Clock
from imageflow.flows.bounded import Reach
from imageflow.gateway.access import Access
from imageflow.gateway.late_publisher import LatePublisher
from imageflow.inspect.live import Live
from imageflow.sandbox.supervisor import Sandbox
from imageflow.schedule.fetch import MissingFetcher
from imageflow.store import Store, User

P = TypeVar("P")
Q = TypeVar("Q")
B = TypeVar("B")
A = TypeVar("A")


class Tools(NamedTuple):
    """What only the API needs: the sandbox that tries flows, the search for missing images, what flows that are saved
    over the API may reach, and what asks ERPs on behalf of people.
    """

    sandbox: Sandbox
    fetcher: MissingFetcher
    reach: Reach
    live: Live


class Deps(NamedTuple):
    """The same for all calls. `secret_key` is that of tokens and keys; `checking` limits how many flows are compiled at
    once, `trying` how many are tried.
    """

    store: Store
    broker: Broker
    publisher: LatePublisher
    clock: Clock
    access: Access
    secret_key: bytes
    tools: Tools
    checking: asyncio.Semaphore
    trying: asyncio.Semaphore


class Call(msgspec.Struct, Generic[P, Q, B], frozen=True):
    """One request: who, and what its path, query and body hold, of the types that its endpoint says (None: nothing).

    `media` is the body's content type, `match` the header If-Match; empty: there is none.
    """

    user: User
    actor: Actor
    path: P
    query: Q
    body: B
    media: str
    authorization: list[str]
    match: str = ""
