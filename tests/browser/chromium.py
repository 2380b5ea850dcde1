"""Where the browser is: Debian's Chromium, or the one that CHROMIUM names."""

from __future__ import annotations

import importlib.util
import os
import shutil

ARGUMENTS = ["--no-sandbox", "--disable-gpu"]


def path() -> str | None:
    """The browser's program; None: there is none."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def missing() -> str | None:
    """What the browser tests lack here; None: nothing."""
    if importlib.util.find_spec("playwright") is None or importlib.util.find_spec("axe_playwright_python") is None:
        return "no playwright: make browser-tools"
    return None if path() else "no chromium: apt-get install chromium"
