"""The command line and the API offer the same actions, and every action that changes something is audited.

Derived from the sources: a command's callback and an endpoint's handler are followed through the functions of their own
module to the functions of `imageflow.actions` that they use.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

import imageflow
from imageflow.cli import cli
from imageflow.console.pages import PAGES
from imageflow.console.visit import Page
from imageflow.gateway.endpoints import ENDPOINTS
from imageflow.store import Store

PACKAGE = Path(imageflow.__path__[0])
NO_USE_CASES = {"actor", "credentials", "shapes", "shapes_now", "ways_out"}
"""Modules of actions/ that hold no use cases."""
MODULES = sorted(
    f"imageflow.actions.{path.stem}" for path in (PACKAGE / "actions").glob("[!_]*.py") if path.stem not in NO_USE_CASES
)

COMMON = "imageflow.commands.flow_files"
"""What commands that take flow files have in common."""

ONE_SIDED = {
    # commands only
    "actions.bench.not_compared": "where the store of `try` cannot be asked",
    "actions.flows.check_secrets": "whether this process, which runs the services itself, can read them",
    "actions.flows.checked": "reads a file of the machine",
    "actions.flows.checked_all": "reads files of the machine",
    "actions.flows.checked_folder": "reads files of the machine",
    "actions.flow_folder.apply_file": "a file of the machine",
    "actions.flow_folder.differs": "compares a file with what became of it",
    "actions.errors.failed_runs": "a client of the API lists runs by their status",
    "actions.flow_folder.read": "reads files of the machine",
    "actions.flow_folder.ways_out": "a hint about the files of the machine",
    "actions.flows.file_of": "a hint about the files of the machine",
    "actions.flows.moved": "a hint to who saves a flow at the machine",
    "actions.flows.prune": "the files of one command",
    "actions.flows.stays_off": "compares a file with what became of it",
    "actions.flows.save_all": "the files of one command; a request of the API holds one flow",
    "actions.flows.webhook_key": "shows a secret, which no answer of the API does",
    "actions.keys.id_of": "an address of the API has the id of a key",
    "actions.left_behind.of_flow": "a hint after a roll back; `GET /api/now` and a run tell the same",
    "actions.left_behind.of_runs": "a hint after a roll back; `GET /api/now` and a run tell the same",
    "actions.migrate_data.migrate": "no service may run meanwhile",
    "actions.migrate_data.origin": "no service may run meanwhile",
    "actions.rows.every": "prints rows as they are read; the API gives them by pages",
    "actions.run_log.bounded": "the API gives the log of a run by pages",
    "actions.run_watch.until_ended": "a client of the API asks for the run again",
    "actions.runs.resume_all": "a client of the API lists the active runs",
    "actions.service_accounts.accounts": "sets up RabbitMQ, from files of the machine",
    "actions.service_accounts.definitions_of": "sets up RabbitMQ, from files of the machine",
    "actions.service_accounts.import_accounts": "sets up RabbitMQ, with an administrator's account",
    "actions.service_accounts.lines": "sets up PostgreSQL, with the owner's account",
    "actions.service_accounts.roles": "sets up PostgreSQL, with the owner's account",
    # endpoints only
    "actions.bench.draft": "`try` runs what is in files",
    "actions.bench.input_of": "`try` takes what is in files, or a page of a run",
    "actions.bench.tried": "`try` runs what is in files",
    "actions.left_behind.lately": "`flow rollback` and `log` say what is to be done when it comes about",
    "actions.left_behind.overtaken": "a count beside a run; `retry` says of each row what became of it",
    "actions.marks.look": "drawn by the console",
    "actions.now.look": "`runs`, `errors`, `alarms` and `doctor` each tell their part",
    "actions.run_detail.look": "a picture; `runs` and `log` tell a run in words",
    "actions.runs.retry_rows": "`retry --row` takes one at a time",
    "actions.bench.asked": "`try --live` asks for a flow file, too, which no store knows",
    "actions.bench.compiled": "`try` runs what is in files",
    "actions.bench.writes": "`try` says what would change, and leaves the request out",
    "actions.comparison.compared": "`flow test` and `try` run what is in files",
    "actions.comparison.kept": "`try --from-run` takes one page",
    "actions.search.find": "`trace`, `runs` and `errors` each find their own; shells complete names",
    "actions.system.over_time": "drawn by the console",
    "actions.system.look": "`doctor` looks at the queues, too, and says what mends them",
    "actions.flows.checked_text": "a request holds a flow, and no file",
    "actions.flows.save_as": "an address names the flow, a file names it itself",
    "actions.rows.of_product": "`trace` tells more of the same rows",
    "actions.rows.written_last": "pictures as they arrive; `rows` prints those of a run",
    "actions.rows.show": "no command yet: `rows --json` prints all rows",
    "actions.users.set_role": "`user add` sets the role together with the password",
}
"""Actions that only commands or only endpoints offer, with the reason."""

WITHOUT_ACTION = {
    "scheduler": "a service",
    "reader": "a service",
    "transformer": "a service",
    "writer": "a service",
    "gateway": "a service",
    "check": "asks an ERP and Omnitron, and saves nothing",
    "doctor": "looks at the machine itself",
    "emulate": "runs an emulator",
    "flow new": "writes a file of the machine",
    "import nifi": "makes files of a file",
    "flow schema": "shows what is in the package",
    "probe": "asks an ERP, and saves nothing",
    "publish": "takes the part of an ERP",
    "log_in": "a session of the gateway",
    "log_out": "a session of the gateway",
    "show_me": "a session of the gateway",
    "show_flow_schema": "shows what is in the package",
    "trace_product": "see inspect/product_history.py",
    "watch_events": "says what changes, see gateway/events.py",
    "post_rows": "the door of an ERP, see gateway/outbound.py",
}
"""Commands and endpoints that use no action, with the reason."""


# the sources ----------------------------------------------------------------------------------------------------------


@functools.cache
def parsed(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(module)))


@functools.cache
def imported(module: str) -> dict[str, str]:
    """What a module's names from elsewhere are, whole."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@functools.cache
