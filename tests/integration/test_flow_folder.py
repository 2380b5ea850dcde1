"""A folder of flow files that is followed, look by look, over a real store and real files."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from imageflow.actions import flows
from imageflow.actions.actor import Actor
from imageflow.actions.flow_folder import DIFFERS, FlowFolder, read
from imageflow.clock import SystemClock
from imageflow.errors import FlowFileError
from imageflow.flows.folder import Known, unnamed
from imageflow.model.run import Run, Trigger, new_run_id
from imageflow.secret import Secret
from imageflow.store import Store
from imageflow.store.connect import connect
from tests import schemas

ACTOR = Actor("ada", "test")
OMNITRON = {"domain_url": "https://brand.example.com", "username": "bot", "password": {"env": "OMNITRON_PASSWORD"}}


class Followed:
    """A folder, its store, and what was said."""

    def __init__(self, path: Path, store: Store, said: list[Any]) -> None:
        self.path, self.store, self.said = path, store, said
        self.folder = FlowFolder(path, store, ACTOR)

    def write(self, stem: str, /, **fields: Any) -> Path:
        erp = {"endpoint_url": "https://erp.example.com/images/"}
        document = {"name": stem, "direction": "inbound", "omnitron": OMNITRON, "erp": erp, **fields}
        return self.put(stem, yaml.safe_dump(document))

    def put(self, stem: str, text: str) -> Path:
        path = self.path / f"{stem}.yaml"
        path.write_text(text)
        return path

    async def looks(self, number: int = 5) -> list[str]:
        """Look so often; gives what was said meanwhile."""
        before = len(self.said)
        for _ in range(number):
            await self.folder.look()
        return [entry["event"] for entry in self.said[before:]]

    async def restart(self) -> list[str]:
        """Begin anew; gives what was said."""
        before = len(self.said)
        self.folder = FlowFolder(self.path, self.store, ACTOR)
        await self.folder.begin(read(self.path))
        return [entry["event"] for entry in self.said[before:]]

    async def save(self, name: str, /, **fields: Any) -> None:
        """Save a flow as a person does, over the API."""
        document = {**(await self.store.flow(name)).document, **fields}
        await flows.save(self.store, document, Actor("eve", "192.0.2.1", "admin"))

    async def versions(self) -> dict[str, int]:
        return {flow.name: flow.version for flow in await self.store.flows()}


@pytest.fixture
async def followed(tmp_path: Path) -> AsyncIterator[Followed]:
    path = tmp_path / "flows"
    path.mkdir()
    schemas.lay(tmp_path / "store.db")
    with structlog.testing.capture_logs() as said:
        async with connect(Secret(f"sqlite:///{tmp_path / 'store.db'}"), SystemClock()) as store:
            here = Followed(path, store, said)
            here.write("a")
            here.write("b")
            await here.folder.begin(read(path))
            yield here


async def test_nothing_changes(followed: Followed) -> None:
    """Looking at what is as it was saves nothing and says nothing; touching a file neither."""
    said = len(followed.said)
    os.utime(followed.path / "a.yaml")
    assert await followed.looks() == []
    assert len(followed.said) == said
    assert await followed.versions() == {"a": 1, "b": 1}


async def test_a_changed_file_and_a_new_one(followed: Followed) -> None:
    """Each is applied once it rests, with its script file, and said."""
    (followed.path / "script.py").write_text("def process_row(row):\n    return row\n")
    followed.write("a", script_file="script.py")
    followed.write("c")
    assert await followed.looks(1) == []
    assert await followed.looks() == ["a flow file is applied"] * 2
    assert await followed.versions() == {"a": 2, "b": 1, "c": 1}
    (followed.path / "script.py").write_text("def process_row(row):\n    return None\n")
    assert await followed.looks() == ["a flow file is applied"]
    assert (await followed.store.flow("a")).definition.script == "def process_row(row):\n    return None\n"


async def test_a_file_that_is_being_written(followed: Followed) -> None:
    """What changes from look to look is not read before it rests."""
    for number in range(4):
        followed.write("a", timezone=f"Etc/GMT+{number}")
        os.utime(followed.path / "a.yaml", ns=(number, number))
        assert await followed.looks(1) == []
    assert await followed.looks() == ["a flow file is applied"]
    assert (await followed.store.flow("a")).version == 2


async def test_a_broken_file(followed: Followed) -> None:
    """It is reported once and changes nothing, neither its own flow nor others; mended, it is applied."""
    followed.put("a", "name: a\ndirection: sideways\n")
    followed.write("b", timezone="Europe/Istanbul")
    assert await followed.looks() == ["a flow file is wrong; nothing changes", "a flow file is applied"]
    assert "sideways" in next(one["error"] for one in followed.said if "wrong" in one["event"])
    assert await followed.versions() == {"a": 1, "b": 2}
    followed.write("a", timezone="UTC")
    assert await followed.looks() == ["a flow file is applied"]


async def test_a_broken_file_is_right_again(followed: Followed) -> None:
    """Mended to what it was, it is said once that it is right."""
    text = (followed.path / "a.yaml").read_text()
    followed.put("a", "name: a\ndirection: sideways\n")
    assert await followed.looks() == ["a flow file is wrong; nothing changes"]
    followed.put("a", text)
    assert await followed.looks() == ["a flow file is right again"]
    os.utime(followed.path / "a.yaml")
    assert await followed.looks() == []
    assert await followed.versions() == {"a": 1, "b": 1}


async def test_a_file_is_gone(followed: Followed) -> None:
    """Its flow is deleted; a file that is replaced within a moment is not gone."""
    moved = followed.path / "a.yaml"
    text = moved.read_text()
    moved.unlink()
    assert await followed.looks(2) == []
    moved.write_text(text)
    assert await followed.looks() == []
    moved.unlink()
    assert await followed.looks() == ["a flow is deleted: its file is gone"]
    assert await followed.versions() == {"b": 1}


async def test_a_json_file_that_says_no_flow_any_more(followed: Followed) -> None:
    """An answer that lies there is left alone; what was a flow's file is a broken one, and its flow stays."""
    path = followed.path / "c.json"
    path.write_text('{"count": 0}')
    assert await followed.looks() == []
    path.write_text((followed.path / "a.yaml").read_text())
    (followed.path / "a.yaml").unlink()
    path.write_text(json.dumps({**(await followed.store.flow("a")).document, "timezone": "Europe/Paris"}))
    assert await followed.looks(9) == ["a flow file is applied"]
    path.write_text("{}")
    assert await followed.looks(9) == ["a flow file is wrong; nothing changes"]
    assert await followed.versions() == {"a": 2, "b": 1}


