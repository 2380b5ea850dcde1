"""Headers of messages that come from RabbitMQ."""

from __future__ import annotations

from datetime import UTC, datetime

from pamqp.commands import Basic

from imageflow.broker.rabbitmq import APP_ID, property_headers, text_headers
from imageflow.model.messages import PARKED_QUEUE


def test_headers_become_text() -> None:
    """Other programs' headers are turned into text, RabbitMQ's own are left out."""
    raw = {"flow": b"winter", "n": 5, "x-death": [{}], "x-first-death-queue": "q", "x-request-id": "7"}
    assert text_headers("q", raw) == {"flow": "winter", "n": "5", "x-request-id": "7"}
    assert text_headers("q", None) == {}


def test_a_message_that_rabbitmq_parked_says_why() -> None:
    """Its history becomes the headers that we write when we park; ours are not overwritten."""
    when = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
    raw = {"x-first-death-reason": "delivery_limit", "x-first-death-queue": "q", "x-death": [{"time": when}]}
    assert text_headers(PARKED_QUEUE, raw) == {
        "reason": "RabbitMQ gave it up: delivery_limit",
        "queue": "q",
        "parked_at": "2026-11-28T12:00:00+00:00",
    }
    assert text_headers(PARKED_QUEUE, raw | {"reason": "ours"})["reason"] == "ours"
    assert "parked_at" not in text_headers(PARKED_QUEUE, raw | {"x-death": "what"})


def test_a_strangers_properties_become_headers() -> None:
    """What a stranger says of the body in properties is kept; of our own messages the properties say nothing."""
    properties = Basic.Properties(message_id="m-1", content_type="text/csv")
    assert property_headers(properties) == {"message-id": "m-1", "content-type": "text/csv"}
    assert property_headers(Basic.Properties(message_id="m-1", app_id=APP_ID)) == {}
