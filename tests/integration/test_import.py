"""`imageflow import nifi`: files that `flow lint` takes, or that say what is wrong; nothing is written over."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from imageflow.cli import cli
from imageflow.errors import FlowFileError
from imageflow.flows.template import SCHEMA_FILE

FILES = Path(__file__).parents[1] / "unit" / "flows" / "nifi"


def called(*args: str, stdin: bytes | None = None):
    return CliRunner().invoke(cli, args, input=stdin, env={"COLUMNS": "200"})


@pytest.mark.parametrize("name", ["chain", "split", "post", "groups", "list"])
def test_flow_files_pass_lint(tmp_path: Path, name: str) -> None:
    """Each file that is written passes `flow lint`, and names its schema."""
    done = called("import", "nifi", str(FILES / f"{name}.json"), "--into", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "next: answer the questions" in done.stderr
    assert (tmp_path / SCHEMA_FILE).exists()
    for path in tmp_path.glob("*.yaml"):
        assert str(path) in done.stdout
        assert path.read_text().startswith(f"# yaml-language-server: $schema={SCHEMA_FILE}\n# Imported")
    assert called("flow", "lint", str(tmp_path)).exit_code == 0


def test_what_lint_would_say_is_a_question(tmp_path: Path) -> None:
    """A mapping that does not compile is written all the same, with what is wrong with it as a comment."""
    assert called("import", "nifi", str(FILES / "hostile.json"), "--into", str(tmp_path)).exit_code == 0
    [path] = tmp_path.glob("*.yaml")
    assert "#  - flow lint says: mapping[0]: shift needs a `spec` that is an object" in path.read_text()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """If one of the files is there, none is written."""
    (tmp_path / "erp-posts.yaml").write_text("mine")
    done = called("import", "nifi", str(FILES / "list.json"), "--into", str(tmp_path))
    assert (done.exit_code, "erp-posts.yaml: there already; nothing is written" in done.stderr) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["erp-posts.yaml"]


def test_the_folder_is_made(tmp_path: Path) -> None:
    """A folder that is not there is made; not for a file that tells of no flow; where it cannot be, that is said."""
    into = tmp_path / "brand" / "flows"
    wrong = called("import", "nifi", "-", "--into", str(into), stdin=b"{}")
    assert isinstance(wrong.exception, FlowFileError)
    assert not into.exists()
    assert called("import", "nifi", str(FILES / "chain.json"), "--into", str(into)).exit_code == 0
    assert (into / "winter-images.yaml").exists()
    below = into / "winter-images.yaml" / "flows"
    done = called("import", "nifi", str(FILES / "chain.json"), "--into", str(below))
    assert done.exit_code == 2
    assert "the folder cannot be made" in done.stderr


def test_from_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` reads stdin; what is neither kind of file is refused."""
    monkeypatch.chdir(tmp_path)
    assert called("import", "nifi", "-", stdin=(FILES / "chain.json").read_bytes()).exit_code == 0
    assert (tmp_path / "winter-images.yaml").exists()
    refused = called("import", "nifi", "-", stdin=b"{}")
    assert isinstance(refused.exception, FlowFileError)
    assert "tells of no flow" in str(refused.exception)
