"""What generated code calls: children of a value, walking to where a value is written, and the limits of both.

A container to write to is False where something of another kind is in its place already: then nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from imageflow.jolt.budget import budget
from imageflow.jolt.errors import JoltError, LimitError
from imageflow.jolt.source import Source
from imageflow.jolt.values import MISSING, key_text, natural, size_of, text_of

MAX_INDEX = 100_000
"""The highest index of a list that a spec or a value of the input may name."""
MAX_VALUES = 1_000_000
"""How many values an output may have, each counted as often as it would be written out."""
MAX_COPIES = 300_000
"""How many values a modify operation may copy from elsewhere in the document."""


def raised(text: str) -> None:
    """End the operation with an error."""
    raise LimitError(text)


def located(
    error: Exception, source: Source, lines: list[int], operation: tuple[int, str], keys: dict[str, Any]
) -> Exception:
    """The error with its place in spec and input. What is no fault of spec or input stays what it is.

    `lines`: the place of each line of the code; `keys`: what the variables for keys hold, by their names.
    """
    if isinstance(error, (JoltError, MemoryError, RecursionError)):
        return error
    trace = error.__traceback__
    line = trace.tb_lineno if trace is not None else 1
    number = lines[line - 1]
    place, way = source.places[number], source.ways.get(number, [(name, False) for name in keys])
    text = str(error) if isinstance(error, LimitError) else f"{type(error).__name__}: {error}"
    where = f"{place.where} -> {place.text}" if place.text else place.where
    return JoltError(text, operation, where, place_of([key if known else keys.get(key) for key, known in way]))


def place_of(keys: Iterable[Any]) -> str:
    """Keys on the way into the input, as a path: `[17].pics[3].url`."""
    words = [f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys if key is not None]
    return "".join(words).removeprefix(".")


# reading -----------------------------------------------------------------------------------------------------------------


def pairs(value: Any) -> Iterable[tuple[Any, Any]]:
    """Keys and children of what is no object: of a list with numbers as keys; a scalar is the key of one null."""
    if value.__class__ is list:
        return enumerate(value)
    if value is None:
        return ()
    return ((text_of(value), None),)


def copied_pairs(value: Any) -> Iterable[tuple[Any, Any]]:
    """As `pairs`, also of objects, where the value may change meanwhile."""
    if value.__class__ is dict:
        return list(value.items())
    return list(pairs(value))


def getter(value: Any) -> Callable[..., Any]:
    """`dict.get` for what is no object."""
    if value.__class__ is list:
        return lambda key, missing: element_of(value, natural(key), missing)
    if value is None:
        return lambda _key, missing: missing
    text = text_of(value)
    return lambda key, missing: None if key == text else missing


def element_of(items: list[Any], index: int, missing: Any = MISSING) -> Any:
    return items[index] if 0 <= index < len(items) else missing


def find(value: Any, steps: tuple[Any, ...]) -> Any:
    """What is at a path; MISSING if nothing is."""
    for step in steps:
        if step.__class__ is str:
            value = value.get(step, MISSING) if value.__class__ is dict else MISSING
        else:
            value = element_of(value, step) if value.__class__ is list else MISSING
    return value


def index_of(text: str | None) -> int:
    """A text as an index; -1 if it is none. Raises LimitError."""
    index = natural(text) if text is not None else -1
    if index > MAX_INDEX:
        raise LimitError(f"the index {index} is above {MAX_INDEX:,}")
    return index


def find_key(value: Any, steps: tuple[Any, ...]) -> str | None:
    """The value at a path as a key; None if there is none that can be a key."""
    return key_text(find(value, steps))


# walking to where a value is written -----------------------------------------------------------------------------------------


def into(parent: Any, key: str, kind: type) -> Any:
    """The container at a key of an object, made if nothing is there."""
    if parent is False:
        return False
    found = parent.get(key)
    if found is None:
        found = parent[key] = kind()
    return found if found.__class__ is kind else False


def into_list(parent: Any, index: int, kind: type) -> Any:
    """The container at an index of a list, made if nothing is there."""
    if parent is False:
        return False
    if index >= len(parent):
        if index > len(parent):
            pad(parent, index)
        found = kind()
        parent.append(found)
        return found
    found = parent[index]
    if found is None:
        found = parent[index] = kind()
    return found if found.__class__ is kind else False


def pad(items: list[Any], size: int) -> None:
    """Fill a list with nulls up to a size. Raises LimitError."""
    budget.nulls(size - len(items))
    items.extend([None] * (size - len(items)))


def into_new(parent: Any, kind: type) -> Any:
    """A new container at the end of a list."""
    if parent is False:
        return False
    made = kind()
    parent.append(made)
    return made


def again(parent: Any, key: Any, found: Any, value: Any) -> None:
    """Write where something is already: it becomes a list."""
    if found.__class__ is not list:
        parent[key] = [found, value]
    elif found is value:
        raise LimitError("a list is written into itself")
    else:
        found.append(value)


def at(items: list[Any], index: int, value: Any) -> None:
    """Write at an index of a list."""
    if index >= len(items):
        pad(items, index)
        items.append(value)
    elif items[index] is None:
        items[index] = value
    else:
        again(items, index, items[index], value)


def bounded(output: dict[str, Any]) -> Any:
    """What a shift wrote, where an object or a list may be in it twice: its size is looked at if one was written at all."""
    if "spreads" in output:
        size_of(output.get("root"), MAX_VALUES)
    return output.get("root")


# changing a document in place ----------------------------------------------------------------------------------------------


def grow(items: list[Any], size: int) -> None:
    """Make a list at least so long, with nulls."""
    if size - 1 > MAX_INDEX:
        raise LimitError(f"the index {size - 1} is above {MAX_INDEX:,}")
    if size > len(items):
        pad(items, size)


def or_null(value: Any) -> Any:
    """Null for nothing."""
    return None if value is MISSING else value


class Copies:
    """Makes copies, up to a number of values. What a modify operation writes is a copy: nobody else changes it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit

    def renew(self) -> None:
        """Another document begins."""
        self._left = self._limit

    def copied(self, value: Any) -> Any:
        """A copy. Raises LimitError."""
        if not isinstance(value, (list, dict)):
            return value
        self._left -= len(value) + 1
        if self._left < 0:
            raise LimitError(f"more than {self._limit:,} values are copied")
        if isinstance(value, list):
            return [self.copied(entry) for entry in value]
        return {key: self.copied(entry) for key, entry in value.items()}
