"""What README.md and docs/ say is so: commands, options, flows, and messages."""

from __future__ import annotations

import ast
import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

import imageflow
from imageflow.cli import cli
from imageflow.flows import file as flow_file

PACKAGE = Path(imageflow.__path__[0])
ROOT = PACKAGE.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCES = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(imageflow [^`\n]+)`")
FLOW_FIELDS = {"name", "direction", "omnitron"}


def commands_of(text: str) -> Iterator[str]:
    """The command lines of a page: in code, and in the middle of sentences."""
    yield from INLINE.findall(text)
    for line in text.splitlines():
        plain = line.strip().removeprefix("$ ")
        if plain.startswith("imageflow ") and "`" not in plain:
            yield re.split(r"\s{2,}|\s#|\s[|&>]|;", plain)[0]


COMMANDS = sorted({(page.name, line) for page in PAGES for line in commands_of(page.read_text())})


def parsed(line: str) -> tuple[list[str], click.Command, list[str]]:
    """The names of a command line, the command that they lead to, and the words after them."""
    words = shlex.split(re.sub(r"[\[\](){}|,]", " ", line.replace("…", " ").replace("'", "")))[1:]
    command: click.Command = cli
    names = []
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"{' '.join(names)} has no command {words[0]}"
        names.append(words.pop(0))
        command = found
    return names, command, words


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_commands_and_options_are_there(page: str, line: str) -> None:
    """Each command that a page names is a command, and each option is one of it."""
    _, command, words = parsed(line)
    known = {
        name
        for parameter in command.get_params(click.Context(command))
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert options <= known


def flows() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for _, language, body in FENCES.findall(page.read_text()):
            document = yaml.safe_load(body) if language == "yaml" else None
            if isinstance(document, dict) and document.keys() >= FLOW_FIELDS:
                yield page.name, body


@pytest.mark.parametrize(("page", "body"), list(flows()), ids=lambda value: value if value.endswith(".md") else "")
def test_flows_are_flows(page: str, body: str) -> None:
    """Each whole flow of a page is one: fields, values, script and mapping."""
    document = flow_file.read_text(body.encode(), is_yaml=True)
    document.pop("shared_file", None)
    flow_file.compiled(document)


# messages -------------------------------------------------------------------------------------------------------------


@functools.cache
def texts() -> list[str]:
    """All texts of the code, with `…` for what is filled in."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                found.append(
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return [" ".join(text.split()) for text in found]


def messages() -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "messages.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("message", messages())
def test_messages_are_there(message: str) -> None:
    """Each message of docs/messages.md is in the code, with its parts in their order."""
    wanted = re.compile(".*".join(re.escape(part.strip()) for part in message.split("…") if part.strip()))
    assert any(wanted.search(text) for text in texts())


def test_pages_are_linked() -> None:
    """Every page of docs/ can be reached from the README, over other pages."""
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)#:\s]+\.md)(?:#[^)]*)?\)", page.read_text())
        waiting += [(page.parent / link).resolve() for link in links]
    assert not {page for page in PAGES if page.name != "CONTRIBUTING.md"} - seen
    assert all(page.exists() for page in seen)
