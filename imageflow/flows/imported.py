"""A flow of another system as a flow file of ours: its document, and the questions that are left. Pure.

No secret is written down: where the other system has one, there is the name of a variable, and a question that says so.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

import msgspec

from imageflow.flows import plain_secrets
from imageflow.text.printable import one_line

DOMAIN_URL = "https://brand.omnitron.net"
ENDPOINT_URL = "https://erp.example.com/images/"
MAX_NAME = 20
MAX_QUESTION = 300
MIN_SECRET = 8
_PLACEHOLDER = re.compile(r"\{[^{}\s\"']{1,100}\}")
_DATED = re.compile(r"\{modified_date\w*\}")
_SINCE = re.compile(r"(modif|chang|updat|since|tarih|last)", re.IGNORECASE)


class Found(msgspec.Struct):
    """What another system says of a flow. Values of `headers`, `params` and `body` are texts or JSON; None: it is not told,
    because it is a secret or computed.
    """

    title: str
    inbound: bool = True
    enabled: bool = True
    schedule: dict[str, str] | None = None
    timezone: str | None = None
    url: str | None = None
    method: str = "GET"
    username: str | None = None
    basic: bool = False
    login: dict[str, Any] | None = None
    headers: dict[str, Any] = {}
    params: dict[str, Any] = {}
    modified_date_key: str | None = None
    rows_path: str | None = None
    timeout: str | None = None
    omnitron: str | None = None
    images_path: str | None = None
    filename_template: str | None = None
    mapping: list[Any] | None = None
    secrets: set[str] = set()
    questions: list[str] = []

    def ask(self, text: str) -> None:
        """One more question, once."""
        line = one_line(text)[:MAX_QUESTION]
        if line not in self.questions:
            self.questions.append(line)


class Imported(msgspec.Struct, frozen=True):
    """A flow file's document, and what is to be looked at before it is used."""

    name: str
    document: dict[str, Any]
    questions: list[str]


def name_of(title: str, taken: Collection[str]) -> str:
    """A flow's name that nobody has yet, from a title."""
    plain = unicodedata.normalize("NFKD", title.replace("\u0131", "i")).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_NAME].strip("-") or "flow"
    name, number = slug, 2
    while name in taken:
        suffix = f"-{number}"
        name, number = slug[: MAX_NAME - len(suffix)].strip("-") + suffix, number + 1
    return name


def imported(found: Found, taken: Collection[str]) -> Imported:
    """The flow as a document."""
    name = name_of(found.title, taken)
    if name != found.title:
        found.ask(f"there it is named {found.title!r}")
    document: dict[str, Any] = {"name": name, "direction": "inbound" if found.inbound else "outbound"}
    if not found.enabled:
        document["enabled"] = False
        found.ask("it is stopped there, so it is not enabled here: delete `enabled` to let it run")
    if found.inbound:
        document |= {"schedule": found.schedule} if found.schedule else {}
    document["timezone"] = found.timezone or "UTC"
    if found.timezone is None:
        found.ask("timezone: which zone are cron and the ERP's dates in, e.g. Europe/Istanbul?")
    document["omnitron"] = _omnitron(found)
    if found.inbound:
        document["erp"] = _erp(found, name)
    if found.filename_template:
        document["filename_template"] = found.filename_template
    document |= _mapping(found)
    return Imported(name, document, list(found.questions))


def _mapping(found: Found) -> dict[str, Any]:
    if not found.mapping:
        return {}
    if any(secret in json.dumps(found.mapping, ensure_ascii=False) for secret in found.secrets):
        found.ask("mapping: the Jolt spec holds a secret and is left out: copy it by hand, without it")
        return {}
    return {"mapping": found.mapping}


def _omnitron(found: Found) -> dict[str, Any]:
    if found.omnitron is None:
        found.ask("omnitron.domain_url: which Omnitron is written to?")
    found.ask(
        "set OMNITRON_USERNAME and OMNITRON_PASSWORD in the environment of the services: passwords are never taken over"
    )
    section: dict[str, Any] = {"domain_url": found.omnitron or DOMAIN_URL}
    section |= {"username": {"env": "OMNITRON_USERNAME"}, "password": {"env": "OMNITRON_PASSWORD"}}
    return section | ({"images_path": found.images_path} if found.images_path else {})


def _erp(found: Found, name: str) -> dict[str, Any]:
    section: dict[str, Any] = {"endpoint_url": _endpoint(found)}
    for where in (found.headers, found.params, (found.login or {}).get("body")):
        found.secrets |= set(_secrets("", where))
    if found.method == "POST":
        section["method"] = "POST"
    elif found.method != "GET":
        found.ask(f"erp.method: it is {found.method!r} there; a flow takes GET or POST")
    _take_placeholders(found)
    variables = _Variables(found, name)
    login = _login(found, variables)
    headers = {key: variables.of(key, value) for key, value in found.headers.items()}
    headers = {key: value for key, value in headers.items() if value is not None}
    params = {key: variables.of(key, value) for key, value in found.params.items()}
    params = {key: value for key, value in params.items() if value is not None}
    section |= {"login": login} if login else {}
    section |= {"extra_headers": headers} if headers else {}
    section |= {"extra_params": params} if params else {}
    for field in ("modified_date_key", "rows_path", "timeout"):
        if value := getattr(found, field):
            section[field] = value
    if found.modified_date_key is None:
        found.ask(
            "erp.modified_date_key: which parameter asks the ERP for changes? Without one everything is read each time"
        )
    found.ask("erp.pagination: how does the ERP page? `imageflow probe URL` finds out")
    return section


