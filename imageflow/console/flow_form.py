"""A flow's settings as the fields of a form, in the order of Akinon's screens, and back: a document in, a document out.

A field's name is its path in a flow file. An empty field leaves the setting out, so that its default holds.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, NamedTuple, get_type_hints

import msgspec

from imageflow.errors import FlowFileError, Problem
from imageflow.model.field_types import Duration
from imageflow.model.flow import Alarms, Definition, Erp, FetchMissing, Omnitron, Schedule, Write

Kind = Literal["text", "number", "yes", "choice", "json", "code"]


def N_(text: str) -> str:  # noqa: N802 - what is extracted for the catalogues
    return text


class Field(NamedTuple):
    """A setting. `choices` of a choice; the first is the default."""

    path: str
    label: str
    kind: Kind = "text"
    choices: tuple[str, ...] = ()
    wide: bool = False


class Group(NamedTuple):
    """A card of settings. `side`: of inbound flows only."""

    key: str
    title: str
    fields: tuple[Field, ...]
    inbound: bool = False


GROUPS = (
    Group(
        "schedule",
        N_("When it runs"),
        (
            Field("schedule.cron", N_("Cron times")),
            Field("schedule.every", N_("Every (as in 15m)")),
            Field("schedule.after", N_("After the flow")),
            Field("timezone", N_("Time zone")),
            Field("overlap_policy", N_("While a run goes on"), "choice", ("skip", "queue")),
        ),
        inbound=True,
    ),
    Group(
        "erp",
        N_("What the ERP is asked"),
        (
            Field("erp.endpoint_url", N_("Address"), wide=True),
            Field("erp.method", N_("Method"), "choice", ("GET", "POST")),
            Field("erp.rows_path", N_("Where the rows are")),
            Field("erp.modified_date_key", N_("Parameter of the change date")),
            Field("erp.date_format", N_("How dates are written")),
            Field("erp.overlap", N_("Overlap before the watermark")),
            Field("erp.initial_since", N_("First run asks since")),
            Field("erp.timeout", N_("An answer may take")),
            Field("erp.rate_limit", N_("Requests at most")),
            Field("erp.pagination", N_("Paging"), "json", wide=True),
            Field("erp.extra_params", N_("Parameters of each request"), "json", wide=True),
            Field("erp.extra_headers", N_("Headers of each request"), "json", wide=True),
            Field("erp.query_settings", N_("Names of parameters"), "json", wide=True),
            Field("erp.login", N_("Log-in at the ERP"), "json", wide=True),
        ),
        inbound=True,
    ),
    Group(
        "script",
        N_("What becomes of a row"),
        (
            Field("script", N_("Script"), "code", wide=True),
            Field("mapping", N_("Mapping"), "json", wide=True),
            Field("script_timeout", N_("The script may take")),
            Field("jolt", N_("Operations of the mapping"), "choice", ("community", "strict")),
            Field("filename_template", N_("What names a product")),
            Field("group", N_("Rows of one product are joined"), "choice", ("auto", "page", "run")),
        ),
    ),
    Group(
        "omnitron",
        N_("Where pictures are written"),
        (
            Field("omnitron.domain_url", N_("Omnitron's address"), wide=True),
            Field("omnitron.username", N_("User name there"), "json"),
            Field("omnitron.password", N_("Password: names a secret"), "json"),
            Field("omnitron.images_path", N_("Path of image sets")),
            Field("write.concurrency", N_("Requests at once")),
            Field("write.rate_limit", N_("Writes at most")),
            Field("write.max_attempts", N_("Tries of a row"), "number"),
            Field("write.timeout", N_("A write may take")),
            Field("write.skip_unchanged", N_("Leave out what is there already"), "yes", ("yes", "no")),
            Field("write.allow_clear", N_("No images delete all images"), "yes", ("no", "yes")),
            Field("write.preflight", N_("Look at each image before"), "choice", ("off", "warn", "block")),
        ),
    ),
    Group(
        "missing",
        N_("Products without images"),
        (
            Field("fetch_missing.enabled", N_("Look for them"), "yes", ("no", "yes")),
            Field("fetch_missing.every", N_("How often")),
            Field("fetch_missing.identifier_path", N_("What the ERP knows them by")),
            Field("fetch_missing.productization_date_limit_days", N_("Productized in the last days"), "number"),
            Field("fetch_missing.batch_size", N_("Products in one run"), "number"),
        ),
        inbound=True,
    ),
    Group(
        "alarms",
        N_("When somebody is told"),
        (
            Field("alarms.error_rate", N_("Failed share above (0 to 1)"), "number"),
            Field("alarms.average_flow_time", N_("A run takes longer than")),
            Field("alarms.silence", N_("No rows for")),
            Field("alarms.webhook_url", N_("Told at the address"), "json", wide=True),
        ),
    ),
)


CHOICES: Mapping[str, Mapping[str, str]] = {
    "overlap_policy": {"skip": N_("skip the new run"), "queue": N_("queue the new run")},
    "jolt": {"community": N_("community"), "strict": N_("strict")},
    "group": {"auto": N_("automatic"), "page": N_("within a page"), "run": N_("over the whole run")},
    "write.preflight": {"off": N_("off"), "warn": N_("warn"), "block": N_("refuse the row")},
}
"""The names of choices. A choice that is missing here, as GET is, has the same name in every language."""


def called(path: str, choice: str) -> str:
    """The name of a choice, to be translated. The form shows the flow file's value beside it."""
    return {"yes": N_("yes"), "no": N_("no")}.get(choice) or CHOICES.get(path, {}).get(choice, choice)


