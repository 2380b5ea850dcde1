"""Revisions of the schema."""

from __future__ import annotations

from alembic.config import Config
from alembic.script import ScriptDirectory

from imageflow.store.schema import MIGRATIONS, is_older, newest_revision


def chain() -> list[str]:
    """The revisions as Alembic reads them in the files, newest first."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]


def test_revisions_are_named_by_their_files() -> None:
    """What the files' names say is what Alembic reads in them, and they are one chain in the order of their names."""
    assert chain() == sorted(chain(), reverse=True)
    assert chain()[0] == newest_revision()


def test_which_revisions_need_an_upgrade() -> None:
    """None at all, and every known one but the newest; an unknown one is of a newer version."""
    newest, *older = chain()
    assert is_older(None)
    assert all(is_older(revision) for revision in older)
    assert not is_older(newest)
    assert not is_older("9999")
