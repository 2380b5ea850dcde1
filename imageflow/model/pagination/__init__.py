"""The pagination types of flow files: one module per type, found by looking into this package.

A type is a subclass of `contract.Pagination` with a `tag`: the `type` that a flow file names. Its fields are the fields
of `erp.pagination`. Nothing else lists the types: flow files, `flow lint`, the JSON Schema and the reader follow from
TYPES. CONTRIBUTING.md tells how to add one.
"""

from __future__ import annotations

import functools
import importlib
import operator
import pkgutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from imageflow.model.pagination.contract import Pagination


def _found() -> Iterator[type[Pagination]]:
    """The types that the modules of this package define, by the modules' names."""
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        for value in vars(importlib.import_module(f"{__name__}.{name}")).values():
            if isinstance(value, type) and issubclass(value, Pagination) and value.__struct_config__.tag:
                yield value


TYPES: tuple[type[Pagination], ...] = tuple(dict.fromkeys(_found()))

if TYPE_CHECKING:
    AnyPagination = Pagination
else:
    AnyPagination = functools.reduce(operator.or_, TYPES)  # what msgspec decodes: it picks the type by its tag
