"""The pages, as one table: routes are made from it."""

from __future__ import annotations

from imageflow.console.pages import audit, bench, errors, flows, login, now, products, runs, search, system, users
from imageflow.console.visit import Page

PAGES: tuple[Page, ...] = (
    *login.PAGES,
    *now.PAGES,
    *errors.PAGES,
    *products.PAGES,
    *runs.PAGES,
    *bench.PAGES,
    *flows.PAGES,
    *system.PAGES,
    *audit.PAGES,
    *users.PAGES,
    *search.PAGES,
)
