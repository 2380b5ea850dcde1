"""Flow files: from a file to a document, from a document to a `Definition`, and back to text.

A *document* is what a flow file says, as JSON would hold it, with script and mapping files inlined: self-contained, so
that a version of a flow means the same for ever. YAML is read with the plain scalars of YAML 1.2 (`yes`, `0012`,
`2025-12-21` and `12:30` are texts), without aliases, tags and repeated fields.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import yaml

from imageflow import flowcheck
from imageflow.errors import FlowFileError, Problem
from imageflow.flow import Definition, TokenLogin, decode_custom
from imageflow.flowschema import schema
from imageflow.secret import SecretRef

__all__ = ["dump", "load", "load_dir", "parse", "referenced_secrets", "schema"]

MAX_FILE_BYTES = 1 << 20
SUFFIXES = (".yaml", ".yml", ".json")

_SCALARS = {
    "tag:yaml.org,2002:null": (r"~|null|Null|NULL|", "~nN\0"),
    "tag:yaml.org,2002:bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "tag:yaml.org,2002:int": (r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    "tag:yaml.org,2002:float": (
        r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?)",
        "-+0123456789.",
    ),
}
"""YAML 1.2's plain scalars, and the characters they begin with. Numbers with leading zeros stay texts: a company code
`0012` is not 12, and not octal either.
"""


# reading --------------------------------------------------------------------------------------------------------------


def load(path: Path) -> dict[str, Any]:
    """A flow file's document, with `script_file` and `mapping_file` (relative to the file) read into it.

    Raises FlowFileError for what cannot be read; if that is one of the two files, with all other problems as well.
    `parse` says whether the document is a flow.
    """
    document = _read(path, "")
    if not isinstance(document, dict):
        raise FlowFileError(flowcheck.problems(document))
    inlined: dict[str, Any] = {}
    problems: list[Problem] = []
    for key, value in document.items():
        try:
            inlined.update(_inlined(path.parent, document, key, value))
        except FlowFileError as error:
            problems += error.problems
    if problems:
        raise FlowFileError(problems + flowcheck.problems(inlined))
    return inlined


def load_dir(folder: Path) -> list[dict[str, Any]]:
    """The documents of all flow files of a folder, by file name. Problems of all files are raised together."""
    documents: list[dict[str, Any]] = []
    problems: list[Problem] = []
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
    except OSError as error:
        raise FlowFileError([Problem("", f"{folder}: cannot be read: {error.strerror}")]) from error
    for path in paths:
        try:
            documents.append(load(path))
        except FlowFileError as error:
            problems += [Problem("", f"{path.name}: {problem}") for problem in error.problems]
    if problems:
        raise FlowFileError(problems)
    return documents


def _inlined(folder: Path, document: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A field as the document shall have it: what names a file becomes what is in it."""
    field = {"script_file": "script", "mapping_file": "mapping"}.get(key)
    if field is None or not isinstance(value, str) or not value or document.get(field) is not None:
        return {} if field is not None and value is None else {key: value}
    file = folder / value
    return {field: _text(file, key) if field == "script" else _read(file, key)}


def _read(path: Path, where: str) -> Any:
    """What a JSON or YAML file says."""
    text = _text(path, where)
    return _json(text, path, where) if path.suffix == ".json" else _yaml(text, path, where)


