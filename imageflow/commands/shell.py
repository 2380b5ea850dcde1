"""What the commands have in common: options, the event loop, output, an open store."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
import uvloop

from imageflow.actions.actor import Actor
from imageflow.errors import ImageFlowError
from imageflow.sandbox.supervisor import Sandbox
from imageflow.settings import Settings
from imageflow.store import Store
from imageflow.store.connect import open_store
from imageflow.text.printable import in_json

T = TypeVar("T")

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
FLOWS_DIR = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
FILE_OR_FOLDER = click.Path(path_type=Path, exists=True)
FILE_OR_STDIN = click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end on uvloop. A TaskGroup's single error is raised as itself."""
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
