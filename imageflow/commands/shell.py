"""What the commands have in common: options, the event loop, output, an open store."""

from __future__ import annotations

import asyncio
import gc
import getpass
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
import uvloop

from imageflow.actions.actor import Actor
from imageflow.commands import stdout
from imageflow.commands.volume import is_quiet
from imageflow.errors import ImageFlowError, NotFoundError, ParameterError
from imageflow.sandbox.supervisor import Sandbox
from imageflow.secret import Secret
from imageflow.settings import Settings
from imageflow.store import Store
from imageflow.store.connect import open_store
from imageflow.store.data_dir import DataDirBusy, data_dir_lock, missing
from imageflow.text.printable import in_json

T = TypeVar("T")

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
PORT = click.IntRange(0, 65535)
FLOWS_DIR = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
FILE_OR_FOLDER = click.Path(path_type=Path, exists=True)
FILE_OR_STDIN = click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)


@contextmanager
def naming(**names: str) -> Iterator[None]:
    """Wrong parameters are told by the names that a command has for them: `--NAME`, unless `names` has another."""
    try:
        yield
    except ParameterError as error:
        name = names.get(error.parameter, f"--{error.parameter}")
        raise click.UsageError(f"{name}: {error.reason}") from error


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end on uvloop. A TaskGroup's single error is raised as itself."""
    gc.freeze()  # what is imported by now stays; see cli.main
    gc.enable()
    try:
        return uvloop.run(work)
    except BaseExceptionGroup as group:
        raise _first(group) from group
    except asyncio.CancelledError as error:
        raise ImageFlowError("stopped before the end; what was accepted goes on when ImageFlow runs again") from error


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def with_store(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    """The result of `work` on the store that the settings name."""

    async def body() -> T:
        async with open_store(settings) as store:
            return await work(store)

    return run_async(body())


def changing(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    """As `with_store`, for work on what must be there already: where there is no store yet, it makes none and says so."""
    require_data(settings)
    return with_store(settings, work)


def require_data(settings: Settings) -> None:
    """Raises NotFoundError where there is no store yet: nothing that a command names is there."""
    if (why := missing(settings)) is not None:
        raise NotFoundError(why)


def reading(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    """As `with_store`, for work that only reads: where there is no store yet, it makes none and says so."""

    async def body() -> T:
        async with store_to_read(settings) as store:
            return await work(store)

    return run_async(body())


@asynccontextmanager
async def store_to_read(settings: Settings, *, said: bool = True) -> AsyncIterator[Store]:
    """The store that the settings name, or an empty one where its file is not there, which is `said`."""
    if (why := missing(settings)) is None:
        async with open_store(settings) as store:
            yield store
        return
    if said:
        note(why)
    with tempfile.TemporaryDirectory() as folder:
        url = Secret(f"sqlite:///{folder}/store.db")
        async with open_store(msgspec.structs.replace(settings, data_dir=Path(folder), store_url=url)) as store:
            yield store


def is_free(settings: Settings) -> bool:
    """Whether no process runs the services of the embedded default."""
    if not settings.embedded:
        return False
    try:
        with data_dir_lock(settings):
            return True
    except DataDirBusy:
        return False


def note(text: str) -> None:
    """Something beside the result, on stderr, unless --quiet is given."""
    if not is_quiet():
        stdout.beside(text)


def actor() -> Actor:
    """The user of this process."""
    return Actor(getpass.getuser(), "command line")


def print_json(value: object, *, indent: bool = False) -> None:
    """One line, so that the last line of stdout is the whole object; indented where people read it.

    By msgspec: numbers of any length stay what they are.
    """
    sys.stdout.write(json_text(value, indent=indent) + "\n")
    sys.stdout.flush()


def json_text(value: object, *, indent: bool = False) -> str:
    """A value as JSON that a terminal may show."""
    text = msgspec.json.encode(value)
    return in_json((msgspec.json.format(text) if indent else text).decode())


def sandbox_of(settings: Settings) -> Sandbox:
    """Where the settings let scripts run."""
    return Sandbox(best_effort=settings.jail == "best-effort")


def content_of(file: Path) -> bytes:
    """What a file holds; `-` is stdin."""
    return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()


def say_stopping() -> None:
    """What the first Ctrl-C does, and a second."""
    note("stopping; Ctrl-C again stops at once")
