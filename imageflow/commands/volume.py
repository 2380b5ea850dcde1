"""How much commands say: --quiet and --verbose, which every command takes.

Services log what they do. Other commands log only what is wrong, and all of it with --verbose.
"""

from __future__ import annotations

from typing import Any, Literal

import click

SERVICES = frozenset(("up", "scheduler", "reader", "transformer", "writer", "gateway"))
_KEY = "imageflow.volume"

Volume = Literal["quiet", "verbose"]


def options(command: click.Command) -> click.Command:
    """The command with the options, and each command of it if it is a group; once."""
    if not any(parameter.name == "quiet" for parameter in command.params):
        command.params += [
            _option(("-q", "--quiet"), "Say no more than the result, and what is wrong."),
            _option(("-v", "--verbose"), "Log what is done, step by step."),
        ]
    for one in command.commands.values() if isinstance(command, click.Group) else ():
        options(one)
    return command


def _option(names: tuple[str, str], text: str) -> click.Option:
    return click.Option(names, is_flag=True, expose_value=False, callback=_chosen, help=text)


def _chosen(context: click.Context, option: click.Parameter, value: Any) -> None:
    if not value or context.resilient_parsing:
        return
    known = context.find_root().meta.setdefault(_KEY, option.name)
    if known != option.name:
        raise click.UsageError("give either --quiet or --verbose")
    set_level(context)


def set_level(context: click.Context) -> None:
    """Let logs say as much as the command and its options ask for."""
    import logging  # noqa: PLC0415 - --help and --version need no logs, half of their time

    from imageflow.telemetry import log  # noqa: PLC0415 - the same

    root = context.find_root()
    usual = logging.INFO if root.invoked_subcommand in SERVICES else logging.WARNING
    log.set_level({"quiet": logging.WARNING, "verbose": logging.INFO}.get(root.meta.get(_KEY, ""), usual))


def is_quiet() -> bool:
    """Whether the command that runs was told to be quiet."""
    context = click.get_current_context(silent=True)
    return context is not None and context.find_root().meta.get(_KEY) == "quiet"
