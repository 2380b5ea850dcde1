"""A refusal: the gateway's answer to a request that it does not serve, as a problem body (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from imageflow.errors import ImageFlowError, Problem

CONTENT_TYPE = "application/problem+json"


class Refusal(ImageFlowError):
    """The request is refused with this HTTP `status`; `retry_after` in seconds where a repeat may be served;
    `problems`: each field of a flow that is wrong.
    """

    def __init__(
        self, status: int, detail: str, problems: Sequence[Problem] = (), *, retry_after: float | None = None
    ) -> None:
        super().__init__(detail, transient=retry_after is not None, retry_after=retry_after)
        self.status = status
        self.problems = problems

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that go with it."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, -int(-self.retry_after // 1)))
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return headers

    @property
    def body(self) -> dict[str, Any]:
        """The members of its problem body."""
        body = problem(self.status, str(self))
        if self.problems:
            body["problems"] = [one._asdict() for one in self.problems]
        return body


def problem(status: int, detail: str) -> dict[str, Any]:
    """The members of a problem body."""
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}


def refusal(error: ImageFlowError) -> Refusal:
    """How an error is answered: 503 when it passes by itself, else 500. What it says of our inside stays inside."""
    if isinstance(error, Refusal):
        return error
    if error.transient:
        return Refusal(503, "temporarily not available; try again later", retry_after=error.retry_after or 5.0)
    return Refusal(500, "an unexpected error; the gateway's log has it")
