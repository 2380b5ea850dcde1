"""The pages, as one table: routes are made from it."""

from __future__ import annotations

from imageflow.console.pages import flows, login
from imageflow.console.visit import Page

PAGES: tuple[Page, ...] = (
    *login.PAGES,
    *flows.PAGES,
)
