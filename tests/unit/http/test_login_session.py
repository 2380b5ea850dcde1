"""Sessions: one login for all who wait."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from imageflow.errors import LoginError, TransportError
from imageflow.http.login_session import Issued, Session, Token


class Clock:
    seconds = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds


class Door:
    """Gives tokens, or raises; counts logins."""

    def __init__(self, *outcomes: str | Issued | Exception) -> None:
        self.outcomes = list(outcomes)
        self.logins = 0

    async def login(self) -> str | Issued:
        self.logins += 1
        await asyncio.sleep(0)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def many(session: Session, door: Door) -> list[Token | BaseException]:
    return await asyncio.gather(*(session.token(door.login) for _ in range(20)), return_exceptions=True)


async def test_one_login_for_all():
    """Twenty who ask at once get the token of one login."""
    door = Door("t")
    assert await many(Session(Clock()), door) == ["t"] * 20
    assert door.logins == 1


async def test_a_token_is_renewed_before_it_expires():
    """A minute before, and a short-lived one after half of its time; all who ask then wait for one login."""
    clock, door = Clock(), Door(Issued("1", 600), Issued("2", 10), Issued("3"))
    session = Session(clock)
    clock.seconds = 100.0
    assert await many(session, door) == ["1"] * 20
    clock.seconds = 639.0
    assert await many(session, door) == ["1"] * 20
    clock.seconds = 640.0
    assert await many(session, door) == ["2"] * 20
    clock.seconds = 645.0
    assert await many(session, door) == ["3"] * 20
    clock.seconds = 1e9
    assert await many(session, door) == ["3"] * 20
    assert door.logins == 3


async def test_a_token_is_used_to_its_end():
    """Where renewing fails it is still good, and the pause after a failure holds; then the failure is raised."""
    clock, door = Clock(), Door(Issued("1", 600), LoginError("away", transient=True))
    session = Session(clock)
    assert await session.token(door.login) == "1"
    clock.seconds = 550.0
    assert await many(session, door) == ["1"] * 20
    assert door.logins == 2
    clock.seconds = 599.0
    assert await session.token(door.login) == "1"
    assert door.logins == 3
    clock.seconds = 600.5
    with pytest.raises(LoginError, match="away"):
        await session.token(door.login)


async def test_a_storm_of_401_leads_to_one_login():
    """Twenty refusals of one token, however late they come, lead to one new login, even where it gives the same text."""
    session, door = Session(Clock()), Door("same")
    old = await session.token(door.login)
    session.forget(old)
    new = await session.token(door.login)
    for _ in range(20):
        session.forget(old)
    assert await session.token(door.login) is new
    assert door.logins == 2


async def test_a_failure_is_shared():
    """All who waited get the failure of the one login; it is not repeated twenty times."""
    door = Door(LoginError("no"))
    outcomes = await many(Session(Clock()), door)
    assert [str(outcome) for outcome in outcomes] == ["no"] * 20
    assert len({id(outcome) for outcome in outcomes}) == 20
    assert door.logins == 1


async def test_a_refusal_holds_for_a_moment():
    """Wrong credentials are not tried again at once, but after a while; what Omnitron asks for is waited for."""
    clock, door = (
        Clock(),
        Door(LoginError("no"), TransportError("away"), LoginError("busy", transient=True, retry_after=9), "t"),
    )
    session = Session(clock)
    for seconds, logins, text in ((0, 1, "no"), (4, 1, "no"), (6, 2, "away"), (8, 3, "busy"), (16, 3, "busy")):
        clock.seconds = seconds
        with pytest.raises((LoginError, TransportError), match=text):
            await session.token(door.login)
        assert door.logins == logins
    clock.seconds = 18
    assert await session.token(door.login) == "t"


async def test_a_cancelled_login_is_taken_over():
    """A task that waits behind a login that is cancelled logs in itself."""
    door, session = Door("t"), Session(Clock())
    async with asyncio.TaskGroup() as group:
        first = group.create_task(session.token(door.login))
        second = group.create_task(session.token(door.login))
        await asyncio.sleep(0)
        first.cancel()
    assert await second == "t"


def test_tokens_print_masked():
    """A token in a log line or traceback shows nothing."""
    assert repr(Token("secret")) == "Token(***)"
