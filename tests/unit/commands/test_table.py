"""The table of commands: it says what the commands say, and costs nothing that `--help` does not need."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from imageflow.cli import cli
from imageflow.commands import COMMANDS, GROUPS


def paragraph(command: click.Command) -> str:
    """The first paragraph of a command's help, on one line."""
    return " ".join((command.help or "").split("\n\n")[0].split())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_what_the_command_says(name):
    """Each entry is a command of that name, and its text is the first paragraph of the command's help."""
    command = cli.get_command(click.Context(cli), name)
    assert command.name == name
    assert paragraph(command) == COMMANDS[name][1]


def test_each_command_stands_in_one_group():
    """`--help` shows every command, once; nothing else stands in a group."""
    shown = [name for names in GROUPS.values() for name in names]
    assert sorted(shown) == sorted(COMMANDS)


def leaves(command, path=()):
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.list_commands(click.Context(command)):
        yield from leaves(command.get_command(click.Context(command), name), (*path, name))


LEAVES = dict(leaves(cli))


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_help_of_every_command(path):
    """Each command has a help that fits 80 columns, says what it is for, and takes --quiet and --verbose."""
    shown = CliRunner().invoke(cli, [*path, "--help"], terminal_width=80)
    assert shown.exit_code == 0
    assert paragraph(LEAVES[path])
    assert "--quiet" in shown.output
    assert "--verbose" in shown.output
    assert max(map(len, shown.output.splitlines())) <= 80


def test_the_help_of_a_group_cuts_nothing():
    """Each command of a group with the whole first paragraph of its help."""
    shown = " ".join(CliRunner().invoke(cli, ["flow", "--help"], terminal_width=80).output.split())
    assert (
        "Disable a flow: it is not scheduled and takes no posts, whatever its file says, until `flow enable`." in shown
    )


def test_help_breaks_no_value():
    """What stands in a help is copied: lines break at blanks alone."""
    for args, values in [
        ([], ["./imageflow-data", "best-effort"]),
        (["flow", "apply"], ["--flows`"]),
        (["run"], ["--ids-file"]),
    ]:
        for width in range(40, 110):
            shown = CliRunner().invoke(cli, [*args, "--help"], terminal_width=width).output
            assert all(value in shown for value in values), width


def test_without_a_command():
    """`imageflow` alone shows its help, and that is no mistake."""
    shown = CliRunner().invoke(cli, [])
    assert (shown.exit_code, "See what happened:" in shown.output) == (0, True)


@pytest.mark.parametrize("args", [["-q", "runs"], ["runs", "--quiet"], ["flow", "-q", "list"], ["flow", "list", "-q"]])
def test_quiet_stands_anywhere(tmp_path, args):
    """Before or after the command; nothing is said beside the result."""
    done = CliRunner().invoke(cli, args, env={"IMAGEFLOW_DATA_DIR": str(tmp_path / "none")})
    assert (done.exit_code, done.output) == (0, "")


def test_quiet_and_verbose_are_opposites(tmp_path):
    """Both at once are refused."""
    environ = {"IMAGEFLOW_DATA_DIR": str(tmp_path)}
    for args in (["runs", "-q", "-v"], ["-v", "runs", "-q"]):
        assert CliRunner().invoke(cli, args, env=environ).exit_code == 2


def test_an_unknown_command_is_none():
    """click says what is wrong with a name that is in no table."""
    assert cli.get_command(click.Context(cli), "nope") is None


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("flows", "Did you mean: imageflow flow list?"),
        ("status", "Did you mean: imageflow runs --active, or imageflow doctor?"),
        ("list", "Did you mean: imageflow flow list, or imageflow runs?"),
        ("help", "Did you mean: imageflow --help?"),
        ("dcotor", "Did you mean 'doctor'?"),
        ("xyzzy", "No such command 'xyzzy'."),
    ],
)
def test_what_is_meant_by_an_unknown_command(name, meant):
    """It is refused, with the command that does it, or the one that is written nearly so."""
    done = CliRunner().invoke(cli, [name])
    assert (done.exit_code, meant in done.stderr) == (2, True), done.stderr


HEAVY = (
    "rich",
    "logging",
    "aiohttp",
    "sqlalchemy",
    "structlog",
    "orjson",
    "aio_pika",
    "alembic",
    "uvloop",
    "imageflow.bootstrap",
)


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
