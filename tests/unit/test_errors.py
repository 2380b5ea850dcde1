"""The tree of errors, and what their constructors take."""

from __future__ import annotations

import ast
import copy
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import imageflow
from imageflow import errors
from imageflow.errors import (
    BrokerError,
    FlowFileError,
    ImageFlowError,
    Postponed,
    Problem,
    QueueFullError,
    ReadError,
    TransportError,
)

NOT_IMPORTED = ("imageflow.__main__", "imageflow.store.migrations")
FACTS = {"transient", "retry_after", "stage", "kind", "status", "__cause__"}


def modules() -> Iterator[str]:
    for module in pkgutil.walk_packages(imageflow.__path__, "imageflow."):
        if not module.name.startswith(NOT_IMPORTED):
            yield module.name


def below(kind: type[ImageFlowError]) -> Iterator[type[ImageFlowError]]:
    for child in kind.__subclasses__():
        if child.__module__.startswith("imageflow."):
            yield child
            yield from below(child)


def drawn() -> set[tuple[str, str]]:
    """The tree of the docstring, as pairs of a class and its base."""
    stack: list[str] = []
    pairs: set[tuple[str, str]] = set()
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ((?:[│ ]   )*(?:[├└]── )?)([A-Za-z]+)(?:  |$)", line)
        if found is None or (not found[1] and found[2] != "ImageFlowError"):
            continue
        depth = len(found[1]) // 4
        del stack[depth:]
        if stack:
            pairs.add((found[2], stack[-1]))
        stack.append(found[2])
    return pairs


def test_the_tree_is_complete() -> None:
    """The docstring of errors.py shows every error of the package under its base; private ones may be left out."""
    for name in modules():
        importlib.import_module(name)
    there = {(kind.__name__, kind.__mro__[1].__name__) for kind in below(ImageFlowError)}
    assert drawn() == {pair for pair in there if not pair[0].startswith("_")}
    assert len(drawn()) > 15


def test_exit_status_2_is_shown() -> None:
    """The tree says `exit 1` or `exit 2` exactly where the exit status differs from that of the base."""
    shown = set(re.findall(r"── (\w+) .*; exit ([12])", errors.__doc__ or ""))
    there = {
        (kind.__name__, str(kind.exit_status))
        for kind in below(ImageFlowError)
        if kind.exit_status != kind.__mro__[1].exit_status
    }
    assert shown == there
    assert {kind.exit_status for kind in below(ImageFlowError)} == {1, 2}


MODULES = sorted(path for path in Path(imageflow.__path__[0]).rglob("*.py") if path.parent.name != "jolt")
"""Without the mapping engine, which knows nothing of these errors."""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_nothing_is_set_on_an_error_afterwards(path: Path) -> None:
    """No module sets a fact of an error but the constructor itself, on `self`."""
    for node in ast.walk(ast.parse(path.read_text())):
        targets = node.targets if isinstance(node, ast.Assign) else []
        for target in [one for each in targets for one in (each.elts if isinstance(each, ast.Tuple) else [each])]:
            if isinstance(target, ast.Attribute) and target.attr in FACTS:
                owner = target.value
                assert isinstance(owner, ast.Name), f"{path}:{node.lineno}"
                assert owner.id in ("self", "asking"), f"{path}:{node.lineno}"


def test_constructors_take_the_facts() -> None:
    """What steers is given at construction, and else left to the class."""
    assert not ReadError("no").transient
    error = ReadError("busy", transient=True, retry_after=3.0)
    assert (error.transient, error.retry_after, error.stage, str(error)) == (True, 3.0, "read", "busy")
    assert BrokerError("away").transient
    assert not BrokerError("refused", transient=False).transient
    assert QueueFullError().transient
    assert Postponed(7.0, "later").retry_after == 7.0


def test_the_kind_of_a_transport_error_says_whether_to_ask_again() -> None:
    """Only what is refused is not worth another try."""
    assert TransportError("reset").kind == "broken"
    assert [kind for kind in errors.TransportKind.__args__ if not TransportError("", kind).transient] == ["refused"]


def test_the_docstring_is_the_message() -> None:
    """An error without a message says what its class says."""
    assert str(QueueFullError()) == "The queue is full; try again later."
    assert str(QueueFullError("")) == "The queue is full; try again later."


def test_a_flow_file_error_names_all_problems() -> None:
    """Each problem with its path, in one line; a problem of the whole file has no path."""
    error = FlowFileError([Problem("erp.timeout", "must be a duration"), Problem("", "is empty")])
    assert str(error) == "erp.timeout: must be a duration; is empty"


def test_errors_are_copied_with_their_facts() -> None:
    """All who wait for one login get a copy of its failure: facts and text included."""
    error = copy.copy(TransportError("late", "timeout"))
    assert (str(error), error.kind, error.transient) == ("late", "timeout", True)
    refused = copy.copy(errors.LoginError("no", transient=True, retry_after=4.0))
    assert (str(refused), refused.transient, refused.retry_after) == ("no", True, 4.0)
