"""What is known of the flow files of a folder, so that a change is seen, and what a person did stays."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from imageflow.flows import file as flow_file

Stamp = tuple[tuple[str, int, int], ...]
"""Name, time of change and size of a flow file and of the files that it names."""


class Known(NamedTuple):
    """A file as it was last understood: the files that make it up, their stamp, and the flow it was saved as, if any."""

    sources: tuple[Path, ...]
    stamp: Stamp
    flow: str | None


class Said(NamedTuple):
    """A saved version of a flow: by whom, and its document."""

    author: str
    document: Mapping[str, Any]


_FILE = "file "
"""The author of a version that a flow file saved begins so. No user's name holds a space."""


def author(file: str) -> str:
    """Who saves a version, where it is a flow file."""
    return _FILE + file


def is_file(author: str) -> bool:
    """Whether a flow file saved a version."""
    return author.startswith(_FILE)


def file_of(author: str) -> str | None:
    """The name of the file that saved a version; None where no file did."""
    return author.removeprefix(_FILE) if is_file(author) else None


def changed_by_a_person(document: Mapping[str, Any], versions: Sequence[Said]) -> bool:
    """Whether a person changed a flow and its file still says what was saved before that. `versions`: newest first,
    down to the newest one that a file saved; all of them if no file saved one.
    """
    if not versions or is_file(versions[0].author) or _equal(document, versions[0].document):
        return False
    return any(says(document, version.document) for version in versions[1:])


def only_disabled(document: Mapping[str, Any], saved: Mapping[str, Any]) -> bool:
    """Whether the flow differs from its file only in being disabled."""
    return says(document, saved) and not _equal(document, saved)


def says(document: Mapping[str, Any], saved: Mapping[str, Any]) -> bool:
    """Whether a version was saved of this document: it is disabled if a person had disabled the flow."""
    return _equal(document, saved) or (not saved.get("enabled", True) and _equal(document, {**saved, "enabled": True}))


def _equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return {"enabled": True, **one} == {"enabled": True, **other}


def unnamed(owned: Collection[str], known: Mapping[Path, Known], there: Sequence[Path]) -> set[str]:
    """The flows of the folder that none of the files that are there names any more."""
    return set(owned) - {known[path].flow for path in there if path in known}


def seen(path: Path, flow: str | None = None) -> Known:
    """A file as it is now. Look before it is read: what is written meanwhile differs from this."""
    sources = tuple(flow_file.sources(path))
    return Known(sources, stamp(sources), flow)


def stamp(sources: Sequence[Path]) -> Stamp:
    """What tells whether one of the files has changed; one that cannot be read counts as empty."""
    found = []
    for path in sources:
        try:
            status = path.stat()
        except OSError:
            found.append((str(path), 0, -1))
        else:
            found.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(found)
