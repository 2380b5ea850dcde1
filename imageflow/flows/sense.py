"""Sense: fields of a flow file that depend on each other. Pure.

Reads the raw document, and says nothing of what shape and meaning have named.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from imageflow.errors import Problem
from imageflow.flows import plain_secrets, words
from imageflow.flows.meaning import IDENTIFIERS, date_format
from imageflow.http.public_address import is_literal, is_public
from imageflow.model import answer_format


def problems(document: dict[str, Any]) -> Iterator[Problem]:
    yield from _sources(document)
    yield from _direction(document)
    yield from _identifiers(document)
    yield from _placeholders(document)
    yield from _unfilled(document)
    yield from _constants(document)
    yield from _nested_names(document)
    yield from _without_envelope(document)


def warnings(document: dict[str, Any]) -> Iterator[Problem]:
    """Warnings about a flow without problems: what is allowed, but hardly meant."""
    erp = _part(document, "erp")
    login = _part(erp, "login")
    sent = [("omnitron.domain_url", _part(document, "omnitron").get("domain_url"))]
    sent += [(f"erp.login.{field}", login.get(field)) for field in ("url", "token_url")]
    if login.get("type") in ("basic", "header", "oauth2"):
        sent.append(("erp.endpoint_url", erp.get("endpoint_url")))
    for path, url in sent:
        if isinstance(url, str) and url.startswith("http://") and _is_far(urlsplit(url).hostname or ""):
            yield Problem(path, "is http: the password crosses the network unencrypted; write https")


def _is_far(host: str) -> bool:
    """Whether a host, by its name or address, is outside of private networks."""
    if is_literal(host):
        return is_public(host)
    return "." in host and not host.endswith((".local", ".internal", ".intern", ".lan", ".localhost", ".home.arpa"))


def _part(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A section as far as it is one."""
    value = document.get(name)
    return {key: item for key, item in value.items() if isinstance(key, str)} if isinstance(value, dict) else {}


def _sources(document: dict[str, Any]) -> Iterator[Problem]:
    if isinstance(document.get("shared_file"), str):
        yield Problem("shared_file", "is read in flow files only; here what it says must stand in the flow")
    for name in ("script", "mapping"):
        if document.get(f"{name}_file") is None:
            continue
        if document.get(name) is not None:
            yield Problem(f"{name}_file", f"must not be given together with {name}")
        elif isinstance(document[f"{name}_file"], str):
            yield Problem(f"{name}_file", f"is read in flow files only; here its content must stand in {name}")


def _direction(document: dict[str, Any]) -> Iterator[Problem]:
    schedule, erp = document.get("schedule"), _part(document, "erp")
    if document.get("direction") == "inbound" and erp.get("endpoint_url") is None:
        yield Problem("erp.endpoint_url", "required for an inbound flow, and missing")
    if document.get("direction") == "outbound" and schedule is not None:
        yield Problem("schedule", "is for inbound flows only: an outbound flow runs when the ERP posts")
    if isinstance(schedule, dict) and schedule.get("after") is not None and schedule["after"] == document.get("name"):
        yield Problem("schedule.after", "must be another flow: this one would start itself for ever")


def _identifiers(document: dict[str, Any]) -> Iterator[Problem]:
    if _part(document, "fetch_missing").get("enabled") is not True:
        return
    if document.get("direction") == "outbound":
        yield Problem("fetch_missing.enabled", "is for inbound flows only: it asks the ERP for what is missing")
    elif document.get("direction") == "inbound":
        settings = _settings(document)
        if not any(name in settings and settings[name].get("value") is None for name in IDENTIFIERS):
            yield Problem(
                "fetch_missing.enabled",
                "needs erp.query_settings.sku (or base_code): {key: the ERP's parameter for the identifiers}",
            )


def _settings(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    named = _part(_part(document, "erp"), "query_settings")
    return {name: setting for name, setting in named.items() if isinstance(setting, dict)}


def _constants(document: dict[str, Any]) -> Iterator[Problem]:
    for name, setting in _settings(document).items():
        value, kind = setting.get("value"), setting.get("type", "string")
        if isinstance(value, (str, bool, int, float)) and not _is_of_type(value, kind):
            yield Problem(
                words.join("erp.query_settings", name) + ".value", f"must be of type {kind}, not {words.shown(value)}"
            )


def _is_of_type(value: str | float, kind: object) -> bool:
    match kind:
        case "integer":
            number = not isinstance(value, str) and not isinstance(value, bool) and float(value).is_integer()
            return number or (isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip()) is not None)
        case "number":
            return not isinstance(value, bool) and _is_number(value)
        case "boolean":
            return str(value).lower() in ("true", "false", "0", "1")
    return True


def _is_number(value: str | float) -> bool:
    try:
        return math.isfinite(float(value))
    except (ValueError, OverflowError):
        return False


def _nested_names(document: dict[str, Any]) -> Iterator[Problem]:
    """Names of parameters nest at their dots in a POST body."""
    erp = _part(document, "erp")
    if erp.get("method") != "POST":
        return
    names = [("modified_date_key", erp.get("modified_date_key"))]
    names += [(words.join("extra_params", name), name) for name in _part(erp, "extra_params")]
    names += [(words.join("query_settings", at) + ".key", one.get("key")) for at, one in _settings(document).items()]
    fields = _part(erp, "pagination").items()
    names += [(f"pagination.{field}", value) for field, value in fields if field.endswith("param")]
    for path, name in names:
        if isinstance(name, str) and name and not all(re.split(r"(?<!\\)\.", name)):
            yield Problem(
                f"erp.{path}",
                "has an empty part: in a POST body a dot nests (paging.page); a dot in a name is written \\.",
            )


