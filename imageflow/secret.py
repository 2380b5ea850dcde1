"""Secrets: named in a flow file, read at the last moment, never printed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

from imageflow.errors import SecretError
from imageflow.masking import hide

MAX_SECRET_BYTES = 64 * 1024
OWN_PREFIX = "IMAGEFLOW_"
DATA_DIR = "imageflow-data"
"""The folder of the embedded queue and database, unless IMAGEFLOW_DATA_DIR is set."""
KEY_FILE = "secret.key"
KERNELS = ("/proc/", "/sys/", "/dev/")


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
    """Where a secret is: exactly one of `env` (a variable's name) and `file` (a path)."""

    env: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        if (self.env is None) == (self.file is None):
            raise ValueError("must be exactly one of {env: NAME} and {file: PATH}")

    def __str__(self) -> str:
        return f"environment variable {self.env}" if self.env is not None else f"file {self.file}"


def resolve(ref: SecretRef | str, environ: Mapping[str, str] | None = None) -> Secret:
    """The value that a flow names by `ref`; a plain string stands for itself.

    Raises SecretError that names the variable or file, never its content. ImageFlow's own
    secrets are refused: otherwise a person who may save flows could have them sent to a server of their own.
    """
    if isinstance(ref, str):
        return Secret(ref)
    environ = os.environ if environ is None else environ
    if ref.env is not None:
        if ref.env.startswith(OWN_PREFIX):
            raise SecretError(f"the {ref} is ImageFlow's own and cannot be a flow's secret")
        value = environ.get(ref.env)
        if not value:
            raise SecretError(f"the {ref} is not set; a flow names it as a secret")
        hide(value)
        return Secret(value)
    assert ref.file is not None
    if _is_own(ref.file, environ):
        raise SecretError(f"the {ref} is ImageFlow's own, or the system's, and cannot be a flow's secret")
    return from_file(Path(ref.file))


def from_file(path: Path) -> Secret:
    """The content of a file, without one newline at its end. Raises SecretError."""
    try:
        data = _read(path)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SecretError(f"the file {path} cannot be read as a secret: {reason}") from error
    if len(data) > MAX_SECRET_BYTES or not text.strip():
        raise SecretError(f"the file {path} is {'empty' if not text.strip() else 'too large for a secret'}")
    value = text.removesuffix("\n").removesuffix("\r")
    hide(value)
    return Secret(value)


def _read(path: Path) -> bytes:
    """The first bytes of a regular file: a pipe would keep us waiting, a huge file would fill the memory."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return os.read(file, MAX_SECRET_BYTES + 1)
    finally:
        os.close(file)


def _is_own(file: str, environ: Mapping[str, str]) -> bool:
    """Whether `file` leads, by any path, to a file that a setting names, to the data directory's key, or to the kernel."""
    path = os.path.realpath(file)
    own = [value for name, value in environ.items() if name.startswith(OWN_PREFIX) and name.endswith("_FILE")]
    own.append(str(Path(environ.get(f"{OWN_PREFIX}DATA_DIR") or DATA_DIR) / KEY_FILE))
    return path.startswith(KERNELS) or path in map(os.path.realpath, own)
