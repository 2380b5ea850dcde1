"""The files that come with the console."""

from __future__ import annotations

from pathlib import Path

STATIC = Path(__file__).parent / "static"
LOCALES = Path(__file__).parent / "locale"


def contents(folder: Path = STATIC) -> dict[str, bytes]:
    """The files below a folder, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def catalogue(code: str) -> bytes:
    """The texts of a language, in gettext's format."""
    return (LOCALES / code / "LC_MESSAGES" / "console.po").read_bytes()