def _without_envelope(document: dict[str, Any]) -> Iterator[Problem]:
    """Settings that look for something beside the rows, in a format whose answers hold nothing but rows."""
    erp = _part(document, "erp")
    given = erp.get("format")
    kind = given.get("type") if isinstance(given, dict) else given
    form = next((form for form in answer_format.TYPES if form.__struct_config__.tag == kind), answer_format.JsonFormat)
    if form is answer_format.XmlFormat:
        makes_rows = any(document.get(field) for field in ("script", "script_file", "mapping", "mapping_file"))
        yield from _in_xml(erp, makes_rows=makes_rows)
    if form.has_envelope:
        return
    why = f"has no meaning with format {kind}: an answer holds rows and nothing beside them"
    pagination = _part(erp, "pagination")
    if erp.get("rows_path"):
        yield Problem("erp.rows_path", why)
    if erp.get("success") is not None:
        yield Problem("erp.success", why)
    if _part(erp, "no_rows").get("null_list") is True:
        yield Problem("erp.no_rows.null_list", why)
    if pagination.get("type") == "next" and pagination.get("field") != "Link":
        yield Problem(
            "erp.pagination.field", f"{why}; field: Link, the header, names the next page; or use offset, page or seek"
        )
    if pagination.get("total_path") is not None:
        yield Problem(
            "erp.pagination.total_path",
            f"{why}; the read ends at a short or empty page, and heeds headers like X-Total-Count",
        )


def _in_xml(erp: Mapping[str, Any], *, makes_rows: bool) -> Iterator[Problem]:
    success = _part(erp, "success")
    value = success.get("value", True)
    if success and value is not None and not isinstance(value, str):
        text = words.shown(value).lower()
        yield Problem("erp.success.value", f"must be a text with format xml, where all values are texts: '{text}'")
    if not erp.get("rows_path") and not makes_rows:
        yield Problem(
            "erp.rows_path", "required with format xml: the way to the rows from the root, such as catalog.product"
        )


def _placeholders(document: dict[str, Any]) -> Iterator[Problem]:
    path, erp = "erp.endpoint_url", _part(document, "erp")
    url = erp.get("endpoint_url")
    if not isinstance(url, str):
        return
    if re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", url)):
        yield Problem(path, "has a brace that is not closed or not opened")
    try:
        if "{" in urlsplit(url).netloc:
            yield Problem(path, "a placeholder cannot stand in the host")
    except ValueError:
        return
    for name in dict.fromkeys(re.findall(r"\{([^{}]*)\}", url)):
        if message := _placeholder(name, erp, _settings(document)):
            yield Problem(path, message)


def _placeholder(name: str, erp: Mapping[str, Any], settings: Mapping[str, dict[str, Any]]) -> str | None:
    kind, colon, form = name.partition(":")
    if kind == "now":
        message = next((message for _, message in date_format(form)), None) if colon and form else None
        return message and f"{{{words.name(name)}}}: {message}"
    dated = name == "modified_date" or (name in settings and _is_watermark(name, erp, settings[name]))
    if dated:
        needs = f"{{{words.name(name)}}} needs erp.initial_since: without it the first run has no date to ask for"
        return needs if erp.get("initial_since") is None else None
    if name not in settings:
        known = [*settings, "modified_date", "now"]
        near = words.near(name, known)
        hint = f"did you mean {{{near}}}?" if near else "it must be a name in erp.query_settings, modified_date or now"
        return f"there is no {{{words.name(name)}}}; {hint}"
    if settings[name].get("value") is None and name not in IDENTIFIERS:
        return f"{{{words.name(name)}}} never has a value: give erp.query_settings.{words.name(name)} one"
    return None


def _unfilled(document: dict[str, Any]) -> Iterator[Problem]:
    """Values that are only a placeholder, where we fill none in: the ERP would get the braces."""
    erp, settings = _part(document, "erp"), _settings(document)
    places = [
        ("extra_params", _part(erp, "extra_params")),
        ("extra_headers", _part(erp, "extra_headers")),
        ("login.body", _part(_part(erp, "login"), "body")),
        ("query_settings", {name: {"value": setting.get("value")} for name, setting in settings.items()}),
    ]
    for place, values in places:
        for where, name, value in plain_secrets.leaves(values, "", ""):
            found = re.fullmatch(r"\{([^{}]*)\}", value) if isinstance(value, str) else None
            key = where.removeprefix(".") if place == "extra_params" else name if place == "extra_headers" else "NAME"
            if found and (way := _way(found[1], key, erp, settings)):
                yield Problem(
                    f"erp.{place}{where}",
                    f"is sent as it is written, with its braces: a placeholder is filled in in erp.endpoint_url only. {way}",
                )


def _way(name: str, key: str, erp: Mapping[str, Any], settings: Mapping[str, dict[str, Any]]) -> str | None:
    """Where a placeholder's value comes from, for the ERP's parameter `key`; None for what is no placeholder of ours."""
    if name.partition(":")[0] == "now":
        return f"Delete it here, and write it into the URL: ?{key}={{{words.name(name)}}}"
    if name in ("modified_date", "modified_date__gt") or (
        name in settings and _is_watermark(name, erp, settings[name])
    ):
        return (
            f"Delete it here; the parameter that asks for changes since the watermark is erp.modified_date_key: {key}"
        )
    if name in settings or name in IDENTIFIERS:
        return f"Delete it here; the parameter that carries it is erp.query_settings.{words.name(name)}: {{key: {key}}}"
    return None


def _is_watermark(name: str, erp: Mapping[str, Any], setting: Mapping[str, Any]) -> bool:
    if setting.get("value") is not None:
        return False
    key = erp.get("modified_date_key")
    return (
        setting.get("key") == key
        if key is not None
        else name == "modified_date__gt" or setting.get("type") == "datetime"
    )
