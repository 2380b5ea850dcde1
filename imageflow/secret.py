"""Secrets: named in a flow file, read at the last moment, never printed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from imageflow.errors import SecretError

MAX_SECRET_BYTES = 64 * 1024


class Secret:
    """A secret's value. Printing, formatting or logging it shows `***`; only `reveal()` gives the text."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a secret cannot be pickled")


class SecretRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a secret is to be found: exactly one of `env` (a variable's name) and `file` (a path)."""

    env: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        if (self.env is None) == (self.file is None):
            raise ValueError("must be exactly one of {env: NAME} and {file: PATH}")

    def __str__(self) -> str:
        return f"environment variable {self.env}" if self.env is not None else f"file {self.file}"


def resolve(ref: SecretRef | str, environ: Mapping[str, str] | None = None) -> Secret:
    """The value that `ref` names; a plain string stands for itself. One trailing newline of a file is dropped.

    Raises SecretError that names the variable or file, never its content.
    """
    if isinstance(ref, str):
        return Secret(ref)
    if ref.env is not None:
        value = (os.environ if environ is None else environ).get(ref.env)
        if not value:
            raise SecretError(f"the {ref} is not set; a flow names it as a secret")
        return Secret(value)
    assert ref.file is not None
    try:
        data = Path(ref.file).read_bytes()[: MAX_SECRET_BYTES + 1]
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SecretError(f"the {ref} cannot be read as a secret: {reason}") from error
    if len(data) > MAX_SECRET_BYTES or not text.strip():
        raise SecretError(f"the {ref} is {'empty' if not text.strip() else 'too large for a secret'}")
    return Secret(text.removesuffix("\n").removesuffix("\r"))
