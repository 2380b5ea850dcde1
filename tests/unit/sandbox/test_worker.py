"""What the worker says of prints and exceptions. The pages themselves: tests/integration/test_sandbox.py."""

from __future__ import annotations

import json

from imageflow.sandbox import worker
from imageflow.sandbox.protocol import SCRIPT, Failure


def test_prints_are_bounded() -> None:
    """Prints over the limit are counted, not kept."""
    prints = worker.Prints(10)
    print("x" * 8, "y" * 8, file=prints)
    assert prints.take() == "x" * 8 + " y\n... and 8 more characters"
    assert prints.take() == ""


def test_failures_name_the_scripts_line() -> None:
    """The line is the script's innermost, also where the exception is raised further down."""
    names: dict[str, object] = {"loads": json.loads}
    exec(compile("def f():\n    return g()\ndef g():\n    return loads('x')\n", SCRIPT, "exec"), names)
    try:
        names["f"]()  # type: ignore[operator]
    except ValueError as error:
        failure = worker.failure_of(error)
    assert (failure.type, failure.line) == ("JSONDecodeError", 4)


def test_failures_that_cannot_be_shown() -> None:
    """An exception whose text raises is shown by its type."""

    class SilentError(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert worker.failure_of(SilentError()) == Failure("SilentError")
