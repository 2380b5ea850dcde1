"""Flow files that a command takes: what is in a folder, and what became of each file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from imageflow.actions import flow_folder
from imageflow.actions import flows as flow_actions
from imageflow.actions.flow_folder import Applied
from imageflow.commands import stdout
from imageflow.commands.shell import actor, note
from imageflow.flows import file as flow_file
from imageflow.model.flow import Flow
from imageflow.store import Store


def say_deeper(path: Path) -> None:
    """Say which sub-folders of a folder hold flow files that nobody looks at."""
    if path.is_dir() and (text := flow_file.deeper(path)):
        note(f"{path}: {text}")


async def apply_files(store: Store, files: Sequence[tuple[Path, dict[str, Any]]]) -> list[Applied]:
    """Apply files as `up --flows` does: what a person changed stays, which is said on stderr."""
    found = [await flow_folder.apply_file(store, path, document, actor()) for path, document in files]
    for (path, document), one in zip(files, found, strict=True):
        if flow_folder.differs(document, one):
            ways_out = flow_folder.ways_out(one.flow.name, path)
            told = f"warning: {flow_folder.DIFFERS}: {one.flow.name}, version {one.flow.version}. {ways_out}"
            stdout.beside(told)
    await say_moved(store, [one.flow for one in found])
    return found


async def say_moved(store: Store, saved: Iterable[Flow]) -> None:
    """Say which flows write to another Omnitron now, without having read everything since."""
    for flow in saved:
        if (text := await flow_actions.moved(store, flow)) is not None:
            note(f"{flow.name}: {text}")


def saved_text(saved: Applied, document: dict[str, Any]) -> str:
    """What became of a flow file."""
    name, version = saved.flow.name, saved.flow.version
    if flow_folder.differs(document, saved):
        return f"{name}: version {version}, as a person left it"
    if flow_actions.stays_off(document, saved.flow):
        return f"{name}: version {version}; it stays disabled, as a person disabled it (imageflow flow enable {name})"
    return f"{name}: version {version}"
