"""A group of commands within the command line, whose help says of each command all that is to be said in one paragraph."""

from __future__ import annotations

import click


class FullGroup(click.Group):
    """click cuts a command's summary to one line; here it stands whole."""

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        found = [(name, self.get_command(context, name)) for name in self.list_commands(context)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary(command)) for name, command in found if command is not None])


def summary(command: click.Command) -> str:
    """The first paragraph of a command's help, in one line."""
    return " ".join((command.help or "").split("\n\n")[0].split())