def functions(module: str) -> dict[str, ast.AST]:
    """The functions of a module, by name."""
    return {node.name: node for node in parsed(module).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def used(module: str, name: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """What a function uses, itself or through functions of its module: whole names, or `.method` of anything."""
    for node in ast.walk(functions(module)[name]):
        if isinstance(node, ast.Attribute):
            owner = imported(module).get(node.value.id) if isinstance(node.value, ast.Name) else None
            yield f"{owner}.{node.attr}" if owner is not None else f".{node.attr}"
        elif isinstance(node, ast.Name) and node.id in functions(module) and node.id not in seen | {name}:
            yield from used(module, node.id, seen | {name})
        elif isinstance(node, ast.Name) and node.id in imported(module):
            yield imported(module)[node.id]


def actions_of(function: Callable[..., object]) -> set[str]:
    """The actions that a command's callback or a handler uses, also through what commands have in common, and the actions that
    these are made of.
    """
    function = inspect.unwrap(function)
    found: set[str] = set()
    common: set[str] = set()
    queue = list(used(function.__module__, function.__name__))
    while queue:
        module, _, name = queue.pop().rpartition(".")
        if module == COMMON and name not in common:
            common.add(name)
            queue += used(module, name)
        if module in MODULES and name in functions(module) and f"{module}.{name}" not in found:
            found.add(f"{module}.{name}")
            queue += used(module, name)
            queue += [f"{module}.{inner}" for inner in called_beside(module, name)]
    return {name.removeprefix("imageflow.") for name in found if not name.rpartition(".")[2].startswith("_")}


def called_beside(module: str, name: str) -> Iterator[str]:
    """The functions of its own module that a function uses."""
    for node in ast.walk(functions(module)[name]):
        if isinstance(node, ast.Name) and node.id in functions(module):
            yield node.id


def leaves(command: click.Command, context: click.Context, path: str = "") -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.list_commands(context):
        yield from leaves(command.get_command(context, name), context, f"{path} {name}".strip())


def name_of(page: Page) -> str:
    return f"{page.method} {page.path}"


BY_PAGE = {name_of(page): actions_of(page.handler) for page in PAGES}
BY_COMMAND = {name: actions_of(leaf.callback) for name, leaf in leaves(cli, click.Context(cli))}
BY_ENDPOINT = {one.name: actions_of(one.handler) if one.handler is not None else set() for one in ENDPOINTS}


# parity ---------------------------------------------------------------------------------------------------------------


def test_commands_and_endpoints_offer_the_same_actions():
    """Each action that commands offer is offered by endpoints too, and the other way round, unless there is a reason."""
    commands, endpoints = set().union(*BY_COMMAND.values()), set().union(*BY_ENDPOINT.values())
    assert commands ^ endpoints == ONE_SIDED.keys()


def test_commands_and_endpoints_use_actions():
    """A command or an endpoint that uses no action has a reason."""
    without = {name for name, actions in {**BY_COMMAND, **BY_ENDPOINT}.items() if not actions}
    assert without == WITHOUT_ACTION.keys()


def test_every_action_is_offered():
    """No public function of actions/ is left that neither commands nor endpoints use."""
    offered = set().union(*BY_COMMAND.values(), *BY_ENDPOINT.values())
    there = {f"{module}.{name}".removeprefix("imageflow.") for module, name in ACTIONS}
    assert there <= offered


def test_the_console_offers_what_is_offered_elsewhere():
    """What a page of the console does, an endpoint or a command does too: each use case stands once, in actions/."""
    elsewhere = set().union(*BY_COMMAND.values(), *BY_ENDPOINT.values())
    assert not set().union(*BY_PAGE.values()) - elsewhere


ROLE_OF_ITS_OWN = {
    "POST /logout": "a session of one's own",
    "POST /flows/{name}/bench": "tries, for operators; what it saves it saves for admins alone",
}
"""Forms that use no action, with the reason."""


@pytest.mark.parametrize("page", [page for page in PAGES if page.method == "POST" and page.role], ids=name_of)
def test_a_form_takes_the_role_that_its_endpoint_takes(page):
    """What changes something in the console changes it by an action, and for whom the API allows that, too."""
    changing = {f"imageflow.{name}" for name in BY_PAGE[name_of(page)]} & CHANGING
    if not changing:
        assert name_of(page) in ROLE_OF_ITS_OWN
        return
    names = {name.removeprefix("imageflow.") for name in changing}
    roles = {one.role for one in ENDPOINTS if BY_ENDPOINT[one.name] & names and one.method != "GET"}
    assert page.role in roles


# audit ----------------------------------------------------------------------------------------------------------------


def methods_that_write() -> set[str]:
    """The store's methods that change what it holds: those that `@writes` or `@writes_once` decorates."""
    return {
        node.name
        for path in (PACKAGE / "store").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.AsyncFunctionDef)
        and any(isinstance(one, ast.Name) and one.id in ("writes", "writes_once") for one in node.decorator_list)
    }


CHANGES = {f".{name}" for name in methods_that_write()} | {".publish", ".ack", ".ask_now"}
CHANGING = {
    f"{module}.{name}" for module in MODULES for name in functions(module) if ".entry" in set(used(module, name))
}
"""Actions that are audited."""
ACTIONS = [(module, name) for module in MODULES for name in functions(module) if not name.startswith("_")]


def test_what_changes_something_is_known():
    """The methods that write are found, and those that read are not among them."""
    assert {".save_flow", ".create_run", ".revoke_key", ".record"} <= CHANGES
    assert not {".flow", ".runs", ".rows", ".audit"} & CHANGES


@pytest.mark.parametrize(("module", "name"), ACTIONS, ids=lambda value: value.rpartition(".")[2])
def test_an_action_that_changes_something_is_audited(module, name):
    """A public function of actions/ that uses a method that writes makes an audit entry of its actor."""
    uses = set(used(module, name))
    if uses & CHANGES:
        assert ".entry" in uses, f"{module}.{name} changes something: {uses & CHANGES}"


@pytest.mark.parametrize(
    "path",
    sorted(
        [
            *(PACKAGE / "commands").glob("*.py"),
            *(PACKAGE / "gateway").glob("handlers_*.py"),
            *(PACKAGE / "console").rglob("*.py"),
        ]
    ),
    ids=lambda path: path.stem,
)
def test_commands_and_handlers_change_nothing_themselves(path):
    """What renders an action calls no method of the store that writes."""
    writes = methods_that_write()
    called = {
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value).rpartition(".")[2] == "store"
    }
    assert not called & writes


METHODS_OF_THE_STORE = {name for name in dir(Store) if not name.startswith("_")}


@pytest.mark.parametrize("path", sorted((PACKAGE / "console").rglob("*.py")), ids=lambda path: path.stem)
def test_what_a_page_reads_is_an_action(path):
    """The console asks no store itself: what it reads, actions read, and so the API can show it, too."""
    called = {
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value).rpartition(".")[2] in ("store", "looks")
    }
    assert not called & METHODS_OF_THE_STORE
