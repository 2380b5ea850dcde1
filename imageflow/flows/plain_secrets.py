"""Secrets in plain text: recognised by what they are named and by how they look. Pure.

Every place takes a reference, {env: NAME} or {file: PATH}, so a false alarm has a way out. Its message never holds the value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from imageflow.flows import words
from imageflow.model.field_types import Complaints
from imageflow.secret import reference
from imageflow.text.masking import MASK

_NAMES = re.compile(
    r"(pass(word|wd|phrase|code|wort)?|pwd|parola|sifre|secret|token|credentials?|authorization|cookie|jwt|bearer|"
    r"(api|app|access|auth|private|secret|shared|client|account|subscription|functions?|function|signing|license|master)keys?|"
    r"(session|auth)id|sessid|signature|hmac|sastoken|pin)$"
)
_POSITIONS = re.compile(r"(page|next|continuation|cursor|sync|delta|skip|resume|scroll|csrf|xsrf)token$")
"""Tokens that say where a read stands."""
_INNOCENT = re.compile(
    r"(token|grant|auth|secret|password)(type|path|url|header|field|name|format)$|^shipping$|mapping$"
)

_LOOKS = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]+"  # a JSON web token
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|(?i:bearer|basic|token|apikey)\s+[\w.~+/=-]{8,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}"
    r"|(?:gh[pousr]|github_pat|glpat|xox[abprs]|sk|pk|rk|shpat|shpss|shppa|npm|pypi)[-_]\w[\w-]{14,}"
    r"|AIza[\w-]{30,}"
    r"|SG\.[\w-]{16,}\.[\w-]{16,}"
)
_RANDOM = re.compile(r"[A-Za-z0-9+/_=.~-]{24,}")
_HEX = re.compile(r"[0-9a-fA-F]{32,}")
_WORDS = re.compile(r"[-_./~+=]")
_HOOK_HOSTS = re.compile(
    r"(^|\.)(hooks\.slack\.com|discord(app)?\.com|webhook\.office\.com|logic\.azure\.com|webhook\.site)$"
)


def names_secret(name: str) -> bool:
    """Whether what is named so is a secret. Case and separators make no difference."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return bool(_NAMES.search(plain)) and not _POSITIONS.search(plain) and not _INNOCENT.search(plain)


def looks_secret(text: str) -> bool:
    """Whether a text has the form of a known kind of key, or is as long and as mixed as only random ones are."""
    return bool(_LOOKS.search(text)) or any(map(_is_random, re.split(r"[\s;,]", text)))


def _is_random(word: str) -> bool:
    if _HEX.fullmatch(word):
        return True
    if not _RANDOM.fullmatch(word):
        return False
    longest = max(_WORDS.split(word), key=len)
    kinds = sum(re.search(kind, longest) is not None for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    return len(longest) >= 20 and kinds == 3


def refused(name: str, value: object) -> bool:
    """Whether a value under a name is a secret in plain text. Nothing, true and false are none."""
    if value is None or isinstance(value, bool) or value == "":
        return False
    return names_secret(name) or (isinstance(value, str) and looks_secret(value))


def leaves(value: Any, where: str, name: str) -> Iterator[tuple[str, str, Any]]:
    """Single values, with their paths and the field that they stand in; what names a secret is one."""
    if isinstance(value, dict) and not (where and len(value) == 1 and set(value) <= {"env", "file"}):
        for key, item in value.items():
            yield from leaves(item, f"{where}.{words.name(key)}", str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, f"{where}[{index}]", name)
    else:
        yield where, name, value


def url_complaints(url: str) -> Complaints:
    """A secret in a URL: a parameter of its query, or a part of its path."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if refused(name, value) and not re.fullmatch(r"\{[^{}]*\}", value):
            yield (
                "",
                f"its parameter {words.shown(name)} carries a secret: put it into extra_params; {words.PLAIN_REFUSED}",
            )
    if any(looks_secret(unquote(part)) for part in parts.path.split("/")):
        yield (
            "",
            "a part of its path looks like a secret: put {name} there, and its value into query_settings; "
            + words.PLAIN_REFUSED,
        )


def webhook_complaints(url: str) -> Complaints:
    """A chat's webhook whose URL is a secret: all who know it may post there."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return
    secret_query = any(refused(name, value) for name, value in parse_qsl(parts.query))
    parts_of_path = [unquote(part) for part in parts.path.split("/")]
    if secret_query or _HOOK_HOSTS.search(host) or any(map(_hook_part, parts_of_path)):
        yield "", "carries a secret in its path or query; " + words.PLAIN_REFUSED


def _hook_part(part: str) -> bool:
    mixed = (
        len(part) >= 16 and re.fullmatch(r"[\w-]+", part) and re.search("[0-9]", part) and re.search("[A-Za-z]", part)
    )
    return bool(mixed) or looks_secret(part)


def masked(document: dict[str, Any]) -> dict[str, Any]:
    """A flow's document with `***` for each secret in plain text: flows that were saved before these were refused may have
    some.
    """
    return {
        name: _masked(name, value) if name in ("omnitron", "erp", "alarms") else value
        for name, value in document.items()
    }


def _masked(name: str, value: Any) -> Any:
    if reference(value) is not None or name in ("pagination", "token_path", "header", "template"):
        return value
    if isinstance(value, dict):
        named = name if names_secret(name) else str(value.get("key", ""))
        return {key: _masked(named if key == "value" else str(key), item) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(name, item) for item in value]
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        complaints = webhook_complaints if name == "webhook_url" else url_complaints
        return f"{urlsplit(value).scheme}://{urlsplit(value).netloc}/{MASK}" if any(complaints(value)) else value
    return MASK if refused(name, value) else value
