"""Flow files of a folder, the files that they name, and how a change is seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imageflow.errors import FlowFileError
from imageflow.flows import file as flow_file
from imageflow.flows.folder import Known, seen, stamp, unnamed


def test_the_files_of_a_path(tmp_path: Path) -> None:
    """A file means itself; a folder its flow files by name, with cases and shared settings where these are wanted."""
    for name in ("b.yaml", "a.json", "a.test.yaml", "x.shared.yaml", "notes.txt"):
        (tmp_path / name).write_text("{}")
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
