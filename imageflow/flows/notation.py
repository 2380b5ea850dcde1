"""The text of a flow file: from JSON or YAML to values, and back to YAML.

YAML is read with the plain scalars of YAML 1.2 (`yes`, `0012`, `2025-12-21` and `12:30` are texts), without aliases, tags and
repeated fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any, NoReturn

import yaml

from imageflow.errors import FlowFileError, Problem
from imageflow.flows import check, words

_SCALARS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "null": (r"~|null|Null|NULL|", lambda _: None),
    "bool": (r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", int),
    "float": (
        r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?)",
        float,
    ),
}
"""YAML 1.2's plain scalars that are no text. Numbers with leading zeros stay texts: a company code `0012` is not 12, and
not octal either.
"""


def refuse(where: str, path: PurePath, message: str) -> NoReturn:
    """Raise FlowFileError for what a file says. `where`: the field that names the file; empty: it is the flow file itself."""
    raise FlowFileError([Problem(where, f"{path.name}: {message}" if where else message)])


def from_json(text: str, path: PurePath, where: str) -> Any:
    """What the JSON of a file says, no field twice in one object. Raises FlowFileError, as `refuse`."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            refuse(where, path, f"the field {words.shown(twice)} is given twice in one object")
        return fields

    def constant(name: str) -> NoReturn:
        refuse(where, path, f"{name} is no JSON")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    except json.JSONDecodeError as error:
        refuse(where, path, f"line {error.lineno}: is not valid JSON: {error.msg}")
    except (ValueError, RecursionError):
        refuse(where, path, "holds a number that is too long, or is nested too deeply")


# YAML -----------------------------------------------------------------------------------------------------------------

_Events: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def from_yaml(text: str, path: PurePath, where: str) -> Any:
    """What the YAML of a file says; None of an empty one. Raises FlowFileError, as `refuse`."""
    events = None
    try:
        events = _Events(text)
        return _Values(events).document()
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        last = text.rstrip("\n").count("\n")  # libyaml sees the end of a file in a line that is not there
        line = f"line {min(mark.line, last) + 1}: " if mark is not None else ""
        refuse(where, path, f"{line}is not valid YAML: {error.problem or error.context}")
    except yaml.reader.ReaderError as error:
        line_number = text[: error.position].count("\n") + 1
        refuse(where, path, f"line {line_number}: is not valid YAML: {error.reason}")
    finally:
        if events is not None:
            events.dispose()


class _Values:
    """JSON values out of YAML's events: libyaml's own composer overflows the stack where a file is nested deeply enough.

    Aliases are refused, which leaves nothing that a small file could blow up to.
    """

    def __init__(self, events: Any) -> None:
        self._events = events

    def document(self) -> Any:
        """The one document of the file; None of an empty one."""
        self._events.get_event()
        if not isinstance(self._events.get_event(), yaml.DocumentStartEvent):
            return None
        value = self._value(self._events.get_event(), 0)
        self._events.get_event()
        if not isinstance(more := self._events.get_event(), yaml.StreamEndEvent):
            raise _wrong(more, "a second document begins here; a flow file holds one")
        return value

    def _value(self, event: Any, depth: int) -> Any:
        if isinstance(event, yaml.AliasEvent):
            raise _wrong(event, "aliases (*name) are not taken: write the value out")
        if depth > check.MAX_DEPTH:
            raise _wrong(event, f"is nested deeper than {check.MAX_DEPTH} levels")
        if event.tag is not None:
            raise _wrong(event, "tags (!name) are not taken")
        if isinstance(event, yaml.MappingStartEvent):
            return dict(self._fields(depth))
        if isinstance(event, yaml.SequenceStartEvent):
            return list(self._items(depth))
        return _scalar(event)

    def _items(self, depth: int) -> Iterator[Any]:
        while not isinstance(event := self._events.get_event(), yaml.SequenceEndEvent):
            yield self._value(event, depth + 1)

    def _fields(self, depth: int) -> Iterator[tuple[str, Any]]:
        lines: dict[str, int] = {}
        while not isinstance(key := self._events.get_event(), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent) or key.tag is not None:
                raise _wrong(key, "a field's name must be a text")
            if key.value in lines:
                shown = words.shown(key.value)
                raise _wrong(key, f"the field {shown} is given twice, first in line {lines[key.value]}")
            lines[key.value] = _line(key)
            yield key.value, self._value(self._events.get_event(), depth + 1)


def _scalar(event: Any) -> Any:
    plain, text = event.implicit[0], event.value
    try:
        return next((read(text) for form, read in _SCALARS.values() if plain and re.fullmatch(form, text)), text)
    except ValueError as error:
        raise _wrong(event, "is a number that cannot be read") from error


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _wrong(event: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


# writing --------------------------------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Texts that any version of YAML would take for something else are quoted; several lines are a block."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if re.search("[\r\x85\u2028\u2029]", text):  # breaks to YAML: only escaped do they survive
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
    if "\n" in text:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    plain = any(re.fullmatch(form, text) for form, _ in _SCALARS.values())
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if plain else None)


_Dumper.add_representer(str, _represent_text)


def dump(document: dict[str, Any]) -> str:
    """A document as the text of a YAML flow file: fields in their order, a script as a block."""
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return str(text)
