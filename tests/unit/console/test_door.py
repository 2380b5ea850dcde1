"""Where visitors may be sent, and which forms count."""

import pytest

from imageflow.console.door import is_form_of, safe_next


@pytest.mark.parametrize(
    ("text", "to"),
    [
        ("/runs?flow=a&state=failed", "/runs?flow=a&state=failed"),
        ("/products/A%2FB", "/products/A%2FB"),
        ("/", "/"),
        ("", "/"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("/a\\b", "/"),
        ("/a\nb", "/"),
        ("/a b", "/"),
        ("javascript:alert(1)", "/"),
        ("/api/me", "/"),
        ("/logout", "/"),
        ("/login?next=/", "/"),
        ("/static", "/"),
        ("/apis", "/apis"),
        ("/" + "a" * 3000, "/"),
    ],
)
def test_only_paths_of_the_console_follow_the_login(text, to):
    """No other host, no other scheme, nothing that is not a page."""
    assert safe_next(text) == to


@pytest.mark.parametrize(
    ("given", "site", "ours"),
    [
        ("token", ["same-origin"], True),
        ("token", ["cross-site"], False),
        ("other", ["same-origin"], False),
        ("é", [], False),
    ],
)
def test_a_form_needs_its_token_and_our_own_page(given, site, ours):
    """Both, not one of them."""
    assert is_form_of(given, "token", site, [], "https", "a.example") is ours
