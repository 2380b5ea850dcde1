"""Commands of those who may come in: users of the gateway, keys of machines."""

from __future__ import annotations

import sys
from typing import Any

import click

from imageflow import settings as settings_
from imageflow.clock import SystemClock, iso
from imageflow.commands.shell import JSON_OPTION, actor, print_json, with_store
from imageflow.gateway.access import MAX_KEY_DAYS, add_key, add_user
from imageflow.settings import Settings
from imageflow.store import ApiKey, AuditEntry, Store


@click.group()
def user() -> None:
    """Who may log in to the gateway."""


@user.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["viewer", "operator", "admin"]), default="operator", show_default=True)
@click.pass_obj
def add(settings: Settings, name: str, role: str) -> None:
    """Add a user, or change their password and role; the password is read from stdin where there is no terminal."""
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    entry = actor().entry("user.save", f"user {name}", role=role)
    with_store(settings, lambda store: add_user(store, name, password, role, audit=entry))
    click.echo(f"{name}: {role}")


@user.command("list")
@JSON_OPTION
@click.pass_obj
def list_users(settings: Settings, as_json: bool) -> None:
    """List the users and their roles."""
    users = with_store(settings, lambda store: store.users())
    if as_json:
        print_json([{"name": item.name, "role": item.role} for item in users])
        return
    for item in users:
        click.echo(f"{item.name:30}  {item.role}")


@user.command("remove")
@click.argument("name")
@click.pass_obj
def remove_user(settings: Settings, name: str) -> None:
    """Remove a user; their tokens end within ten seconds."""
    entry = actor().entry("user.remove", f"user {name}")
    with_store(settings, lambda store: store.remove_user(name, audit=entry))
    click.echo(f"{name}: removed")


@click.group()
def key() -> None:
    """Keys of machines: each opens the outbound door of one flow."""


@key.command("add")
@click.argument("flow_name", metavar="FLOW")
@click.argument("name")
@click.option(
    "--days", type=click.IntRange(1, MAX_KEY_DAYS), help="For how many days it is good; until revoked unless given."
)
@JSON_OPTION
@click.pass_obj
def add_flow_key(settings: Settings, flow_name: str, name: str, days: int | None, as_json: bool) -> None:
    """Make a key for posting to a flow, and print it: this once."""
    secret_key = settings_.secret_key(settings)

    def entry(key_id: str) -> AuditEntry:
        return actor().entry("key.add", f"key {key_id}", flow=flow_name, name=name, days=days)

    made, text = with_store(
        settings, lambda store: add_key(store, secret_key, flow_name, name, days, SystemClock(), entry)
    )
    if as_json:
        print_json({"key": text, **_key_line(made)})
        return
    click.echo(f"{made.name}: key {made.id} of {made.flow}, {_good_until(made)}", err=True)
    click.echo(text)


@key.command("list")
@click.argument("flow_name", metavar="[FLOW]", required=False)
@JSON_OPTION
@click.pass_obj
def list_keys(settings: Settings, flow_name: str | None, as_json: bool) -> None:
    """List keys, also those that have expired; their texts are not kept."""

    async def work(store: Store) -> list[ApiKey]:
        if flow_name is not None:
            await store.flow(flow_name)
        return await store.keys(flow_name)

    found = with_store(settings, work)
    if as_json:
        print_json([_key_line(item) for item in found])
        return
    for item in found:
        click.echo(f"{item.id}  {item.flow:20}  {item.name:30}  by {item.created_by}, {_good_until(item)}")


@key.command("revoke")
@click.argument("key_id", metavar="ID")
@click.pass_obj
def revoke_key(settings: Settings, key_id: str) -> None:
    """Revoke a key; it ends within ten seconds."""
    entry = actor().entry("key.revoke", f"key {key_id}")
    gone = with_store(settings, lambda store: store.revoke_key(key_id, audit=entry))
    click.echo(f"{gone.name}: key {gone.id} of {gone.flow} revoked")


def _key_line(item: ApiKey) -> dict[str, Any]:
    return {
        "id": item.id,
        "flow": item.flow,
        "name": item.name,
        "created_by": item.created_by,
        "created_at": iso(item.created_at),
        "expires_at": iso(item.expires_at),
    }


def _good_until(item: ApiKey) -> str:
    if item.expires_at is None:
        return "good until it is revoked"
    return f"{'was good' if item.expires_at <= SystemClock().now() else 'good'} until {iso(item.expires_at)}"
