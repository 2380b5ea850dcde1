"""What ImageFlow stores is for its owner alone."""

import os

import pytest

from imageflow.broker.sqlite import SqliteBroker
from imageflow.clock import SystemClock
from imageflow.private_files import private_directory, private_file
from imageflow.secret import Secret
from imageflow.settings import load
from imageflow.store.connect import connect, open_store


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.fixture(autouse=True)
def permissive():
    """A umask that takes nothing away."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_new_directory_is_private(tmp_path):
    """A directory that is made is for its owner; the ones above it are made as usual."""
    private_directory(tmp_path / "a" / "b")
    assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "b")) == (0o777, 0o700)


def test_a_directory_that_exists_stays(tmp_path):
    """A directory that is there already may be anybody's: its mode stays."""
    (tmp_path / "there").mkdir()
    private_directory(tmp_path / "there")
    assert mode(tmp_path / "there") == 0o777


def test_a_file_becomes_private(tmp_path):
    """A file is made for its owner; one that others could read loses that, and keeps its content."""
    path = tmp_path / "file"
    path.write_text("content")
    private_file(path)
    private_file(tmp_path / "new" / "file")
    assert (mode(path), path.read_text()) == (0o600, "content")
    assert (mode(tmp_path / "new"), mode(tmp_path / "new" / "file")) == (0o700, 0o600)


async def test_the_embedded_files_are_private(tmp_path):
    """The store, the queues and what SQLite keeps beside them can be read by nobody else, also if they were made readable."""
    folder = tmp_path / "data"
    private_directory(folder)
    (folder / "broker.db").touch(0o666)
    url = Secret(f"sqlite:///{folder / 'store.db'}")
    async with connect(url, SystemClock()) as store, SqliteBroker(folder / "broker.db"):
        await store.upgrade()
        files = {path.name: mode(path) for path in folder.iterdir()}
    assert {"store.db", "broker.db"} <= set(files)
    assert set(files.values()) == {0o600}


async def test_whatever_comes_first_makes_the_data_directory_private(tmp_path):
    """A command that only opens the store makes the folder, and makes it for its owner."""
    settings = load({"IMAGEFLOW_DATA_DIR": str(tmp_path / "data")})
    async with open_store(settings):
        pass
    assert mode(tmp_path / "data") == 0o700
    assert {mode(path) for path in (tmp_path / "data").iterdir()} == {0o600}
