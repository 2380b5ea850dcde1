"""Where a database is, in words."""

from __future__ import annotations

import contextlib
from urllib.parse import urlsplit

from imageflow.secret import Secret


def place_of(url: Secret) -> str:
    """Where the database of a URL is, without user and password."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url.reveal())
        if parts.scheme == "sqlite":
            return f"SQLite in {parts.path.removeprefix('/')}"
        return f"PostgreSQL at {parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"
    return "the database"
