"""Where a database is, in words."""

from __future__ import annotations

import pytest

from imageflow.secret import Secret
from imageflow.store.place import place_of


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("sqlite:///data/store.db", "SQLite in data/store.db"),
        ("sqlite:////var/lib/store.db", "SQLite in /var/lib/store.db"),
        ("postgresql://flow:s3cret@db.example.com:6543/imageflow", "PostgreSQL at db.example.com:6543/imageflow"),
        ("postgresql:///imageflow", "PostgreSQL at localhost:5432/imageflow"),
        ("postgresql://flow:s3cret@db:port/imageflow", "the database"),
    ],
)
def test_a_place_has_neither_user_nor_password(url: str, place: str) -> None:
    """File, or host, port and database; of a URL that cannot be read, nothing."""
    assert place_of(Secret(url)) == place
