"""Which rows of the queue go out, when the lease of their claims ends meanwhile."""

import asyncio
from collections.abc import Callable

import pytest

from imageflow.clock import SystemClock
from imageflow.http.client import Answer
from imageflow.http.post_client import NotSentError
from imageflow.store import Claim
from imageflow.write import row_work
from imageflow.write.domain_queue import DomainQueue
from imageflow.write.lease import MARGIN_SECONDS, Lease
from imageflow.write.sender import Sender

from .fakes import ManualClock, RecordingStore, chunk


class Wire:
    """Stands for the connections: keeps what was sent, and answers when it is told to."""

    def __init__(self, status: int = 201) -> None:
        self.sent: list[bytes] = []
        self.statuses = [status]
        self.arrived = asyncio.Event()
        self.go_on = asyncio.Event()

    async def post(self, authorization: str, body: bytes, timeout: float, *, may_send: Callable[[], bool]) -> Answer:
        if not may_send():
            raise NotSentError
        self.sent.append(body)
        self.arrived.set()
        await self.go_on.wait()
        return Answer(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0], {}, b"")


class Sessions:
    """Stands for logins. `log_in` is awaited whenever a token is asked for."""

    def __init__(self, wire) -> None:
        self.log_in: Callable[[], None] = lambda: None
        self.wire = wire

    def access(self, definition):
        return self

    async def token(self):
        self.log_in()
        return "token"

    def post_client(self, definition, url):
        return self.wire

    def invalidate(self, token):
        pass


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def lease(clock):
    lease = Lease(clock, "owner", 30.0)
    await lease.begin(RecordingStore())
    return lease


@pytest.fixture
async def wire():
    return Wire()


@pytest.fixture
def sessions(wire):
    return Sessions(wire)


async def send(rows, sessions, meanwhile: Callable[[], object]):
    """Send a chunk; `meanwhile` happens once its first request has arrived or was stopped. Returns the states of its rows."""
    async with asyncio.TaskGroup() as senders:
        queue: DomainQueue[int] = DomainQueue(SystemClock(), senders)
        sending = senders.create_task(Sender(SystemClock(), sessions).send_all(rows, queue, probe=False))
        while not queue.in_flight and not sending.done():
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        meanwhile()
        await asyncio.wait_for(sending, 10)
    return [work.state for work in rows.works]


async def test_rows_in_line_are_handed_back(lease, clock, wire, sessions):
    """The lease ends while rows wait for a place: not one more goes out, and none loses an attempt."""
    rows = chunk("abcdef", concurrency=2)
    rows.lease = lease

    def freeze():
        clock.time += 46.0
        wire.go_on.set()

    states = await send(rows, sessions, freeze)
    assert states[:2] == ["written"] * 2
    assert set(states[2:]) == {"lease_ending", "waiting"}
    assert len(wire.sent) == 2


async def test_rows_that_wait_for_a_rate_limit(lease, clock, wire, sessions):
    """The same, where a rate limit holds the rows back: the next one notices, and the others go with it."""
    wire.go_on.set()
    rows = chunk("abcdef", rate_limit="1/s")
    rows.lease = lease

    def freeze():
        clock.time += MARGIN_SECONDS + 1.0

    states = await send(rows, sessions, freeze)
    assert states[0] == "written"
    assert set(states[1:]) == {"lease_ending", "waiting"}
    assert len(wire.sent) == 1


async def test_a_login_takes_long(lease, clock, wire, sessions):
    """The lease is looked at after the login, directly before the request."""

    def log_in():
        clock.time += MARGIN_SECONDS + 1.0

    sessions.log_in = log_in
    rows = chunk("a")
    rows.lease = lease
    assert await send(rows, sessions, lambda: None) == ["lease_ending"]
    assert wire.sent == []


async def test_the_second_request_after_a_401(lease, clock, wire, sessions):
    """It needs the lease as much as the first."""
    wire.statuses = [401, 201]
    rows = chunk("a")
    rows.lease = lease

    def freeze():
        clock.time += MARGIN_SECONDS + 1.0
        wire.go_on.set()

    assert await send(rows, sessions, freeze) == ["lease_ending"]
    assert len(wire.sent) == 1


async def of_two_skus():
    """A chunk with one row, which is written to the SKUs a and b."""
    rows = chunk("a")
    targeted = row_work.targeted(rows.works[0].row, ["a", "b"], 1.0)
    claims = [Claim(product, True, False, -1, None) for product in "ab"]
    rows.works = row_work.decided([targeted], claims, skip_unchanged=True)
    await rows.lease.begin(RecordingStore())
    return rows


@pytest.mark.parametrize(
    ("statuses", "state", "requests"),
    [
        ([201, 201], "written", 2),
        ([400, 201], "refused", 1),
        ([429, 201], "not_taken", 1),
        ([500, 201], "doubtful", 1),
        ([401, 201, 201], "written", 3),
        ([401, 401, 201], "doubtful", 2),
    ],
)
async def test_a_row_of_two_skus_ends_with_the_one_that_fails(statuses, state, requests, wire, sessions):
    """The next SKU is not sent, and its good answer does not make the row a written one. A token that is refused is asked for
    once more; where that one is refused, too, the row is not at fault and comes again."""
    wire.statuses = statuses
    wire.go_on.set()
    assert await send(await of_two_skus(), sessions, lambda: None) == [state]
    assert len(wire.sent) == requests


async def test_a_row_between_two_skus_when_this_process_stops(wire, sessions):
    """The request in flight is waited for, the next one is not begun, and the row comes again as a whole."""
    rows = await of_two_skus()
    async with asyncio.TaskGroup() as senders:
        queue: DomainQueue[int] = DomainQueue(SystemClock(), senders)
        sending = senders.create_task(Sender(SystemClock(), sessions).send_all(rows, queue, probe=False))
        await asyncio.wait_for(wire.arrived.wait(), 10)
        queue.close()
        wire.go_on.set()
        await asyncio.wait_for(sending, 10)
    assert [work.state for work in rows.works] == ["waiting"]
    assert len(wire.sent) == 1
