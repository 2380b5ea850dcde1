"""Looks at a real endpoint and says how a flow would read it: where the list is, how it pages, when that ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from imageflow.errors import ImageFlowError
from imageflow.http.client import Answer, Transport
from imageflow.inspect.probe_inquiry import Asking, Inquiry
from imageflow.inspect.row_script import RowPart, row_part
from imageflow.inspect.row_shape import shape_of
from imageflow.read.request import DEFAULT_HEADERS, Question
from imageflow.text.masking import Hidden, mask

TIMEOUT_SECONDS = 30.0
MAX_REQUESTS = 80


class Found(NamedTuple):
    """What came of a probe: observations, the flow file's part (None where no list was found), and what makes rows of the
    answer (None where no row says it). `refused`: the flow file's part, as far as it is known of an endpoint that let nobody in.
    """

    lines: tuple[str, ...]
    erp: dict[str, Any] | None
    rows: RowPart | None = None
    refused: dict[str, Any] | None = None


async def probe(
    transport: Transport,
    url: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
) -> Found:
    """Look at an endpoint with a bounded number of requests, one after the other. `body`: what a POST sends, beside what is tried.
    Header values appear nowhere.
    """
    given = headers or {}
    inquiry = Inquiry(url, method, given, body=body)

    async def answered(question: Question) -> Answer:
        return await transport.request(
            question.method,
            question.url,
            headers={**DEFAULT_HEADERS, **given},
            body=question.body,
            timeout=TIMEOUT_SECONDS,
        )

    hidden = Hidden()
    for value in given.values():
        hidden.add(value)
    made = await found(inquiry, answered)
    return made._replace(lines=tuple(hidden.mask(line) for line in made.lines))


async def found(inquiry: Inquiry, answered: Callable[[Question], Awaitable[Answer]]) -> Found:
    """What an inquiry finds out from these answers."""
    try:
        if not await _asked(inquiry.run(), answered):
            inquiry.say(f"stopped after {MAX_REQUESTS} requests: the probe could not determine what is not said above")
    except ImageFlowError as error:
        inquiry.say(f"stopped: {error}")
    made = row_part(shape_of(inquiry.rows, keyed=inquiry.keyed), inquiry.path) if inquiry.rows else None
    return Found(tuple(mask(line) for line in inquiry.lines), inquiry.erp, made, inquiry.refused)


async def _asked(asking: Asking[None], answered: Callable[[Question], Awaitable[Answer]]) -> bool:
    """Answer the questions, one after the other. Whether all could be asked: a stranger gets MAX_REQUESTS at most."""
    try:
        question = next(asking)
        for _ in range(MAX_REQUESTS):
            question = asking.send(await answered(question))
    except StopIteration:
        return True
    return False
