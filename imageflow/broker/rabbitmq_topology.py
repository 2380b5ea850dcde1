"""What ImageFlow declares on RabbitMQ 3.10 or later: exchanges and quorum queues.

    exchange imageflow (direct) ──queue's name──> work queue ──delivery limit──> imageflow ──> imageflow.parked
    exchange imageflow.delay.<s> (fanout) ──> queue imageflow.delay.<s>, TTL <s> ──expired──> imageflow ──> work queue

A message in the ladder keeps the routing key it was published with, the name of its own queue: so one ladder serves
all queues, and since each step has one TTL nothing waits behind anything longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import aiormq.abc
import structlog
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed

from imageflow.broker import DELIVERY_LIMIT, QUEUE_LIMIT
from imageflow.broker.foreign_queue import FOREIGN_NOTE, only_arguments_differ
from imageflow.broker.rabbitmq_connection import Question, Session
from imageflow.errors import BrokerError, MissingError
from imageflow.model import retry_ladder
from imageflow.model.messages import OUTBOUND_QUEUE, PARKED_QUEUE

log = structlog.get_logger()

EXCHANGE = "imageflow"
NO_LIMIT = 2**31 - 1


def delay_name(seconds: int) -> str:
    """The name of a ladder step's exchange, and of its queue."""
    return f"imageflow.delay.{seconds}"


def queue_arguments(queue: str, queue_limit: int = QUEUE_LIMIT) -> dict[str, Any]:
    """The arguments that a queue which is not of the ladder is declared with.

    Without at-least-once a dead-lettered message is lost when the parked queue is not there at that moment;
    at-least-once in turn demands reject-publish. RabbitMQ 4 has a delivery limit of its own, so the parked queue, which
    leads nowhere, sets one that is never reached. The outbound queue has one active consumer at a time: gateways accept
    messages in the order in which the ERP published them.
    """
    common: dict[str, Any] = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
    if queue == PARKED_QUEUE:
        return common | {"x-delivery-limit": NO_LIMIT}
    if queue == OUTBOUND_QUEUE:
        common |= {"x-single-active-consumer": True}
    return common | {
        "x-dead-letter-exchange": EXCHANGE,
        "x-dead-letter-routing-key": PARKED_QUEUE,
        "x-dead-letter-strategy": "at-least-once",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-max-length": queue_limit,
    }


def delay_arguments(seconds: int) -> dict[str, Any]:
    """The arguments of a ladder step's queue. No dead-letter routing key: the message keeps its own."""
    return {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-message-ttl": seconds * 1000,
        "x-dead-letter-exchange": EXCHANGE,
        "x-dead-letter-strategy": "at-least-once",
    }


class _OtherSettingsError(BrokerError):
    """A queue exists with other settings than ours. `durable`: it outlives the server all the same."""

    def __init__(self, queue: str, said: str) -> None:
        super().__init__(
            f"the queue {queue} exists with other settings than ImageFlow needs ({said}); let it run empty, "
            f"delete it, and it is made anew; or use another virtual host",
            transient=False,
        )
        self.said = said
        self.durable = only_arguments_differ(said)


class _NotAllowedError(BrokerError):
    """The account may not declare that: others do."""

    def __init__(self) -> None:
        super().__init__("RabbitMQ does not let this account declare that", transient=False)


class Topology:
    """Declares exchanges and queues, once per session. What this account may not declare must be there: other accounts'
    services declare it (see rabbitmq_accounts).
    """

    def __init__(self, queue_limit: int) -> None:
        self.queue_limit = queue_limit
        self._foreign: set[str] = set()
        """Queues of other programs that are used as they are."""
        self._of_others: set[str] = set()
        """What this account may not declare. RabbitMQ logs each refusal, so it is asked once."""

    async def declare_shared(self, session: Session) -> None:
        """The exchanges, the parked queue and the ladder."""
        await self._declare_exchange(session, EXCHANGE, "direct")
        if EXCHANGE not in self._of_others:
            await self._declare(session, PARKED_QUEUE, queue_arguments(PARKED_QUEUE), EXCHANGE)
            for seconds in retry_ladder.LADDER:
                await self._declare_exchange(session, delay_name(seconds), "fanout")
                await self._declare(session, delay_name(seconds), delay_arguments(seconds), delay_name(seconds))
        session.shared_declared = True

    async def _declare_exchange(self, session: Session, name: str, kind: str) -> None:
        async def declare(channel: aiormq.abc.AbstractChannel) -> None:
            try:
                await channel.exchange_declare(name, exchange_type=kind, durable=True)
            except ChannelAccessRefused as error:
                raise _NotAllowedError from error

        await self._unless_others_do(
            session, name, declare, lambda channel: channel.exchange_declare(name, passive=True)
        )

    async def _unless_others_do(self, session: Session, name: str, declare: Question[Any], look: Question[Any]) -> None:
        """Declare it, or, where this account may not, see that it is there. Raises MissingError where it is not."""
        if name not in self._of_others:
            try:
                return await session.ask(declare)
            except _NotAllowedError:
                self._of_others.add(name)
        try:
            await session.ask(look)
        except MissingError as error:
            raise MissingError(f"{name} is not there yet, and this account may not make it: {error}") from error

    async def declare(self, session: Session, queue: str) -> None:
        """A queue, by its name. Raises BrokerError, which says what to do when it exists with other arguments."""
        if not session.shared_declared:
            await self._declare_exchange(session, EXCHANGE, "direct")
        await self._declare(session, queue, queue_arguments(queue, self.queue_limit), EXCHANGE)

    async def declare_used(self, session: Session, queues: Iterable[str]) -> None:
        """What is needed to publish to these queues and was not declared on this connection yet."""
        if not session.shared_declared:
            await self.declare_shared(session)
        for queue in set(queues) - session.declared:
            await self.declare(session, queue)
            session.declared.add(queue)

    async def _declare(self, session: Session, queue: str, arguments: Mapping[str, Any], exchange: str) -> None:
        async def make_and_bind(channel: aiormq.abc.AbstractChannel) -> None:
            try:
                await channel.queue_declare(queue, durable=True, arguments=dict(arguments))
            except ChannelPreconditionFailed as error:
                raise _OtherSettingsError(queue, str(error)) from error
            except ChannelAccessRefused as error:
                raise _NotAllowedError from error
            await bind(channel)

        async def bind(channel: aiormq.abc.AbstractChannel) -> None:
            await channel.queue_bind(queue, exchange, routing_key=queue)
            if queue == OUTBOUND_QUEUE:
                # also by an exchange that leads nowhere else: an ERP may get access to it alone
                await channel.exchange_declare(queue, exchange_type="fanout", durable=True)
                await channel.queue_bind(queue, queue)

        try:
            await self._unless_others_do(
                session, queue, make_and_bind, lambda channel: channel.queue_declare(queue, passive=True)
            )
        except _OtherSettingsError as other:
            if queue != OUTBOUND_QUEUE or not other.durable:
                raise
            self._use_foreign(queue, other)
            await session.ask(bind)

    def _use_foreign(self, queue: str, other: _OtherSettingsError) -> None:
        if queue not in self._foreign:
            self._foreign.add(queue)
            log.warning(
                "a queue was made by another program, with other settings; it is used all the same",
                queue=queue,
                difference=other.said,
                note=FOREIGN_NOTE,
            )
