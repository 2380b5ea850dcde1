"""The console's catalogues: `python -m tests.console_messages` brings them up to date with what the sources say.

English says what the sources say. What another language lacks stands there with an empty translation, and
tests/unit/console/test_languages.py fails until somebody fills it in.
"""

from __future__ import annotations

from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

PRODUCT = Path(__file__).parent.parent / "imageflow"
CONSOLE = PRODUCT / "console"
SOURCES = (CONSOLE, PRODUCT / "actions", PRODUCT / "inspect")
"""Where sentences are made that pages say."""
METHODS = [("**.py", "python"), ("**.html", "jinja2.ext:babel_extract")]
KEYWORDS = {"_": None, "N_": None, "gettext": None, "ngettext": (1, 2), "phrase": None, "counted": (1, 2)}
OPTIONS = {
    "**.html": {
        "trimmed": "true",
        "trim_blocks": "true",
        "lstrip_blocks": "true",
        "silent": "false",
        "extensions": "jinja2.ext.do",
    }
}


def wanted() -> Catalog:
    """All messages of the sources."""
    catalog = Catalog(charset="utf-8")
    for source in SOURCES:
        for file, _line, message, _comments, _context in extract_from_dir(
            str(source), METHODS, OPTIONS, keywords=KEYWORDS
        ):
            if message:
                catalog.add(message, locations=[(file, 0)])
    return catalog


def path(language: str) -> Path:
    """The file of a language."""
    return CONSOLE / "locale" / language / "LC_MESSAGES" / "console.po"


def catalog(language: str) -> Catalog:
    """The catalogue of a language as it is."""
    if not path(language).exists():
        return Catalog(locale=language, charset="utf-8")
    with path(language).open("rb") as file:
        return read_po(file, locale=language)


def update(language: str) -> None:
    """Bring a catalogue up to date: what is not said any more goes, what is new comes."""
    known = {message.id: message.string for message in catalog(language) if message.id}
    made = Catalog(locale=language, charset="utf-8", fuzzy=False)
    for message in wanted():
        if not message.id:
            continue
        plural = isinstance(message.id, tuple)
        said = message.id if language == "en" else known.get(message.id) or (("", "") if plural else "")
        made.add(message.id, said, flags=[flag for flag in message.flags if flag != "fuzzy"])
    with path(language).open("wb") as file:
        write_po(file, made, omit_header=False, sort_output=True, no_location=True, width=120, ignore_obsolete=True)


if __name__ == "__main__":
    for one in ("en", "tr"):
        update(one)
