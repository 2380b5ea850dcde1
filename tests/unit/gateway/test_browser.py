"""How a browser's request came, and whether one of our own pages sent it."""

import pytest

from imageflow.gateway import browser


@pytest.mark.parametrize(
    ("scheme", "host", "came"),
    [
        ("https", "imageflow.example.com", "https"),
        ("https", "127.0.0.1", "https"),
        ("http", "127.0.0.1:8080", "loopback"),
        ("http", "localhost:8080", "loopback"),
        ("http", "[::1]:8080", "loopback"),
        ("http", "imageflow.example.com", "plain"),
        ("http", "10.0.0.5:8080", "plain"),
        ("http", "localhost.example.com", "plain"),
        ("http", "[::1", "plain"),
        ("http", "", "plain"),
    ],
)
def test_the_way(scheme, host, came):
    """TLS is safe, and so is this machine; anything else can be read on the way."""
    assert browser.way(scheme, host) == came


def test_the_cookie_is_bound_to_the_host_over_tls():
    """Browsers take the prefix over TLS alone."""
    assert browser.cookie_name("https") == "__Host-imageflow"
    assert browser.cookie_name("loopback") == browser.cookie_name("plain") == "imageflow"


@pytest.mark.parametrize(
    ("site", "origin", "own"),
    [
        (["same-origin"], [], True),
        (["same-origin"], ["https://evil.example"], True),
        (["cross-site"], [], False),
        (["same-site"], ["https://a.example"], False),
        (["none"], [], False),
        (["same-origin", "cross-site"], [], False),
        ([], ["https://a.example"], True),
        ([], ["https://a.example:443"], True),
        ([], ["http://a.example"], False),
        ([], ["https://b.example"], False),
        ([], ["https://a.example:8443"], False),
        ([], ["https://a.example", "https://a.example"], False),
        ([], ["null"], False),
        ([], ["https://a.example:x"], False),
        ([], [], True),
    ],
)
def test_whose_page_sent_it(site, origin, own):
    """Sec-Fetch-Site decides, else Origin; with neither it is no browser, and the form's token decides."""
    assert browser.is_own(site, origin, "https", "a.example") is own
