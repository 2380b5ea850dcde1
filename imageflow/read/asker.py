"""Asks an ERP for one page, as it is asked in a run and when a person tries a flow.

What to ask is request.py's, what an answer means answer.py's and paging.py's. Nothing is stored here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from imageflow.clock import Clock
from imageflow.errors import ReadError
from imageflow.http.client import Answer, Transport
from imageflow.http.origin import origin, retry_after
from imageflow.model.flow import Definition, Erp
from imageflow.model.pagination.contract import Got, Last, Turn
from imageflow.model.pagination.cursor import Cursor
from imageflow.model.run import Run
from imageflow.read import answer as answers
from imageflow.read import paging, request, staleness, unasked
from imageflow.read.login import ErpLogins, Login
from imageflow.read.request import Question
from imageflow.read.rows import Rows, rows_of
from imageflow.telemetry import metrics

MAX_REDIRECTS = 5
AT_ONCE_BYTES = 128 * 1024
"""A larger answer is taken apart beside the event loop, so that no other read waits for it."""


class Wanted(NamedTuple):
    """A page that is wanted: of a run, by a flow whose secrets are filled in, at a place of its pagination. `hidden`: those of its
    parameters that are secrets.
    """

    run: Run
    definition: Definition
    erp: Erp
    cursor: Cursor
    hidden: frozenset[str] = frozenset()


class Read(NamedTuple):
    """What came of asking for a page: its body as it is stored (None: there is none), what follows, and the parameters of
    the request.
    """

    body: bytes | None
    turn: Turn
    asked: Mapping[str, Any] = {}


class Asker:
    """Asks ERPs, logged in. `pace` is awaited before each request: the flow's turn under its rate limit."""

    def __init__(self, transport: Transport, environ: Mapping[str, str], clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._logins = ErpLogins(transport, environ, clock)

    async def login(self, wanted: Wanted) -> Login:
        """The login that requests carry. Raises LoginError, SecretError and TransportError."""
        return await self._logins.login(wanted.erp, bounded=wanted.definition.bounded)

    async def ask(self, wanted: Wanted, pace: Callable[[], Awaitable[None]]) -> Read:
        """Ask once (twice where the token was no longer good). Raises what went wrong, transient or not."""
        question = request.build(wanted.definition, wanted.run, wanted.cursor)
        answer, url = await self.fetch(wanted, question, pace)
        read = await self._understood(wanted, answer, url)
        return read._replace(asked=request.asked(question, wanted.hidden))

    async def fetch(
        self, wanted: Wanted, question: Question, pace: Callable[[], Awaitable[None]]
    ) -> tuple[Answer, str]:
        """The answer to a question, whatever it says, and the URL that gave it; logged in, once anew after a 401. Raises what went
        wrong on the way.
        """
        login = await self.login(wanted)
        answer, url = await self._fetch(wanted, question, login, pace)
        if answer.status == 401 and self._logins.renew(wanted.erp, login):
            login = await self.login(wanted)
            answer, url = await self._fetch(wanted, question, login, pace)
        return answer, url

    async def _understood(self, wanted: Wanted, answer: Answer, url: str) -> Read:
        if answer.status in wanted.erp.no_rows.statuses:
            return Read(None, paging.without_rows(wanted.erp, wanted.cursor, url))
        if (turn := paging.past_the_end(wanted.erp, wanted.cursor, answer.status, url)) is not None:
            return Read(None, turn)
        own = paging.is_own(wanted.erp, url)
        answers.refuse(answer, origin(url), retry_after(answer.headers, self._clock.now()), own=own)
        if wanted.erp.no_rows.empty_body and answers.is_empty(answer):
            return Read(None, paging.without_rows(wanted.erp, wanted.cursor, url))
        try:
            if len(answer.body) <= AT_ONCE_BYTES:
                return _page(wanted, answer, url)
            return await asyncio.to_thread(_page, wanted, answer, url)
        except ReadError as error:
            # A 202 without rows says that they are being prepared: asking again may help.
            raise ReadError(str(error), transient=answer.status == 202) from error

    async def _fetch(
        self, wanted: Wanted, question: Question, login: Login, pace: Callable[[], Awaitable[None]]
    ) -> tuple[Answer, str]:
        """The answer and the URL that gave it, after redirects that stay where the flow may go."""
        url = question.url
        for _ in range(MAX_REDIRECTS + 1):
            await pace()
            with metrics.asking_erp(wanted.run.flow) as asking:
                answer = await self._transport.request(
                    question.method,
                    url,
                    headers=request.headers(wanted.erp, url, login.headers),
                    body=question.body,
                    timeout=wanted.erp.timeout,
                    max_bytes=wanted.erp.max_answer_bytes,
                    bounded=wanted.definition.bounded,
                )
                asking.status = answer.status
            target = answers.redirect(wanted.erp, question.method, url, answer)
            if target is None:
                return answer, url
            url = target
        raise ReadError(f"the ERP ({origin(url)}) redirects more than {MAX_REDIRECTS} times")


def _page(wanted: Wanted, answer: Answer, url: str) -> Read:
    """A good answer's body, and what follows from it."""
    erp = wanted.erp
    text, document = answers.decode(answer, erp.charset, erp.answer_format, erp.rows_path)
    rows = rows_of(wanted.definition, document)
    got = Got(document, rows.rows, answer.headers.get("link", ""), url, answer.headers, rows.place, rows.counted)
    turn = paging.turn(wanted.erp, wanted.cursor, got)
    ignored = (
        *staleness.warnings(wanted.definition, wanted.run, rows.rows),
        *unasked.warnings(wanted.definition, wanted.run, wanted.cursor, rows),
    )
    turn = turn._replace(warnings=(*turn.warnings, *ignored))
    return Read(_body(wanted, text, rows, turn), turn)


def _body(wanted: Wanted, text: bytes, rows: Rows, turn: Turn) -> bytes | None:
    """What is stored of an answer. Null that means no rows is no page; if more follows, the page is an empty list."""
    if not rows.none:
        return text
    return None if isinstance(turn, Last) else text if wanted.definition.has_process else b"[]"
