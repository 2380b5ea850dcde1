"""Commands of those who may come in: users of the gateway, keys of machines."""

from __future__ import annotations

import sys
from datetime import tzinfo

import click

from imageflow import settings as settings_
from imageflow.actions import keys, shapes, users
from imageflow.clock import SystemClock
from imageflow.commands import stdout, texts
from imageflow.commands.completion import FLOW
from imageflow.commands.groups import FullGroup
from imageflow.commands.rows import zone_of
from imageflow.commands.shell import JSON_OPTION, actor, changing, note, print_json, reading, require_data, with_store
from imageflow.commands.tables import Column, Line
from imageflow.commands.texts import key_validity
from imageflow.settings import Settings
from imageflow.store import ApiKey, Store
from imageflow.text.instant import iso


@click.group(cls=FullGroup)
def user() -> None:
    """Who may log in to the gateway."""


@user.command()
@click.argument("name")
@click.option("--role", type=click.Choice(users.ROLES), default="operator", show_default=True)
@click.pass_obj
def add(settings: Settings, name: str, role: str) -> None:
    """Add a user, or change their password and role; the password is read from stdin where there is no terminal."""
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    with_store(settings, lambda store: users.save(store, name, password, role, actor()))
    click.echo(f"{name}: {role}")


@user.command("list")
@JSON_OPTION
@click.pass_obj
def list_users(settings: Settings, as_json: bool) -> None:
    """List the users and their roles."""
    found = [shapes.me(item) for item in reading(settings, users.listed)]
    if as_json:
        print_json(found)
    elif found:
        stdout.show((Column("USER"), Column("ROLE")), [Line([item.name, item.role]) for item in found])
    else:
        note("no users: imageflow user add NAME --role admin")


@user.command("remove")
@click.argument("name")
@click.pass_obj
def remove_user(settings: Settings, name: str) -> None:
    """Remove a user; their tokens end within a second."""
    changing(settings, lambda store: users.remove(store, name, actor()))
    click.echo(f"{name}: removed")


@click.group(cls=FullGroup)
def key() -> None:
    """Keys of machines: each opens the outbound door of one flow."""


@key.command("add")
@click.argument("flow_name", metavar="FLOW", type=FLOW)
@click.argument("name")
@click.option(
    "--days", type=click.IntRange(1, keys.MAX_DAYS), help="For how many days it is good; until revoked unless given."
)
@JSON_OPTION
@click.pass_obj
def add_key(settings: Settings, flow_name: str, name: str, days: int | None, as_json: bool) -> None:
    """Make a key for posting to a flow, and print it: this once."""
    require_data(settings)
    secret_key = settings_.secret_key(settings)

    async def work(store: Store) -> tuple[keys.NewKey, tzinfo]:
        made = await keys.add(store, secret_key, flow_name, name, days, actor(), SystemClock())
        return made, await zone_of(store, flow_name)

    made, of = changing(settings, work)
    if as_json:
        print_json(shapes.key_made(made))
        return
    shown = shapes.key_shown(made.key)
    click.echo(f"{shown.name}: key {shown.id} of {shown.flow}, {key_validity(shown, _now(), of)}", err=True)
    click.echo(made.text)


@key.command("list")
@click.argument("flow_name", metavar="[FLOW]", required=False, type=FLOW)
@JSON_OPTION
@click.pass_obj
def list_keys(settings: Settings, flow_name: str | None, as_json: bool) -> None:
    """List keys, also those that have expired; their texts are not kept."""

    async def work(store: Store) -> tuple[list[shapes.KeyShown], tzinfo]:
        return [shapes.key_shown(item) for item in await keys.listed(store, flow_name)], await zone_of(store, flow_name)

    found, of = reading(settings, work)
    if as_json:
        print_json(found)
    elif found:
        stdout.show(texts.KEY, [texts.key_line(item, _now(), of) for item in found])
    else:
        note("no keys" + (f" of {flow_name}: imageflow key add {flow_name} NAME" if flow_name else ""))


@key.command("revoke")
@click.argument("key", metavar="ID|NAME")
@click.pass_obj
def revoke_key(settings: Settings, key: str) -> None:
    """Revoke a key, by its ID or by a name that no other key has; it ends within a second."""

    async def work(store: Store) -> ApiKey:
        return await keys.revoke(store, await keys.id_of(store, key), actor())

    gone = changing(settings, work)
    click.echo(f"{gone.name}: key {gone.id} of {gone.flow} revoked")


def _now() -> str:
    return iso(SystemClock().now())
