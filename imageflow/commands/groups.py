"""A group of commands whose help shows the whole first paragraph of each command's help."""

from __future__ import annotations

import click


class FullGroup(click.Group):
    """Shows the whole summary of each command. Click itself cuts it to one line."""

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        found = [(name, self.get_command(context, name)) for name in self.list_commands(context)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary(command)) for name, command in found if command is not None])


def summary(command: click.Command) -> str:
    """The first paragraph of a command's help, in one line."""
    return " ".join((command.help or "").split("\n\n")[0].split())