def _take_placeholders(found: Found) -> None:
    """Take values that are only a placeholder out of parameters and headers, where we fill none in. The placeholder of
    the watermark tells which parameter asks for changes; each of the others becomes a question.
    """
    found.params = _without_placeholders(found, found.params, ())
    for name, value in list(found.headers.items()):
        if _is_placeholder(name, value):
            del found.headers[name]
            found.ask(f"the header {name!r} is a placeholder there: set it in erp.extra_headers, or leave it out")


def _without_placeholders(found: Found, values: dict[str, Any], within: tuple[str, ...]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in values.items():
        path = (*within, name)
        if isinstance(value, dict):
            inner = _without_placeholders(found, value, path)
            kept |= {name: inner} if inner or not value else {}
        elif not _is_placeholder(name, value):
            kept[name] = value
        else:
            _ask_placeholder(found, path, value)
    return kept


def _is_placeholder(name: str, value: Any) -> bool:
    return isinstance(value, str) and bool(_PLACEHOLDER.fullmatch(value)) and not plain_secrets.refused(name, value)


def _ask_placeholder(found: Found, path: tuple[str, ...], value: str) -> None:
    key = ".".join(path)
    fits = len(path) == 1 or found.method == "POST"  # names nest in a body only
    if _DATED.fullmatch(value) and fits and found.modified_date_key in (None, key):
        found.modified_date_key = key
        found.ask(f"erp.modified_date_key: {key!r} carries the watermark there; check erp.date_format")
    else:
        found.ask(f"the parameter {key!r} is a placeholder there: set it in erp.query_settings, or leave it out")


class _Variables:
    """Names of variables for what must not stand in a file."""

    def __init__(self, found: Found, flow: str) -> None:
        self._found, self._flow = found, flow

    def named(self, name: str) -> dict[str, str]:
        """A reference to a secret, and the question that says where to put it."""
        variable = re.sub(r"[^A-Z0-9]+", "_", f"{self._flow}_{name}".upper()).strip("_")
        self._found.ask(
            f"set {variable} in the environment of the services: the whole value of {name!r}, a secret there"
        )
        return {"env": variable}

    def of(self, name: str, value: Any) -> Any:
        """The value, with a name of a variable for each secret in it; None where it is left out."""
        if isinstance(value, dict):
            return {key: self.of(str(key), item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.of(name, item) for item in value]
        if value is None or plain_secrets.refused(name, value) or self._known(value):
            return self.named(name)
        return value

    def _known(self, value: Any) -> bool:
        return isinstance(value, str) and any(secret in value for secret in self._found.secrets)


def _endpoint(found: Found) -> str:
    """The URL without user and password, and without its parameters, which become `extra_params`."""
    try:
        parts = urlsplit(found.url or "")
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        told = "What stands there cannot be taken over as it is" if found.url else "It is not told there"
        found.ask(f"erp.endpoint_url: where is the ERP asked? {told}")
        return ENDPOINT_URL
    if parts.password:
        found.secrets |= {unquote(parts.password), parts.password}
    if parts.username is not None:
        found.username, found.basic = found.username or unquote(parts.username), True
    for key, value in parse_qsl(parts.query, keep_blank_values=True, max_num_fields=200):
        take_parameter(found, key, value)
    path = parts.path
    if "${" in path or "#{" in unquote(path):
        found.ask("erp.endpoint_url: a part of its path is computed there and left out")
        path = re.split(r"\$\{|%23", path)[0]
    if any(plain_secrets.looks_secret(part) or part in found.secrets for part in unquote(path).split("/")):
        found.ask(
            "erp.endpoint_url: a part of its path looks like a secret and is left out: put {name} there, see docs/flow.md"
        )
        path = "/"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))


def take_parameter(found: Found, key: str, value: str) -> None:
    """A parameter of the query: a constant, or what is computed there."""
    if "#{" in value and "${" not in value:
        found.params.setdefault(key, None)
    elif "${" not in value and "{now:" not in value:
        found.params.setdefault(key, value)
    elif found.modified_date_key is None and _SINCE.search(key):
        found.modified_date_key = key
        found.ask(
            f"erp.modified_date_key: {key!r} is computed there; if it means changes since then, check erp.date_format"
        )
    else:
        found.ask(f"the parameter {key!r} is computed there: set it in extra_params or query_settings, or leave it out")


def _secrets(name: str, value: Any) -> Iterator[str]:
    """The secrets in plain text that a value holds, as far as they are long enough to be told from other texts."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _secrets(str(key), item)
    elif isinstance(value, list):
        for item in value:
            yield from _secrets(name, item)
    elif isinstance(value, str) and plain_secrets.refused(name, value):
        yield from (part for part in (value, *re.split(r"[\s=;]+", value)) if len(part) >= MIN_SECRET)


def _login(found: Found, variables: _Variables) -> dict[str, Any] | None:
    if found.login is not None:
        login = dict(found.login)
        login["body"] = variables.of("body", login.get("body") or {})
        return login
    if found.basic:
        username: Any = found.username
        if not username or "${" in username or "#{" in username:
            username = variables.named("username")
        return {"type": "basic", "username": username, "password": variables.named("password")}
    for name, value in found.headers.items():
        if value is None or plain_secrets.refused(name, value):
            del found.headers[name]
            return {"type": "header", "name": name, "value": variables.named(name)}
    return None


def comment(questions: Sequence[str]) -> str:
    """The questions as comments of a flow file."""
    head = [
        "# Imported from another system. Answer these questions and delete them; then: imageflow flow lint, imageflow check."
    ]
    return "\n".join([*head, *(f"#  - {one_line(question)}" for question in questions)]) + "\n"
