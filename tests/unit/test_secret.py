"""Secrets: where a flow may have them from, and that they stay unseen."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from imageflow.errors import SecretError
from imageflow.secret import Secret, SecretRef, resolve


def test_a_secret_is_not_seen() -> None:
    """Whatever prints it shows asterisks."""
    secret = Secret("topsecret")
    assert "topsecret" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "topsecret"


def test_where_secrets_come_from(tmp_path: Path) -> None:
    """A variable, or a file without the newline at its end."""
    (tmp_path / "password").write_text("word\n")
    assert resolve(SecretRef(env="PASSWORD"), {"PASSWORD": "word"}, bounded=False).reveal() == "word"
    assert resolve(SecretRef(file=str(tmp_path / "password")), {}, bounded=False).reveal() == "word"
    assert resolve("word", {}, bounded=False).reveal() == "word"


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe", b"x" * 70_000])
def test_files_that_hold_no_secret(tmp_path: Path, content: bytes) -> None:
    """The error names the file."""
    path = tmp_path / "password"
    path.write_bytes(content)
    with pytest.raises(SecretError, match="password"):
        resolve(SecretRef(file=str(path)), {}, bounded=False)


@pytest.mark.parametrize("name", ["IMAGEFLOW_STORE_URL", "IMAGEFLOW_SECRET_KEY", "IMAGEFLOW_BROKER_URL_FILE"])
def test_own_variables_are_no_secrets_of_a_flow(name: str) -> None:
    """Who may save a flow cannot have ImageFlow's own secrets sent somewhere; the error does not hold them."""
    with pytest.raises(SecretError, match=f"{name} is ImageFlow's own") as caught:
        resolve(SecretRef(env=name), {name: "topsecret"}, bounded=False)
    assert "topsecret" not in str(caught.value)


def test_own_files_are_no_secrets_of_a_flow(tmp_path: Path) -> None:
    """Nor its files, by whatever path, nor what the kernel shows of the process; its neighbours are."""
    store, key, link = tmp_path / "store_url", tmp_path / "data" / "secret.key", tmp_path / "link"
    key.parent.mkdir()
    for path in (store, key, tmp_path / "data" / "password"):
        path.write_text("topsecret")
    link.symlink_to(store)
    environ = {"IMAGEFLOW_STORE_URL_FILE": str(store), "IMAGEFLOW_DATA_DIR": str(tmp_path / "data")}
    around = f"{tmp_path}/data/../store_url"
    for file in (str(store), str(link), around, str(key), "/proc/self/environ", "/dev/stdin", "//proc/self/environ"):
        with pytest.raises(SecretError, match="cannot be a flow's secret"):
            resolve(SecretRef(file=file), environ, bounded=False)
    assert resolve(SecretRef(file=str(tmp_path / "data" / "password")), environ, bounded=False).reveal() == "topsecret"


def test_secrets_compare_by_value() -> None:
    """Equal secrets are one key of a dict, and never equal to their text."""
    assert {Secret("a"): 1}[Secret("a")] == 1
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


def test_a_secret_is_not_pickled() -> None:
    """It would leave the process as plain text."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Secret("topsecret"))


@pytest.mark.parametrize("given", [{}, {"env": "A", "file": "b"}])
def test_a_reference_names_one_place(given: dict[str, str]) -> None:
    """A variable or a file, never both."""
    with pytest.raises(ValueError, match="exactly one"):
        SecretRef(**given)


def test_a_variable_that_is_not_set() -> None:
    """An empty variable is none."""
    for environ in ({}, {"PASSWORD": ""}):
        with pytest.raises(SecretError, match="environment variable PASSWORD is not set"):
            resolve(SecretRef(env="PASSWORD"), environ, bounded=False)


def test_a_pipe_is_no_secret(tmp_path: Path) -> None:
    """A pipe, on which nobody writes, is refused at once instead of being waited for; so is a folder."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(SecretError, match=r"not a regular file|directory"):
            resolve(SecretRef(file=str(tmp_path / name)), {}, bounded=False)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    """A file of any size is refused after its first bytes."""
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(SecretError, match=r"empty|too large"):
        resolve(SecretRef(file=str(path)), {}, bounded=False)


def test_what_a_flow_of_the_api_may_have(tmp_path: Path) -> None:
    """Files in the folders and variables with the prefixes that the settings name, by whatever path; nothing else."""
    inside, outside = tmp_path / "flows" / "password", tmp_path / "elsewhere"
    inside.parent.mkdir()
    for path in (inside, outside):
        path.write_text("topsecret")
    (inside.parent / "link").symlink_to(outside)
    environ = {
        "IMAGEFLOW_SECRET_DIRS": str(inside.parent),
        "IMAGEFLOW_SECRET_ENV_PREFIXES": "SHOP_",
        "SHOP_A": "topsecret",
    }
    assert resolve(SecretRef(file=str(inside)), environ, bounded=True).reveal() == "topsecret"
    assert resolve(SecretRef(env="SHOP_A"), environ, bounded=True).reveal() == "topsecret"
    for file in (
        str(outside),
        f"{inside.parent}/../elsewhere",
        f"{inside.parent}/link",
        f"{inside.parent}",
        "/etc/passwd",
        "",
    ):
        with pytest.raises(SecretError, match="IMAGEFLOW_SECRET_DIRS"):
            resolve(SecretRef(file=file), environ, bounded=True)
    for name in ("PATH", "HOME", "ERP_PASSWORD"):
        with pytest.raises(SecretError, match="may have secrets only of variables that begin with SHOP_"):
            resolve(SecretRef(env=name), {**environ, name: "x"}, bounded=True)
    nothing = {"IMAGEFLOW_SECRET_DIRS": "", "IMAGEFLOW_SECRET_ENV_PREFIXES": ""}
    for ref in (SecretRef(env="ERP_PASSWORD"), SecretRef(file=str(inside))):
        with pytest.raises(SecretError, match="names nothing"):
            resolve(ref, {**nothing, "ERP_PASSWORD": "x"}, bounded=True)


def test_hard_links_and_databases_are_own(tmp_path: Path) -> None:
    """Another name of the key is the key, and the data directory's databases are no secrets either."""
    (tmp_path / "secret.key").write_text("topsecret")
    (tmp_path / "broker.db").write_text("posts")
    (tmp_path / "other").hardlink_to(tmp_path / "secret.key")
    for name in ("other", "broker.db"):
        with pytest.raises(SecretError, match="cannot be a flow's secret"):
            resolve(SecretRef(file=str(tmp_path / name)), {"IMAGEFLOW_DATA_DIR": str(tmp_path)}, bounded=False)
