"""Settings that several flow files share: parts of a flow, which stand in a file of their own. Pure.

A flow file names that file: `shared_file: brand.shared.yaml`. What the flow file says itself wins. The sections below are put
together field by field; anything else, also within a section, is taken whole. So the document that is saved is complete,
and a version of a flow always means the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imageflow.errors import Problem
from imageflow.flows import check, words

FIELD = "shared_file"
MARK = ".shared"
"""How the name of such a file ends, before its suffix: so a folder's flow files can be told from it."""

SECTIONS = ("omnitron", "erp", "fetch_missing", "write", "alarms")
OWN = ("name", "direction", FIELD, "script", "script_file", "mapping", "mapping_file")
"""What every flow file says itself."""

_MISSING = "required, and missing"


def joined(own: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """A flow file's document with what it shares: its own fields first, in their order."""
    document = {name: value for name, value in own.items() if name != FIELD}
    for name, value in shared.items():
        if name not in document:
            document[name] = value
        elif name in SECTIONS and isinstance(value, dict) and isinstance(document[name], dict):
            document[name] = document[name] | {
                field: item for field, item in value.items() if field not in document[name]
            }
    return document


def given(own: Mapping[str, Any], shared: Mapping[str, Any]) -> Iterator[str]:
    """The paths of what a flow file takes from the shared one."""
    for name, value in shared.items():
        if name not in own:
            yield words.name(name)
        elif name in SECTIONS and isinstance(value, dict) and isinstance(own[name], dict):
            yield from (words.join(words.name(name), field) for field in value if field not in own[name])


def problems(shared: object) -> list[Problem]:
    """What is wrong with a file of shared settings by itself. What it lacks, a flow file may have."""
    if not isinstance(shared, dict):
        return [Problem("", f"must be an object with fields of a flow, not {words.kind(shared)}")]
    own = [Problem(name, "must stand in each flow file itself") for name in OWN if name in shared]
    rest = {name: value for name, value in shared.items() if name not in OWN}
    return own + [problem for problem in check.problems(rest, is_part=True) if problem.message != _MISSING]


def with_source(
    problems: Sequence[Problem], own: Mapping[str, Any], shared: Mapping[str, Any], file: str
) -> list[Problem]:
    """Problems of the whole document; those of what is shared name its file."""
    paths = list(given(own, shared))
    return [
        Problem(problem.path, f"{problem.message} {_source(file)}") if _is_in(problem.path, paths) else problem
        for problem in problems
    ]


def is_of(problem: Problem, file: str) -> bool:
    """Whether a problem is of what is shared."""
    return problem.message.endswith(_source(file))


def _source(file: str) -> str:
    return f"(in {file})"


def _is_in(path: str, paths: Sequence[str]) -> bool:
    return any(path == one or path.startswith((f"{one}.", f"{one}[")) for one in paths)
