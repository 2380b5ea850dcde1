"""What a visit found. Values that could not be seen are None."""

from __future__ import annotations

from typing import Any

import msgspec

from imageflow.store.checkup import Checkup


class Queue(msgspec.Struct, frozen=True):
    """A queue of ours. `kind` and `arguments` as it was declared; `policy` is what policies add, `policies` which they
    are (an operator policy with the prefix `operator:`). `refused`: RabbitMQ's words where it refuses our declaration.
    """

    name: str
    exists: bool = True
    messages: int = 0
    consumers: int = 0
    kind: str | None = None
    durable: bool | None = None
    arguments: dict[str, Any] | None = None
    policy: dict[str, Any] = {}
    policies: tuple[str, ...] = ()
    refused: str | None = None


class Rabbit(msgspec.Struct, frozen=True):
    """RabbitMQ. `unseen`: why the management API did not answer; then alarms, policies, limits and clock are unknown."""

    where: str
    vhost: str = "/"
    user: str = ""
    error: str | None = None
    product: str = "RabbitMQ"
    version: tuple[int, ...] = ()
    unseen: str | None = None
    queues: tuple[Queue, ...] = ()
    alarms: tuple[str, ...] = ()
    blocked: bool = False
    partitions: tuple[str, ...] = ()
    features_off: tuple[str, ...] = ()
    limits: dict[str, int] = {}
    skew: float | None = None


class Embedded(msgspec.Struct, frozen=True):
    """The embedded broker's file. `running`: a process holds its folder. `missing`: there is no such file yet."""

    path: str
    missing: bool = False
    error: str | None = None
    running: bool = False
    messages: dict[str, int] = {}


class Database(msgspec.Struct, frozen=True):
    """The store's database. `missing`: says that its file is not there yet; else it has an `error`, or a `checkup`."""

    where: str
    missing: str | None = None
    error: str | None = None
    checkup: Checkup | None = None


class FlowFacts(msgspec.Struct, frozen=True):
    """A flow and its secrets that cannot be read: (where the secret should be, why it cannot be read)."""

    name: str
    enabled: bool
    missing: tuple[tuple[str, str], ...] = ()


class Facts(msgspec.Struct, frozen=True):
    """Everything a visit found. `layers`: those of the sandbox, each with None, or with the reason why it does not hold."""

    broker: Rabbit | Embedded
    database: Database
    flows: tuple[FlowFacts, ...] = ()
    flows_error: str | None = None
    layers: dict[str, str | None] = {}
    sandbox_error: str | None = None
    python: tuple[int, int, int] | None = None
    free_bytes: int | None = None
    data_dir: str = ""
    secret_key_set: bool = True
    wanted: dict[str, dict[str, Any]] = {}
    """The queues that there should be, with the arguments they are declared with."""
