"""What supervisor and worker say to each other: frames and messages.

A frame is a u32 length (little endian) and JSON, in both directions. The supervisor opens with three: Config, the script's
text, the mapping's JSON; the worker answers with Hello. Then for each page the supervisor sends two, Ask and the page's body,
and the worker one, Answer. `Ask.id` must come back: an answer forged in advance cannot have it.

The worker loads this module: it must stay light.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from imageflow.errors import Problem

SCRIPT = "script"
"""The script's file name in tracebacks."""

MAX_TEXT = 2000


class Config(msgspec.Struct, frozen=True):
    """The first frame: limits in seconds, bytes and characters. `uid`: who to become where we are root. `trace`: answers
    are to hold what the mapping was given. `strict`: the mapping is one for Jolt 0.1.8.
    """

    timeout: float
    memory: int
    max_answer: int
    max_prints: int
    uid: int
    rows_path: str = ""
    trace: bool = False
    strict: bool = False


class Hello(msgspec.Struct, frozen=True):
    """The first answer: which layers hold (name to None, or to what the kernel said), and what does not compile. `line`: the
    script's line of the first problem, where it has one. `warnings`: what compiles, and is hardly meant.
    """

    layers: dict[str, str | None]
    problems: list[Problem]
    line: int | None = None
    warnings: list[Problem] = []


class Ask(msgspec.Struct, frozen=True):
    """A page is coming, in the next frame. `context`: what the mapping can refer to by `^`."""

    id: str
    context: dict[str, Any] = {}


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
    given, `explained`: what each of its lines did (`imageflow.jolt.explain`), both if asked for and not too large.
    """

    id: str
    result: Any = None
    row_errors: list[RowError] = []
    prints: str = ""
    failure: Failure | None = None
    stage: str = ""
    between: Any = None
    explained: Any = None


_encode_into = msgspec.json.Encoder().encode_into
decode = msgspec.json.Decoder().decode


def frame(value: Any) -> bytearray:
    """A value as a frame. `encode_into` raises MemoryError where `encode` would crash the process."""
    buffer = bytearray(4)
    _encode_into(value, buffer, 4)
    struct.pack_into("<I", buffer, 0, len(buffer) - 4)
    return buffer


def framed(data: bytes) -> bytes:
    """JSON text as a frame."""
    return struct.pack("<I", len(data)) + data