EMPTY = "the folder has no flow files; no flow is deleted"


async def test_a_folder_without_files(followed: Followed) -> None:
    """Empty or gone, now or at the start, it deletes nothing, and says so once, with the way out; then it is followed again."""
    for name in ("a", "b"):
        (followed.path / f"{name}.yaml").unlink()
    assert await followed.looks() == [EMPTY]
    said = followed.said[-1]
    assert (said["flows"], said["why"]) == ("a, b", "it holds no flow file (*.yaml, *.yml, *.json)")
    assert said["note"] == "what comes into it is applied; to end a flow: imageflow flow delete NAME"
    followed.path.rmdir()
    assert await followed.looks() == [EMPTY]
    assert followed.said[-1]["why"] == "it cannot be read: No such file or directory"
    assert await followed.versions() == {"a": 1, "b": 1}
    followed.path.mkdir()
    assert await followed.restart() == [EMPTY]
    assert await followed.looks() == []
    followed.write("a", timezone="Europe/Istanbul")
    assert await followed.looks() == ["a flow file is applied"]
    assert await followed.versions() == {"a": 2, "b": 1}
    (followed.path / "a.yaml").unlink()
    assert await followed.looks() == [EMPTY]


async def test_renames(followed: Followed) -> None:
    """A file with another name is the same flow; another name in the file is another flow, and the one before is deleted."""
    (followed.path / "a.yaml").rename(followed.path / "z.yaml")
    assert await followed.looks() == []
    followed.write("z", name="new")
    assert await followed.looks() == ["a flow file is applied", "a flow is deleted: its file is gone"]
    assert await followed.versions() == {"b": 1, "new": 1}


async def test_two_files_with_one_name(followed: Followed) -> None:
    """The later one is reported, and applied when the first is gone."""
    followed.write("c", name="a", timezone="UTC")
    assert await followed.looks() == ["a flow file is wrong; nothing changes"]
    (followed.path / "a.yaml").unlink()
    assert await followed.looks() == ["a flow file is applied"]
    assert (await followed.store.flow("a")).definition.timezone == "UTC"


