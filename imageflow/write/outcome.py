"""What Omnitron's answer means for a row. Pure.

2xx                                     written
400, 404, 409, 413, 422, other 3xx/4xx  refused: the row is at fault and is not tried again
401                                     unauthorized: log in again, once for all rows
408, 425, 429, 5xx, no answer           unavailable: Omnitron is at fault, the row is tried again later

Where there is no answer, `no_answer` says what the error means: bad credentials and a URL that cannot be asked are refused,
everything else is unavailable.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from imageflow.errors import LoginError, SecretError, StageError, TransportError
from imageflow.http.client import Answer
from imageflow.http.origin import retry_after
from imageflow.model.row import StageName
from imageflow.text.masking import mask

MAX_REASON_CHARS = 500


class Written(msgspec.Struct, frozen=True):
    """The image set is on Omnitron."""

    status: int


class Refused(msgspec.Struct, frozen=True):
    """The row is at fault: permanent. `stage` is the one that its log names."""

    reason: str
    status: int | None = None
    stage: StageName = "write"


class Unauthorized(msgspec.Struct, frozen=True):
    """The token is not valid, or not any more."""

    reason: str
    status: int = 401


class Unavailable(msgspec.Struct, frozen=True):
    """Omnitron is at fault: transient. `retry_after` is in seconds.

    `slow_down`: Omnitron asked for less (429, 503) or did not answer in time. `unreached`: Omnitron itself was not reached
    (no connection, 502, 503, 504), so no row can be at fault.
    """

    reason: str
    status: int | None = None
    retry_after: float | None = None
    slow_down: bool = False
    unreached: bool = False


Outcome = Written | Refused | Unavailable
"""Of a request, after one more login where the token was not valid."""


def judge(answer: Answer, now: Callable[[], datetime]) -> Outcome | Unauthorized:
    """What an answer means. `now` is asked for Retry-After dates."""
    if answer.ok:
        return Written(answer.status)
    reason = explain(answer)
    if answer.status == 401:
        return Unauthorized(reason)
    if answer.transient:
        return Unavailable(
            reason,
            answer.status,
            retry_after(answer.headers, now()),
            slow_down=answer.status in (429, 503),
            unreached=answer.status in (502, 503, 504),
        )
    if 300 <= answer.status < 400:
        reason = f"Omnitron redirects to {answer.headers.get('location', 'nowhere')[:200]}: check omnitron.domain_url and images_path"
    return Refused(reason, answer.status)


def no_answer(error: StageError | TransportError | SecretError) -> Refused | Unavailable:
    """What an error means that came instead of an answer: from a login, a look-up of SKUs, a secret or the connection."""
    if isinstance(error, SecretError) or (isinstance(error, LoginError) and not error.transient):
        return Refused(str(error), stage="login")
    if isinstance(error, TransportError) and not error.transient:
        return Refused(str(error))
    timed_out = isinstance(error, TransportError) and error.kind == "timeout"
    return Unavailable(str(error), retry_after=error.retry_after, slow_down=timed_out, unreached=True)


def explain(answer: Answer) -> str:
    """Omnitron's own words on one line: `images[1].url: Enter a valid URL.` of Django REST framework's nested lists."""
    try:
        said = mask("; ".join(_flat(msgspec.json.decode(answer.body), "")))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        said = answer.excerpt()
    text = f"Omnitron answered {answer.status}" + (f": {said}" if said else "")
    return text if len(text) <= MAX_REASON_CHARS else text[: MAX_REASON_CHARS - 1] + "…"


def _flat(value: Any, path: str) -> list[str]:
    """Errors with their paths. `detail` and `non_field_errors` are not fields of the request, so paths leave them out."""
    if isinstance(value, dict):
        return [line for key, inner in value.items() for line in _flat(inner, _join(path, str(key)))]
    if isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            return [f"{path}: {' '.join(value)}" if path else " ".join(value)] if value else []
        return [line for index, inner in enumerate(value) for line in _flat(inner, f"{path}[{index}]")]
    return [f"{path}: {value}" if path else str(value)]


def _join(path: str, key: str) -> str:
    if key in ("detail", "non_field_errors"):
        return path
    return f"{path}.{key}" if path else key
