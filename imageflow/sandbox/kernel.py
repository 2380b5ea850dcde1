"""The layers that the kernel holds around a worker: system calls, paths, network, signals, memory, processes.

    netns         own empty network, IPC and UTS namespaces (where permitted)
    setuid        another user, who owns nothing (where we are root)
    pdeathsig     dies with the service
    nodump        no core, no ptrace, no /proc/PID/mem for others of the same user
    no_new_privs  nothing executed gains rights
    landlock      no path, no TCP, no signal and no abstract socket outside
    rlimits       memory, no file growth, no processes, CPU time
    seccomp       31 system calls: memory, time, read and write of the pipes that are open; all others answer EPERM, no
                  memory becomes executable, and no signal gets another handler
    audit         the audit hook (`audit.py`), no wall

seccomp is the wall: the supervisor runs nothing without it. The others are depth.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable

from imageflow.sandbox.protocol import Config

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
"""The calls that a worker keeps, with their numbers on x86_64 and aarch64."""

ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, DENY, KILL = 0x7FFF0000, 0x00050001, 0x80000000
"""SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO with EPERM, SECCOMP_RET_KILL_PROCESS."""
_PROT_EXEC = 4
FATAL_SIGNALS = (4, 6, 7, 8, 11)
"""ILL, ABRT, BUS, FPE, SEGV: faulthandler restores their default handlers after it has written the trace."""
_X32_BIT = 0x40000000

Instruction = tuple[int, int, int, int]


def filter_program(machine: str) -> list[Instruction]:
    """The seccomp filter as BPF instructions (code, jump if true, jump if false, operand). KeyError: no such machine.

    Calls of another architecture (32 bit, x32) kill the process. Denied are calls off the list, memory that would become
    executable, and another handler for the alarm (it would receive frames). Offsets in `struct seccomp_data`: number 0,
    architecture 4, first argument 16, third 32.
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


def lock_down(config: Config, audit: Callable[[], None]) -> dict[str, str | None]:
    """Give away the right to do anything but compute. `audit` puts on the last layer.

    Returns each layer with None, or with the reason why it does not hold here.
    """
    result: dict[str, str | None] = {}
    for name, put_on in layers(config, audit).items():
        try:
            put_on()
            result[name] = None
        except (OSError, ValueError, KeyError) as error:
            result[name] = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return result


def layers(config: Config, audit: Callable[[], None]) -> dict[str, Callable[[], None]]:
    """What puts on each layer, in order: each may need what a later one takes away."""
    if sys.platform != "linux":
        return {"rlimits": lambda: _limit(config), "audit": audit}
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
        "audit": audit,
    }


def _leave_namespaces(kernel: _Kernel, root: bool) -> None:
    flags = kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
    kernel.unshare(flags if root else flags | kernel.CLONE_NEWUSER)


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _landlock(kernel: _Kernel) -> None:
    """Restrict every access that this kernel's Landlock knows, without a rule that would allow one."""
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


def forget_ctypes() -> None:
    """Remove ctypes but for the types that C code defines: with `cast`, a script could write any memory."""
    global ctypes  # noqa: PLW0603 - this module's own reference must go, too
    # these caches refer to the classes, and there is no public way to empty them
    ctypes._pointer_type_cache.clear()  # type: ignore[attr-defined]  # noqa: SLF001 - see above
    ctypes._reset_cache()  # type: ignore[attr-defined]  # noqa: SLF001 - see above
    ctypes._pointer_type_cache.clear()  # type: ignore[attr-defined]  # noqa: SLF001 - see above
    for name in [name for name in sys.modules if name.partition(".")[0] in ("ctypes", "_ctypes")]:
        vars(sys.modules.pop(name)).clear()
    del ctypes
