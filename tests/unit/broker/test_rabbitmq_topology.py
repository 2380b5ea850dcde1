"""The arguments that outside checks look for, and that must not change under existing queues."""

from __future__ import annotations

import pytest

from imageflow.broker import DELIVERY_LIMIT, QUEUE_LIMIT
from imageflow.broker.rabbitmq_topology import delay_arguments, delay_name, queue_arguments
from imageflow.model.messages import OUTBOUND_QUEUE, PARKED_QUEUE

WORK = {
    "x-queue-type": "quorum",
    "x-overflow": "reject-publish",
    "x-dead-letter-exchange": "imageflow",
    "x-dead-letter-routing-key": "imageflow.parked",
    "x-dead-letter-strategy": "at-least-once",
    "x-delivery-limit": DELIVERY_LIMIT,
    "x-max-length": QUEUE_LIMIT,
}


def test_a_work_queue() -> None:
    """A quorum queue with a limit, whose poison messages end in the parked queue."""
    assert queue_arguments("imageflow.read") == WORK
    assert queue_arguments("imageflow.read", 7)["x-max-length"] == 7


def test_the_outbound_queue() -> None:
    """One consumer at a time: what an ERP publishes is accepted in order."""
    assert queue_arguments(OUTBOUND_QUEUE) == WORK | {"x-single-active-consumer": True}


def test_the_parked_queue_leads_nowhere() -> None:
    """It has no dead-letter exchange, no limit in length, and a delivery limit that is never reached."""
    arguments = queue_arguments(PARKED_QUEUE)
    assert not {"x-dead-letter-exchange", "x-max-length"} & arguments.keys()
    assert arguments["x-delivery-limit"] > 1_000_000_000


@pytest.mark.parametrize("seconds", [1, 900])
def test_a_step_of_the_ladder(seconds: int) -> None:
    """One TTL for the whole queue, and no routing key of its own: messages go back to their own queues."""
    arguments = delay_arguments(seconds)
    assert arguments["x-message-ttl"] == seconds * 1000
    assert arguments["x-dead-letter-exchange"] == "imageflow"
    assert "x-dead-letter-routing-key" not in arguments
    assert delay_name(seconds) == f"imageflow.delay.{seconds}"
