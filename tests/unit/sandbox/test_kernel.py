"""The kernel's layers: the verdicts of the seccomp filter, and what the docs say of the layers.

The walls themselves: tests/integration/test_sandbox.py.
"""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest

from imageflow.sandbox import kernel
from imageflow.sandbox.kernel import ALLOW, ARCHITECTURES, DENY, KILL, SYSCALLS
from imageflow.sandbox.protocol import Config

PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4


def verdict(machine: str, number: int, *, architecture: int | None = None, first: int = 14, prot: int = 0) -> int:
    """Run the filter as the kernel does: one accumulator, forward jumps."""
    program = kernel.filter_program(machine)
    machines = ARCHITECTURES[machine][1] if architecture is None else architecture
    data = {0: number, 4: machines, 16: first, 32: prot}
    accumulator, place = 0, 0
    while True:
        code, if_true, if_false, operand = program[place]
        place += 1
        if code == 0x20:
            accumulator = data[operand]
        elif code == 0x06:
            return operand
        else:
            holds = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: bool(accumulator & operand)}[
                code
            ]
            place += if_true if holds else if_false


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_filter_allows_what_is_listed_and_nothing_else(machine: str) -> None:
    """Of all system calls of a machine exactly those of the table pass; the others answer EPERM."""
    column = ARCHITECTURES[machine][0]
    listed = {numbers[column] for name, numbers in SYSCALLS.items() if name != "rt_sigaction"}
    passed = {number for number in range(1000) if verdict(machine, number) == ALLOW}
    assert passed == listed
    assert {verdict(machine, number) for number in set(range(1000)) - listed} == {DENY}


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize("name", ["mmap", "mprotect"])
def test_filter_lets_no_memory_become_executable(machine: str, name: str) -> None:
    """Memory that would be executable is refused, whatever else it would be."""
    number = SYSCALLS[name][ARCHITECTURES[machine][0]]
    assert verdict(machine, number, prot=PROT_READ | PROT_WRITE) == ALLOW
    assert verdict(machine, number, prot=PROT_READ | PROT_EXEC) == DENY


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_filter_lets_no_signal_get_a_handler(machine: str) -> None:
    """Only the deadly signals may be handled otherwise, which faulthandler does: the alarm, and all others, may not."""
    number = SYSCALLS["rt_sigaction"][ARCHITECTURES[machine][0]]
    allowed = {signum for signum in range(65) if verdict(machine, number, first=signum) == ALLOW}
    assert allowed == {signal.SIGILL, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV}


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_filter_ends_foreign_calls(machine: str) -> None:
    """A call by another architecture's numbers, or by x32's, ends the process: its numbers mean something else."""
    assert verdict(machine, 0, architecture=0x40000003) == KILL
    assert verdict(machine, 0x40000000) == KILL
    assert verdict(machine, 0xFFFFFFFF) == KILL


def test_filter_knows_no_other_machine() -> None:
    """On an unknown machine there is no filter, and so no script runs."""
    with pytest.raises(KeyError):
        kernel.filter_program("riscv64")


@pytest.mark.parametrize(
    "name", ["open", "openat", "socket", "clone", "fork", "execve", "kill", "ptrace", "ioctl", "prctl"]
)
def test_dangerous_calls_are_not_listed(name: str) -> None:
    """Nothing that opens, starts, signals or watches is in the table."""
    assert name not in SYSCALLS


def test_docs_list_the_layers() -> None:
    """docs/scripts.md names the layers, no more and no less."""
    text = (Path(__file__).parents[3] / "docs" / "scripts.md").read_text()
    table = text.partition("| layer | keeps |")[2].partition("\n\n")[0]
    layers = kernel.layers(Config(1, 1, 1, 1, 1), lambda: None) if sys.platform == "linux" else {}
    assert set(layers) <= {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1] if row else "")
    }
