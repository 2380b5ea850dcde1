"""What a page may have changed in the worker's modules, put back before the next page."""

from __future__ import annotations

import builtins
import contextlib
import decimal
import functools
import gc
import io
import itertools
import operator
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from imageflow.sandbox.script import LAZY_MODULES, MODULES

_T = TypeVar("_T")
_CachedFunction: Any = type(functools.lru_cache(len))

OWN_MODULES = ("builtins", "sys", "os", "gc", "contextlib", "contextvars", "imageflow")
OWN_SUBMODULES = ("msgspec", "msgspec.json", "msgspec.structs")
"""What the worker itself uses."""


class _Names:
    """Names and what they stand for, in many dicts (or the views of classes), as they are now.

    Compares by identity, names included: an object that says it equals everything is not what was there. All in one go,
    and in C: some ten thousand names in a fraction of a millisecond.
    """

    def __init__(self, spaces: Iterable[Any]) -> None:
        self._spaces = list(spaces)
        self.pairs = [(space, dict(space)) for space in self._spaces]
        self._lengths = [len(space) for space in self._spaces]
        self._keys = [key for space in self._spaces for key in space]
        self._values = [value for space in self._spaces for value in space.values()]

    def changed(
        self,
        *,
        _all: Any = all,
        _map: Any = map,
        _is: Any = operator.is_,
        _len: Any = len,
        _list: Any = list,
        _flat: Any = itertools.chain.from_iterable,
        _values: Any = operator.methodcaller("values"),
    ) -> bool:
        """Whether anything is not as it was. Uses no name that a script might have changed."""
        same = _all(_map(_is, _flat(self._spaces), self._keys)) and _all(
            _map(_is, _flat(_map(_values, self._spaces)), self._values)
        )
        return not same or _list(_map(_len, self._spaces)) != self._lengths


def _differs(space: Mapping[str, Any], saved: dict[str, Any]) -> bool:
    same = len(space) == len(saved) and all(map(operator.is_, space, saved))
    return not (same and all(map(operator.is_, space.values(), saved.values())))


class Untouched:
    """What Python code can change in the modules that a script may import or that the worker uses: their names, the names
    of their classes, instances and functions, defaults of keywords, and the content of the dicts, lists and sets in them. Caches
    are emptied. Other defaults and the code of a function cannot be set: see audit.py.
    """

    def __init__(self) -> None:
        modules = [
            module for name, module in sys.modules.items() if _is_near(name) and isinstance(module, types.ModuleType)
        ]
        named = [(name, value) for module in modules for name, value in vars(module).items() if name[:2] != "__"]
        values = _once(value for _, value in named)
        self._caches: list[Any] = [value for name, value in named if name.endswith("cache") and type(value) is dict]
        self._classes = [value for value in values if _is_open_class(value)]
        values += [value for kind in self._classes for value in vars(kind).values()]
        instances = [names for value in values if (names := _names_of(value)) is not None]
        values = _once([*values, *instances, *(value for names in instances for value in names.values())])
        caches = {id(cache) for cache in self._caches}
        functions = [function for value in values if (function := _function(value)) is not None]
        self._cached = [function for function in functions if isinstance(function, _CachedFunction)]
        self._slots = [(value, slots) for value in values if (slots := _slots_of(value))]
        dicts = [vars(module) for module in modules]
        attributes = [vars(function) for function in functions]
        self._empty = [names for names in attributes if not names]
        dicts += [names for names in attributes if names]
        dicts += [defaults for one in functions if (defaults := getattr(one, "__kwdefaults__", None))]
        dicts += [value for value in values if type(value) is dict and id(value) not in caches]
        self._ours = _Names([*map(vars, _our_modules()), vars(builtins)])
        self._names = _Names(space for space in _once(dicts) if len(space) < TABLE_SIZE)
        self._views = _Names(vars(kind) for kind in self._classes)
        self._changed = self._ours.changed, self._names.changed, self._views.changed
        self._lists = [(value, list(value)) for value in values if type(value) is list]
        self._tables = [(value, value.copy()) for value in values if _is_table(value)]
        self._contexts = [(value, value.copy()) for value in values if isinstance(value, decimal.Context)]
        self._depth = sys.getrecursionlimit()
        self._digits = sys.get_int_max_str_digits()
        self._switch = sys.getswitchinterval()

    def restore_ours(self) -> None:
        """Put back the worker's own modules and the builtins. Until this is done, the worker uses none of their names."""
        ours, _, _ = self._changed
        if ours():
            for space, saved in self._ours.pairs:
                space.clear()
                space.update(saved)

    def restore(self) -> None:
        """Put back everything."""
        self.restore_ours()
        _, names, views = self._changed
        if names():
            for space, saved in self._names.pairs:
                if _differs(space, saved):
                    space.clear()
                    space.update(saved)
        if views():
            for kind, (view, saved) in zip(self._classes, self._views.pairs, strict=True):
                if _differs(view, saved):
                    _restore_class(kind, saved)
        self._restore_functions()
        self._restore_slots()
        self._restore_containers()
        self._restore_settings()

    def _restore_functions(self) -> None:
        if any(self._empty):
            for names in self._empty:
                names.clear()
        for function in self._cached:
            _CachedFunction.cache_clear(function)

    def _restore_slots(self) -> None:
        for value, slots in self._slots:
            for slot, as_it_was in slots:
                if slot.__get__(value) is not as_it_was:
                    slot.__set__(value, as_it_was)

    def _restore_containers(self) -> None:
        for items, as_they_were in self._lists:
            if len(items) != len(as_they_were) or not all(map(operator.is_, items, as_they_were)):
                items[:] = as_they_were
        for table, as_it_was in self._tables:
            if table != as_it_was:
                table.clear()
                table.update(as_it_was)
        for cache in self._caches:
            cache.clear()

    def _restore_settings(self) -> None:
        for context, pristine in self._contexts:
            for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp", "traps", "flags"):
                setattr(context, name, getattr(pristine, name))
        if sys.getrecursionlimit() != self._depth:
            sys.setrecursionlimit(self._depth)
        if sys.get_int_max_str_digits() != self._digits:
            sys.set_int_max_str_digits(self._digits)
        if sys.getswitchinterval() != self._switch:
            sys.setswitchinterval(self._switch)
        if not gc.isenabled():
            gc.enable()