async def test_what_a_person_disabled(followed: Followed) -> None:
    """It stays disabled when its file changes, which is said once; enabled by a person, it is what the file says."""
    await flows.enable(followed.store, "a", ACTOR, enabled=False)
    followed.write("a", timezone="Europe/Istanbul")
    assert await followed.looks() == ["a flow file is applied", "a flow stays disabled"]
    assert not (await followed.store.flow("a")).definition.enabled
    assert await followed.restart() == ["a flow stays disabled"]
    assert not (await followed.store.flow("a")).definition.enabled
    await flows.enable(followed.store, "a", ACTOR, enabled=True)
    assert await followed.looks() == []
    assert (await followed.store.flow("a")).definition.enabled


async def test_what_a_person_rolled_back(followed: Followed) -> None:
    """It stays, at a restart too, with a warning that names both ways out, until the file says something new."""
    followed.write("a", timezone="Europe/Istanbul")
    await followed.looks()
    await flows.roll_back(followed.store, "a", 1, ACTOR)
    os.utime(followed.path / "a.yaml")
    assert await followed.looks() == [DIFFERS]
    assert followed.said[-1]["log_level"] == "warning"
    path = followed.path / "a.yaml"
    assert f"imageflow flow export a > {path}" in followed.said[-1]["note"]
    assert f"imageflow flow apply {path}" in followed.said[-1]["note"]
    assert await followed.restart() == [DIFFERS]
    assert (await followed.store.flow("a")).version == 3
    followed.write("a", timezone="Europe/Berlin")
    assert await followed.looks() == ["a flow file is applied"]
    assert await followed.restart() == []
    assert (await followed.store.flow("a")).definition.timezone == "Europe/Berlin"


async def test_a_change_by_a_person_is_said_while_it_runs(followed: Followed) -> None:
    """At the next look, once; a disable by hand is no news, and what a person saves of the file neither."""
    followed.write("a", timezone="Europe/Istanbul")
    await followed.looks()
    await flows.roll_back(followed.store, "a", 1, ACTOR)
    assert await followed.looks(1) == [DIFFERS]
    assert followed.said[-1]["version"] == "3"
    assert await followed.looks() == []
    await flows.save(followed.store, flows.checked(followed.path / "a.yaml"), ACTOR)
    assert await followed.looks() == []
    await flows.enable(followed.store, "b", ACTOR, enabled=False)
    assert await followed.looks() == []
    await flows.delete(followed.store, "a", ACTOR)
    assert await followed.looks() == []


async def test_what_a_person_saved(followed: Followed) -> None:
    """Left alone, and the ways out lead out: the file that was exported, and the file that is applied by hand."""
    await followed.save("a", timezone="Europe/Paris")
    assert await followed.restart() == ["a flow differs from its file, and stays as it is"]
    followed.put("a", flows.as_file(await followed.store.flow("a")))
    assert await followed.restart() == ["a flow file is applied"]  # the same, and no longer bound to what eve may reach
    assert await followed.restart() == []
    assert await followed.versions() == {"a": 3, "b": 1}
    await followed.save("b", timezone="Europe/Paris")
    await flows.save(followed.store, flows.checked(followed.path / "b.yaml"), ACTOR)
    assert await followed.restart() == []
    assert await followed.versions() == {"a": 3, "b": 3}


async def test_what_changed_while_nobody_looked(followed: Followed) -> None:
    """A file that changed while `up` was down is applied over what a person saved; one that went back to an older text, too."""
    followed.write("a", timezone="Europe/Istanbul")
    assert await followed.restart() == ["a flow file is applied"]
    followed.write("a")
    assert await followed.restart() == ["a flow file is applied"]
    await followed.save("a", timezone="Europe/Paris")
    followed.write("a", timezone="Europe/Istanbul")
    assert await followed.restart() == ["a flow file is applied"]


async def test_who_saved(followed: Followed) -> None:
    """The audit log and the versions name the file."""
    assert {entry.entry.who for entry in await followed.store.audit()} == {"file a.yaml", "file b.yaml"}
    assert [one.author for one in await followed.store.flow_versions("a")] == ["file a.yaml"]
    (followed.path / "a.yaml").unlink()
    await followed.looks()
    newest = (await followed.store.audit(limit=1))[0].entry
    assert (newest.who, newest.what, newest.origin) == ("file a.yaml", "flow.delete", "test")


