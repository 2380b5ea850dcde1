"""What the audit log says besides of a change."""

from typing import Any

import pytest

from imageflow.console.details import details


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ({}, []),
        ({"name": "pos", "version": None, "identifiers": 0, "versions_before": [], "replaced": {}}, []),
        ({"version": 4, "identifiers": 1}, ["version 4", "1 identifier"]),
        ({"rows": 1500, "from_pages": 2}, ["1500 rows", "2 rows from the stored pages"]),
        ({"replaced": {"cancelled": 1329, "write": 2}}, ["before that 1329 cancelled, 2 failed in the write"]),
        ({"versions_before": [1, 2]}, ["in place of version 1, 2"]),
        ({"since": "2026-01-31T09:00:00.000000Z"}, ["since 2026-01-31T09:00:00.000000Z"]),
        ({"before": "soon", "colour": "red"}, ["before that soon", "colour: red"]),
    ],
)
def test_what_is_said_of_a_change(detail: dict[str, Any], expected: list[str]) -> None:
    """In words; what is empty, or stands in the sentence, is left out."""
    assert [str(one) for one in details(detail)] == expected
