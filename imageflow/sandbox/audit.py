"""The audit hook: refusals that a script's author can read, and the worker's own frames out of a script's reach.

Native code gets around it, so it is no wall: `kernel.py` is.
"""

from __future__ import annotations

import sys
import types
from typing import Any

FORBIDDEN_EVENTS = (  # noqa: SIM905 - words in lines read better
    "open os. socket. subprocess. ctypes. fcntl. mmap. signal. gc. code.__new__ sys._ sys.setprofile sys.settrace "
    "sys.addaudithook cpython. marshal. pickle. urllib.Request shutil. tempfile. glob. _posixsubprocess _thread.start "
    "resource. syslog. pty."
).split()
FRAMES = ("tb_frame", "gi_frame", "cr_frame", "ag_frame")
"""Attributes that lead to the worker's own frames."""


class RefusedError(PermissionError, ValueError):
    """Also a ValueError: namedtuple and Enum look at frames, and do without them where that raises a ValueError."""


def install(looker: types.CodeType) -> None:  # noqa: C901 - closures: a script could replace what globals name
    """Refuse what scripts may not do, for good. `looker`: the code of the only function that may look at frames."""
    forbidden, frames, refused = tuple(FORBIDDEN_EVENTS), FRAMES, RefusedError
    get_frame = sys._getframe  # noqa: SLF001 - the only way to a caller's frame
    fixed = _loaded()
    looking = False

    def allowed(event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "object.__getattr__":
            return arguments[1] not in frames or is_looker()
        if event == "object.__setattr__":
            return may_set(arguments[0], arguments[1])
        return not event.startswith(forbidden)

    def is_looker() -> bool:
        """Whether `looker` asks for the frame: it called what raised the event, three frames up from here."""
        nonlocal looking
        looking = True
        try:
            return get_frame(3).f_code is looker
        finally:
            looking = False

    def may_set(owner: Any, name: str) -> bool:
        """Nothing gets another code or class; functions and classes that the script did not make keep their defaults
        and bases.
        """
        if name in ("__defaults__", "__kwdefaults__"):
            return id(owner.__globals__) not in fixed
        return name not in ("__code__", "__class__") and not (name == "__bases__" and id(owner) in fixed)

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if not looking and not allowed(event, arguments):
            raise refused(f"a script may not use {arguments[1] if event.startswith('object.') else event}")

    sys.addaudithook(refuse)


def _loaded() -> dict[int, object]:
    """The names of all modules and their classes, by id: what exists before a script runs."""
    modules = [vars(module) for module in sys.modules.values()]
    classes = [value for names in modules for value in names.values() if isinstance(value, type)]
    return {id(value): value for value in (*modules, *classes)}
