"""Commands that make flow files of what other systems say of theirs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from imageflow.commands import stdout
from imageflow.commands.flows import write_schema
from imageflow.commands.groups import FullGroup
from imageflow.commands.shell import FILE_OR_STDIN, note
from imageflow.commands.tables import Column, Line
from imageflow.errors import FlowFileError
from imageflow.flows import file as flow_file
from imageflow.flows import nifi as nifi_flows
from imageflow.flows.imported import Imported, comment, imported
from imageflow.flows.template import SCHEMA_FILE

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group("import", cls=FullGroup)
def import_() -> None:
    """Make flow files of the flows of another system."""


@import_.command()
@click.argument("file", type=FILE_OR_STDIN)
@click.option(
    "--into",
    type=FOLDER,
    default=".",
    show_default=True,
    help="The folder to write the flow files to; made if it is not there.",
)
def nifi(file: Path, into: Path) -> None:
    """Make flow files of a flow definition that NiFi downloads, or of the answer of Akinon's `GET /api/nifi/flow/list`.

    FILE is JSON; - reads stdin. A flow file begins with the questions that are left, as comments. Secrets are not taken over:
    the questions name the variables to set. Files that are there already stay as they are, and then nothing is written.
    """
    data = sys.stdin.buffer.read(nifi_flows.MAX_BYTES + 1) if str(file) == "-" else _content(file)
    made: list[Imported] = []
    for found in nifi_flows.read(data):
        made.append(_checked(imported(found, {one.name for one in made})))
    paths = [into / f"{one.name}.yaml" for one in made]
    if there := [str(path) for path in paths if path.exists()]:
        raise click.UsageError(f"{', '.join(there)}: there already; nothing is written")
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(
            f"{into}: the folder cannot be made: {error.strerror}; name another with --into"
        ) from error
    write_schema(into)
    head = f"# yaml-language-server: $schema={SCHEMA_FILE}\n"
    for path, one in zip(paths, made, strict=True):
        path.write_text(head + comment(one.questions) + flow_file.dump(one.document))
    columns = (Column("FILE"), Column("DIRECTION"), Column("QUESTIONS", right=True))
    lines = [
        Line([str(path), one.document["direction"], str(len(one.questions))])
        for path, one in zip(paths, made, strict=True)
    ]
    stdout.show(columns, lines)
    note("next: answer the questions at the head of each file, then: imageflow flow lint FILE, imageflow check FILE")


def _content(file: Path) -> bytes:
    """What the file holds, and not much more than is allowed."""
    with file.open("rb") as opened:
        return opened.read(nifi_flows.MAX_BYTES + 1)


def _checked(one: Imported) -> Imported:
    """With what `flow lint` would say of it among the questions."""
    try:
        flow_file.compiled(one.document)
    except FlowFileError as error:
        return Imported(
            one.name, one.document, [*one.questions, *(f"flow lint says: {each}" for each in error.problems)]
        )
    return one
