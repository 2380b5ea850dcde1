"""Flow files: from a file to a document, and from a document to a `Definition`. `notation.py` reads and writes their text.

A *document* is what a flow file says, as JSON would hold it, with script and mapping files inlined: self-contained, so
that a version of a flow always means the same.
"""

from __future__ import annotations

import codecs
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from imageflow.errors import FlowFileError, Problem
from imageflow.flows import check, shared, words
from imageflow.flows.notation import dump, from_json, from_yaml, refuse
from imageflow.flows.schema import schema
from imageflow.jolt.comments import without_comments
from imageflow.model.flow import Definition, Erp, OAuth2Login, TokenLogin, decode_custom
from imageflow.sandbox import jolt
from imageflow.sandbox.check import check_mapping, check_script
from imageflow.secret import SecretRef, reference

__all__ = [
    "compiled",
    "deeper",
    "dump",
    "files_of",
    "is_case_file",
    "is_flow_file",
    "is_shared_file",
    "left_alone",
    "load",
    "parse",
    "read_shared",
    "read_text",
    "read_value",
    "referenced_secrets",
    "schema",
    "secrets",
    "sources",
    "taken",
]

MAX_FILE_BYTES = 1 << 20
SUFFIXES = (".yaml", ".yml", ".json")
MOST_NAMED = 10

# reading --------------------------------------------------------------------------------------------------------------


def load(path: Path) -> dict[str, Any]:
    """A flow file's document, with `script_file`, `mapping_file` and `shared_file` (relative to the file) read into it.

    Raises FlowFileError for what cannot be read; if that is one of these files, or if what is shared is wrong, with all
    other problems as well. `parse` says whether the document is a flow.
    """
    document = _read(path, "")
    if not isinstance(document, dict):
        raise FlowFileError(check.problems(document))
    document = _rooted(document, path.parent)
    inlined: dict[str, Any] = {}
    problems: list[Problem] = []
    for key, value in document.items():
        try:
            inlined.update(_inlined(path.parent, document, key, value))
        except FlowFileError as error:
            problems += error.problems
    named = inlined.pop(shared.FIELD, None)
    common, wrong = _common(path.parent, named)
    whole = shared.joined(inlined, common)
    found = shared.with_source(check.problems(whole), inlined, common, str(named))
    if problems or wrong or any(shared.is_of(problem, str(named)) for problem in found):
        raise FlowFileError([*problems, *wrong, *found])
    return whole


def _common(folder: Path, named: Any) -> tuple[dict[str, Any], list[Problem]]:
    """What a flow file shares with others, and what is wrong with it."""
    if named is None:
        return {}, []
    if not isinstance(named, str) or not named:
        return {}, [Problem(shared.FIELD, f"must be a text, the name of a file, not {words.kind(named)}")]
    path = folder / named
    try:
        return read_shared(path), []
    except FlowFileError as error:
        return {}, [Problem(shared.FIELD, f"{path.name}: {problem}") for problem in error.problems]


def taken(path: Path) -> tuple[str, list[str]]:
    """The file of shared settings that a flow file without problems names, and the paths of what it takes from there."""
    own = {} if is_case_file(path) or is_shared_file(path) else _read(path, "")
    named = own.get(shared.FIELD)
    return ("", []) if not named else (named, list(shared.given(own, read_shared(path.parent / named))))


def read_shared(path: Path) -> dict[str, Any]:
    """What a file of shared settings says. Raises FlowFileError with what is wrong with it."""
    if not is_shared_file(path):
        raise FlowFileError([Problem("", f"its name must end with {shared.MARK}.yaml, to be told from a flow file")])
    common = _read(path, "")
    if problems := shared.problems(common):
        raise FlowFileError(problems)
    return _rooted(common, path.parent)


