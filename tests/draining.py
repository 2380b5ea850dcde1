"""Takes all messages out of a queue, as a test's own means."""

from __future__ import annotations

from imageflow.broker import Broker


async def drain(broker: Broker, queue: str) -> list[bytes]:
    """The bodies of what is ready in the queue, which is empty then."""
    bodies = []
    async with broker.browse(queue) as deliveries:
        async for delivery in deliveries:
            bodies.append(delivery.body)
            await delivery.ack()
    return bodies
