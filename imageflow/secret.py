"""Secrets: named in a flow file, read at the last moment, never printed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from imageflow.errors import SecretError
from imageflow.text.masking import hide

MAX_SECRET_BYTES = 64 * 1024
OWN_PREFIX = "IMAGEFLOW_"
DATA_DIR = "imageflow-data"
"""The folder of the embedded queue and database, unless IMAGEFLOW_DATA_DIR is set."""
KEY_FILE = "secret.key"
DATABASES = tuple(f"{name}.db{end}" for name in ("store", "broker") for end in ("", "-wal", "-shm", "-journal"))
KERNELS = ("/proc/", "/sys/", "/dev/")
DIRS = "/run/secrets/flows"
ENV_PREFIXES = "ERP_,OMNITRON_"
"""Where flows that came over the API may have secrets from, unless IMAGEFLOW_SECRET_DIRS and IMAGEFLOW_SECRET_ENV_PREFIXES
say otherwise. With commas between them.
"""


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


def reference(value: object) -> SecretRef | None:
    """What an object names that holds nothing but `env` or `file`."""
    if isinstance(value, dict) and len(value) == 1 and isinstance(value.get("env") or value.get("file"), str):
        return SecretRef(**value)
    return None


class Bounds(NamedTuple):
    """Where flows that came over the API may have secrets from: folders, and beginnings of variables' names."""

    dirs: tuple[str, ...]
    env_prefixes: tuple[str, ...]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Bounds:
        """As the settings say."""
        dirs = environ.get(f"{OWN_PREFIX}SECRET_DIRS", DIRS)
        prefixes = environ.get(f"{OWN_PREFIX}SECRET_ENV_PREFIXES", ENV_PREFIXES)
        return cls(_listed(dirs), _listed(prefixes))

    def refusal(self, ref: SecretRef) -> str | None:
        """Why the flow may not have that secret."""
        if ref.env is not None:
            if ref.env.startswith(self.env_prefixes):
                return None
            kind, allowed, setting = "variables that begin with", self.env_prefixes, "SECRET_ENV_PREFIXES"
        else:
            path = Path(os.path.realpath(ref.file or ""))
            if any(Path(os.path.realpath(folder)) in path.parents for folder in self.dirs):
                return None
            kind, allowed, setting = "files in", self.dirs, "SECRET_DIRS"
        names = f"{OWN_PREFIX}{setting}"
        if not allowed:
            return f"a flow that was saved over the API may not have the {ref}: {names} names nothing"
        return f"a flow that was saved over the API may have secrets only of {kind} {' or '.join(allowed)} ({names}), not the {ref}"


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def resolve(ref: SecretRef | str, environ: Mapping[str, str] | None = None, *, bounded: bool) -> Secret:
    """The value that a flow names by `ref`; a plain string stands for itself. `bounded`: the flow came over the API.

    Raises SecretError that names the variable or file, never its content. ImageFlow's own
    secrets are refused: otherwise a person who may save flows could have them sent to a server of their own.
    """
    if isinstance(ref, str):
        return Secret(ref)
    environ = os.environ if environ is None else environ
    if bounded and (refusal := Bounds.of(environ).refusal(ref)):
        raise SecretError(refusal)
    if ref.env is not None:
        if ref.env.startswith(OWN_PREFIX):
            raise SecretError(f"the {ref} is ImageFlow's own and cannot be a flow's secret")
        value = environ.get(ref.env)
        if not value:
            raise SecretError(f"the {ref} is not set; the flow names it as a secret")
        hide(value)
        return Secret(value)
    assert ref.file is not None
    path = os.path.realpath(ref.file)
    if _is_own(path, environ):
        raise SecretError(f"the {ref} is ImageFlow's own, or the system's, and cannot be a flow's secret")
    return from_file(Path(path))


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


def _is_own(path: str, environ: Mapping[str, str]) -> bool:
    """Whether a path (without links) leads to a file that a setting names, to one of the data directory's (by whatever
    name: a hard link is the same file), or to the kernel.
    """
    own = [value for name, value in environ.items() if name.startswith(OWN_PREFIX) and name.endswith("_FILE")]
    data_dir = Path(environ.get(f"{OWN_PREFIX}DATA_DIR") or DATA_DIR)
    own += [str(data_dir / name) for name in (KEY_FILE, *DATABASES)]
    return path.startswith(KERNELS) or any(_is_same(path, one) for one in own)


def _is_same(path: str, other: str) -> bool:
    try:
        return Path(path).samefile(other)
    except OSError:
        return path == os.path.realpath(other)
