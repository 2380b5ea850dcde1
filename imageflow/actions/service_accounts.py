"""An account of its own for each service, in PostgreSQL and in RabbitMQ, made from the URLs that the services get."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from imageflow import secret
from imageflow.broker.rabbitmq_accounts import ERP, MONITOR, Account, definitions
from imageflow.broker.rabbitmq_connection import MANAGEMENT_PORTS
from imageflow.errors import BrokerError, SecretError, SettingsError
from imageflow.http.client import Transport
from imageflow.secret import Secret
from imageflow.settings import Settings
from imageflow.store.role_setup import set_up_roles
from imageflow.store.service_roles import SERVICES
from imageflow.text.masking import hide

MANAGEMENT_FILE = "rabbitmq_management_url"
IMPORT_SECONDS = 60.0


async def roles(settings: Settings, folder: Path | None) -> dict[str, str]:
    """Grant the services' roles in PostgreSQL what each needs; returns the roles by service. `folder` has a file
    `store_url_SERVICE` for each: roles that cannot log in are made. Raises SettingsError, StoreError.
    """
    if settings.store_url.reveal().startswith("sqlite:"):
        if folder is not None:
            raise SettingsError("STORE_URL is a file: there are roles in PostgreSQL only")
        return {}
    urls = {service: _url(folder / f"store_url_{service}") for service in SERVICES} if folder is not None else None
    return await set_up_roles(settings.store_url, urls)


def accounts(folder: Path) -> list[Account]:
    """The accounts of RabbitMQ that the URLs in a folder name: `broker_url_SERVICE` for each service; `broker_url_erp` and
    `rabbitmq_management_url` where they are there. Raises SettingsError.
    """
    files = {service: folder / f"broker_url_{service}" for service in SERVICES}
    beside = {ERP: folder / f"broker_url_{ERP}", MONITOR: folder / MANAGEMENT_FILE}
    files |= {name: path for name, path in beside.items() if path.exists()}
    found = [_account(service, _url(path)) for service, path in files.items()]
    if len({account.user for account in found}) < len(found):
        raise SettingsError(f"two of the URLs in {folder} have the same user: each account needs its own")
    return found


def definitions_of(settings: Settings, found: Sequence[Account]) -> bytes:
    """What RabbitMQ imports, as JSON, for the virtual host of BROKER_URL. It holds hashes, and no password."""
    return msgspec.json.format(msgspec.json.encode(definitions(_vhost(settings), found)), indent=1)


async def import_accounts(settings: Settings, found: Sequence[Account], management: str | None) -> None:
    """Import them by RabbitMQ's management API, with the user of BROKER_URL, who must be an administrator.

    Raises BrokerError, SettingsError.
    """
    target = urlsplit(settings.broker_url.reveal())
    if target.scheme not in MANAGEMENT_PORTS:
        raise SettingsError("BROKER_URL is a file: there are accounts in RabbitMQ only")
    user = unquote(target.username or "guest")
    if user in {account.user for account in found}:
        raise SettingsError(f"BROKER_URL has the user of a service, {user}: it must be the administrator's")
    scheme, port = MANAGEMENT_PORTS[target.scheme]
    base = (management or f"{scheme}://{target.hostname}:{port}").rstrip("/")
    credentials = base64.b64encode(f"{user}:{unquote(target.password or 'guest')}".encode()).decode()
    async with Transport(connections=1) as transport:
        answer = await transport.request(
            "POST",
            f"{base}/api/definitions",
            headers={"Authorization": f"Basic {credentials}", "Content-Type": "application/json"},
            body=definitions_of(settings, found),
            timeout=IMPORT_SECONDS,
        )
    if not answer.ok:
        raise BrokerError(
            f"RabbitMQ's management API at {base} answers {answer.status}: {_said(answer.status)}", transient=False
        )


def _said(status: int) -> str:
    if status in (401, 403):
        return "the user of BROKER_URL is no administrator"
    return "it does not import the accounts; `broker accounts` without --apply prints what it was given"


def _vhost(settings: Settings) -> str:
    return unquote(urlsplit(settings.broker_url.reveal()).path.removeprefix("/")) or "/"


def _account(service: str, url: Secret) -> Account:
    parts = urlsplit(url.reveal())
    if not parts.username or not parts.password:
        raise SettingsError(f"the URL of the account {service} needs a user and a password")
    password = unquote(parts.password)
    hide(password)
    return Account(service, unquote(parts.username), password)


def _url(path: Path) -> Secret:
    try:
        return secret.from_file(path)
    except SecretError as error:
        raise SettingsError(f"{path.name}: {error}") from error


def lines(found: Mapping[str, str]) -> list[str]:
    """For people: which role each service has."""
    return [f"{role} has what {service} needs" for service, role in found.items()]
