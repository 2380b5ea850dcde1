"""Headers of messages that come from RabbitMQ."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pamqp.commands import Basic

from imageflow.broker.rabbitmq import APP_ID, delivery_count, property_headers, text_headers
from imageflow.model.messages import PARKED_QUEUE


def test_headers_become_text() -> None:
    """Other programs' headers are turned into text, RabbitMQ's own are left out."""
    raw = {"flow": b"winter", "n": 5, "x-death": [{}], "x-first-death-queue": "q", "x-request-id": "7"}
    assert text_headers("q", raw) == {"flow": "winter", "n": "5", "x-request-id": "7"}
    assert text_headers("q", None) == {}


def test_a_message_that_rabbitmq_parked_says_why() -> None:
    """Its last death becomes the headers that we write when we park, whatever a publisher wrote there."""
    when = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
    death = {"reason": "delivery_limit", "queue": "q", "time": when}
    forged = {"x-first-death-reason": "no", "x-first-death-queue": "other", "reason": "no", "queue": "other"}
    assert text_headers(PARKED_QUEUE, forged | {"x-death": [death, {"queue": "other"}]}) == {
        "reason": "RabbitMQ gave it up: delivery_limit",
        "queue": "q",
        "parked_at": "2026-11-28T12:00:00+00:00",
    }
    assert text_headers(PARKED_QUEUE, {"reason": "ours", "x-death": "what"}) == {"reason": "ours"}


@pytest.mark.parametrize(
    ("redelivered", "header", "count"), [(False, 1_000_000, 0), (True, 3, 3), (True, None, 0), (True, "3", 0)]
)
def test_only_the_broker_counts_deliveries(redelivered: bool, header: Any, count: int) -> None:
    """What stands in the header of a first delivery is the publisher's."""
    properties = Basic.Properties(headers={"x-delivery-count": header})
    delivery = Basic.Deliver("tag", 1, redelivered, "", "q")
    message = SimpleNamespace(delivery=delivery, header=SimpleNamespace(properties=properties))
    assert delivery_count(cast("Any", message)) == count


def test_a_strangers_properties_become_headers() -> None:
    """What a stranger says of the body in properties is kept; of our own messages the properties say nothing."""
    properties = Basic.Properties(message_id="m-1", content_type="text/csv")
    assert property_headers(properties) == {"message-id": "m-1", "content-type": "text/csv"}
    assert property_headers(Basic.Properties(message_id="m-1", app_id=APP_ID)) == {}
