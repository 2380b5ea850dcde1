"""Flows: check their files, save and enable them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imageflow.actions.actor import Actor
from imageflow.errors import FlowFileError, Problem
from imageflow.flows import file as flow_file
from imageflow.model.flow import Flow
from imageflow.store import Store


def checked(path: Path) -> dict[str, Any]:
    """A flow file's document, with everything checked. Raises FlowFileError with all problems."""
    document: dict[str, Any] = flow_file.load(path)
    flow_file.compiled(document)
    return document


def checked_all(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Documents of several files; problems carry their file's name; nothing is applied if one is wrong."""
    documents, problems = [], []
    for path in paths:
        try:
            documents.append(checked(path))
        except FlowFileError as error:
            problems += [Problem("", f"{path}: {problem}") for problem in error.problems]
    names = [document["name"] for document in documents]
    problems += [
        Problem("", f"two flow files have the name {name}") for name in {n for n in names if names.count(n) > 1}
    ]
    if problems:
        raise FlowFileError(problems)
    return documents


def checked_dir(folder: Path) -> list[dict[str, Any]]:
    """The documents of a folder's flow files, by file name; as `checked_all`."""
    return checked_all(sorted(path for path in folder.iterdir() if flow_file.is_flow_file(path)))


async def save_flow(store: Store, document: dict[str, Any], actor: Actor) -> Flow:
    """Save a document that is valid (flowfile.parse) as a new version."""
    return await store.save_flow(document, actor.who, audit=actor.entry("flow.save", f"flow {document['name']}"))


async def enable(store: Store, name: str, actor: Actor, *, enabled: bool) -> Flow:
    """Enable or disable a flow: a new version, unless it is so already."""
    flow = await store.flow(name)
    if flow.definition.enabled == enabled:
        return flow
    what = "flow.enable" if enabled else "flow.disable"
    return await store.save_flow(
        {**flow.document, "enabled": enabled}, actor.who, audit=actor.entry(what, f"flow {name}")
    )
