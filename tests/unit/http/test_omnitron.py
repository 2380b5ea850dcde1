"""What Omnitron's answers to logins and look-ups mean, and where its links may lead."""

from __future__ import annotations

import pytest

from imageflow.errors import LoginError
from imageflow.http.client import Answer
from imageflow.http.omnitron import OmnitronError, _json, _key, _url
from imageflow.text.masking import hide

DOMAIN = "https://shop.example.com"


@pytest.mark.parametrize(
    ("asked", "url"),
    [
        ("api/v1/products/?limit=1", f"{DOMAIN}/api/v1/products/?limit=1"),
        ("/api/v1/products/", f"{DOMAIN}/api/v1/products/"),
        (f"{DOMAIN}/products/?page=2", f"{DOMAIN}/products/?page=2"),
        ("http://shop.example.com/products/?page=2#top", f"{DOMAIN}/products/?page=2"),
        ("http://SHOP.example.com:8000/products/", f"{DOMAIN}/products/"),
    ],
)
def test_links_of_the_same_host(asked: str, url: str) -> None:
    """A path, and a link that a proxy made http of, are asked at the domain of the flow."""
    assert _url(DOMAIN, asked) == url


@pytest.mark.parametrize(
    "asked", ["https://evil.example.com/", "https://shop.example.com@evil.example.com/", "ftp://shop.example.com/"]
)
def test_links_that_lead_away(asked: str) -> None:
    """The token is never sent to another host; the error does not repeat the link's path."""
    with pytest.raises(OmnitronError, match="another host"):
        _url(DOMAIN, asked)


@pytest.mark.parametrize(
    ("status", "body", "transient", "text"),
    [
        (400, b'{"non_field_errors": ["wrong: sesam"]}', False, r"refused: 400 .*wrong: \*\*\*"),
        (401, b"", False, "refused: 401"),
        (429, b"slower", True, "refused: 429 ⟦slower⟧"),
        (503, b"", True, "refused: 503"),
        (200, b"<html>maintenance</html>", True, "without JSON"),
        (200, b"[" * 100_000, True, "without JSON"),
        (200, b"[]", False, 'without a usable "key"'),
        (200, b'{"key": ""}', False, 'without a usable "key"'),
        (200, b'{"key": "a\\nb"}', False, 'without a usable "key"'),
        (200, '{"key": "é"}'.encode(), False, 'without a usable "key"'),
    ],
)
def test_logins_that_give_no_token(status: int, body: bytes, transient: bool, text: str) -> None:
    """The error says what came instead, without the password, and whether the same login may succeed later."""
    with pytest.raises(LoginError, match=text) as caught:
        hide("sesam")
        _key(Answer(status, {}, body), f"{DOMAIN}/login/", 7.0)
    assert caught.value.transient == transient
    assert "sesam" not in str(caught.value)
    assert caught.value.retry_after == (None if status == 200 and not transient else 7.0)


def test_a_login_that_gives_a_token() -> None:
    """The token is the answer's `key`."""
    assert _key(Answer(200, {}, b'{"key": "t0ken"}'), f"{DOMAIN}/login/", None) == "t0ken"


@pytest.mark.parametrize(
    ("status", "body", "transient"),
    [(404, b"no token here", False), (401, b"", True), (429, b"", True), (500, b"", True), (200, b"<html>", True)],
)
def test_lookups_that_give_nothing(status: int, body: bytes, transient: bool) -> None:
    """Anything but a 2xx with JSON is an error with its status; the token is not repeated."""
    with pytest.raises(OmnitronError) as caught:
        hide("token")
        _json(Answer(status, {}, body), f"{DOMAIN}/products/?limit=1", 3.0)
    assert (caught.value.status, caught.value.transient) == (status, transient)
    assert caught.value.stage == "write"
    assert "token" not in str(caught.value)
    assert "limit" not in str(caught.value)


def test_a_lookup_that_gives_something() -> None:
    """The document is returned."""
    assert _json(Answer(200, {}, b'{"next": null}'), f"{DOMAIN}/products/", None) == {"next": None}