async def test_a_file_is_gone_while_its_flow_runs(followed: Followed) -> None:
    """The flow fires no more at once, and is deleted when its last run has ended."""
    now = SystemClock().now()
    run = Run(run_id=new_run_id(now), flow="a", version=1, trigger=Trigger("person"), status="queued", created_at=now)
    await followed.store.create_run(run)
    (followed.path / "a.yaml").unlink()
    assert await followed.looks() == ["the file of a flow is gone; the flow cannot be deleted yet"]
    assert not (await followed.store.flow("a")).definition.enabled
    await followed.store.cancel_run(run.run_id)
    assert await followed.looks() == ["a flow is deleted: its file is gone"]
    assert {one.author for one in await followed.store.flow_versions("a")} == {"file a.yaml"}


async def test_at_the_start(followed: Followed) -> None:
    """A broken file: nothing is saved. Flows that no file names are named."""
    followed.put("c", "name: c\n")
    with pytest.raises(FlowFileError, match=r"c\.yaml"):
        read(followed.path)
    (followed.path / "c.yaml").unlink()
    (followed.path / "b.yaml").unlink()
    await FlowFolder(followed.path, followed.store, ACTOR).begin(read(followed.path))
    assert followed.said[-1]["event"] == "flows that no file of the folder names"
    assert followed.said[-1]["flows"] == "b"
    assert followed.said[-1]["note"] == "they go on; to end one: imageflow flow delete NAME"


async def test_it_follows_until_it_is_stopped(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks again and again, and ends when it is told to."""
    monkeypatch.setattr("imageflow.actions.flow_folder.LOOK_SECONDS", 0.05)
    stop = asyncio.Event()
    following = asyncio.create_task(followed.folder.follow(stop))
    followed.write("c")
    async with asyncio.timeout(10):
        while "c" not in await followed.versions():
            await asyncio.sleep(0.05)
        stop.set()
        await following


@pytest.mark.parametrize(
    ("owned", "files", "there", "expected"),
    [
        (["a"], {"a": "a"}, ["a"], set()),
        (["a"], {"a": "a"}, [], {"a"}),
        (["a", "b"], {"x": "b"}, ["x"], {"a"}),
        (["a"], {"x": None}, ["x"], {"a"}),
    ],
)
def test_which_flows_no_file_names(
    owned: list[str], files: dict[str, Any], there: list[str], expected: set[str]
) -> None:
    """Those that a file named before and that none of those that are there names."""
    known = {Path(path): Known((), (), flow) for path, flow in files.items()}
    assert unnamed(owned, known, [Path(path) for path in there]) == expected


async def test_shared_settings_are_followed(followed: Followed) -> None:
    """A change of what flows share makes a new version of each that names it; a broken one is reported, and changes nothing."""
    brand = followed.path / "brand.shared.yaml"
    brand.write_text(yaml.safe_dump({"omnitron": OMNITRON, "timezone": "Europe/Istanbul"}))
    for name in ("x", "y"):
        erp = {"endpoint_url": "https://erp.example.com/images/"}
        followed.put(
            name, yaml.safe_dump({"name": name, "direction": "inbound", "shared_file": brand.name, "erp": erp})
        )
    followed.write("z")
    await followed.folder.begin(read(followed.path))
    assert (await followed.versions()).items() >= {"x": 1, "y": 1, "z": 1}.items()
    assert (await followed.store.flow("x")).document["omnitron"] == OMNITRON
    brand.write_text(yaml.safe_dump({"omnitron": OMNITRON, "timezone": "Europe/Berlin"}))
    assert await followed.looks() == ["a flow file is applied"] * 2
    assert (await followed.versions()).items() >= {"x": 2, "y": 2, "z": 1}.items()
    assert (await followed.store.flow("y")).definition.timezone == "Europe/Berlin"
    brand.write_text("omnitron: 7\n")
    assert await followed.looks() == ["a flow file is wrong; nothing changes"] * 2
    brand.unlink()
    assert await followed.looks() == ["a flow file is wrong; nothing changes"] * 2
    brand.write_text(yaml.safe_dump({"omnitron": OMNITRON, "timezone": "Europe/Paris"}))
    await followed.looks()
    assert (await followed.versions()).items() >= {"x": 3, "y": 3, "z": 1}.items()
