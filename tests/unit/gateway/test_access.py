"""Users, passwords, tokens."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from imageflow.actions.credentials import digest, hash_password
from imageflow.actions.users import ROLES
from imageflow.errors import ThrottledError
from imageflow.gateway.access import (
    CACHE_SECONDS,
    STRANGERS_AT_ONCE,
    TOKEN_SECONDS,
    Access,
    AuthenticationError,
    add_token,
    bearer,
    may,
)
from imageflow.gateway.login_pace import FORGET_AFTER, PACES
from imageflow.gateway.problem_details import refusal
from imageflow.store import LoginCount, User


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self):
        self.seconds = 0.0

    def now(self):
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self):
        return self.seconds


class Users:
    """The store's users, tokens and counts of logins, in memory."""

    def __init__(self, clock):
        self.users = {}
        self.tokens = {}
        self.counts = {}
        self.lookups = 0
        self.clock = clock

    async def login_counts(self, keys):
        return {kind: self.counts[kind, key] for kind, key in keys.items() if (kind, key) in self.counts}

    async def count_login(self, keys, *, forget_after):
        for kind, key in keys.items():
            before = self.counts.get((kind, key), LoginCount(0, self.clock.now()))
            times = before.times if self.clock.now() - before.last_at < forget_after else 0
            self.counts[kind, key] = LoginCount(times + 1, self.clock.now())

    async def forget_login(self, kind, key):
        self.counts.pop((kind, key), None)

    async def save_user(self, user, *, audit=None):
        self.users[user.name] = user

    async def user(self, name):
        return self.users.get(name)

    async def save_token(self, digest, user, expires_at):
        self.tokens[digest] = (user, expires_at)

    async def revoke_token(self, digest):
        self.tokens.pop(digest, None)

    async def token_user(self, digest, now):
        self.lookups += 1
        user, expires_at = self.tokens.get(digest, (None, now))
        return self.users[user] if user is not None and expires_at > now else None


@pytest.fixture
async def users(clock):
    store = Users(clock)
    await store.save_user(User("erp@brand.com", hash_password("correct horse"), "operator"))
    return store


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def access(users, clock):
    return Access(users, b"key", clock)


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        (["Bearer abc"], "abc"),
        (["Token abc"], "abc"),
        (["bearer   abc "], "abc"),
        ([], None),
        ([""], None),
        (["abc"], None),
        (["Bearer"], None),
        (["Bearer "], None),
        (["Basic abc"], None),
        (["Bearer \u00e9"], None),
        (["Bearer " + "x" * 513], None),
        (["Bearer abc", "Bearer abc"], None),
    ],
)
def test_bearer(headers, token):
    """One Authorization header of the form Bearer or Token gives a token; nothing else does."""
    assert bearer(headers) == token


async def test_login_gives_a_token_that_opens(access, users, clock):
    """A login gives a token good for twelve hours; the store has only its digest."""
    token = await access.login("erp@brand.com", "correct horse", "1.2.3.4")
    assert token.expires_at == clock.now() + timedelta(seconds=TOKEN_SECONDS)
    assert list(users.tokens) == [digest(b"key", token.text)]
    assert (await access.user([f"Bearer {token.text}"])).name == "erp@brand.com"
    clock.seconds = TOKEN_SECONDS + 1
    with pytest.raises(AuthenticationError):
        await access.user([f"Bearer {token.text}"])


async def test_token_of_another_key(users, clock, access):
    """A token is bound to the secret key."""
    token = await add_token(users, b"other", "erp@brand.com", clock, 60)
    with pytest.raises(AuthenticationError):
        await access.user([f"Bearer {token}"])


async def test_tokens_are_cached_briefly(access, users, clock):
    """The store is asked once in a second for a token; then a user who lost their role loses it here too."""
    token = await add_token(users, b"key", "erp@brand.com", clock, 3600)
    for _ in range(5):
        await access.user([f"Bearer {token}"])
    assert users.lookups == 1
    await users.save_user(User(name="erp@brand.com", password_hash="", role="viewer"))
    clock.seconds = CACHE_SECONDS
    assert (await access.user([f"Bearer {token}"])).role == "viewer"


async def test_requests_together_ask_once(access, users, clock):
    """Of many requests at once with one token, one asks the store; those after a change ask anew; an error is everybody's."""
    token = await add_token(users, b"key", "erp@brand.com", clock, 3600)
    found, go = users.token_user, asyncio.Event()

    async def slowly(digest, now):
        user = await found(digest, now)
        await go.wait()
        return user

    users.token_user = slowly
    async with asyncio.TaskGroup() as tasks:
        before = [tasks.create_task(access.user([f"Bearer {token}"])) for _ in range(10)]
        await asyncio.sleep(0)
        access.forget()
        after = [tasks.create_task(access.user([f"Bearer {token}"])) for _ in range(10)]
        await asyncio.sleep(0)
        assert not before[0].done()
        go.set()
    assert {task.result().name for task in before + after} == {"erp@brand.com"}
    assert users.lookups == 2
    wrong = await asyncio.gather(*(access.user(["Bearer x"]) for _ in range(5)), return_exceptions=True)
    assert ([type(error) for error in wrong], users.lookups) == ([AuthenticationError] * 5, 3)


