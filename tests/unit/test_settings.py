"""Settings: from variables, and from the files that variables name."""

import os
import threading
from pathlib import Path

import pytest

from imageflow import settings
from imageflow.errors import SettingsError
from imageflow.store.data_dir import DataDirBusy, data_dir_lock


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_file_holds_the_value(tmp_path, end):
    """NAME_FILE names a file with the value; one newline at its end does not belong to it."""
    (tmp_path / "url").write_bytes(f"amqp://u:p@rabbitmq/{end}".encode())
    found = settings.load({"IMAGEFLOW_BROKER_URL_FILE": str(tmp_path / "url")})
    assert found.broker_url.reveal() == "amqp://u:p@rabbitmq/"
    assert not found.embedded


@pytest.mark.parametrize("name", settings.FROM_FILES)
def test_both_is_an_error(tmp_path, name):
    """A value and a file for the same setting: nobody could say which one holds."""
    (tmp_path / "value").write_text("sqlite:///x")
    environ = {f"IMAGEFLOW_{name}": "sqlite:///y", f"IMAGEFLOW_{name}_FILE": str(tmp_path / "value")}
    with pytest.raises(SettingsError, match=f"IMAGEFLOW_{name} and IMAGEFLOW_{name}_FILE"):
        settings.load(environ)


def test_a_missing_file_is_named(tmp_path):
    """A file that cannot be read stops the process with the variable's name and the path."""
    with pytest.raises(SettingsError, match=r"IMAGEFLOW_STORE_URL_FILE: .*nowhere"):
        settings.load({"IMAGEFLOW_STORE_URL_FILE": str(tmp_path / "nowhere")})


def test_a_wrong_value_is_not_shown(tmp_path):
    """What a file holds never comes back in an error."""
    (tmp_path / "url").write_text("mysql://u:hunter2@db/x")
    with pytest.raises(SettingsError) as raised:
        settings.load({"IMAGEFLOW_STORE_URL_FILE": str(tmp_path / "url")})
    assert "hunter2" not in str(raised.value)


def test_an_unknown_setting_is_named():
    """A misspelt variable stops the process with its name."""
    with pytest.raises(SettingsError, match="IMAGEFLOW_BROKER_URLS: there is no such setting"):
        settings.load({"IMAGEFLOW_BROKER_URLS": "amqp://x"})


def test_a_data_dir_that_cannot_be_written_is_named():
    """Where the embedded default cannot keep its files, the setting and the folder are named, not a traceback shown."""
    found = settings.load({"IMAGEFLOW_DATA_DIR": "/proc/data"})
    with (
        pytest.raises(SettingsError, match=r"IMAGEFLOW_DATA_DIR: .*data cannot be written to"),
        data_dir_lock(found),
    ):
        pass


def test_whose_a_data_dir_is(tmp_path):
    """Who finds it taken is told by which process, and where that listens."""
    found = settings.load({"IMAGEFLOW_DATA_DIR": str(tmp_path)})
    for about in ("", "http://127.0.0.1:8080/"):
        with data_dir_lock(found) as say_whose:
            if about:
                say_whose(about)
            with pytest.raises(DataDirBusy) as refused, data_dir_lock(found):
                pass
        whose = f"process {os.getpid()}" + (f", {about}" if about else "")
        assert str(refused.value) == f"another ImageFlow process is running on {tmp_path}: {whose}"


@pytest.mark.parametrize("below", [".", "data"])
def test_a_data_dir_that_is_a_file_is_refused(tmp_path, below):
    """Also one below a file: there can be no data."""
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(SettingsError, match=r"IMAGEFLOW_DATA_DIR: must be a folder, and .*/file is a file"):
        settings.load({"IMAGEFLOW_DATA_DIR": str(file / below)})


def test_a_key_that_cannot_be_made_is_named():
    """A container that may not write needs the key from outside, and is told so."""
    found = settings.load({"IMAGEFLOW_DATA_DIR": "/proc/data"})
    with pytest.raises(SettingsError, match=r"IMAGEFLOW_SECRET_KEY is not set, and .* cannot hold one"):
        settings.secret_key(found)


@pytest.mark.parametrize(
    ("value", "hosts"),
    [
        ("", ()),
        ("0", ()),
        ("false", ()),
        ("true", ("*",)),
        ("1", ("*",)),
        ("*", ("*",)),
        ("Images.intern, 10.0.0.1,[::1]", ("images.intern", "10.0.0.1", "[::1]")),
    ],
)
def test_hosts_of_private_images(value, hosts):
    """None, all, or those that are named."""
    assert settings.load({"IMAGEFLOW_PREFLIGHT_ALLOW_PRIVATE": value}).preflight_allow_private == hosts


def test_what_is_no_host_is_refused():
    """A URL, or a network, is not a host name: the variable is named."""
    for wrong in ("http://a", "10.0.0.0/8", "a b"):
        with pytest.raises(SettingsError, match="PREFLIGHT_ALLOW_PRIVATE"):
            settings.load({"IMAGEFLOW_PREFLIGHT_ALLOW_PRIVATE": wrong})


