"""NDJSON: each line is a row, or the answer is refused with the line."""

from __future__ import annotations

import msgspec
import pytest

from imageflow.errors import ReadError
from imageflow.read import ndjson_answer


def test_lines():
    """Each line that has something in it is a row; numbers stay as they are written."""
    text, rows = ndjson_answer.rows(b'{"sku": 1234567890123456789012}\r\n\n {"sku": 1.50}\n')
    assert rows == [{"sku": 1234567890123456789012}, {"sku": 1.5}]
    assert text == b'[{"sku": 1234567890123456789012}, {"sku": 1.50}]'
    assert msgspec.json.decode(text) == rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a": 1}\n{"b": ', 'line 2 of the answer is truncated: ⟦{"b":⟧'),
        (b'{"a": 1}\nnothing\n', "line 2 of the answer is not JSON"),
        (b'[{"a": 1}]', "one JSON list.*erp.format: json"),
        (b'{\n "a": [1]\n}', "one JSON document over several lines.*erp.format: json"),
        (b"{\n nothing", "line 1 of the answer is truncated"),
        (b"[" * 100_000, "line 1 of the answer is nested too deeply"),
    ],
)
def test_wrong_lines(text: bytes, said: str):
    """What is no line of NDJSON is named."""
    with pytest.raises(ReadError, match=said):
        ndjson_answer.rows(text)


def test_too_many_lines(monkeypatch: pytest.MonkeyPatch):
    """A page has a limit."""
    monkeypatch.setattr(ndjson_answer, "ROWS_PER_PAGE_LIMIT", 2)
    with pytest.raises(ReadError, match="3 lines; one page may have 2: use pagination"):
        ndjson_answer.rows(b"1\n2\n3\n")
