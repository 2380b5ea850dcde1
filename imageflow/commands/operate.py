"""Commands for operating: alarms, the audit log, parked messages, the outbound queue, the database."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from datetime import tzinfo
from pathlib import Path
from typing import Literal, TypeVar

import click

from imageflow import settings as settings_
from imageflow.actions import alarms as alarm_actions
from imageflow.actions import audit as audit_log
from imageflow.actions import dead_letters, service_accounts, shapes
from imageflow.actions import migrate_data as migration
from imageflow.broker import Outgoing
from imageflow.broker.connect import connect as connect_broker
from imageflow.commands import stdout, texts
from imageflow.commands.completion import FLOW
from imageflow.commands.groups import FullGroup
from imageflow.commands.rows import zone_of
from imageflow.commands.shell import (
    FILE_OR_STDIN,
    JSON_OPTION,
    actor,
    content_of,
    is_free,
    note,
    print_json,
    reading,
    require_data,
    run_async,
    with_store,
)
from imageflow.errors import RequestError
from imageflow.model.messages import OUTBOUND_QUEUE
from imageflow.runtime.substrate import Substrate, open_substrate
from imageflow.settings import Settings
from imageflow.store import Alarm, AuditRecord, Store
from imageflow.store.connect import open_store
from imageflow.store.data_dir import missing

T = TypeVar("T")
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("flow_name", metavar="[FLOW]", required=False, type=FLOW)
@click.option("--all", "every", is_flag=True, help="Those that have closed, too.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1))
@JSON_OPTION
@click.pass_obj
def alarms(settings: Settings, flow_name: str | None, every: bool, limit: int, as_json: bool) -> None:
    """List open alarms, newest first."""

    async def work(store: Store) -> tuple[list[Alarm], tzinfo]:
        if flow_name is not None:
            await store.flow(flow_name)
        found = await alarm_actions.listed(store, flow_name, is_open=None if every else True, limit=limit + 1)
        return found, await zone_of(store, flow_name)

    alarms, of = reading(settings, work)
    found = [shapes.alarm_shown(item) for item in alarms[:limit]]
    if as_json:
        print_json(found)
    elif found:
        stdout.show(texts.ALARM, [texts.alarm_line(item, of) for item in found])
    else:
        note(("no alarm" if every else "no alarm is open") + (f" of {flow_name}" if flow_name else ""))
    if len(alarms) > limit:
        note(f"there are older alarms: --limit {2 * limit}")


@click.command()
@JSON_OPTION
@click.pass_obj
def holds(settings: Settings, as_json: bool) -> None:
    """List the Omnitron domains that writers hold back from, because they are away."""

    async def work(store: Store) -> tuple[list[shapes.Hold], tzinfo]:
        return [shapes.hold_shown(item) for item in await alarm_actions.holds(store)], await zone_of(store)

    found, of = reading(settings, work)
    if as_json:
        print_json(found)
    elif found:
        stdout.show(texts.HOLD, [texts.hold_line(item, of) for item in found])
    else:
        note("no Omnitron is held: writers write to all of them")


@click.command()
@click.option("--who", help="Changes by this user alone.")
@click.option("--what", help="Changes of this kind alone, as in flow.save.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1))
@JSON_OPTION
@click.pass_obj
def audit(settings: Settings, who: str | None, what: str | None, limit: int, as_json: bool) -> None:
    """List who changed what, newest first."""

    async def work(store: Store) -> tuple[list[AuditRecord], tzinfo]:
        return await audit_log.listed(store, who=who, what=what, limit=limit + 1), await zone_of(store)

    records, of = reading(settings, work)
    found = [shapes.change(record) for record in records[:limit]]
    if as_json:
        print_json(found)
    elif found:
        stdout.show(texts.CHANGE, [texts.change_line(item, of) for item in found])
    else:
        note(" ".join(["no changes", *([f"by {who}"] if who else []), *([f"of the kind {what}"] if what else [])]))
    if len(records) > limit:
        note(f"there are older ones: --limit {2 * limit}")


@click.command()
@click.argument("name", metavar="FLOW", type=FLOW)
@click.argument("file", type=FILE_OR_STDIN)
@click.option("--id", "message_id", help="The message's id: publishing it again with the same id adds nothing.")
@click.pass_obj
def publish(settings: Settings, name: str, file: Path, message_id: str | None) -> None:
    """Publish rows (JSON or NDJSON; - reads stdin) to the outbound queue, as an ERP may; the gateway takes them in."""
    if settings.embedded:
        require_data(settings)
    body = content_of(file)
    if not body.strip():
        raise RequestError(f"{'stdin' if str(file) == '-' else file} is empty: there are no rows to publish")
    headers = {"flow": name} | ({"message-id": message_id} if message_id else {})

    async def work() -> None:
        if missing(settings) is None:  # beside a queue on a server, this machine may have no store
            async with open_store(settings) as store:
                await _check_takes_posts(store, name)
        async with connect_broker(settings.broker_url, consumer=False) as broker:
            await broker.publish(Outgoing(OUTBOUND_QUEUE, body, headers=headers))

    run_async(work())
    click.echo(f"published {len(body):,} bytes for {name}")
    if is_free(settings):
        note("it waits, since no process runs the services: imageflow up")
    note(f"next: imageflow runs {name}; what cannot be used is in imageflow parked list, with the reason")


async def _check_takes_posts(store: Store, name: str) -> None:
    """Raises RequestError where what is published for a flow would be parked."""
    flow = await store.flow(name)
    if flow.no_posts is not None:
        mend = "" if flow.definition.inbound else f": imageflow flow enable {name}"
        raise RequestError(f"{flow.no_posts}{mend}; nothing is published")


@click.group(cls=FullGroup)
def parked() -> None:
    """Messages that could not be used, with the reason: look at them, send them again, throw them away."""


PARKED_ID = click.argument("wanted", metavar="ID", required=False)
PARKED_ALL = click.option("--all", "every", is_flag=True, help="All of them.")


@parked.command("list")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1))
@JSON_OPTION
@click.pass_obj
def list_(settings: Settings, limit: int, as_json: bool) -> None:
    """List parked messages, the oldest first."""

    async def work(substrate: Substrate) -> tuple[list[dead_letters.Parked], tzinfo]:
        return await dead_letters.look(substrate.broker, limit), await zone_of(substrate.store)

    found, of = _with_broker(settings, work)
    if as_json:
        print_json(found)
    elif found:
        stdout.show(texts.PARKED, [texts.parked_line(item, of) for item in found])
    else:
        note("no message is parked")
    if len(found) == limit:
        note(f"there may be more: --limit {2 * limit}")


@parked.command("show")
@click.argument("wanted", metavar="ID")
@click.option("--body", is_flag=True, help="Print the body alone, as it is.")
@JSON_OPTION
@click.pass_obj
def show(settings: Settings, wanted: str, body: bool, as_json: bool) -> None:
    """Show a parked message whole."""

    async def work(substrate: Substrate) -> tuple[dead_letters.Parked, bytes, tzinfo]:
        return *await dead_letters.one(substrate.broker, wanted), await zone_of(substrate.store)

    found, content, of = _with_broker(settings, work)
    if body:
        sys.stdout.buffer.write(content)
        return
    if as_json:
        print_json(shapes.parked_shown(found, content))
        return
    stdout.show(texts.PARKED, [texts.parked_line(found, of)])
    for name, value in found.headers.items():
        click.echo(f"    {name}: {value}")
    click.echo(content.decode("utf-8", "replace"))


@parked.command("replay")
@PARKED_ID
@PARKED_ALL
@click.pass_obj
def replay(settings: Settings, wanted: str | None, every: bool) -> None:
    """Send a parked message back to the queue it came from."""
    _settle_parked(settings, wanted, every=every, verb="replay")


@parked.command("drop")
@PARKED_ID
@PARKED_ALL
@click.pass_obj
def drop(settings: Settings, wanted: str | None, every: bool) -> None:
    """Throw a parked message away."""
    _settle_parked(settings, wanted, every=every, verb="drop")


def _settle_parked(settings: Settings, wanted: str | None, *, every: bool, verb: Literal["replay", "drop"]) -> None:
    if (wanted is None) != every:
        raise click.UsageError("give either the ID of a parked message (see `parked list`), or --all")

    async def work(substrate: Substrate) -> list[dead_letters.Parked]:
        act = dead_letters.replay if verb == "replay" else dead_letters.drop
        return await act(substrate.store, substrate.broker, wanted, actor())

    for item in _with_broker(settings, work):
        click.echo(f"{'sent to ' + item.queue if verb == 'replay' else 'dropped'}: {item.id}")


def _with_broker(settings: Settings, work: Callable[[Substrate], Awaitable[T]]) -> T:
    if settings.embedded:  # a queue on a server holds messages whatever is here
        require_data(settings)

    async def body() -> T:
        async with open_substrate(settings, os.environ, consumer=False) as substrate:
            return await work(substrate)

    return run_async(body())


@click.group(cls=FullGroup)
def db() -> None:
    """The database."""


@db.command()
@click.option(
    "--roles",
    type=FOLDER,
    help="Folder with a file store_url_SERVICE for each service: the roles that these URLs name are made, too.",
)
@click.pass_obj
def upgrade(settings: Settings, roles: Path | None) -> None:
    """Bring the database schema up to date, and in PostgreSQL what the role of each service may do.

    Roles have their rights from the URLs in --roles; without it, those named imageflow_SERVICE that exist. Call it with the
    account that owns the schema.
    """

    async def work(_: Store) -> dict[str, str]:
        return await service_accounts.roles(settings, roles)

    granted = with_store(settings, work)
    click.echo("the database is up to date")
    for line in service_accounts.lines(granted):
        click.echo(line)


@click.group(cls=FullGroup)
def broker() -> None:
    """The message queue."""


@broker.command("accounts")
@click.option(
    "--urls",
    type=FOLDER,
    required=True,
    help="Folder with a file broker_url_SERVICE for each service; broker_url_erp and rabbitmq_management_url if wanted.",
)
@click.option("--apply", is_flag=True, help="Import them by the management API, as the administrator of BROKER_URL.")
@click.option("--management", metavar="URL", help="Where that is; by default at the usual port of BROKER_URL's host.")
@click.pass_obj
def broker_accounts(settings: Settings, urls: Path, apply: bool, management: str | None) -> None:
    """Print an account of RabbitMQ for each service, with what it may do, for `rabbitmqctl import_definitions`."""
    found = service_accounts.accounts(urls)
    if not apply:
        sys.stdout.write(service_accounts.definitions_of(settings, found).decode() + "\n")
        return
    run_async(service_accounts.import_accounts(settings, found, management))
    for account in found:
        click.echo(f"{account.user} may do what {account.service} needs")


@click.command("migrate-data")
@click.option("--from", "source", metavar="DIR|URL", help="The DATA_DIR of the embedded default, or a store's URL.")
@click.option("--from-env", metavar="NAME", help="The variable that holds the store's URL, password and all.")
@JSON_OPTION
@click.pass_obj
def migrate_data(settings: Settings, source: str | None, from_env: str | None, as_json: bool) -> None:
    """Move everything a store holds to the (empty) one that STORE_URL names; the source stays as it is.

    Nothing may be in flight: let runs end and stop all services before.
    """
    if (source is None) == (from_env is None):
        raise click.UsageError("give either --from or --from-env")
    text = source if from_env is None else os.environ.get(from_env)
    if not text:
        raise click.UsageError(f"--from-env: the variable {from_env} is not set")
    moved = run_async(migration.migrate(migration.origin(text), settings))
    if as_json:
        print_json({item.table: item.rows for item in moved})
        return
    for item in moved:
        click.echo(f"{item.table:20}{item.rows:12,}")
    click.echo("everything is moved; start the services with the new settings")
    key = Path(text) / "secret.key"
    if key.exists() and settings.secret_key is None:
        click.echo(f"tokens stay good with {settings_.PREFIX}SECRET_KEY set to what is in {key}")