def _rooted(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The document, with paths of secrets that are relative to the file made absolute."""

    def rooted(value: Any) -> Any:
        ref = reference(value)
        if ref is not None and ref.file:
            return {"file": os.path.normpath(folder.absolute() / ref.file)}
        if isinstance(value, dict):
            return {name: rooted(item) for name, item in value.items()}
        return [rooted(item) for item in value] if isinstance(value, list) else value

    return {name: rooted(value) if name in ("omnitron", "erp", "alarms") else value for name, value in document.items()}


def read_value(path: Path) -> Any:
    """What any JSON or YAML file says. Raises FlowFileError."""
    return _read(path, "")


def read_text(data: bytes, *, is_yaml: bool) -> Any:
    """What a flow file's content says that came some other way than as a file. Raises FlowFileError."""
    body = Path("the body")
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise FlowFileError([Problem("", "is not UTF-8 text")]) from error
    return from_yaml(text, body, "") if is_yaml else from_json(text, body, "")


def is_case_file(path: Path) -> bool:
    """Whether a file holds a flow's cases, by its name: `NAME.test.yaml` (see `inspect/flow_cases`)."""
    return path.suffix in SUFFIXES and path.stem.endswith(".test")


def is_shared_file(path: Path) -> bool:
    """Whether a file holds settings that flow files share, by its name: `NAME.shared.yaml` (see `flows/shared.py`)."""
    return path.suffix in SUFFIXES and path.stem.endswith(shared.MARK)


def is_flow_file(path: Path) -> bool:
    """Whether a file of a folder is to be read as a flow: not what else lies beside flows, as an answer of an ERP or a mapping."""
    return _has_its_name(path) and (path.suffix != ".json" or _is_json_flow(path))


def _has_its_name(path: Path) -> bool:
    return path.suffix in SUFFIXES and not is_case_file(path) and not is_shared_file(path) and path.is_file()


def _is_json_flow(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return _says_flow(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=1024)
def _says_flow(path: Path, _changed: int, _size: int) -> bool:
    """Whether a JSON file has a flow's name or direction at its top. One that cannot be read may be a flow's, and is told to be
    wrong; what is too large for a flow is none. A folder is looked at every second, so a file is read once for each change.
    """
    if _size > MAX_FILE_BYTES:
        return False
    try:
        value = read_value(path)
    except FlowFileError:
        return True
    return isinstance(value, dict) and not value.keys().isdisjoint(("name", "direction"))


def left_alone(folder: Path) -> str:
    """Which JSON files of a folder are not taken for flow files, in words; empty: none."""
    found = sorted(file.name for file in folder.iterdir() if _has_its_name(file) and not is_flow_file(file))
    return f"no flow files, as they have neither name nor direction: {', '.join(found)}" if found else ""


def files_of(path: Path, *, others: bool = False) -> list[Path]:
    """The flow files that a path means: itself, or those of the folder, by name; `others`: with the files of their cases, and
    those of shared settings. Raises FlowFileError where a folder holds none.
    """
    if not path.is_dir():
        return [path]
    found = in_folder(path, others=others)
    if not found:
        hint = "".join(f"; {text}" for text in (deeper(path), left_alone(path)) if text)
        raise FlowFileError([Problem("", f"{path}: holds no flow file (*.yaml, *.yml, *.json){hint}")])
    return found


def in_folder(folder: Path, *, others: bool = False) -> list[Path]:
    """The flow files of a folder, by name, as `files_of`; it may hold none."""
    beside = (is_case_file, is_shared_file) if others else ()
    return sorted(file for file in folder.iterdir() if is_flow_file(file) or any(is_one(file) for is_one in beside))


def deeper(folder: Path) -> str:
    """Which sub-folders of a folder hold flow files, in words: they are not looked into. Empty: none does."""
    below = (file for file in folder.glob("*/*") if not file.parent.name.startswith(".") and is_flow_file(file))
    found = sorted({str(file.parent) for file in below})
    return f"sub-folders are not looked into: {', '.join(found)}" if found else ""


def sources(path: Path) -> list[Path]:
    """A flow file, and the files that it names (script, mapping, shared settings), as far as it can be read."""
    try:
        document = _read(path, "")
    except FlowFileError:
        return [path]
    named = (
        [document.get(key) for key in ("script_file", "mapping_file", shared.FIELD)]
        if isinstance(document, dict)
        else []
    )
    return [path, *(path.parent / name for name in named if isinstance(name, str) and name)]


def _inlined(folder: Path, document: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A field as the document shall have it: what names a file becomes what is in it."""
    field = {"script_file": "script", "mapping_file": "mapping"}.get(key)
    if field is None or not isinstance(value, str) or not value or document.get(field) is not None:
        return {} if field is not None and value is None else {key: value}
    file = folder / value
    return {field: _text(file, key) if field == "script" else _mapping(file, key)}


def _mapping(path: Path, where: str) -> Any:
    """A chain, which may have comments in JSON, too."""
    text = _text(path, where)
    value = from_json(without_comments(text), path, where) if path.suffix == ".json" else from_yaml(text, path, where)
    if isinstance(value, dict):  # what NiFi's processor takes: the spec of a single operation
        raise FlowFileError([Problem(where, f"{path.name}: {problem.message}") for problem in jolt.problems(value)])
    return value


def _read(path: Path, where: str) -> Any:
    """What a JSON or YAML file says."""
    text = _text(path, where)
    return from_json(text, path, where) if path.suffix == ".json" else from_yaml(text, path, where)


def _text(path: Path, where: str) -> str:
    try:
        if path.exists() and not path.is_file():
            refuse(where, path, "is not a file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        there = _there(path) if isinstance(error, FileNotFoundError) and not where else ""
        refuse(where, path, f"cannot be read: {getattr(error, 'strerror', None) or error}{there}")
    if len(data) > MAX_FILE_BYTES:
        refuse(where, path, f"is larger than {MAX_FILE_BYTES // 1024} KiB")
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        refuse(where, path, f"line {line}: is not UTF-8 text")


def _there(missing: Path) -> str:
    """What flow files are in the folder of one that is missing."""
    names = [file.name for file in in_folder(missing.parent)] if missing.parent.is_dir() else []
    shown = [*names[:MOST_NAMED], *(["…"] if len(names) > MOST_NAMED else [])]
    return f"; there are: {', '.join(shown)}" if names else ""


# meaning --------------------------------------------------------------------------------------------------------------


def parse(document: dict[str, Any]) -> Definition:
    """The flow that a document describes. Raises FlowFileError with every problem; needs no secret to be set."""
    problems = check.problems(document)
    if problems:
        raise FlowFileError(problems)
    try:
        return msgspec.convert(document, Definition, dec_hook=decode_custom)
    except msgspec.ValidationError as error:
        # The checks know all that the types do; should they ever differ, this is still a problem of the file.
        raise FlowFileError([Problem("", str(error))]) from error


def compiled(document: dict[str, Any]) -> Definition:
    """As `parse`, with script and mapping compiled in a worker of the sandbox: all that can be known before a run. Blocks."""
    definition, problems = None, []
    try:
        definition = parse(document)
    except FlowFileError as error:
        problems = error.problems
        if not isinstance(document, dict):
            raise
    script, mapping = document.get("script"), document.get("mapping")
    if isinstance(script, str) and script:
        wrong = _is_in("script", problems)  # then the sandbox is asked for what else is wrong, line by line
        found = [one for one in check_script(script) if not wrong or one.message.startswith("line ")]
        problems = list(dict.fromkeys([*problems, *found]))
    if isinstance(mapping, list) and mapping and not _is_in("mapping", problems):
        problems = problems + check_mapping(mapping, strict=document.get("jolt") == "strict")
    if problems or definition is None:
        raise FlowFileError(problems)
    return definition


def _is_in(name: str, problems: list[Problem]) -> bool:
    return any(problem.path == name or problem.path.startswith((f"{name}.", f"{name}[")) for problem in problems)


def referenced_secrets(definition: Definition) -> list[SecretRef]:
    """All secrets that a flow names, each once, in the order of the flow file."""
    return list(dict.fromkeys(ref for _, ref in secrets(definition)))


def secrets(value: Any, path: str = "") -> Iterator[tuple[str, SecretRef]]:
    """The secrets in a definition or a part of it, each with its path. In a login's body and in extra_params, an object with
    nothing but `env` or `file` is one (see read/login.py, which fills it in).
    """
    if isinstance(value, SecretRef):
        yield path, value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            within = _body_secrets if (type(value), name) in _FREE else secrets
            yield from within(getattr(value, name), words.join(path, name))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from secrets(item, words.join(path, name))


_FREE = ((TokenLogin, "body"), (OAuth2Login, "body"), (Erp, "extra_params"))


def _body_secrets(value: Any, path: str) -> Iterator[tuple[str, SecretRef]]:
    if (ref := reference(value)) is not None:
        yield path, ref
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _body_secrets(item, words.join(path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _body_secrets(item, f"{path}[{index}]")
