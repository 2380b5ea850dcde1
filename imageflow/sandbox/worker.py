"""The jail: the process in which a flow's script and mapping run. This module is its inside; `script.py` is the keeper.

Theory of operation. What a script may do in Python cannot be limited in Python: `().__class__.__base__.__subclasses__()`
reaches `os` and `ctypes`, and from there native code. So the process as a whole is made unable to do harm, by the kernel:
everything a script may import is loaded first, then the process gives away, for good, the right to open anything. Which
layers hold is reported in the first answer; the keeper refuses to go on without `seccomp`, the one that is a wall. The
others are depth:

    netns         own empty network, IPC and UTS namespaces (where permitted)
    setuid        another user, who owns nothing (where we are root)
    pdeathsig     dies with the service
    nodump        no core, no ptrace, no /proc/PID/mem for others of the same user
    no_new_privs  nothing executed gains rights
    landlock      no path, no TCP, no signal and no abstract socket outside
    rlimits       memory, no file growth, no processes, CPU time
    seccomp       31 system calls: memory, time, read and write of the pipes that are open; all others answer EPERM, no
                  memory becomes executable, and no signal gets another handler
    audit         readable errors instead of EPERM; circumvented by native code, so no wall

The wall clock is the keeper's: SIGALRM here interrupts the honest script with its line number, SIGKILL from outside ends
the others. What a script can still do is lie: about its own flow's rows, over its own pipe. A page's script starts in a
fresh namespace, its own decimal and other contexts, and modules whose names, classes, instances and containers are as they
were (`Untouched`); frames, and with them the worker's own objects, are out of its reach. What C code holds inside
(`random`'s generator, `csv`'s dialects) stays from page to page, and native code could do anything within the process: a
script that goes so far harms nobody but its own flow.

Frames, both ways: u32 length (little endian) and JSON. In come three: Config, the script's text, the mapping's JSON; out
goes Hello. Then for each page two in, Ask and the page's body, and one out, Answer. `Ask.id` must come back: an answer
forged in advance cannot have it.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import contextvars
import ctypes
import decimal
import enum
import faulthandler
import fcntl
import gc
import importlib
import io
import itertools
import operator
import os
import resource
import signal
import struct
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import msgspec

from imageflow.errors import Problem
from imageflow.sandbox import jolt
from imageflow.sandbox.answer import rows_at

_T = TypeVar("_T")

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
"""What those import only when it is needed: too late by then."""

OWN_MODULES = ("builtins", "sys", "os", "gc", "contextlib", "contextvars", "imageflow", "pyjolt")
OWN_SUBMODULES = ("msgspec", "msgspec.json", "msgspec.structs")
"""What the worker itself stands on."""

SCRIPT = "script"
"""The script's file name in tracebacks."""

MAX_TEXT = 2000
RAW_BYTES = 4 << 20
"""Of elements that failed in process_row, so much of their JSON is sent back."""
TRACE_BYTES = 8 << 20
TRACE_OBJECTS = 200_000
"""What the mapping was given is sent back up to this size."""

NO_BUILTINS = ("open", "input", "breakpoint", "exit", "quit", "help", "copyright", "credits", "license")


class Config(msgspec.Struct, frozen=True):
    """The first frame: limits in seconds, bytes and characters. `uid`: who to become where we are root. `trace`: answers
    are to hold what the mapping was given.
    """

    timeout: float
    memory: int
    max_answer: int
    max_prints: int
    uid: int
    rows_path: str = ""
    trace: bool = False


class Hello(msgspec.Struct, frozen=True):
    """The first answer: which layers hold (name to None, or to what the kernel said), and what does not compile."""

    layers: dict[str, str | None]
    problems: list[Problem]


class Ask(msgspec.Struct, frozen=True):
    """A page is coming, in the next frame."""

    id: str


class Failure(msgspec.Struct, frozen=True):
    """An exception: its type, text and the script's line. `timeout` and `memory`: one of the two limits."""

    type: str
    message: str = ""
    line: int | None = None
    timeout: bool = False
    memory: bool = False


class RowError(msgspec.Struct, frozen=True):
    """process_row failed for the element at `index`; `element` is what it was given, None where that was too large."""

    index: int
    failure: Failure
    element: Any = None


