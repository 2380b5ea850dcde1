"""Where a URL leads, and when a server wants to be asked again. Pure."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from yarl import URL


def origin(url: str) -> str:
    """Scheme, host and port of a URL, as people may read it: no user, path or query."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.split('/')[0].split('?')[0].split('#')[0].rpartition('@')[2]}"


class Origin(NamedTuple):
    """Where a URL leads: equal origins are the same server."""

    scheme: str
    host: str
    port: int


def exact_origin(url: str) -> Origin:
    """The origin of an absolute http(s) URL, read the way the client itself reads it.

    Raises ValueError that says what is wrong: another scheme, no host, a user in it, or bytes that have no place there.
    """
    if re.search(r"[\x00-\x20\x7f\\]", url):
        raise ValueError("it holds spaces, backslashes or control characters")
    parsed = URL(url)
    if parsed.scheme not in ("http", "https") or not parsed.raw_host or parsed.port is None:
        raise ValueError("it is not an absolute http(s) URL")
    if parsed.raw_user is not None or parsed.raw_password is not None or "@" in parsed.raw_authority:
        raise ValueError("it holds a user name or password")
    return Origin(parsed.scheme, parsed.raw_host.lower(), parsed.port)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for (a number or an HTTP date), at least 0; None where there is none."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return float(value[:9])
    try:
        when = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    aware: datetime = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())