def groups(*, inbound: bool) -> list[Group]:
    """The cards of a flow."""
    return [group for group in GROUPS if inbound or not group.inbound]


_PARTS: Mapping[str, Any] = {
    "schedule": Schedule,
    "erp": Erp,
    "omnitron": Omnitron,
    "write": Write,
    "fetch_missing": FetchMissing,
    "alarms": Alarms,
}


def default(path: str) -> str:
    """The default of a setting, as text. Empty: it has none, or none that fits in a field."""
    part, _, name = path.rpartition(".")
    value = next(
        (field.default for field in msgspec.structs.fields(_PARTS[part] if part else Definition) if field.name == name),
        None,
    )
    if isinstance(value, Duration):
        return f"{float(value):g}s"
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


@cache
def example(field: Field) -> str:
    """An example of a JSON field's value, from the model of flows. Empty: the model has none."""
    part, _, name = field.path.rpartition(".")
    hints = get_type_hints(_PARTS[part] if part else Definition, include_extras=True)
    found = [one.examples[0] for one in getattr(hints[name], "__metadata__", ()) if getattr(one, "examples", None)]
    return (
        json.dumps(found[0], ensure_ascii=False)
        if found and field.kind == "json" and not isinstance(found[0], str)
        else ""
    )


def shown(document: Mapping[str, Any], *, inbound: bool) -> dict[str, str]:
    """The text of each field, by its path."""
    fields = [field for group in groups(inbound=inbound) for field in group.fields]
    return {field.path: _text(field, _at(document, field.path)) for field in fields}


def changed(document: Mapping[str, Any], form: Mapping[str, str], *, inbound: bool) -> dict[str, Any]:
    """The document with what the form says; settings that are no field of it stay. Raises FlowFileError."""
    made = copy.deepcopy(dict(document))
    problems = []
    for group in groups(inbound=inbound):
        for field in group.fields:
            if field.path not in form:
                continue
            try:
                _put(made, field.path.split("."), _value(field, form[field.path]))
            except ValueError as error:
                problems.append(Problem(field.path, str(error)))
    if problems:
        raise FlowFileError(problems)
    return made


class Merged(NamedTuple):
    """A form of two who changed the same version: `fields` to go on with, mine where both changed one; `theirs`: the others' text of
    those; `taken`: the fields that are as they changed them.
    """

    fields: dict[str, str]
    theirs: dict[str, str]
    taken: tuple[str, ...]


def merged(base: Mapping[str, str], mine: Mapping[str, str], theirs: Mapping[str, str]) -> Merged:
    """Put two changes of one form together, field by field. All three are texts by path, as `shown` gives them."""
    fields, both, taken = dict(theirs), {}, []
    for path, other in theirs.items():
        before = base.get(path, "")
        own = mine.get(path, before)
        if _same(own, other):
            continue
        if _same(own, before):
            taken.append(path)
            continue
        fields[path] = own
        if not _same(other, before):
            both[path] = other
    return Merged(fields, both, tuple(taken))


def _same(one: str, other: str) -> bool:
    """A browser sends lines in its own way."""
    return one.replace("\r\n", "\n").strip() == other.replace("\r\n", "\n").strip()


def field_of(path: str, known: Mapping[str, str]) -> str | None:
    """The field that a problem at `path` is shown at: itself, or what it is a part of."""
    while path:
        if path in known:
            return path
        path = path.rpartition(".")[0] if "." in path else path.rpartition("[")[0]
    return None


def _at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document.get(name) if isinstance(document, Mapping) else None
    return document


def _text(field: Field, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, indent=2 if field.path == "mapping" else None)


def _value(field: Field, text: str) -> Any:
    """What a field says; None: nothing. Raises ValueError."""
    text = text.replace("\r\n", "\n")
    bare = text.strip()
    if not bare:
        return None
    match field.kind:
        case "code":
            return text
        case "yes":
            return bare == "yes"
        case "number":
            return _number(bare)
        case "json":
            return _json(field, bare)
        case _:
            return int(bare) if field.path == "write.concurrency" and bare.isdigit() else bare


def _json(field: Field, text: str) -> Any:
    if text[0] not in "{[" and field.path in ("omnitron.username", "alarms.webhook_url"):
        return text  # these may be plain texts, too
    try:
        return json.loads(text)
    except ValueError as error:
        if text[0] not in "{[" and (form := example(field)):
            raise ValueError(f"must be JSON, as in {form}") from error
        raise ValueError(f"is not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def _number(text: str) -> int | float:
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError as error:
        raise ValueError(f"must be a number, not {text[:40]!r}") from error


def _put(document: dict[str, Any], names: list[str], value: Any) -> None:
    """Set a value, or take it out (None) together with a part that holds nothing else then."""
    inside = document.get(names[0])
    if len(names) == 1:
        document.pop(names[0], None)
        if value is not None:
            document[names[0]] = value
        return
    part = inside if isinstance(inside, dict) else {}
    _put(part, names[1:], value)
    if part or names[0] in ("erp", "omnitron"):
        document[names[0]] = part
    else:
        document.pop(names[0], None)