async def test_what_was_looked_up_before_a_change_is_not_kept(access, users, clock):
    """A token that is looked up while its user is removed: the answer of that moment serves that request alone."""
    token = await add_token(users, b"key", "erp@brand.com", clock, 3600)
    found = users.token_user

    async def slowly(digest, now):
        user = await found(digest, now)
        users.tokens.clear()
        access.forget()
        return user

    users.token_user = slowly
    await access.user([f"Bearer {token}"])
    users.token_user = found
    with pytest.raises(AuthenticationError):
        await access.user([f"Bearer {token}"])


async def test_a_token_opens_nothing_after_the_logout(access, users, clock):
    """A logout ends a token at once, even one that this gateway has in its cache."""
    token = await add_token(users, b"key", "erp@brand.com", clock, 3600)
    await access.user([f"Bearer {token}"])
    await access.logout([f"Bearer {token}"])
    with pytest.raises(AuthenticationError):
        await access.user([f"Bearer {token}"])


async def guess(access, times, name="erp@brand.com", address="1.2.3.4"):
    """Wrong passwords, one after the other: how many were looked at."""
    tried = 0
    for number in range(times):
        try:
            assert await access.login(name, "guess-guess", address.format(number)) is None
        except ThrottledError:
            continue
        tried += 1
    return tried


async def test_guessing_is_slowed_down(access, clock):
    """After ten failures even the right password is refused with 429, for a time that doubles with each failure."""
    assert await guess(access, 30) == PACES["pair"].free
    with pytest.raises(ThrottledError) as error:
        await access.login("erp@brand.com", "correct horse", "1.2.3.4")
    assert (refusal(error.value).status, refusal(error.value).headers["Retry-After"]) == (429, "15")
    clock.seconds += 15
    assert await guess(access, 5) == 1
    with pytest.raises(ThrottledError) as error:
        await access.login("erp@brand.com", "correct horse", "1.2.3.4")
    assert error.value.retry_after == 30
    clock.seconds += 30
    assert await access.login("erp@brand.com", "correct horse", "1.2.3.4")
    assert await guess(access, 30) == PACES["pair"].free


async def test_guessing_from_many_addresses_is_slowed_down(access, clock):
    """A guesser with many addresses meets the count of the name; the user does not, where they have logged in before."""
    assert await access.login("erp@brand.com", "correct horse", "10.0.0.1")
    assert await guess(access, 100, address="1.2.3.{}") == PACES["name"].free
    clock.seconds += FORGET_AFTER.total_seconds() - 1
    assert await guess(access, 100, address="1.2.4.{}") == 1
    assert await access.login("erp@brand.com", "correct horse", "10.0.0.1")
    with pytest.raises(ThrottledError) as error:
        await access.login("erp@brand.com", "correct horse", "10.0.0.2")
    assert error.value.retry_after <= PACES["name"].longest


async def test_one_address_that_tries_many_names_is_slowed_down(access):
    """Sixty names from one address meet the count of the address."""
    tried = [await guess(access, 1, name=f"user-{number}") for number in range(PACES["address"].free + 10)]
    assert sum(tried) == PACES["address"].free


async def test_guessing_in_parallel_is_slowed_down_as_well(access):
    """Forty guesses at once get no more tries than forty one after another."""
    answers = await asyncio.gather(
        *(access.login("erp@brand.com", "guess-guess", "1.2.3.4") for _ in range(40)), return_exceptions=True
    )
    assert sum(answer is None for answer in answers) == PACES["pair"].free


async def test_many_right_logins_at_once(access):
    """A fleet that logs in all at once with the right password gets in."""
    tokens = await asyncio.gather(*(access.login("erp@brand.com", "correct horse", "1.2.3.4") for _ in range(20)))
    assert len({token.text for token in tokens}) == 20


async def test_names_that_do_not_exist_shut_nobody_out(access):
    """While a crowd tries names that do not exist, and some of it is refused for the crowd, a user logs in."""
    crowd = [
        asyncio.create_task(access.login(f"nobody-{number}", "guess-guess", f"1.2.3.{number}"))
        for number in range(STRANGERS_AT_ONCE * 3)
    ]
    await asyncio.sleep(0)
    assert await access.login("erp@brand.com", "correct horse", "10.0.0.1")
    answers = await asyncio.gather(*crowd, return_exceptions=True)
    refused = [answer for answer in answers if answer is not None]
    assert len(refused) >= STRANGERS_AT_ONCE
    assert {refusal(answer).status for answer in refused} == {503}


def test_roles_grow():
    """Each role may do what those before it may."""
    user = User("a", "", "operator")
    assert [may(user, role) for role in ROLES] == [True, True, False]
