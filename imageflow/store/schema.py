"""Revisions of the schema: the one that this code needs, the one that a database has, and the upgrade."""

from __future__ import annotations

from pathlib import Path

import structlog
from sqlalchemy import Connection, inspect, text

log = structlog.get_logger()

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(connection: Connection) -> None:
    """Bring the schema up to date. Each command calls this, so Alembic is only imported when there is something to do."""
    current = current_revision(connection)
    if not is_older(current):
        if current != newest_revision():
            # In a rolling upgrade an older service may start again: a revision leaves in place what the version before
            # it uses.
            log.warning("the database is of a newer version", revision=current)
        return
    from alembic import command  # noqa: PLC0415 - only a process that upgrades pays for alembic
    from alembic.config import Config  # noqa: PLC0415 - the same

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def is_older(revision: str | None) -> bool:
    """Whether a database of that revision (None: without a schema) needs an upgrade. A revision that this code does not know
    is of a newer version.
    """
    return revision is None or (revision in _revisions() and revision != newest_revision())


def newest_revision() -> str:
    """The revision of the schema that this code needs."""
    return max(_revisions())


def _revisions() -> set[str]:
    """All revisions that this code knows, from the names of their files."""
    return {path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py")}


def current_revision(connection: Connection) -> str | None:
    """The schema's revision; None where there is no schema yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision
