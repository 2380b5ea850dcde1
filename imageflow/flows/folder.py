"""What is known of the flow files of a folder, so that a change is seen."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from imageflow.flows import file as flow_file

Stamp = tuple[tuple[str, int, int], ...]
"""Name, time of change and size of a flow file and of the files that it names."""


class Known(NamedTuple):
    """A file as it was last understood: the files that make it up, their stamp, and the flow it was saved as, if any."""

    sources: tuple[Path, ...]
    stamp: Stamp
    flow: str | None


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