class Answer(msgspec.Struct, frozen=True):
    """What became of a page: `result`, or why the script or mapping failed as a whole. `between`: what the mapping was
    given, if that was asked for and is not too large.
    """

    id: str
    result: Any = None
    row_errors: list[RowError] = []
    prints: str = ""
    failure: Failure | None = None
    stage: str = ""
    between: Any = None


class ScriptTimeout(BaseException):
    """The time is up."""


class PageError(Exception):
    """The script gave something that cannot be used; the text says what."""


# frames -----------------------------------------------------------------------------------------------------------------

_encode_into = msgspec.json.Encoder().encode_into
_decode = msgspec.json.Decoder().decode


def frame(value: Any) -> bytearray:
    """A frame. Not `encode`: that one crashes the process where memory ends, `encode_into` raises MemoryError."""
    buffer = bytearray(4)
    _encode_into(value, buffer, 4)
    struct.pack_into("<I", buffer, 0, len(buffer) - 4)
    return buffer


def receive(fd: int) -> bytearray:
    """The next frame's content. Ends the process at the end of input: the keeper is gone, or wants us gone."""
    (length,) = struct.unpack("<I", _exactly(fd, 4))
    return _exactly(fd, length)


def _exactly(fd: int, length: int) -> bytearray:
    data = bytearray()
    while len(data) < length:
        part = os.read(fd, min(length - len(data), 1 << 20))
        if not part:
            os._exit(0)
        data += part
    return data


def _send(fd: int, data: bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _take_pipes() -> tuple[int, int]:
    """Move the pipes away from where `print` and C code write; /dev/null takes their place. Returns (in, out)."""
    pipes = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    for pipe in pipes:
        with contextlib.suppress(
            OSError, AttributeError
        ):  # fewer switches between the processes, where the system allows
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)
    return pipes


# what must be loaded while files can be opened ---------------------------------------------------------------------------


def _preload(source: bytes, with_mapping: bool) -> None:
    for name in MODULES + LAZY_MODULES:
        importlib.import_module(name)
    if with_mapping:
        jolt.preload()
    if b"zoneinfo" in source:
        _preload_zones()
    sys.path.clear()
    sys.path_importer_cache.clear()


def _preload_zones() -> None:
    """Time zones come from memory from now on (all of them: 700 kB)."""
    import zoneinfo

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


# the layers --------------------------------------------------------------------------------------------------------------

SYSCALLS: dict[str, tuple[int, int]] = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "nanosleep": (35, 101),
    "setitimer": (38, 103),
    "getpid": (39, 172),
    "exit": (60, 93),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "getppid": (110, 173),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "getrandom": (318, 278),
    "rseq": (334, 293),
}
"""All that the worker may still ask of the kernel: its numbers on x86_64 and aarch64."""

ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, DENY, KILL = 0x7FFF0000, 0x00050001, 0x80000000
"""SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO with EPERM, SECCOMP_RET_KILL_PROCESS."""
_PROT_EXEC = 4
FATAL_SIGNALS = (4, 6, 7, 8, 11)
"""Those that faulthandler gives back to the kernel after it has told the line: ILL, ABRT, BUS, FPE, SEGV."""
_X32_BIT = 0x40000000

Instruction = tuple[int, int, int, int]


