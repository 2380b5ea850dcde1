"""A queue of ours that another program made first, with other settings: whether it can be used. Pure."""

from __future__ import annotations

import re

FOREIGN_NOTE = (
    "ImageFlow cannot promise there what it promises of its own queue (no loss when a server fails, order over several "
    "gateways, an end to messages that take gateways down); to have it made anew, let it run empty and delete it"
)


def only_arguments_differ(said: str) -> bool:
    """Whether what RabbitMQ says of a queue that exists is about one of its x-arguments. It compares the durability, and
    whether the queue ends with its consumer or its connection, before those, and names the first difference. There is no
    other way to learn it over AMQP.
    """
    return re.search(r"inequivalent arg 'x-", said) is not None