TABLE_SIZE = 400
"""Larger dicts are tables of plain values (html's entities): compared the quick way."""


def _is_table(value: object) -> bool:
    return type(value) is set or (type(value) is dict and len(value) >= TABLE_SIZE)


def _our_modules() -> list[types.ModuleType]:
    return [module for name, module in sys.modules.items() if name.partition(".")[0] == "imageflow"]


def _is_near(name: str) -> bool:
    return name in (*LAZY_MODULES, *OWN_SUBMODULES) or name.partition(".")[0] in (*MODULES, *OWN_MODULES)


def _once(values: Iterable[_T]) -> list[_T]:
    """Each object once, whatever it says it equals."""
    return list({id(value): value for value in values}.values())


def _names_of(value: object) -> dict[str, Any] | None:
    """The names of an instance of a class that is written in Python."""
    if isinstance(value, (type, types.ModuleType, io.IOBase)) or not _is_open_class(type(value)):
        return None
    names = getattr(value, "__dict__", None)
    return names if type(names) is dict else None


def _function(value: object) -> Any:
    """The function that a value is, or wraps; None where it is none."""
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    return value if isinstance(value, (types.FunctionType, _CachedFunction)) else None


def _slots_of(value: object) -> list[tuple[Any, Any]]:
    """The filled slots of an instance of a class that is written in Python, with what is in them."""
    kind = type(value)
    if isinstance(value, type) or not _is_open_class(kind):
        return []
    slots = [
        slot for each in kind.__mro__ for slot in vars(each).values() if isinstance(slot, types.MemberDescriptorType)
    ]
    filled = []
    for slot in slots:
        with contextlib.suppress(AttributeError):  # an empty slot
            filled.append((slot, slot.__get__(value)))
    return filled


def _is_open_class(value: object) -> bool:
    heap_type, immutable = 1 << 9, 1 << 8
    return isinstance(value, type) and bool(value.__flags__ & heap_type) and not value.__flags__ & immutable


def _restore_class(kind: type, saved: Mapping[str, Any]) -> None:
    for name in [name for name in vars(kind) if name not in saved]:
        type.__delattr__(kind, name)
    for name, value in saved.items():
        if vars(kind).get(name) is not value:
            with contextlib.suppress(AttributeError, TypeError):  # a few slots of types cannot be set
                type.__setattr__(kind, name, value)
