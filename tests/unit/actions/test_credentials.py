"""Passwords, tokens and keys as the store keeps them."""

from imageflow.actions import credentials
from imageflow.actions.credentials import hash_password, verify


def test_passwords():
    """A password is kept as an Argon2id hash that only the password opens; a broken hash opens to nobody."""
    password_hash = hash_password("correct horse")
    assert password_hash.startswith("$argon2id$")
    assert verify(password_hash, "correct horse")
    assert not verify(password_hash, "correct horse ")
    assert not verify(None, "correct horse")
    assert not verify("", "")
    assert not verify("plain", "plain")


def test_composed_letters():
    """The same letters are the same password, composed or not."""
    assert verify(hash_password("g\u00fc\u00e7l\u00fc-parola"), "gu\u0308c\u0327lu\u0308-parola")


def test_a_key_is_told_from_a_token():
    """A key begins with its prefix, which no token can."""
    assert credentials.new_key().startswith(credentials.KEY_PREFIX)
    assert "." not in credentials.new_token()


def test_a_digest_is_bound_to_the_secret_key():
    """Another secret key gives another digest of the same token."""
    assert credentials.digest(b"one", "token") != credentials.digest(b"two", "token")
