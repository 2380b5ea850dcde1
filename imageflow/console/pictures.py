"""Product pictures: the browser loads them straight from the brand's hosts, which the page's policy names.

The gateway asks for none of them. A page shows pictures of at most HOSTS hosts; of others, and of URLs that no browser would
load, it shows a placeholder that says why.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from yarl import URL

HOSTS = 20
MAX_URL_CHARS = 2000
Hidden = Literal["off", "http", "hosts", "url"]
"""Why there is a placeholder: a setting, a plain picture in a page over TLS, too many hosts, or no URL of a picture."""


class Picture(NamedTuple):
    """A picture to show: `url`, or why it is `hidden`. `name` is that of its file."""

    url: str | None
    name: str
    hidden: Hidden | None = None


class Pictures:
    """The pictures of one page, and the origins that its policy must name."""

    def __init__(self, *, shown: bool, secure: bool) -> None:
        self._shown = shown
        self._secure = secure
        self._origins: dict[str, None] = {}

    @property
    def origins(self) -> list[str]:
        """Where this page's pictures come from."""
        return list(self._origins)

    def of(self, url: str) -> Picture:
        """The picture at a URL of a row."""
        parsed = _parsed(url)
        name = url.partition("?")[0].rstrip("/").rpartition("/")[2][:80]
        if not self._shown:
            return Picture(None, name, "off")
        if parsed is None:
            return Picture(None, name, "url")
        if self._secure and parsed.scheme == "http":
            return Picture(None, name, "http")
        origin = str(parsed.origin())
        if origin not in self._origins and len(self._origins) >= HOSTS:
            return Picture(None, name, "hosts")
        self._origins[origin] = None
        return Picture(str(parsed), name)


def _parsed(url: str) -> URL | None:
    """A URL of a picture as it may stand in a page and its host in a policy; None: it may not."""
    if len(url) > MAX_URL_CHARS:
        return None
    try:
        parsed = URL(url)
        host = parsed.host or ""
    except ValueError:
        return None
    named = host and all(letter.isascii() and (letter.isalnum() or letter in ".-_:[]") for letter in host)
    credentials = parsed.user is not None or parsed.password is not None
    return parsed if parsed.scheme in ("http", "https") and named and not credentials else None


def policy(origins: list[str]) -> str:
    """The Content-Security-Policy of a page with pictures from these origins."""
    images = " ".join(["'self'", *origins])
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {images}; font-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
