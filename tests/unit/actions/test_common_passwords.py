"""Passwords that are guessed first."""

import pytest

from imageflow.actions.common_passwords import is_common


@pytest.mark.parametrize(
    "password", ["password", "Password1!", "TRUSTNO1", "qwertyuiop", "omnitron2026", "ada.lovelace-1", "12345678"]
)
def test_common(password):
    """In any case, with digits and signs behind, and the user's own name."""
    assert is_common(password, "ada.lovelace@example.com")


@pytest.mark.parametrize("password", ["correct horse", "open sesame 123", "kP3-vv9x-Lq", "winterbilder blau"])
def test_others(password):
    """Several words, and random ones."""
    assert not is_common(password, "ada")
