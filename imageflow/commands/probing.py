"""How commands ask an endpoint that no flow file knows yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from imageflow.commands.shell import run_async
from imageflow.http.client import Transport
from imageflow.http.origin import exact_origin
from imageflow.inspect import probe as probing
from imageflow.settings import Settings

LET_IN = (
    "it asks for a login. Give what it wants with --header 'Name: value'; or write the flow with erp.login "
    "(imageflow flow new NAME --probe URL sketches it), then: imageflow probe FILE"
)
Command = TypeVar("Command", bound=Callable[..., Any])


def REQUEST_OPTIONS(command: Command) -> Command:  # noqa: N802 - used as the constants of options are
    """--header, --method and --body."""
    for option in reversed(
        [
            click.option(
                "--header", multiple=True, help="A header to send, as in 'Authorization: Bearer …'; may be repeated."
            ),
            click.option("--method", type=click.Choice(["GET", "POST"]), help="GET, unless there is a body."),
            click.option("--body", metavar="JSON|@FILE", help="What a POST sends: a JSON object, or a file with one."),
        ]
    ):
        command = option(command)
    return command


def probed(
    settings: Settings, url: str, header: Sequence[str] = (), method: str | None = None, body: str | None = None
) -> probing.Found:
    """What a probe finds of a URL. Raises click.UsageError."""
    try:
        exact_origin(url)
    except ValueError as error:
        raise click.UsageError(f"the URL cannot be probed: {error}") from error
    if body is not None and method == "GET":
        raise click.UsageError("--body goes with POST")
    headers, sent = _headers(header), None if body is None else _body(body)

    async def work() -> probing.Found:
        async with Transport.of(settings) as transport:
            return await probing.probe(transport, url, method or ("GET" if sent is None else "POST"), headers, sent)

    return run_async(work())


def _headers(given: Sequence[str]) -> dict[str, str]:
    headers = {name.strip(): value.strip() for name, colon, value in (one.partition(":") for one in given) if colon}
    if len(headers) != len(given) or not all(headers):
        raise click.UsageError("--header: write 'Name: value', each name once")
    return headers


def _body(given: str) -> Mapping[str, Any]:
    """The object that a POST sends."""
    text = given
    if given.startswith("@"):
        try:
            text = Path(given[1:]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"--body: {given[1:]} cannot be read: {error}") from error
    try:
        body = msgspec.json.decode(text)
    except msgspec.MsgspecError as error:
        raise click.UsageError(f"--body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise click.UsageError("--body must be a JSON object: a flow's parameters are put into it")
    return body
