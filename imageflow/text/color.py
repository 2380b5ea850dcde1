"""Whether people see colours. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def wanted(environ: Mapping[str, str], *, terminal: bool) -> bool:
    """On a terminal, unless NO_COLOR is set (no-color.org) or the terminal is a dumb one."""
    return terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
