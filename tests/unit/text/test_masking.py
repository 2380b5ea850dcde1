"""No secret gets into a text."""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageflow.errors import ImageFlowError
from imageflow.text.masking import Hidden, hide, hide_bearer, mask

ODD = 'pa"ss/wörd\\ +%&'


@pytest.mark.parametrize(
    "written",
    [ODD, quote(ODD), quote(ODD, safe=""), quote_plus(ODD), json.dumps(ODD), repr(ODD), json.dumps({"k": [ODD]})],
)
def test_every_form_is_found(written: str) -> None:
    """As it is, in a URL, in JSON, in Python."""
    hide(ODD)
    masked = mask(f"the answer was {written}, and so on")
    assert "***" in masked
    assert "wörd" not in masked
    assert "w%C3" not in masked
    assert "w\\u00f6rd" not in masked


def test_short_ones() -> None:
    """A short secret is found as a word of its own; a tiny one only where it is the whole text."""
    hide("demo", "a", "42")
    assert mask("user demo, password=demo, demonstration, demo2") == "user ***, password=***, demonstration, demo2"
    assert mask("a delivery of 42 rows") == "a delivery of 42 rows"
    assert (mask("a"), mask("42")) == ("***", "***")


def test_the_longer_first() -> None:
    """A secret within another one leaves nothing of it."""
    hide("secret", "topsecret-token")
    assert mask("key=topsecret-token secret") == "key=*** ***"


def test_nothing_is_no_secret() -> None:
    """An empty variable does not mask everything."""
    hide("", " ")
    assert mask("a b") == "a b"


def test_it_is_bounded() -> None:
    """The one not seen for longest goes first, and strangers' bearers push out nothing of ours."""
    hidden = Hidden(2)
    for text in ("first-one", "second-one", "first-one", "third-one"):
        hidden.add(text)
    assert hidden.mask("first-one second-one third-one") == "*** second-one ***"
    hide("ours-for-good")
    for number in range(2000):
        hide_bearer(f"a-token-of-a-stranger-{number:04}")
    shown = mask("ours-for-good a-token-of-a-stranger-1999 a-token-of-a-stranger-0001")
    assert shown == "*** *** a-token-of-a-stranger-0001"


def test_errors_pass() -> None:
    """An error of ours has no secret in its text, whatever code wrote it."""
    hide("topsecret")
    assert str(ImageFlowError("the ERP said: bad topsecret")) == "the ERP said: bad ***"


@given(st.text(min_size=6), st.text(), st.text())
def test_no_text_keeps_a_secret(secret: str, before: str, after: str) -> None:
    """Wherever it stands."""
    hidden = Hidden()
    hidden.add(secret)
    if secret.strip() and secret not in "***":
        assert secret not in hidden.mask(before + secret + after) or set(secret) <= set("*")


def test_a_stranger_masks_no_words():
    """What a request brought is masked only if it is as long as tokens are."""
    token = "t" * 43
    for text in ("success", "winter-images", token):
        hide_bearer(text)
    assert mask(f"success of winter-images: {token}") == "success of winter-images: ***"
