"""What an error becomes over HTTP: a refusal with a status and a problem body (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec

from imageflow import errors
from imageflow.actions.dead_letters import NotReplayable
from imageflow.actions.runs import NotRunnable
from imageflow.actions.shapes import FieldProblem
from imageflow.actions.users import OwnUserError
from imageflow.errors import (
    ConflictError,
    FlowFileError,
    ImageFlowError,
    NotFoundError,
    PostError,
    RequestError,
    ThrottledError,
)
from imageflow.gateway.access import AuthenticationError, PermissionDenied

CONTENT_TYPE = "application/problem+json"
STATUSES: Mapping[type[ImageFlowError], int] = {
    AuthenticationError: 401,
    PermissionDenied: 403,
    NotFoundError: 404,
    NotRunnable: 409,
    ConflictError: 409,
    OwnUserError: 409,
    NotReplayable: 409,
    FlowFileError: 422,
    RequestError: 422,
}
"""Of the asker's errors, by their nearest class; those of posts have a status for each kind."""
POST_STATUSES: Mapping[errors.PostKind, int] = {"malformed": 400, "too large": 413, "encoding": 415, "conflict": 422}


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem body (RFC 9457). `problems`: each field of a flow that is wrong."""

    type: str
    title: str
    status: int
    detail: str
    problems: list[FieldProblem] | None = None


class Refusal(ImageFlowError):
    """The request is refused with this HTTP `status`; `retry_after` in seconds where a repeat may be served;
    `problems`: each field of a flow that is wrong.
    """

    def __init__(
        self, status: int, detail: str, problems: Sequence[errors.Problem] = (), *, retry_after: float | None = None
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
    def body(self) -> Problem:
        """The problem body."""
        fields = [FieldProblem(*one) for one in self.problems] or None
        return Problem("about:blank", HTTPStatus(self.status).phrase, self.status, str(self), fields)


def refusal(error: ImageFlowError) -> Refusal:
    """How an error is answered. An error of our inside is 503 when it passes by itself, else 500, and says nothing."""
    match error:
        case Refusal():
            return error
        case ThrottledError():
            return Refusal(503 if error.overload else 429, str(error), retry_after=error.retry_after)
        case PostError():
            return Refusal(POST_STATUSES[error.kind], str(error))
        case FlowFileError(problems=problems):
            return Refusal(422, _flow_problems(problems), problems)
    status = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), None)
    return Refusal(status, str(error)) if status is not None else _inside(error)


def _flow_problems(problems: Sequence[errors.Problem]) -> str:
    first = f"; the first: {problems[0]}" if len(problems) > 1 else f": {problems[0]}"
    return f"the flow has {len(problems)} problem{'s' * (len(problems) > 1)}{first}"


def _inside(error: ImageFlowError) -> Refusal:
    if error.transient:
        return Refusal(503, "temporarily not available; try again later", retry_after=error.retry_after or 5.0)
    return Refusal(500, "an unexpected error; the gateway's log has it")
