"""The command that looks at everything and says what is wrong."""

from __future__ import annotations

import os

import click

from imageflow.commands import stdout
from imageflow.commands.shell import JSON_OPTION, print_json, run_async
from imageflow.commands.tables import Column, Line
from imageflow.doctor import checks
from imageflow.doctor.visit import visit
from imageflow.settings import Settings


@click.command()
@click.option(
    "--management", metavar="URL", help="RabbitMQ's management API; by default on the usual port of its host."
)
@JSON_OPTION
@click.pass_obj
def doctor(settings: Settings, management: str | None, as_json: bool) -> None:
    """Look at broker, database, flows and machine: what is wrong, and the command that mends it."""
    found = checks.findings(run_async(visit(settings, os.environ, management)))
    if as_json:
        print_json({"ok": checks.ok(found), "findings": found})
    else:
        columns = (Column("LEVEL"), Column("ABOUT"))
        notes = [[f"-> {item.mend}"] if item.mend else [] for item in found]
        stdout.show(
            columns, [Line([item.level, item.about], item.text, note) for item, note in zip(found, notes, strict=True)]
        )
    if not checks.ok(found):
        raise click.exceptions.Exit(1)
