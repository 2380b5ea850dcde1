"""Flow files of a folder, the files that they name, and how a change is seen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from imageflow.errors import FlowFileError
from imageflow.flows import file as flow_file
from imageflow.flows.folder import (
    Known,
    Said,
    author,
    changed_by_a_person,
    is_file,
    only_disabled,
    seen,
    stamp,
    unnamed,
)


def test_the_files_of_a_path(tmp_path: Path) -> None:
    """A file means itself; a folder its flow files by name, with cases and shared settings where these are wanted."""
    for name in ("b.yaml", "a.json", "a.test.yaml", "x.shared.yaml", "notes.txt"):
        (tmp_path / name).write_text('{"name": "a"}')
    assert flow_file.files_of(tmp_path / "b.yaml") == [tmp_path / "b.yaml"]
    assert [path.name for path in flow_file.files_of(tmp_path)] == ["a.json", "b.yaml"]
    found = [path.name for path in flow_file.files_of(tmp_path, others=True)]
    assert found == ["a.json", "a.test.yaml", "b.yaml", "x.shared.yaml"]


def test_a_folder_without_flow_files(tmp_path: Path) -> None:
    """It is refused, with the sub-folders that hold some."""
    with pytest.raises(FlowFileError, match=r"holds no flow file \(\*\.yaml, \*\.yml, \*\.json\)$"):
        flow_file.files_of(tmp_path)
    (tmp_path / "brand").mkdir()
    (tmp_path / "brand" / "a.yaml").write_text("{}")
    with pytest.raises(FlowFileError, match=r"sub-folders are not looked into: .*brand$"):
        flow_file.files_of(tmp_path)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("name: a\n", []),
        ("name: a\nscript_file: s.py\nmapping_file: m.json\n", ["s.py", "m.json"]),
        ("name: a\nshared_file: ../x.shared.yaml\n", ["../x.shared.yaml"]),
        ("script_file: 7\nmapping_file: ''\n", []),
        ("- 1\n", []),
        ("name: [\n", []),
    ],
)
def test_what_makes_up_a_flow(tmp_path: Path, text: str, named: list[str]) -> None:
    """The file and those that it names, as far as it can be read."""
    path = tmp_path / "a.yaml"
    path.write_text(text)
    assert flow_file.sources(path) == [path, *(tmp_path / name for name in named)]


def test_a_change_is_seen(tmp_path: Path) -> None:
    """Another time or size of any of the files, and one that comes or goes, give another stamp."""
    path, script = tmp_path / "a.yaml", tmp_path / "s.py"
    path.write_text("script_file: s.py\n")
    known = [seen(path, "a")]
    for change in (
        lambda: script.write_text("1"),
        lambda: script.write_text("12"),
        lambda: os.utime(path, ns=(1, 1)),
        script.unlink,
    ):
        change()
        known.append(seen(path, "a"))
    assert len({one.stamp for one in known[:-1]}) == 4
    assert known[-1].sources == (path, script)
    assert stamp([script]) == ((str(script), 0, -1),)


def test_which_flows_no_file_names() -> None:
    """Those that a file named before and that none of those that are there names."""
    known = {Path("x"): Known((), (), "b"), Path("y"): Known((), (), None)}
    assert unnamed(["a", "b"], known, [Path("x"), Path("y"), Path("z")]) == {"a"}
    assert unnamed(["a", "b"], known, []) == {"a", "b"}


FILE = Said("file a.yaml", {"name": "a"})
OFF = {"name": "a", "enabled": False}


@pytest.mark.parametrize(
    ("document", "versions", "expected"),
    [
        ({"name": "a"}, [], False),
        ({"name": "a"}, [Said("eve", {"name": "a", "x": 1})], False),
        ({"name": "a"}, [Said("eve", {"name": "a", "x": 1}), FILE], True),
        ({"name": "a"}, [Said("eve", {"name": "a", "x": 1}), Said("eve", {"name": "a"})], True),
        ({"name": "a", "x": 1}, [Said("eve", {"name": "a", "x": 1}), FILE], False),
        ({"name": "a", "x": 2}, [Said("eve", {"name": "a", "x": 1}), FILE], False),
        ({"name": "a"}, [Said("file b.yaml", {"name": "a", "x": 1}), FILE], False),
        ({"name": "a"}, [Said("eve", OFF), FILE], True),
        ({"name": "a"}, [Said("eve", {"name": "a", "enabled": True}), Said("eve", OFF), FILE], False),
        ({"name": "a"}, [Said("eve", {"name": "a", "x": 1}), Said("file a.yaml", OFF)], True),
        (OFF, [Said("eve", {"name": "a", "x": 1}), FILE], False),
        (OFF, [Said("eve", {"name": "a", "enabled": True}), Said("file a.yaml", OFF)], True),
    ],
)
def test_what_a_person_changed(document: dict[str, Any], versions: list[Said], expected: bool) -> None:
    """A person's version on top of what the file says already."""
    assert changed_by_a_person(document, versions) is expected


@pytest.mark.parametrize(
    ("document", "saved", "expected"),
    [({"name": "a"}, OFF, True), ({"name": "a"}, {"name": "a"}, False), ({"name": "a", "x": 1}, OFF, False)],
)
def test_what_only_a_disable_tells_from_its_file(
    document: dict[str, Any], saved: dict[str, Any], expected: bool
) -> None:
    assert only_disabled(document, saved) is expected


def test_who_saves_a_file() -> None:
    """The author of a version tells files from people."""
    assert is_file(author("a.yaml"))
    assert not is_file("eve")
