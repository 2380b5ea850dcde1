"""The details of an entry of the audit log, in the words of a page. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from imageflow.text.phrase import Phrase, counted, joined, phrase

_NAMED = {
    "version": phrase("version %(value)s"),
    "to": phrase("to version %(value)s"),
    "page": phrase("page %(value)s"),
    "row": phrase("row %(value)s"),
    "group": phrase("cause %(value)s"),
    "since": phrase("since %(value)s"),
    "until": phrase("until %(value)s"),
    "before": phrase("before that %(value)s"),
    "run_id": phrase("run %(value)s"),
    "role": phrase("role %(value)s"),
    "flow": phrase("flow %(value)s"),
    "queue": phrase("queue %(value)s"),
    "versions_before": phrase("in place of version %(value)s"),
    "replaced": phrase("before that %(value)s"),
}
_COUNTED = {
    "rows": counted("1 row", "%(count)s rows", 0),
    "from_pages": counted("1 row from the stored pages", "%(count)s rows from the stored pages", 0),
    "identifiers": counted("1 identifier", "%(count)s identifiers", 0),
    "days": counted("1 day", "%(count)s days", 0),
}
_ENDED = {
    "cancelled": phrase("%(rows)s cancelled"),
    "login": phrase("%(rows)s failed in the log-in"),
    "read": phrase("%(rows)s failed in the read"),
    "script": phrase("%(rows)s failed in the script"),
    "mapping": phrase("%(rows)s failed in the mapping"),
    "rows": phrase("%(rows)s failed as rows"),
    "write": phrase("%(rows)s failed in the write"),
}
_ROLES: Mapping[object, Phrase] = {
    "viewer": phrase("viewer"),
    "operator": phrase("operator"),
    "admin": phrase("admin"),
}
_SAID_ALREADY = frozenset(("name",))
"""The sentence of the entry says it."""


def details(detail: Mapping[str, Any]) -> list[Phrase]:
    """The details of a change, without empty ones."""
    return [_detail(name, value) for name, value in detail.items() if _says(name, value)]


def _says(name: str, value: Any) -> bool:
    return (
        name not in _SAID_ALREADY
        and value is not None
        and value not in ("", [], {})
        and (name, value) != ("identifiers", 0)
    )


def _detail(name: str, value: Any) -> Phrase:
    if name in _COUNTED and isinstance(value, int):
        return _COUNTED[name]._replace(values={"count": value})
    if name == "replaced" and isinstance(value, dict):
        parts = [_ENDED[stage]._replace(values={"rows": rows}) for stage, rows in value.items() if stage in _ENDED]
        return _NAMED[name]._replace(values={"value": joined(parts, ", ")})
    known = _NAMED.get(name)
    shown = _value(name, value)
    return (
        phrase("%(name)s: %(value)s", name=name, value=shown)
        if known is None
        else known._replace(values={"value": shown})
    )


def _value(name: str, value: Any) -> Any:
    if name in ("role", "before") and value in _ROLES:
        return _ROLES[value]
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if name in ("since", "until", "before") and isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return value
    return str(value)
