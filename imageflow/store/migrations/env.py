# ruff: noqa: INP001 - a file that alembic runs, not a module
"""Alembic's environment: runs the revisions on the connection that `Database.upgrade` holds, in its transaction."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
