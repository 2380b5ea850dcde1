"""The domains of a process: their queues, and what other processes are told of open circuits."""

import asyncio

from imageflow.clock import SystemClock
from imageflow.errors import StoreError
from imageflow.write.circuit_breaker import UNREACHED_LIMIT
from imageflow.write.domains import ANNOUNCED_SECONDS, Domains
from imageflow.write.outcome import Unavailable, Written

from .fakes import RecordingStore


def break_circuit(queue):
    for _ in range(UNREACHED_LIMIT):
        queue.record("p", Unavailable("refused", unreached=True), 0.0)


async def test_open_circuits_are_announced():
    """While a circuit is open other processes are told again and again, and once more when it is closed."""
    store, domains = RecordingStore(), Domains(SystemClock())
    async with asyncio.TaskGroup() as senders:
        domains.start(senders)
        queue = domains.queue("https://a.example")
        domains.queue("https://b.example")
        await domains.announce(store, "me")
        await domains.withdraw(store, "me")
        assert store.calls == []
        break_circuit(queue)
        assert domains.open_circuits == {"https://a.example": "refused"}
        await domains.announce(store, "me")
        await domains.announce(store, "me")
        queue.record("p", Written(200), 0.0)
        for _ in range(3):
            await domains.announce(store, "me")
    opened = ("hold", "me", {"https://a.example": "refused"}, ANNOUNCED_SECONDS)
    assert store.calls == [opened, opened, ("hold", "me", {}, ANNOUNCED_SECONDS)]


async def test_an_announcement_is_withdrawn():
    """A process that ends with an open circuit takes its announcement back, even if the last one failed."""
    store, domains = RecordingStore(), Domains(SystemClock())
    async with asyncio.TaskGroup() as senders:
        domains.start(senders)
        break_circuit(domains.queue("https://a.example"))
        await domains.announce(store, "me")
        store.away = True
        try:
            await domains.announce(store, "me")
        except StoreError:
            store.away = False
        await domains.withdraw(store, "me")
    assert store.calls[-1] == ("hold", "me", {}, ANNOUNCED_SECONDS)


async def test_one_queue_per_domain():
    """All flows to a domain share its limit and its circuit."""
    domains = Domains(SystemClock())
    async with asyncio.TaskGroup() as senders:
        domains.start(senders)
        assert domains.queue("https://a.example") is domains.queue("https://a.example")
        assert domains.queue("https://a.example") is not domains.queue("https://b.example")


async def test_after_closing_nothing_is_sent():
    """Neither to domains that are known, nor to new ones."""
    domains = Domains(SystemClock())
    async with asyncio.TaskGroup() as senders:
        domains.start(senders)
        known = domains.queue("https://a.example")
        domains.close()
        assert known.closed
        assert domains.queue("https://b.example").closed
