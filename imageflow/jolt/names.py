"""The names of operations, as specs may write them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

OPERATIONS = (
    "shift",
    "default",
    "remove",
    "sort",
    "cardinality",
    "modify-overwrite-beta",
    "modify-default-beta",
    "modify-define-beta",
    "modify-overwrite",
    "modify-default",
    "modify-define",
)
"""What an operation is called; the last three are jolt-community's names of the three before."""

_CLASSES = {
    "Shiftr": "shift",
    "Defaultr": "default",
    "Removr": "remove",
    "Sortr": "sort",
    "CardinalityTransform": "cardinality",
    "Modifier$Overwritr": "modify-overwrite-beta",
    "Modifier$Defaultr": "modify-default-beta",
    "Modifier$Definr": "modify-define-beta",
}
_ROOMS = {
    "Shiftr": "shiftr.",
    "Defaultr": "defaultr.",
    "Removr": "removr.",
    "Sortr": "sortr.",
    "CardinalityTransform": "cardinality.",
}

JAVA_NAMES = {
    f"{package}.{room}{name}": operation
    for name, operation in _CLASSES.items()
    for package in ("com.bazaarvoice.jolt", "io.joltcommunity.jolt")
    for room in dict.fromkeys(("", _ROOMS.get(name, "modifier.")))
}
"""The names of Java's classes."""


def operation_of(name: str) -> str | None:
    """The name under which an operation is known here; None if there is none of that name."""
    if name in OPERATIONS:
        return f"{name}-beta" if name.startswith("modify-") and not name.endswith("-beta") else name
    return JAVA_NAMES.get(name)


def only_community(name: str) -> bool:
    """Whether an operation has this name in jolt-community only."""
    modify = name.startswith("modify-") and not name.endswith("-beta")
    return operation_of(name) is not None and (modify or name.startswith("io.joltcommunity."))


def nearest(name: str, names: Sequence[str]) -> str:
    """A hint: the nearest of the names, or all of them."""
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}"
