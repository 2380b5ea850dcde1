"""Users, passwords, tokens."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from imageflow.actions.credentials import digest, hash_password
from imageflow.actions.users import ROLES
from imageflow.errors import ThrottledError
from imageflow.gateway.access import (
    LOGIN_FAILURES,
    LOGIN_WINDOW_SECONDS,
    TOKEN_SECONDS,
    Access,
    AuthenticationError,
    Failures,
    add_token,
    bearer,
    may,
)
from imageflow.gateway.problem_details import refusal
from imageflow.store import User


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self):
        self.seconds = 0.0

    def now(self):
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self):
        return self.seconds


class Users:
    """The store's users and tokens, in memory."""

    def __init__(self):
        self.users = {}
        self.tokens = {}
        self.lookups = 0

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
async def users():
    store = Users()
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
    """The store is asked once in ten seconds for a token; then a user who lost their role loses it here too."""
    token = await add_token(users, b"key", "erp@brand.com", clock, 3600)
    for _ in range(5):
        await access.user([f"Bearer {token}"])
    assert users.lookups == 1
    await users.save_user(User(name="erp@brand.com", password_hash="", role="viewer"))
    clock.seconds = 10
    assert (await access.user([f"Bearer {token}"])).role == "viewer"


async def test_a_token_opens_nothing_after_the_logout(access, users, clock):
    """A logout ends a token at once, even one that this gateway has in its cache."""
    token = await add_token(users, b"key", "erp@brand.com", clock, 3600)
    await access.user([f"Bearer {token}"])
    await access.logout([f"Bearer {token}"])
    with pytest.raises(AuthenticationError):
        await access.user([f"Bearer {token}"])


async def test_guessing_is_slowed_down(access, clock):
    """After ten failures even the right password is refused with 429, until the window has passed."""
    for _ in range(LOGIN_FAILURES):
        assert await access.login("erp@brand.com", "guess-guess", "1.2.3.4") is None
    with pytest.raises(ThrottledError) as error:
        await access.login("erp@brand.com", "correct horse", "1.2.3.4")
    assert refusal(error.value).status == 429
    assert refusal(error.value).headers["Retry-After"] == str(int(LOGIN_WINDOW_SECONDS))
    assert await access.login("erp@brand.com", "correct horse", "5.6.7.8")
    clock.seconds = LOGIN_WINDOW_SECONDS
    assert await access.login("erp@brand.com", "correct horse", "1.2.3.4")


async def test_guessing_in_parallel_is_slowed_down_as_well(access):
    """Thirty guesses at once get no more tries than thirty one after another."""
    answers = await asyncio.gather(
        *(access.login("nobody", "guess-guess", "1.2.3.4") for _ in range(30)), return_exceptions=True
    )
    assert sum(answer is None for answer in answers) <= LOGIN_FAILURES + 1


async def test_many_right_logins_at_once(access):
    """A fleet that logs in all at once with the right password gets in."""
    tokens = await asyncio.gather(*(access.login("erp@brand.com", "correct horse", "1.2.3.4") for _ in range(20)))
    assert len({token.text for token in tokens}) == 20


def test_failures_are_bounded():
    """However many users and addresses fail, only so many are remembered."""
    failures = Failures(limit=1, keys=5)
    for number in range(20):
        failures.add(("user", str(number)), 0.0)
    assert sum(failures.wait(("user", str(number)), 1.0) is not None for number in range(20)) == 5


def test_roles_grow():
    """Each role may do what those before it may."""
    user = User("a", "", "operator")
    assert [may(user, role) for role in ROLES] == [True, True, False]
