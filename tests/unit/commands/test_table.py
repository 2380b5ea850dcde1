"""The table of commands: it says what the commands say, and costs nothing that `--help` does not need."""

import subprocess
import sys

import click
import pytest

from imageflow.cli import cli
from imageflow.commands import COMMANDS


def paragraph(command: click.Command) -> str:
    """The first paragraph of a command's help, on one line."""
    return " ".join((command.help or "").split("\n\n")[0].split())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_what_the_command_says(name):
    """Each entry is a command of that name, and its text is the first paragraph of the command's help."""
    command = cli.get_command(click.Context(cli), name)
    assert command.name == name
    assert paragraph(command) == COMMANDS[name][1]


def test_names_are_in_order():
    """`--help` lists the commands by name."""
    assert list(COMMANDS) == sorted(COMMANDS)


def test_an_unknown_command_is_none():
    """click says what is wrong with a name that is in no table."""
    assert cli.get_command(click.Context(cli), "nope") is None


HEAVY = ("aiohttp", "sqlalchemy", "structlog", "orjson", "aio_pika", "alembic", "uvloop", "imageflow.bootstrap")


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option):
    """No library that a command would need is loaded to say what commands there are."""
    script = (
        "import sys\n"
        "from imageflow.cli import cli\n"
        f"cli.main([{option!r}], prog_name='imageflow', standalone_mode=False)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"
