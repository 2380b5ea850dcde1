"""What Omnitron's answers mean."""

from datetime import UTC, datetime

import pytest

from imageflow.http.client import Answer
from imageflow.write.outcome import Refused, Unauthorized, Unavailable, Written, explain, judge

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
    """Every status of the design's table becomes the outcome that it names."""
    assert type(judge(Answer(status, {}, b""), NOW)) is kind


def test_only_unreachable_is_away():
    """A 500 may be one row's fault; 502, 503 and 504 are not."""
    assert [judge(Answer(status, {}, b""), NOW).away for status in (429, 500, 502, 503, 504)] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_retry_after_is_carried():
    """What Omnitron asks for is passed on in seconds."""
    assert judge(Answer(429, {"retry-after": "7"}, b""), NOW).retry_after == 7
    assert judge(Answer(503, {"retry-after": "Thu, 01 Jan 2026 00:00:09 GMT"}, b""), NOW).retry_after == 9


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"images": [{}, {"url": ["Enter a valid URL."]}]}', "images[1].url: Enter a valid URL."),
        (b'{"detail": "Not found."}', "Not found."),
        (b'{"non_field_errors": ["a", "b"], "product_sku": ["Required."]}', "a b; product_sku: Required."),
        (b"<html>\n <h1>Bad gateway</h1>", "<html> <h1>Bad gateway</h1>"),
        (b"", None),
        (b"\xff\xfe", "��"),
    ],
)
def test_explain(body, text):
    """Omnitron's words are shown with the path of the field."""
    assert explain(Answer(400, {}, body)) == "Omnitron answered 400" + (f": {text}" if text else "")


def test_reason_is_bounded():
    """A page of HTML does not end up in every row's log."""
    assert len(explain(Answer(500, {}, b'["' + b"x" * 100_000 + b'"]'))) <= 500
