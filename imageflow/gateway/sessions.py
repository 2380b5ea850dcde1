"""Sessions of the console: cookies instead of tokens that a program sends, and links that open the door once.

A session's text opens no path of the API as a token would, nor a token a page: their digests differ.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from imageflow.actions import credentials, users
from imageflow.actions.actor import Actor
from imageflow.clock import Clock
from imageflow.errors import NotFoundError
from imageflow.store import Store, User

SESSION_SECONDS = 12 * 3600
LINK_SECONDS = 3600


class Sessions:
    """Begins and ends sessions. Methods raise StoreError while the database is away."""

    def __init__(self, store: Store, secret_key: bytes, clock: Clock) -> None:
        self._store = store
        self._secret_key = secret_key
        self._clock = clock

    async def begin(self, user: User) -> str:
        """The text of a new session of the user."""
        text = credentials.new_token()
        await self._store.save_token(self._digest("session", text), user.name, self._later(SESSION_SECONDS))
        return text

    async def user(self, text: str) -> User | None:
        """Whose session that is."""
        return await self._store.token_user(self._digest("session", text), self._clock.now())

    async def end(self, text: str) -> None:
        """The session opens nothing any more."""
        await self._store.revoke_token(self._digest("session", text))

    def form_token(self, cookie: str) -> str:
        """What each form of a page carries: it goes with the cookie, and nobody else can make it."""
        return self._digest("form", cookie)

    # links -------------------------------------------------------------------------------------------------------------

    async def login_link(self, name: str) -> str:
        """The text of a link that logs the user in, once and within an hour."""
        text = credentials.new_token()
        await self._store.save_token(self._digest("login link", text), name, self._later(LINK_SECONDS))
        return text

    async def link_user(self, text: str) -> User | None:
        """Whom the link logs in, if it is still good."""
        return await self._store.token_user(self._digest("login link", text), self._clock.now())

    async def use_link(self, text: str) -> User | None:
        """Use the link up, and give whom it logs in."""
        name = await self._store.take_token(self._digest("login link", text), self._clock.now())
        return None if name is None else await self._store.user(name)

    async def setup_link(self) -> str | None:
        """The text of a link that makes the first admin, in place of older ones; None: there are users."""
        if await self._store.users():
            return None
        text = credentials.new_token()
        await self._store.save_setup_token(self._digest("setup link", text), self._later(LINK_SECONDS))
        return text

    async def is_setup_link(self, text: str) -> bool:
        """Whether the link still makes the first admin."""
        digest = self._digest("setup link", text)
        return await self._store.is_setup_token(digest, self._clock.now()) and not await self._store.users()

    async def set_up(self, text: str, name: str, password: str, address: str) -> User:
        """Use the link up, and make the first admin.

        Raises NotFoundError where the link is used up, too old, or there are users; UserError for a name or password that is
        not taken, and the link stays good then.
        """
        users.check(name, password, "admin")
        digest = self._digest("setup link", text)
        if await self._store.users() or await self._store.take_token(digest, self._clock.now()) is None:
            raise NotFoundError("the link is used up or too old")
        return await users.save(self._store, name, password, "admin", Actor(name, address))

    def _digest(self, kind: str, text: str) -> str:
        return credentials.digest(self._secret_key, f"{kind} {text}")

    def _later(self, seconds: float) -> datetime:
        return self._clock.now() + timedelta(seconds=seconds)
