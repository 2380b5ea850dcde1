"""Excerpts of answers, and what viewers see of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from imageflow.gateway.access import shown
from imageflow.http.client import EXCERPT_CHARS, MAX_ERROR_BYTES, Answer
from imageflow.store import User
from imageflow.text.excerpt import CLOSE, HIDDEN, OPEN, hidden, hidden_in_html, hidden_in_json, quoted


@pytest.mark.parametrize(
    ("body", "is_excerpt"),
    [
        (b'{"detail": "no such product"}', False),
        (b' [{"url": ["wrong"]}]', False),
        (b"<html>intranet</html>", True),
        (b"ami-id", True),
        (b'"a token"', True),
        (b"12345", True),
        (b'{"detail": ', True),
        (b"[" * 100_000, True),
        (b"[" + b" " * MAX_ERROR_BYTES + b"]", True),
    ],
)
def test_what_is_an_excerpt(body, is_excerpt):
    """An answer that is a JSON object or list is the flow's own; the beginning of any other is an excerpt."""
    assert (OPEN in Answer(500, {}, body).excerpt()) == is_excerpt


def test_nothing_is_no_excerpt():
    """An empty answer has no excerpt, and marks of its own mean nothing."""
    assert Answer(500, {}, b" ").excerpt() == quoted("") == ""
    assert Answer(500, {}, f"a{CLOSE}b{OPEN}".encode()).excerpt() == f"{OPEN}a]b[{CLOSE}"
    assert Answer(500, {}, json.dumps({"a": OPEN}, ensure_ascii=False).encode()).excerpt() == '{"a": "["}'
    assert len(Answer(500, {}, b"x" * 10_000).excerpt()) == EXCERPT_CHARS + 3


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("no excerpt", "no excerpt"),
        (f"answered 500: {quoted('secret')}. Try again", f"answered 500: {HIDDEN}. Try again"),
        (f"{quoted('secret')} {quoted('other')}", f"{HIDDEN} {HIDDEN}"),
        (f"answered 500: {OPEN}secr\net…", f"answered 500: {HIDDEN}"),
    ],
)
def test_hidden(text, seen):
    """A viewer reads that there is an excerpt and who sees it, also where it was cut off."""
    assert hidden(text) == seen
    assert json.loads(hidden_in_json(json.dumps({"a": [{"b": text}, 1]}, ensure_ascii=False).encode())) == {
        "a": [{"b": seen}, 1]
    }


@given(st.text())
def test_nothing_of_it_is_left(said):
    """Whatever an answer says, in text, JSON and HTML nothing of it is left, and all beside it is."""
    text = f"before {quoted(said)} after" if said else "before  after"
    kept = f"before {HIDDEN} after" if said else "before  after"
    assert hidden(text) == kept
    assert json.loads(hidden_in_json(json.dumps([text], ensure_ascii=False).encode("utf-8", "replace"))) == [kept]
    page = f'<p title="{escape(text)}">{escape(text)}</p><p>more</p>'
    assert hidden_in_html(page) == f'<p title="{kept}">{kept}</p><p>more</p>'
    cut = f'<p title="{escape(OPEN + said)}">more</p>'
    assert hidden_in_html(cut) == f'<p title="{HIDDEN}">more</p>' or CLOSE in said


@pytest.mark.parametrize(("role", "sees"), [("viewer", False), ("operator", True), ("admin", True)])
def test_who_sees_it(role, sees):
    """Operators see excerpts, viewers do not."""
    body = json.dumps({"error": quoted("secret")}, ensure_ascii=False).encode()
    assert (b"secret" in shown(User(name="u", password_hash="", role=role), body)) == sees
