"""A flow's script before it runs: what it may import, what must be loaded in time, and whether it compiles."""

from __future__ import annotations

import ast
import builtins
import importlib
import io
import sys
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from imageflow.errors import Problem
from imageflow.sandbox.protocol import SCRIPT

MODULES = (  # noqa: SIM905 - words in lines read better
    "abc base64 binascii bisect calendar cmath collections contextlib copy csv dataclasses datetime decimal difflib enum "
    "fractions functools hashlib heapq hmac html io itertools json math numbers operator random re statistics string struct "
    "textwrap time types typing unicodedata urllib uuid zlib zoneinfo"
).split()
"""What a script may import."""

LAZY_MODULES = (  # noqa: SIM905 - words in lines read better
    "collections.abc html.entities html.parser urllib.parse _strptime stringprep encodings.latin_1 encodings.ascii "
    "encodings.utf_16 encodings.utf_8_sig encodings.cp1252 encodings.cp1254 encodings.iso8859_9 encodings.idna"
).split()
"""What those import lazily: after the lock-down that fails."""


def preload(source: bytes) -> None:
    """Import all that a script may use, while files can still be opened; nothing can be found after it."""
    for name in MODULES + LAZY_MODULES:
        importlib.import_module(name)
    if b"zoneinfo" in source:
        _preload_zones()
    sys.path.clear()
    sys.path_importer_cache.clear()


def _preload_zones() -> None:
    """Serve time zones from memory from now on (all of them: 700 kB)."""
    import zoneinfo  # noqa: PLC0415 - only scripts that mention it pay for it

    common: Any = importlib.import_module("zoneinfo._common")
    tzpath: Any = importlib.import_module("zoneinfo._tzpath")
    from_package = common.load_tzdata

    def read(key: str) -> bytes:
        path = tzpath.find_tzfile(key)
        with io.FileIO(path) if path else from_package(key) as file:
            return bytes(file.read())

    zones = {key: read(key) for key in zoneinfo.available_timezones()}

    def load(key: str) -> io.BytesIO:
        if key not in zones:
            raise zoneinfo.ZoneInfoNotFoundError(f"No time zone found with key {key}")
        return io.BytesIO(zones[key])

    common.load_tzdata = load
    zoneinfo.reset_tzpath(to=[])


class Compiled(NamedTuple):
    """A script's code, or what is wrong with it. `line`: the line of the first problem, where it has one."""

    code: types.CodeType | None
    problems: tuple[Problem, ...] = ()
    line: int | None = None


def compile_script(source: str) -> Compiled:
    """Compile a script. Problems are syntax, an import that will fail, and the lack of both functions."""
    if not source:
        return Compiled(None)
    try:
        tree = ast.parse(source, SCRIPT)
        code = compile(tree, SCRIPT, "exec", dont_inherit=True)
    except SyntaxError as error:
        return Compiled(None, (_problem(f"{type(error).__name__}: {error.msg}", error.lineno),), error.lineno)
    except (ValueError, RecursionError, MemoryError, OverflowError, SystemError) as error:
        return Compiled(None, (_problem(f"cannot be compiled: {type(error).__name__}: {error}"),))
    missing = [(line, name) for line, name in _imports(tree) if not _available(name)]
    found = [_problem(_unavailable(name), line) for line, name in missing]
    if not {"process", "process_row"} & set(code.co_names):
        found.append(_problem("defines neither process(response) nor process_row(row)"))
    return Compiled(None, tuple(found), missing[0][0] if missing else None) if found else Compiled(code)


def _problem(text: str, line: int | None = None) -> Problem:
    return Problem("script", text if line is None else f"line {line}: {text}")


def _imports(tree: ast.Module) -> Iterable[tuple[int, str]]:
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            yield from ((statement.lineno, alias.name) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            yield statement.lineno, statement.module


def _available(name: str) -> bool:
    """Submodules are available if they were loaded in time."""
    return name == "__future__" or (name.partition(".")[0] in MODULES and ("." not in name or name in sys.modules))


def _unavailable(name: str) -> str:
    return f"the module {name!r} is not available to scripts; there are: {', '.join(MODULES)}"


_import = builtins.__import__


def guarded_import(
    name: str,
    globals: Mapping[str, Any] | None = None,  # noqa: A002 - these are the names of __import__
    locals: Mapping[str, Any] | None = None,  # noqa: A002 - the same
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> types.ModuleType:
    """The script's `import`. C code that loads lazily uses it, too: strptime imports _strptime."""
    if not level and name != "_strptime" and not _available(name):
        raise ImportError(_unavailable(name))
    return _import(name, globals, locals, fromlist or (), level)
