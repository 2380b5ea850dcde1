"""The pure modules of the package: derived from the sources, not listed by hand.

A module is pure if it imports no library that does I/O, defines no coroutine and touches no files. import-linter forbids such
imports in them (pyproject.toml, "pure modules do no I/O"), tests/unit/test_architecture.py compares its list with what is
derived here. `python -m tests.pure_modules`, after a run with coverage, holds each at FLOOR, and with them the modules that are
pure but for files: unit tests can run these, too.
"""

from __future__ import annotations

import ast
import json
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import coverage

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACT = "pure modules do no I/O"
FLOOR = 95.0
"""Percent of lines and branches that the unit tests must run in each pure module, and in each that is pure but for files."""

FILE_MODULES = {"importlib.resources", "imageflow.private_files"}
"""Modules that touch files for those who import them."""
FILE_METHODS = {
    "chmod", "exists", "glob", "hardlink_to", "is_dir", "is_file", "is_symlink", "iterdir", "lstat", "mkdir", "open", "read_bytes",
    "read_text", "readlink", "resolve", "rglob", "rmdir", "samefile", "stat", "symlink_to", "touch", "unlink", "write_bytes", "write_text",
}  # fmt: skip
"""What a path does with files."""
RENAMES = {"rename", "replace"}
"""Methods of a path with one argument by place. Texts replace with two, instants and structs by names."""
OS_WITHOUT_FILES = {"fspath", "normpath", "strerror", "urandom"}
"""All else of `os` is taken to do I/O."""

NOT_PURE = {
    "imageflow.__main__": "runs the command line",
    "imageflow.console.rendering": "loads templates: tests/integration/test_console.py",
    "imageflow.broker.connect": "chooses an adapter and imports it: tests/contract",
    "imageflow.telemetry.log": "configures the logs of a process",
}
"""Modules that are pure by the letter only, with the reason. They are in neither contract nor floor."""

FILES_ONLY = {
    "imageflow.console.packaged": "reads the console's static files and catalogues",
    "imageflow.flows.file": "reads and lists flow files",
    "imageflow.flows.folder": "looks at the times of flow files",
    "imageflow.private_files": "makes files",
    "imageflow.sandbox.pipe": "reads and writes the worker's pipes",
    "imageflow.secret": "reads the files of secrets",
    "imageflow.settings": "reads the files that settings name, makes the key file",
}
"""Modules that are pure but for what is said here. They are not in the contract; the floor holds them as it holds pure ones."""

NOT_MEASURED = {
    "imageflow.sandbox.audit": "its hook stays for good: only a worker installs it (tests/integration/test_sandbox.py)",
    "imageflow.sandbox.script": "closes the import path for good: only a worker does (tests/integration/test_sandbox.py)",
}
"""Modules that the floor leaves out, with the reason: they run in processes that coverage does not follow."""


def contract(name: str) -> dict[str, list[str]]:
    """A contract of import-linter, by its name."""
    (found,) = [one for one in PYPROJECT["tool"]["importlinter"]["contracts"] if one["name"] == name]
    return found


def modules() -> Iterator[tuple[str, Path]]:
    """All modules with code of their own. Emulators are no part of the product; migrations are run by alembic."""
    for path in sorted((ROOT / "imageflow").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if path.name != "__init__.py" and "emulator" not in parts and "migrations" not in parts:
            yield ".".join(parts), path


def imported(tree: ast.AST) -> set[str]:
    """What a module imports, inside functions included: modules, and what it has from them, with the module's name before it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def is_pure_but_for_files(tree: ast.AST) -> bool:
    """Whether a module imports no library of the contract and defines no coroutine."""
    libraries = {name.partition(".")[0] for name in imported(tree)}
    coroutines = any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(tree))
    return not coroutines and not libraries & set(contract(CONTRACT)["forbidden_modules"])


def touches_files(tree: ast.AST) -> bool:
    """Whether a module opens, reads, writes, lists, moves or looks at files, itself or by FILE_MODULES."""
    names = imported(tree)
    from_os = {name.rpartition(".")[2] for name in names if name.startswith("os.") and name != "os.path"}
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return bool(names & FILE_MODULES or from_os - OS_WITHOUT_FILES) or any(is_of_files(call) for call in calls)


def is_of_files(call: ast.Call) -> bool:
    """Whether a call is one of `open`, of `os`, or of a path's methods on files."""
    if isinstance(call.func, ast.Name):
        return call.func.id == "open"
    if not isinstance(call.func, ast.Attribute):
        return False
    if ast.unparse(call.func).startswith("os."):
        return call.func.attr not in OS_WITHOUT_FILES
    if call.func.attr in RENAMES:
        return len(call.args) == 1 and not call.keywords
    return call.func.attr in FILE_METHODS


def pure_but_for_files() -> dict[str, Path]:
    """The modules that are pure, or touch files and are pure otherwise, by name."""
    return {name: path for name, path in modules() if is_pure_but_for_files(ast.parse(path.read_text()))}


def pure() -> dict[str, Path]:
    """The pure modules, by name."""
    found = pure_but_for_files()
    return {name: path for name, path in found.items() if not touches_files(ast.parse(path.read_text()))}


def below_the_floor() -> list[str]:
    """The modules of which the measured tests run less than FLOOR percent, with the lines and branches they miss."""
    held = {name: path for name, path in pure_but_for_files().items() if name not in NOT_PURE | NOT_MEASURED}
    measured = coverage.Coverage(config_file=str(ROOT / "pyproject.toml"))
    measured.load()
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        measured.json_report(morfs=[str(path) for path in held.values()], outfile=report.name)
        files = json.loads(Path(report.name).read_text())["files"]
    by_path = {(ROOT / name).resolve(): found for name, found in files.items()}
    return [
        f"{name}: {found['summary']['percent_covered']:.1f} %, lines {found['missing_lines']}, "
        f"branches {found['missing_branches']}"
        for name, path in held.items()
        if (found := by_path[path])["summary"]["percent_covered"] < FLOOR
    ]


if __name__ == "__main__":
    if below := below_the_floor():
        sys.exit(f"below {FLOOR:.0f} % of lines and branches:\n" + "\n".join(below))
