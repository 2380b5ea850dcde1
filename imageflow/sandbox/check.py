"""Checks without an event loop, for `flow lint`, `flow apply` and `doctor`: script, mapping, and the sandbox itself.

Everything here blocks: a worker process compiles, and ends.
"""

from __future__ import annotations

import subprocess
from typing import Any

import msgspec

from imageflow.errors import Problem, SandboxError
from imageflow.sandbox import jolt
from imageflow.sandbox.outcome import MAX_ANSWER_BYTES, MAX_PRINT_CHARS, MEMORY_BYTES, Program, printable
from imageflow.sandbox.protocol import Config, Hello
from imageflow.sandbox.supervisor import FIRST_UID, UIDS, command, opening

EXAMINE_SECONDS = 10.0


def check_script(source: str) -> list[Problem]:
    """What is wrong with a script: syntax, imports that will fail, neither function defined."""
    return examine(Program(script=source)) if source.strip() else []


def check_mapping(spec: Any, *, strict: bool = False) -> list[Problem]:
    """What is wrong with a Jolt spec, each with its operation's place (`mapping[1]`). `strict`: also what only jolt-community
    has.
    """
    if found := jolt.problems(spec, strict=strict):
        return found
    try:
        text = msgspec.json.encode(spec)
    except (TypeError, ValueError, RecursionError) as error:
        return [Problem("mapping", f"is no JSON: {error}")]
    return examine(Program(mapping=text, strict=strict))


def mapping_warnings(spec: Any) -> list[Problem]:
    """What a Jolt spec says that is allowed, and hardly what is meant, by line; nothing for a spec with problems."""
    if jolt.problems(spec):
        return []
    try:
        hello = _hello(Program(mapping=msgspec.json.encode(spec)))
    except (TypeError, ValueError, RecursionError, TimeoutError, SandboxError):
        return []
    return [Problem(warning.path, printable(warning.message)) for warning in hello.warnings]


def examine(program: Program) -> list[Problem]:
    """What does not compile in a program. Takes at most EXAMINE_SECONDS: hostile text may never end to compile."""
    where = "script" if program.mapping is None else "mapping"
    try:
        return [Problem(problem.path, printable(problem.message)) for problem in _hello(program).problems]
    except TimeoutError:
        return [Problem(where, f"compiling it takes longer than {EXAMINE_SECONDS:g}s")]
    except SandboxError as error:
        return [Problem(where, f"cannot be compiled: {error}")]


def layers() -> dict[str, str | None]:
    """The layers on this machine, each with None, or with the reason why it does not hold. Raises SandboxError."""
    try:
        return _hello(Program()).layers
    except TimeoutError as error:
        raise SandboxError("the process for scripts did not start in time") from error


def _hello(program: Program) -> Hello:
    config = Config(
        program.timeout, MEMORY_BYTES, MAX_ANSWER_BYTES, MAX_PRINT_CHARS, FIRST_UID + UIDS, strict=program.strict
    )
    try:
        done = subprocess.run(  # noqa: S603 - the command is our own
            command(),
            input=opening(program, config),
            capture_output=True,
            check=False,
            timeout=EXAMINE_SECONDS,
            env={},
            cwd="/",
            start_new_session=True,
        )
        return msgspec.json.decode(done.stdout[4:], type=Hello)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    except (OSError, msgspec.MsgspecError) as error:
        raise SandboxError(f"the process for scripts did not start: {error}") from error