def test_what_flows_of_the_api_may_reach():
    """Folders, beginnings of variables' names, and hosts; what cannot be one is refused, and none of them may be had at all."""
    given = {"SECRET_DIRS": "/a, /b/c", "SECRET_ENV_PREFIXES": "SHOP_,ERP", "ALLOW_PRIVATE": "erp.intern"}
    found = settings.load({f"IMAGEFLOW_{name}": value for name, value in given.items()})
    assert (found.secret_dirs, found.secret_env_prefixes) == (("/a", "/b/c"), ("SHOP_", "ERP"))
    assert found.allow_private == ("erp.intern",)
    nothing = settings.load({"IMAGEFLOW_SECRET_DIRS": "", "IMAGEFLOW_SECRET_ENV_PREFIXES": ""})
    assert (nothing.secret_dirs, nothing.secret_env_prefixes, nothing.allow_private) == ((), (), ())
    for name, wrong in (("SECRET_DIRS", "secrets"), ("SECRET_ENV_PREFIXES", "A-"), ("ALLOW_PRIVATE", "10.0.0.0/8")):
        with pytest.raises(SettingsError, match=f"IMAGEFLOW_{name}"):
            settings.load({f"IMAGEFLOW_{name}": wrong})


def test_where_to_listen():
    """An address, plain or in brackets; none by default; a name or a port is refused."""
    assert settings.load({}).listen is None
    assert settings.load({"IMAGEFLOW_LISTEN": "127.0.0.1"}).listen == "127.0.0.1"
    assert settings.load({"IMAGEFLOW_LISTEN": "[::1]"}).listen == "::1"
    for wrong in ("localhost", "127.0.0.1:8080", "*"):
        with pytest.raises(SettingsError, match="LISTEN"):
            settings.load({"IMAGEFLOW_LISTEN": wrong})


def test_trusted_proxies():
    """Addresses and networks; none by default."""
    assert settings.load({}).trusted_proxies == ()
    found = settings.load({"IMAGEFLOW_TRUSTED_PROXIES": "10.0.0.0/8, 192.168.1.1,"}).trusted_proxies
    assert [str(network) for network in found] == ["10.0.0.0/8", "192.168.1.1/32"]
    for wrong in ("proxy.example", "10.0.0.1/8", "true"):
        with pytest.raises(SettingsError, match="TRUSTED_PROXIES"):
            settings.load({"IMAGEFLOW_TRUSTED_PROXIES": wrong})


def test_the_jail_is_strict_unless_told_otherwise() -> None:
    """Best effort is what an operator has to ask for, by its name."""
    assert settings.load({}).jail == "strict"
    assert settings.load({"IMAGEFLOW_JAIL": "best-effort"}).jail == "best-effort"
    with pytest.raises(SettingsError, match="IMAGEFLOW_JAIL: must be strict or best-effort, not 'off'"):
        settings.load({"IMAGEFLOW_JAIL": "off"})


@pytest.mark.parametrize(("text", "days"), [(None, 30), ("", 30), ("7", 7), ("0", 0)])
def test_retention(text, days):
    """Thirty days unless said otherwise; 0 keeps everything."""
    environ = {} if text is None else {"IMAGEFLOW_RETENTION_DAYS": text}
    assert settings.load(environ).retention_days == days


@pytest.mark.parametrize("text", ["-1", "1.5", "30d", "²", "9" * 9])
def test_wrong_retention(text):
    """What is no number of days is refused by the variable's name."""
    with pytest.raises(SettingsError, match="IMAGEFLOW_RETENTION_DAYS"):
        settings.load({"IMAGEFLOW_RETENTION_DAYS": text})


def test_one_secret_key(tmp_path: Path):
    """However many ask at once for the generated key, all get the same, whole; it is readable by its owner alone."""
    loaded = settings.load({"IMAGEFLOW_DATA_DIR": str(tmp_path / "data")})
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(settings.secret_key(loaded))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert len(set(found)) == 1
    assert len(found[0]) > 30
    (path,) = (tmp_path / "data").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("text", "port"), [("", None), ("9100", 9100), ("65535", 65535)])
def test_metrics_port(text, port):
    """No port unless one is set."""
    assert settings.load({"IMAGEFLOW_METRICS_PORT": text}).metrics_port == port


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[("METRICS_PORT", text) for text in ("0", "65536", "-1", "http", "²")],
        *[("STOP_SECONDS", text) for text in ("0", "-1", "soon", "nan", "86400", "inf")],
        *[("LOG_FORMAT", text) for text in ("xml", "JSON")],
        ("BROKER_URL", "http://x"),
    ],
)
def test_wrong_values_are_named(name, text):
    """A value that makes no sense stops the process with the variable's name."""
    with pytest.raises(SettingsError, match=f"IMAGEFLOW_{name}: must "):
        settings.load({f"IMAGEFLOW_{name}": text})


def test_defaults(tmp_path):
    """Without any variable everything is in one folder of files."""
    found = settings.load({"IMAGEFLOW_DATA_DIR": str(tmp_path)})
    assert found.embedded
    assert found.broker_url.reveal() == f"sqlite:///{tmp_path}/broker.db"
    assert (found.log_format, found.stop_seconds, found.secret_key) == ("text", 30.0, None)


def test_a_key_that_is_set():
    """The setting is the key; no file is made."""
    found = settings.load({"IMAGEFLOW_SECRET_KEY": "word", "IMAGEFLOW_DATA_DIR": "/nowhere"})
    assert settings.secret_key(found) == b"word"


def test_every_setting_has_its_help():
    """`imageflow --help` shows each setting; short enough to be read."""
    fields = {field.upper() for field in settings.Settings.__struct_fields__}
    assert fields == {name for name in settings.DOCS if not name.endswith("_FILE")}
    assert all(len(text) <= 160 for text in settings.DOCS.values())


def test_pictures_of_the_console_may_be_off() -> None:
    """They are shown unless told otherwise."""
    assert settings.load({}).console_pictures == "direct"
    assert settings.load({"IMAGEFLOW_CONSOLE_PICTURES": "off"}).console_pictures == "off"
    with pytest.raises(SettingsError, match="must be direct or off, not 'proxy'"):
        settings.load({"IMAGEFLOW_CONSOLE_PICTURES": "proxy"})