def filter_program(machine: str) -> list[Instruction]:
    """The seccomp filter as BPF instructions (code, jump if true, jump if false, operand). KeyError: no such machine.

    Another architecture's calls (32 bit, x32) end the process; calls off the list, memory that would become executable,
    and another handler for the alarm (which would be given frames) are denied. Over `struct seccomp_data`: number at 0,
    architecture at 4, first argument at 16, third at 32.
    """
    column, architecture = ARCHITECTURES[machine]
    numbers = {name: both[column] for name, both in SYSCALLS.items()}
    program: list[Instruction] = [
        (_LOAD, 0, 0, 4),
        (_JUMP_EQ, 1, 0, architecture),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, 0),
        (_JUMP_GE, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, KILL),
    ]
    for name in ("mmap", "mprotect"):
        program += [
            (_JUMP_EQ, 0, 4, numbers.pop(name)),
            (_LOAD, 0, 0, 32),
            (_JUMP_SET, 0, 1, _PROT_EXEC),
            (_RETURN, 0, 0, DENY),
            (_RETURN, 0, 0, ALLOW),
        ]
    handled = [(_JUMP_EQ, len(FATAL_SIGNALS) - place, 0, number) for place, number in enumerate(FATAL_SIGNALS)]
    program += [
        (_JUMP_EQ, 0, len(handled) + 3, numbers.pop("rt_sigaction")),
        (_LOAD, 0, 0, 16),
        *handled,
        (_RETURN, 0, 0, DENY),
        (_RETURN, 0, 0, ALLOW),
    ]
    for number in numbers.values():
        program += [(_JUMP_EQ, 0, 1, number), (_RETURN, 0, 0, ALLOW)]
    return [*program, (_RETURN, 0, 0, DENY)]


class _Kernel:
    """The system calls that Python has no function for."""

    PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
    CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x04000000, 0x08000000, 0x10000000, 0x40000000
    LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 444, 446

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def prctl(self, option: int, value: int, address: int = 0) -> None:
        _checked(self._libc.prctl(*map(ctypes.c_long, (option, value, address, 0, 0))))

    def unshare(self, flags: int) -> None:
        _checked(self._libc.unshare(flags))

    def syscall(self, number: int, *arguments: object) -> int:
        longs = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
        return _checked(self._libc.syscall(ctypes.c_long(number), *longs))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def lock_down(config: Config) -> dict[str, str | None]:
    """Give away the right to do anything but compute. Returns each layer with None, or why it could not be had."""
    layers: dict[str, str | None] = {}
    for name, put_on in _layers(config).items():
        try:
            put_on()
            layers[name] = None
        except (OSError, ValueError, KeyError) as error:
            layers[name] = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return layers


def _layers(config: Config) -> dict[str, Callable[[], None]]:
    """In the order in which they have to be put on: each may need what a later one takes away."""
    if sys.platform != "linux":
        return {"rlimits": lambda: _limit(config), "audit": _audit}
    kernel = _Kernel()
    root = os.geteuid() == 0
    return {
        "netns": lambda: _leave_namespaces(kernel, root),
        **({"setuid": lambda: _become(config.uid)} if root else {}),
        "pdeathsig": lambda: kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL),
        "nodump": lambda: kernel.prctl(kernel.PR_SET_DUMPABLE, 0),
        "no_new_privs": lambda: kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1),
        "landlock": lambda: _landlock(kernel),
        "rlimits": lambda: _limit(config),
        "seccomp": lambda: _seccomp(kernel),
        "audit": _audit,
    }


def _leave_namespaces(kernel: _Kernel, root: bool) -> None:
    flags = kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
    kernel.unshare(flags if root else flags | kernel.CLONE_NEWUSER)


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _landlock(kernel: _Kernel) -> None:
    """A ruleset that handles all the kernel knows of, without a rule: nothing is left."""
    abi = kernel.syscall(kernel.LANDLOCK_CREATE_RULESET, None, 0, 1)
    files = 0x1FFF if abi < 2 else 0x3FFF if abi < 3 else 0x7FFF if abi < 5 else 0xFFFF
    attributes = struct.pack("QQQ", files, 0b11, 0b11)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = kernel.syscall(kernel.LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    kernel.syscall(kernel.LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


CPU_SECONDS = 4 * 3600


def _limit(config: Config) -> None:
    limits = {"AS": config.memory, "CORE": 0, "FSIZE": 0, "NOFILE": 16, "NPROC": 0, "CPU": CPU_SECONDS}
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def _seccomp(kernel: _Kernel) -> None:
    program = filter_program(os.uname().machine)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code)))
    kernel.prctl(kernel.PR_SET_SECCOMP, 2, ctypes.addressof(header))