def _text(path: Path, where: str) -> str:
    try:
        if path.exists() and not path.is_file():
            _refuse(where, path, "is not a file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        _refuse(where, path, f"cannot be read: {getattr(error, 'strerror', None) or error}")
    if len(data) > MAX_FILE_BYTES:
        _refuse(where, path, f"is larger than {MAX_FILE_BYTES // 1024} KiB")
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        _refuse(where, path, f"line {line}: is not UTF-8 text")


def _refuse(where: str, path: Path, message: str) -> NoReturn:
    raise FlowFileError([Problem(where, f"{path.name}: {message}" if where else message)])


def _json(text: str, path: Path, where: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            _refuse(where, path, f"the field {flowcheck.shown(twice)} is given twice in one object")
        return fields

    def constant(name: str) -> NoReturn:
        _refuse(where, path, f"{name} is no JSON")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    except json.JSONDecodeError as error:
        _refuse(where, path, f"line {error.lineno}: is not valid JSON: {error.msg}")
    except (ValueError, RecursionError):
        _refuse(where, path, "holds a number that is too long, or is nested too deeply")


# YAML -----------------------------------------------------------------------------------------------------------------

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """Composes nodes with the plain scalars of YAML 1.2; values are made of them by `_Values`."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own attribute


for _tag, (_pattern, _first) in _SCALARS.items():
    for _character in _first:
        _Loader.yaml_implicit_resolvers.setdefault("" if _character == "\0" else _character, []).append(
            (_tag, re.compile(rf"(?:{_pattern})\Z"))
        )


def _yaml(text: str, path: Path, where: str) -> Any:
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _Values().of(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark is not None else ""
        _refuse(where, path, f"{line}is not valid YAML: {error.problem or error.context}")
    except yaml.reader.ReaderError as error:
        line_number = text[: error.position].count("\n") + 1
        _refuse(where, path, f"line {line_number}: is not valid YAML: {error.reason}")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        _refuse(where, path, f"is not valid YAML: {type(error).__name__}")
    finally:
        if loader is not None:
            loader.dispose()


class _Values:
    """JSON values out of YAML nodes. Aliases share nodes: a node that is met twice was an alias, and is refused, which
    leaves nothing that a small file could blow up to.
    """

    def __init__(self) -> None:
        self._met: set[int] = set()
        self._scalars: dict[str, Callable[[str], Any]] = {
            "tag:yaml.org,2002:str": str,
            "tag:yaml.org,2002:null": lambda _: None,
            "tag:yaml.org,2002:bool": lambda text: text.lower() == "true",
            "tag:yaml.org,2002:int": int,
            "tag:yaml.org,2002:float": float,
        }

    def of(self, node: Any, depth: int = 0) -> Any:
        if id(node) in self._met:
            raise _wrong(node, "anchors with aliases (&name, *name) are not taken: write the value out")
        self._met.add(id(node))
        if depth > flowcheck.MAX_DEPTH:
            raise _wrong(node, f"is nested deeper than {flowcheck.MAX_DEPTH} levels")
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return dict(self._fields(node, depth))
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.of(item, depth + 1) for item in node.value]
        if isinstance(node, yaml.ScalarNode) and node.tag in self._scalars:
            return self._scalar(node)
        raise _wrong(node, "tags (!name) are not taken")

    def _fields(self, node: Any, depth: int) -> Iterator[tuple[str, Any]]:
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _wrong(key, "a field's name must be a text")
            if key.value in lines:
                shown = flowcheck.shown(key.value)
                raise _wrong(key, f"the field {shown} is given twice, first in line {lines[key.value]}")
            lines[key.value] = key.start_mark.line + 1
            yield key.value, self.of(value, depth + 1)

    def _scalar(self, node: Any) -> Any:
        try:
            return self._scalars[node.tag](node.value)
        except ValueError as error:
            raise _wrong(node, "is a number that cannot be read") from error


def _wrong(node: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


# writing --------------------------------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Texts that any version of YAML would take for something else are quoted; several lines are a block."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if "\n" in text:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    plain = any(re.fullmatch(pattern, text) for pattern, _ in _SCALARS.values())
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if plain else None)


_Dumper.add_representer(str, _represent_text)


def dump(document: dict[str, Any]) -> str:
    """A document as the text of a YAML flow file: fields in their order, a script as a block."""
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return str(text)


# meaning --------------------------------------------------------------------------------------------------------------


def parse(document: dict[str, Any]) -> Definition:
    """The flow that a document describes. Raises FlowFileError with every problem; needs no secret to be set."""
    problems = flowcheck.problems(document)
    if problems:
        raise FlowFileError(problems)
    try:
        return msgspec.convert(document, Definition, dec_hook=decode_custom)
    except msgspec.ValidationError as error:
        # The checks know all that the types do; should they ever differ, this is still a problem of the file.
        raise FlowFileError([Problem("", str(error))]) from error


def referenced_secrets(definition: Definition) -> list[SecretRef]:
    """All secrets that a flow names, each once, in the order of the flow file."""
    return list(dict.fromkeys(_secrets(definition)))


def _secrets(value: Any) -> Iterator[SecretRef]:
    if isinstance(value, SecretRef):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            within = _body_secrets if isinstance(value, TokenLogin) and name == "body" else _secrets
            yield from within(getattr(value, name))


def _body_secrets(value: Any) -> Iterator[SecretRef]:
    """What a login's body names: an object with nothing but `env` or `file` (see read/login.py, which fills it in)."""
    if isinstance(value, dict) and len(value) == 1 and isinstance(value.get("env") or value.get("file"), str):
        yield SecretRef(**value)
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _body_secrets(item)
