"""A queue that another program made first."""

from __future__ import annotations

import pytest

from imageflow.broker.foreign_queue import only_arguments_differ

SAID = "PRECONDITION_FAILED - inequivalent arg '{}' for queue 'imageflow.outbound' in vhost '/': received {} but current is {}"


@pytest.mark.parametrize(
    ("said", "usable"),
    [
        (SAID.format("x-queue-type", "'quorum'", "'classic'"), True),
        (SAID.format("x-dead-letter-exchange", "the value 'imageflow' of type 'longstr'", "none"), True),
        (SAID.format("durable", "'true'", "'false'"), False),
        (SAID.format("auto_delete", "'false'", "'true'"), False),
        (SAID.format("exclusive", "'false'", "'true'"), False),
        ("what RabbitMQ may say one day", False),
    ],
)
def test_what_can_be_used(said: str, usable: bool) -> None:
    """A queue that outlives the server is used; one that does not, or that we cannot tell of, is not."""
    assert only_arguments_differ(said) == usable