FORBIDDEN_EVENTS = (  # noqa: SIM905 - words in lines read better
    "open os. socket. subprocess. ctypes. fcntl. mmap. signal. gc. code.__new__ sys._ sys.setprofile sys.settrace "
    "sys.addaudithook cpython. marshal. pickle. urllib.Request shutil. tempfile. glob. _posixsubprocess _thread.start "
    "resource. syslog. pty."
).split()
FRAMES = ("tb_frame", "gi_frame", "cr_frame", "ag_frame")
"""Attributes that lead to the worker's own frames."""


class RefusedError(PermissionError, ValueError):
    """A ValueError too: what makes a namedtuple or an Enum looks at frames, and does without where it gets that."""


def _audit() -> None:
    _forget_ctypes()
    forbidden, get_frame, own = tuple(FORBIDDEN_EVENTS), sys._getframe, _line_of.__code__
    modules = [vars(module) for module in sys.modules.values()]
    classes = [value for names in modules for value in names.values() if isinstance(value, type)]
    fixed = {id(value): value for value in (*modules, *classes)}
    looking = False

    def allowed(event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "object.__getattr__":
            return arguments[1] not in FRAMES or is_ours()
        if event == "object.__setattr__":
            return may_set(arguments[0], arguments[1])
        return not event.startswith(forbidden)

    def is_ours() -> bool:
        """Whether it is `_line_of` that wants to see a frame: its caller's caller's caller."""
        nonlocal looking
        looking = True
        try:
            return get_frame(3).f_code is own
        finally:
            looking = False

    def may_set(owner: Any, name: str) -> bool:
        """Functions, classes and modules do not become others; those that the script has made may be furnished."""
        if name in ("__defaults__", "__kwdefaults__"):
            return id(owner.__globals__) not in fixed
        return name not in ("__code__", "__class__") and not (name == "__bases__" and id(owner) in fixed)

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if not looking and not allowed(event, arguments):
            raise RefusedError(f"a script may not use {arguments[1] if event.startswith('object.') else event}")

    sys.addaudithook(refuse)


def _forget_ctypes() -> None:
    """Leave nothing of ctypes but the types that C code defines: by `cast` all memory could be written."""
    global ctypes  # noqa: PLW0603 - there is no other way to be rid of it
    ctypes._pointer_type_cache.clear()  # type: ignore[attr-defined]
    ctypes._reset_cache()  # type: ignore[attr-defined]
    ctypes._pointer_type_cache.clear()  # type: ignore[attr-defined]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("ctypes", "_ctypes")]:
        vars(sys.modules.pop(name)).clear()
    del ctypes


# around a page -----------------------------------------------------------------------------------------------------------


class Prints(io.TextIOBase):
    """What the script prints, up to a number of characters; the rest is only counted."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[str] = []
        self._count = 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._count < self._limit:
            self._parts.append(text[: self._limit - self._count])
        self._count += len(text)
        return len(text)

    def take(self) -> str:
        """All since the last time."""
        text, cut = "".join(self._parts), self._count - self._limit
        self._parts, self._count = [], 0
        return plain(text) + (f"\n... and {cut} more characters" if cut > 0 else "")


class Alarm:
    """Interrupts the script when its time is up, and again where it swallows that. Ends an orphan."""

    def __init__(self) -> None:
        self._armed = False
        self._parent = os.getppid()
        signal.signal(signal.SIGALRM, self._ring)

    def arm(self, seconds: float) -> None:
        self._armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.25)

    def disarm(self) -> None:
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _ring(self, _signal: int, _frame: types.FrameType | None) -> None:
        if os.getppid() != self._parent:
            os._exit(1)
        if self._armed:
            raise ScriptTimeout


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
    """What Python code can change in the modules that a script may import or this one uses, to be put back after each page:
    their names, those of their classes and of instances, and the content of the dicts, lists and sets that these hold.
    Caches are emptied.
    """

    def __init__(self) -> None:
        modules = [
            module for name, module in sys.modules.items() if _is_near(name) and isinstance(module, types.ModuleType)
        ]
        named = [(name, value) for module in modules for name, value in vars(module).items() if name[:2] != "__"]
        values = _once(value for _, value in named)
        self._caches = [value for name, value in named if name.endswith("cache") and type(value) is dict]
        self._classes = [value for value in values if _is_open_class(value)]
        values += [value for kind in self._classes for value in vars(kind).values()]
        instances = [names for value in values if (names := _names_of(value)) is not None]
        values = _once([*values, *instances, *(value for names in instances for value in names.values())])
        caches = {id(cache) for cache in self._caches}
        dicts = [vars(module) for module in modules]
        dicts += [value for value in values if type(value) is dict and id(value) not in caches]
        self._ours = _Names([vars(sys.modules[__name__]), vars(builtins)])
        self._names = _Names(space for space in _once(dicts) if len(space) < TABLE_SIZE)
        self._views = _Names(vars(kind) for kind in self._classes)
        self._changed = self._ours.changed, self._names.changed, self._views.changed
        self._lists = [(value, list(value)) for value in values if type(value) is list]
        self._tables = [(value, value.copy()) for value in values if _is_table(value)]
        self._contexts = [(value, value.copy()) for value in values if isinstance(value, decimal.Context)]
        self._depth = sys.getrecursionlimit()

    def restore_ours(self) -> None:
        """Put back what this module works with; before that, nothing else is used."""
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
        self._restore_containers()
        self._restore_settings()

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


TABLE_SIZE = 400
"""Larger dicts are tables of plain values (html's entities): compared the quick way."""


def _is_table(value: object) -> bool:
    return type(value) is set or (type(value) is dict and len(value) >= TABLE_SIZE)


def _is_near(name: str) -> bool:
    return name in (*LAZY_MODULES, *OWN_SUBMODULES) or name.partition(".")[0] in (*MODULES, *OWN_MODULES)


def _once(values: Iterable[_T]) -> list[_T]:
    """Each object once, whatever it says it equals."""
    return list({id(value): value for value in values}.values())


def _names_of(value: object) -> dict[str, Any] | None:
    """The names of an instance of a class that is written in Python."""
    if isinstance(value, (type, types.ModuleType, io.IOBase, enum.Enum)) or not _is_open_class(type(value)):
        return None
    names = getattr(value, "__dict__", None)
    return names if type(names) is dict else None


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


def plain(text: str) -> str:
    """Text that every encoder takes: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode()


def failure_of(error: BaseException) -> Failure:
    """An exception as the keeper wants it: the line is the script's own, whatever lies below it."""
    try:
        message = plain(str(error)[:MAX_TEXT])
    except Exception:  # it is the script's own __str__
        message = ""
    return Failure(
        type=plain(type(error).__name__[:200]),
        message=message,
        line=_line_of(error),
        timeout=isinstance(error, ScriptTimeout),
        memory=isinstance(error, MemoryError),
    )


def _line_of(error: BaseException) -> int | None:
    """The only one that may look at frames (see `_audit`): what it calls must not be the script's."""
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == SCRIPT else None
    trace = _TRACEBACK.__get__(error)
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == SCRIPT:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line if isinstance(line, int) else None


_TRACEBACK: Any = vars(BaseException)["__traceback__"]


# script and mapping ------------------------------------------------------------------------------------------------------


def compile_script(source: str) -> tuple[types.CodeType | None, list[Problem]]:
    """The script's code, or what is wrong with it: syntax, an import that will fail, neither of the two functions."""
    if not source:
        return None, []
    try:
        tree = ast.parse(source, SCRIPT)
        code = compile(tree, SCRIPT, "exec", dont_inherit=True)
    except SyntaxError as error:
        return None, [Problem("script", f"line {error.lineno}: {type(error).__name__}: {error.msg}")]
    except (ValueError, RecursionError, MemoryError, OverflowError, SystemError) as error:
        return None, [Problem("script", f"cannot be compiled: {type(error).__name__}: {error}")]
    found = [
        Problem("script", f"line {line}: {_unavailable(name)}") for line, name in _imports(tree) if not _available(name)
    ]
    if not {"process", "process_row"} & set(code.co_names):
        found.append(Problem("script", "defines neither process(response) nor process_row(row)"))
    return (None, found) if found else (code, [])


def _imports(tree: ast.Module) -> Iterable[tuple[int, str]]:
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            yield from ((statement.lineno, alias.name) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            yield statement.lineno, statement.module


def _available(name: str) -> bool:
    """Of submodules, only what was loaded in time."""
    return name == "__future__" or (name.partition(".")[0] in MODULES and ("." not in name or name in sys.modules))


def _unavailable(name: str) -> str:
    return f"the module {name!r} is not available to scripts; there are: {', '.join(MODULES)}"


_import = builtins.__import__


def _guarded_import(
    name: str,
    globals: Mapping[str, Any] | None = None,  # noqa: A002 - these are the names of __import__
    locals: Mapping[str, Any] | None = None,  # noqa: A002
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> types.ModuleType:
    """The script's `import`. C code uses it for what it loads lazily, too: strptime asks for _strptime."""
    if not level and name != "_strptime" and not _available(name):
        raise ImportError(_unavailable(name))
    return _import(name, globals, locals, fromlist or (), level)


class Workshop:
    """A flow's script and mapping, compiled, and all that a page needs around them."""

    def __init__(self, config: Config, source: str, spec: bytes, alarm: Alarm) -> None:
        self._config = config
        self._code, self.problems = compile_script(source)
        self._spec, self._chain = None, None
        self._compile_mapping(spec)
        self._prints = Prints(0)
        self._alarm = alarm
        self._builtins = {name: value for name, value in vars(builtins).items() if name not in NO_BUILTINS}
        self._builtins["__import__"] = _guarded_import
        self._stage = ""
        self._between: msgspec.Raw | None = None
        sys.stdout = sys.stderr = self._silence = self._prints
        untouched = Untouched()
        self._put_back, self._put_ours_back = untouched.restore, untouched.restore_ours

    def _compile_mapping(self, spec: bytes) -> None:
        try:
            self._spec = _decode(spec)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            self.problems.append(Problem("mapping", f"cannot be read: {error}"))
        if self._spec is not None:
            self._chain, found = jolt.compile_chain(self._spec)
            self.problems += found

    def answer(self, ask_id: str, body: bytearray) -> bytearray:
        """The Answer's frame; whatever the script does, short of ending the process, becomes one."""
        self._between = None
        sys.stdout = sys.stderr = self._prints = Prints(self._config.max_prints)
        try:
            self._alarm.arm(self._config.timeout)
            data = self._transformed(ask_id, body)
        except BaseException as error:  # what the script's own exception does while it is looked at
            self._alarm.disarm()
            data = frame(Answer(ask_id, failure=Failure(plain(type(error).__name__[:200])), stage=self._stage))
        finally:
            self._alarm.disarm()
        sys.stdout = sys.stderr = self._silence
        self._put_back()
        return data

    def _transformed(self, ask_id: str, body: bytearray) -> bytearray:
        try:
            try:
                result, row_errors = contextvars.Context().run(self._page, body)
            finally:
                self._put_ours_back()
            answer = Answer(ask_id, result, row_errors, self._prints.take(), between=self._between)
            data = frame(answer)
            if self._between is not None and len(data) > self._config.max_answer:
                data = frame(msgspec.structs.replace(answer, between=None))
            if len(data) <= self._config.max_answer:
                return data
            failure = Failure("", f"the result is larger than {self._config.max_answer >> 20} MB")
        except BaseException as error:
            if isinstance(error, ScriptTimeout):
                self._alarm.disarm()
            failure = Failure("", str(error)) if isinstance(error, PageError) else failure_of(error)
        prints = self._prints.take()
        return frame(Answer(ask_id, prints=prints, failure=failure, stage=self._stage, between=self._between))

    def _page(self, body: bytearray) -> tuple[Any, list[RowError]]:
        self._stage = "script" if self._code is not None else "mapping"
        document = _decode(body)
        rows, row_errors = self._run_script(document, body)
        if self._chain is None:
            return rows, row_errors
        self._stage = "mapping"
        if self._config.trace:
            self._between = _between(rows)
        return self._map(rows), row_errors

    def _run_script(self, document: Any, body: bytearray) -> tuple[Any, list[RowError]]:
        if self._code is None:
            return _rows(document, self._config.rows_path, "the answer is"), []
        namespace: dict[str, Any] = {"__name__": "__flow__", "__builtins__": dict(self._builtins)}
        try:
            exec(self._code, namespace)  # noqa: S102 - that is what the jail is for
            process, process_row = namespace.get("process"), namespace.get("process_row")
            if process is None and process_row is None:
                raise PageError("the script defines neither process(response) nor process_row(row)")
            value = document if process is None else _listed(process(document))
            rows = _rows(value, self._config.rows_path, "the answer is" if process is None else "process() returned")
            if process_row is None:
                return rows, []
            before = _Before(body, self._config.rows_path) if process is None else _Before(_snapshot(rows), "")
            return _each_row(process_row, rows, before)
        finally:
            namespace.clear()  # so that a __del__ runs now, on the page's own time

    def _map(self, rows: Any) -> Any:
        try:
            result = jolt.apply(self._chain, rows)
        except Exception as error:
            if isinstance(error, MemoryError):
                raise
            where = jolt.failing_operation(self._spec or [], rows)
            raise PageError(f"{where}: {jolt.text_of(error)}") from error
        return [] if result is None and rows == [] else result


def _listed(value: Any) -> Any:
    """Generators, tuples and the like count as lists."""
    if isinstance(value, (list, dict, str, bytes)) or not isinstance(value, Iterable):
        return value
    return list(value)


def _rows(value: Any, rows_path: str, subject: str) -> Any:
    try:
        return rows_at(value, rows_path)
    except ValueError as error:
        raise PageError(f"{subject} unusable: {error}" if subject.endswith("is") else f"{subject} {error}") from error


def _snapshot(rows: Any) -> bytearray | None:
    try:
        return frame(rows)[4:]
    except (TypeError, ValueError, RecursionError):
        return None


def _between(rows: Any) -> msgspec.Raw | None:
    """What a trace shows of a page halfway; None where that would burst the answer, or is no JSON."""
    data = _snapshot(rows)
    if data is None or len(data) > TRACE_BYTES or data.count(b"{") + data.count(b"[") > TRACE_OBJECTS:
        return None
    return msgspec.Raw(bytes(data))


class _Before:
    """The elements as they were before process_row got hold of them, decoded anew when the first one fails."""

    def __init__(self, data: bytearray | None, rows_path: str) -> None:
        self._data = data
        self._rows_path = rows_path
        self._rows: list[Any] | None = None
        self._left = RAW_BYTES

    def element(self, index: int) -> Any:
        """None where it is not to be had, or where too much was sent back already."""
        if self._data is None:
            return None
        if self._rows is None:
            rows = rows_at(_decode(self._data), self._rows_path)
            self._rows = rows if isinstance(rows, list) else [rows]
        element = self._rows[index]
        self._left -= len(frame(element))
        return element if self._left >= 0 else None


def _each_row(process_row: Callable[[Any], Any], rows: Any, before: _Before) -> tuple[Any, list[RowError]]:
    """process_row's results (None drops), and where it failed. A lone object stays a lone object."""
    results: list[Any] = []
    errors: list[RowError] = []
    for index, row in enumerate(rows if isinstance(rows, list) else [rows]):
        try:
            result = process_row(row)
        except ScriptTimeout:
            raise
        except BaseException as error:
            errors.append(RowError(index, failure_of(error), before.element(index)))
            continue
        if result is not None:
            results.append(result)
    return (results if isinstance(rows, list) or not results else results[0]), errors


def main() -> NoReturn:
    """Serve one flow version until the input ends."""
    asks, answers = _take_pipes()
    faulthandler.enable(2, all_threads=False)
    faulthandler.register(signal.SIGUSR1, 2, all_threads=False)
    config = msgspec.json.decode(receive(asks), type=Config)
    source, spec = bytes(receive(asks)), bytes(receive(asks))
    _preload(source, spec != b"null")
    sys.unraisablehook = lambda _: None
    alarm = Alarm()
    layers = lock_down(config)
    workshop = Workshop(config, source.decode(errors="replace"), spec, alarm)
    _send(answers, frame(Hello(layers, workshop.problems)))
    gc.collect()
    gc.freeze()
    while True:
        ask = msgspec.json.decode(receive(asks), type=Ask)
        _send(answers, workshop.answer(ask.id, receive(asks)))
