"""The services' own accounts on the test servers, as `db upgrade --roles` and `broker accounts` make them."""

from __future__ import annotations

import secrets
from pathlib import Path
from urllib.parse import urlsplit

from imageflow import settings as settings_
from imageflow.actions import service_accounts
from imageflow.settings import Settings
from imageflow.store.service_roles import SERVICES
from tests.postgres_server import Postgres
from tests.rabbitmq_server import Rabbit

ACCOUNTS = (*SERVICES, "erp")


def urls(folder: Path, store_url: str, broker_url: str) -> Path:
    """A folder with the files that make-secrets.sh makes: a URL for each service, with a user and a password of its own."""
    folder.mkdir(exist_ok=True)
    mark = secrets.token_hex(3)
    for account in ACCOUNTS:
        user = f"{account}_{mark}:{secrets.token_hex(8)}"
        for kind, url in (("store_url", store_url), ("broker_url", broker_url)):
            parts = urlsplit(url)
            own = parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}").geturl()
            (folder / f"{kind}_{account}").write_text(own)
    return folder


def owner(store_url: str, broker_url: str) -> Settings:
    """The settings of who sets up."""
    return settings_.load({"IMAGEFLOW_STORE_URL": store_url, "IMAGEFLOW_BROKER_URL": broker_url})


def import_accounts(rabbitmq: Rabbit, settings: Settings, folder: Path) -> None:
    """As on a server whose management API is shut: by `rabbitmqctl`."""
    file = folder / "definitions.json"
    file.write_bytes(service_accounts.definitions_of(settings, service_accounts.accounts(folder)))
    rabbitmq.control("import_definitions", str(file))


def drop(postgres: Postgres, folder: Path, database: str) -> None:
    """The roles of a cluster outlive their database."""
    postgres.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
    for service in SERVICES:
        postgres.execute(f"DROP ROLE IF EXISTS {urlsplit((folder / f'store_url_{service}').read_text()).username}")
