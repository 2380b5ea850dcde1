"""Pictures: which a page shows, and what its policy names."""

import pytest

from imageflow.console.pictures import HOSTS, Pictures, policy


def test_a_picture_is_shown_and_its_host_is_named():
    """The URL as it is; the policy has the origin, once."""
    pictures = Pictures(shown=True, secure=True)
    shown = [pictures.of(f"https://cdn.example.com/a/{n}.jpg?v=2") for n in (1, 2)]
    assert [picture.url for picture in shown] == [
        "https://cdn.example.com/a/1.jpg?v=2",
        "https://cdn.example.com/a/2.jpg?v=2",
    ]
    assert shown[0].name == "1.jpg"
    assert pictures.origins == ["https://cdn.example.com"]
    assert "img-src 'self' https://cdn.example.com;" in policy(pictures.origins)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://cdn.example.com/1.jpg", "url"),
        ("https://user:pass@cdn.example.com/1.jpg", "url"),
        ("https://cdn.example.com;script-src/1.jpg", "url"),
        ("https:///1.jpg", "url"),
        ("no url", "url"),
        ("https://cdn.example.com:x/1.jpg", "url"),
        ("https://" + "a" * 3000, "url"),
        ("http://cdn.example.com/1.jpg", "http"),
    ],
)
def test_what_is_no_picture_for_a_browser(url, why):
    """A placeholder says why, and the policy does not name it."""
    pictures = Pictures(shown=True, secure=True)
    found = pictures.of(url)
    assert (found.url, found.hidden, pictures.origins) == (None, why, [])


def test_plain_pictures_in_a_plain_page():
    """On the machine itself pictures over http are fine."""
    assert Pictures(shown=True, secure=False).of("http://127.0.0.1:9/1.jpg").url == "http://127.0.0.1:9/1.jpg"


def test_hosts_are_bounded():
    """A page does not name more hosts than its bound; those that it names already go on."""
    pictures = Pictures(shown=True, secure=True)
    for n in range(HOSTS + 1):
        last = pictures.of(f"https://h{n}.example.com/1.jpg")
    assert last.hidden == "hosts"
    assert len(pictures.origins) == HOSTS
    assert pictures.of("https://h0.example.com/2.jpg").url is not None


def test_pictures_may_be_off():
    """Then there is none, and no host is named."""
    pictures = Pictures(shown=False, secure=True)
    assert pictures.of("https://cdn.example.com/1.jpg").hidden == "off"
    assert pictures.origins == []
