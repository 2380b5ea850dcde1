"""Every exception class that a library defines, found by walking all of its modules."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType


def errors_of(package: str) -> dict[str, type[BaseException]]:
    """Exception classes, warnings aside, by module and name. Modules that cannot be loaded here are left out, and the
    library's own tests.
    """
    return {
        f"{kind.__module__}.{kind.__qualname__}": kind
        for module in _modules(package)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, BaseException)
        and not issubclass(kind, Warning)
        and kind.__module__.partition(".")[0] == package
    }


def _modules(package: str) -> Iterator[ModuleType]:
    root = importlib.import_module(package)
    yield root
    for found in pkgutil.walk_packages(getattr(root, "__path__", []), f"{package}."):
        if not any(part in found.name for part in (".testing", "._testbase")):
            with contextlib.suppress(Exception):
                yield importlib.import_module(found.name)
