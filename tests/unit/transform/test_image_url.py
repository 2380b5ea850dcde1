"""URLs of images: what is sent for what was given, and what is refused."""

from __future__ import annotations

import re
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.transform.image_url import ImageUrl, image_url

C = "https://c.example/"


@pytest.mark.parametrize(
    "url",
    [
        C + "p/CR36211,CR36212.jpg",
        C + "a.jpg?x=260&y=260&t=image/jpeg",
        C + "i?a=1&amp;w=2",
        C + "a.jpg#1",
        C + "a|b.jpg",
        C + "a[1].jpg",
        C + "a'b\"c<d>e^f`g{h}.jpg",
        C + "a\\b.jpg",
        C + "a%20b%C3%BC.jpg",
        C + "100%.jpg",
        C + "%zz.jpg",
        C + "a+b.jpg",
        C + "~a/../b//c.jpg",
        C + "?",
        "https://c.example",
        "https://c.example?x",
        "https://c.example:8443/a.jpg",
        "https://user:word@c.example/a.jpg",
        "https://[2001:db8::1]/a.jpg",
        "http://127.0.0.1/a.jpg",
        "HTTPS://CDN.EXAMPLE/A.JPG",
        "https://görsel.example/a.jpg",
        "https://xn--grsel-kua.example/a.jpg",
    ],
)
def test_what_a_browser_would_not_change_stays(url: str) -> None:
    """Signs of ASCII, what is encoded already, and hosts stay as they are."""
    assert image_url(url) == ImageUrl(url, encoded=False)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("My Example.png", "My%20Example.png"),
        ("a  b.png", "a%20%20b.png"),
        ("1000-\u00d7-1000.png", "1000-%C3%97-1000.png"),
        ("çanta.jpg", "%C3%A7anta.jpg"),
        ("u\u0308.jpg", "u%CC%88.jpg"),
        ("\u00fc.jpg", "%C3%BC.jpg"),
        ("a\u00a0b.jpg", "a%C2%A0b.jpg"),
        ("a\u200b.jpg", "a%E2%80%8B.jpg"),
        ("a\u2028b.jpg", "a%E2%80%A8b.jpg"),
        ("👕.jpg", "%F0%9F%91%95.jpg"),
        ("a%20b c.jpg", "a%20b%20c.jpg"),
        ("?q=ş ü&r=%C5%9F", "?q=%C5%9F%20%C3%BC&r=%C5%9F"),
        ("a.jpg#ü", "a.jpg#%C3%BC"),
        ("日本/画像.png", "%E6%97%A5%E6%9C%AC/%E7%94%BB%E5%83%8F.png"),
    ],
)
def test_blanks_and_letters_beyond_ascii_are_encoded(given: str, sent: str) -> None:
    """As UTF-8, letter by letter: nothing is composed or decomposed."""
    assert image_url(C + given) == ImageUrl(C + sent, encoded=True)


def test_hosts_are_never_encoded() -> None:
    """An international host stays, though the path is encoded."""
    assert image_url("https://görsel.example/ü.jpg").text == "https://görsel.example/%C3%BC.jpg"


@pytest.mark.parametrize("blanks", [" ", "\r\n", "\t", "\u00a0", "\u2003", "\x0b\x0c"])
def test_blanks_around_are_cut_off(blanks: str) -> None:
    """Whatever kind of blank it is; that alone is no encoding."""
    assert image_url(f"{blanks}{C}a.jpg{blanks}") == ImageUrl(C + "a.jpg", encoded=False)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("/wp-content/a.jpg", "is not an http(s) URL"),
        ("//c.example/a.jpg", "is not an http(s) URL"),
        ("c.example/a.jpg", "is not an http(s) URL"),
        ("ftp://c.example/a.jpg", "is not an http(s) URL"),
        ("data:image/png;base64,iVBORw0KGgo=", "is not an http(s) URL"),
        ("javascript:alert(1)", "is not an http(s) URL"),
        ("https:\\\\c.example\\a.jpg", "is not an http(s) URL"),
        ("https:/c.example/a.jpg", "is not an http(s) URL"),
        ("https:///a.jpg", "is not an http(s) URL"),
        ("https://:80/a.jpg", "is not an http(s) URL"),
        ("https://@c.example/a.jpg", "is not an http(s) URL"),
        ("https://", "is not an http(s) URL"),
        ("\ufeffhttps://c.example/a.jpg", "is not an http(s) URL"),
        ("", "is not an http(s) URL"),
        ("https://c example/a.jpg", "has a blank in its host"),
        ("https://c.example\u00a0/a.jpg", "has a blank in its host"),
        (C + "a\nb.jpg", "has control characters in it"),
        (C + "a\tb.jpg", "has control characters in it"),
        (C + "a\0b.jpg", "has control characters in it"),
        (C + "a\x85b.jpg", "has control characters in it"),
        (C + "a\ud800b.jpg", "has control characters in it"),
        (C + "a" * 4096, "is longer than 4096 characters"),
        (C + "ü" * 800, "is longer than 4096 characters"),
    ],
)
def test_refused(url: str, words: str) -> None:
    """What is no URL of an image says why."""
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
        image_url(url)


@given(st.text(max_size=60))
def test_what_is_sent_stays_what_it_is(text: str) -> None:
    """A URL that was encoded once is not encoded again; all that is sent after the host is ASCII without blanks."""
    try:
        sent = image_url(C + text).text
    except ValueError:
        return
    assert image_url(sent) == ImageUrl(sent, encoded=False)
    assert sent.isascii()
    assert " " not in sent


@given(st.text(alphabet="htps:/.-_~%AZaz09 ?#@[]\\é\n", max_size=40).map("https://".__add__))
def test_the_short_way_for_plain_urls_gives_the_same(url: str) -> None:
    short = result(url)
    with patch("imageflow.transform.image_url._PLAIN", re.compile(r"(?!)")):
        assert result(url) == short


def result(url: str) -> ImageUrl | str:
    try:
        return image_url(url)
    except ValueError as error:
        return str(error)
