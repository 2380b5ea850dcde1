"""What Omnitron's answers mean."""

from datetime import UTC, datetime

import pytest

from imageflow.errors import LoginError, SecretError, TransportError
from imageflow.http.client import Answer
from imageflow.http.omnitron import OmnitronError
from imageflow.write.outcome import Refused, Unauthorized, Unavailable, Written, explain, judge, no_answer

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, Written),
        (201, Written),
        (204, Written),
        (301, Refused),
        (400, Refused),
        (403, Refused),
        (404, Refused),
        (409, Refused),
        (413, Refused),
        (422, Refused),
        (401, Unauthorized),
        (408, Unavailable),
        (425, Unavailable),
        (429, Unavailable),
        (500, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
    ],
)
def test_judge(status, kind):
    """Every status becomes the outcome that the table of the module names."""
    assert type(judge(Answer(status, {}, b""), lambda: NOW)) is kind


@pytest.mark.parametrize(
    ("status", "slow_down", "unreached"),
    [
        (408, False, False),
        (425, False, False),
        (429, True, False),
        (500, False, False),
        (502, False, True),
        (503, True, True),
        (504, False, True),
    ],
)
def test_what_an_unavailable_omnitron_asks_for(status, slow_down, unreached):
    """429 and 503 ask to slow down. 502, 503 and 504 are Omnitron's fault alone; a 500 may be one row's."""
    outcome = judge(Answer(status, {}, b""), lambda: NOW)
    assert (outcome.slow_down, outcome.unreached) == (slow_down, unreached)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (TransportError("refused"), Unavailable("refused", unreached=True)),
        (TransportError("late", "timeout"), Unavailable("late", slow_down=True, unreached=True)),
        (TransportError("no URL", "refused"), Refused("no URL")),
        (LoginError("wrong password"), Refused("wrong password", stage="login")),
        (LoginError("busy", transient=True, retry_after=7.0), Unavailable("busy", retry_after=7.0, unreached=True)),
        (SecretError("no secret"), Refused("no secret", stage="login")),
        (
            OmnitronError("no JSON", retry_after=3.0, transient=True),
            Unavailable("no JSON", retry_after=3.0, unreached=True),
        ),
    ],
)
def test_no_answer(error, outcome):
    """Bad credentials and a URL that cannot be asked are permanent, every other error is transient; a time-out slows down."""
    assert no_answer(error) == outcome


def test_retry_after_is_carried():
    """The pause that Omnitron asks for is passed on in seconds."""
    assert judge(Answer(429, {"retry-after": "7"}, b""), lambda: NOW).retry_after == 7
    assert judge(Answer(503, {"retry-after": "Thu, 01 Jan 2026 00:00:09 GMT"}, b""), lambda: NOW).retry_after == 9


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"images": [{}, {"url": ["Enter a valid URL."]}]}', "images[1].url: Enter a valid URL."),
        (b'{"detail": "Not found."}', "Not found."),
        (b'{"non_field_errors": ["a", "b"], "product_sku": ["Required."]}', "a b; product_sku: Required."),
        (b"<html>\n <h1>Bad gateway</h1>", "⟦<html> <h1>Bad gateway</h1>⟧"),
        (b"", None),
        (b"\xff\xfe", "⟦��⟧"),
    ],
)
def test_explain(body, text):
    """Omnitron's words are shown with the path of the field."""
    assert explain(Answer(400, {}, body)) == "Omnitron answered 400" + (f": {text}" if text else "")


def test_reason_is_bounded():
    """A page of HTML does not end up in every row's log."""
    assert len(explain(Answer(500, {}, b'["' + b"x" * 100_000 + b'"]'))) <= 500
