"""The pure modules of the package: derived from the sources, not listed by hand.

A module is pure if it imports no library that does I/O and defines no coroutine. import-linter forbids such imports in them
(pyproject.toml, "pure modules do no I/O"), tests/unit/test_architecture.py compares its list with what is derived here,
and `python -m tests.pure_modules`, after a run with coverage, holds each at FLOOR.
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
"""Percent of lines and branches that the unit tests must run in each pure module."""

NOT_PURE = {
    "imageflow.__main__": "runs the command line",
    "imageflow.console.rendering": "loads templates: tests/integration/test_console.py",
    "imageflow.broker.connect": "chooses an adapter and imports it: tests/contract",
    "imageflow.private_files": "makes files",
    "imageflow.telemetry.log": "configures the logs of a process",
}
"""Modules that are pure by the letter only, with the reason. They are in neither contract nor floor."""

NOT_MEASURED = {
    "imageflow.sandbox.audit": "its hook stays for good: only a worker installs it (tests/integration/test_sandbox.py)",
    "imageflow.sandbox.script": "closes the import path for good: only a worker does (tests/integration/test_sandbox.py)",
}
"""Pure modules that the floor leaves out, with the reason: they run in processes that coverage does not follow."""


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


def is_pure(path: Path, libraries: set[str]) -> bool:
    """Whether a module imports none of the libraries, inside functions included, and defines no coroutine."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.AsyncFunctionDef):
            return False
        named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if libraries & {name.partition(".")[0] for name in named}:
            return False
    return True


def pure() -> dict[str, Path]:
    """The pure modules, by name."""
    libraries = set(contract(CONTRACT)["forbidden_modules"])
    return {name: path for name, path in modules() if is_pure(path, libraries)}


def below_the_floor() -> list[str]:
    """The pure modules of which the measured tests run less than FLOOR percent, with the lines and branches they miss."""
    held = {name: path for name, path in pure().items() if name not in NOT_PURE | NOT_MEASURED}
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
