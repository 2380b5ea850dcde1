"""The entry point: the group of all commands, and what an error becomes on stderr and in the exit status.

Exit status: 0 done, 1 the work failed, 2 wrong usage, settings or flow file. Results go to stdout, logs to stderr.
"""

from __future__ import annotations

import gc
import os
import sys
import textwrap
from typing import NoReturn

import click

from imageflow import __version__, settings
from imageflow.commands import COMMANDS, CommandTable, HelpText, stdout, volume
from imageflow.errors import FlowFileError, ImageFlowError

EPILOG = "\b\nSettings, from the environment:\n" + "\n".join(
    f"  {settings.PREFIX}{name}\n"
    + textwrap.fill(text, 78, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False)
    for name, text in settings.DOCS.items()
)


click.Context.formatter_class = HelpText


@click.group(
    cls=CommandTable,
    table=COMMANDS,
    epilog=EPILOG,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="imageflow")
@click.pass_context
def cli(context: click.Context) -> None:
    """Move product images from an ERP to Omnitron."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        return
    from imageflow.telemetry import log  # noqa: PLC0415 - --help and --version need no logs, half of their time

    context.obj = settings.load(os.environ)
    log.configure(context.obj.log_format)
    volume.set_level(context)


volume.options(cli)


def main() -> NoReturn:
    """Run a command; turn errors into words and an exit status."""
    gc.disable()  # until a command is at work (shell.run_async): what is imported stays, and looking through it takes a tenth of a start
    stdout.install()
    try:
        # outside standalone mode click returns the status of an Exit instead of ending the process
        status = cli(standalone_mode=False)
        sys.stdout.flush()
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except FlowFileError as error:
        for problem in error.problems:
            stdout.beside(str(problem))
        sys.exit(error.exit_status)
    except ImageFlowError as error:
        stdout.beside(f"imageflow: {error}")
        sys.exit(error.exit_status)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
