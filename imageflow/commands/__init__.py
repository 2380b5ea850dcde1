"""The command line, one module for each group of commands. A command's module is imported when it is called.

So `imageflow --help` costs no more than click: the table below has what it shows. A command parses its arguments,
calls an action and prints the result; it decides nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

import click

from imageflow.commands import volume

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Write a flow": ("flow", "import", "probe", "check", "try"),
    "Run it": ("run", "cancel", "retry", "rewrite", "resume", "watermark"),
    "See what happened": ("runs", "rows", "errors", "log", "trace", "alarms", "audit"),
    "Run the services": ("up", "scheduler", "reader", "transformer", "writer", "gateway"),
    "Who may come in": ("user", "key"),
    "Keep it going": ("doctor", "holds", "parked", "publish", "db", "broker", "migrate-data"),
    "Play": ("demo", "emulate"),
}
"""In which part of `--help` a command stands, in the order in which it is needed."""

COMMANDS: Mapping[str, tuple[str, str]] = {
    "alarms": ("operate:alarms", "List open alarms, newest first."),
    "audit": ("operate:audit", "List who changed what, newest first."),
    "broker": ("operate:broker", "The message queue."),
    "cancel": ("runs:cancel", "End a run: nothing more is read or sent."),
    "check": (
        "lab:check",
        "Try both logins of a flow, ask for a page of the ERP and a product of Omnitron; nothing is written.",
    ),
    "db": ("operate:db", "The database."),
    "demo": ("demo:demo", "Fake ERP, fake Omnitron and all services: run the main job and check the result."),
    "doctor": (
        "doctor:doctor",
        "Look at broker, database, flows and machine: what is wrong, and the command that mends it.",
    ),
    "emulate": ("lab:emulate", "Run a fake ERP or a fake Omnitron (user demo, password demo)."),
    "errors": (
        "rows:errors",
        "List the causes for which rows have failed: those of a run, or those that are open in all flows, the most frequent first.",
    ),
    "flow": ("flows:flow", "Check, save, show, compare, switch off and delete flows."),
    "gateway": ("services:gateway", "Take in outbound posts; serve /ready, /health, /metrics."),
    "holds": ("operate:holds", "List the Omnitron domains that writers hold back from, because they are away."),
    "import": ("importing:import_", "Make flow files of the flows of another system."),
    "key": ("users:key", "Keys of machines: each opens the outbound door of one flow."),
    "log": (
        "rows:log",
        "Tell a run: who asked for it, what was read, printed and failed, who retried it, and how it ended.",
    ),
    "migrate-data": (
        "operate:migrate_data",
        "Move everything a store holds to the (empty) one that STORE_URL names; the source stays as it is.",
    ),
    "parked": (
        "operate:parked",
        "Messages that could not be used, with the reason: look at them, send them again, throw them away.",
    ),
    "probe": (
        "lab:probe",
        "Look at an ERP's endpoint: where its list is and how it pages. Prints what a flow file needs, with evidence.",
    ),
    "publish": (
        "operate:publish",
        "Publish rows (JSON or NDJSON; - reads stdin) to the outbound queue, as an ERP may; the gateway takes them in.",
    ),
    "reader": ("services:reader", "Read pages from ERPs."),
    "resume": (
        "runs:resume",
        "Let runs go on: publish anew what they wait for. Harmless where nothing was lost.",
    ),
    "retry": ("runs:retry", "Put failed and cancelled rows through again: a run's, one, or those of one cause."),
    "rewrite": ("runs:rewrite", "Ask the ERP again for what a run wrote by a version that was rolled back."),
    "rows": ("rows:rows", "List the rows of a run."),
    "run": ("runs:run", "Run a flow now."),
    "runs": ("rows:runs", "List runs, newest first."),
    "scheduler": ("services:scheduler", "Fire schedules and let runs begin."),
    "trace": (
        "rows:trace",
        "Show everything that happened to a product, from the ERP's row to Omnitron's answers. A base code works as well as a SKU.",
    ),
    "transformer": ("services:transformer", "Turn pages into rows: script, mapping."),
    "try": (
        "lab:try_flow",
        "Show what script, mapping and rows make of an answer, step by step; nothing is written.",
    ),
    "up": ("services:up", "Run all services in one process."),
    "user": ("users:user", "Who may log in to the gateway."),
    "watermark": ("flows:watermark", "The instant since which a flow asks for changes."),
    "writer": ("services:writer", "Write rows to Omnitron."),
}
"""Each command's module and name in it, and the first paragraph of its help."""


MEANT: Mapping[str, str] = {
    "help": "--help",
    "list": "flow list, or imageflow runs",
    "status": "runs --active, or imageflow doctor",
    "flows": "flow list",
    "keys": "key list",
    "users": "user list",
}
"""Commands that people look for, and what they find under another name."""


class HelpText(click.HelpFormatter):
    """The text of `--help`, with lines that break at blanks alone: what it names is copied, and click breaks at hyphens, too."""

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", _HYPHEN))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(name, text.replace("-", _HYPHEN)) for name, text in rows], col_max, col_spacing)

    def getvalue(self) -> str:
        return super().getvalue().replace(_HYPHEN, "-")


_HYPHEN = "\N{NON-BREAKING HYPHEN}"


class CommandTable(click.Group):
    """A group of commands that are imported when they are called."""

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*args, **options)
        self._table = table

    def list_commands(self, _context: click.Context) -> list[str]:
        return sorted(self._table)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in self._table:
            return None
        module, _, attribute = self._table[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
        return volume.options(command)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, and with what may be meant where there is no such command."""
        try:
            return super().resolve_command(context, args)
        except click.exceptions.NoSuchCommand as error:
            name = error.command_name
            if (meant := MEANT.get(name)) is not None:
                raise click.UsageError(
                    f"No such command {name!r}. Did you mean: imageflow {meant}?", context
                ) from error
            raise click.exceptions.NoSuchCommand(name, possibilities=self._table, ctx=context) from error

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, self._table))
        for heading, names in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(widest), self._table[name][1]) for name in names])
