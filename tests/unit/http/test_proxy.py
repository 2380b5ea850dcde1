"""The proxy of the settings: who it is for, and what it is told."""

from __future__ import annotations

import pytest

from imageflow import settings
from imageflow.errors import SettingsError
from imageflow.http.proxy import Proxy, proxy_at, proxy_of
from imageflow.secret import Secret
from imageflow.text.masking import mask


def test_user_and_password():
    """They go to the proxy as HTTP basic, percent-encoded or not, and are secrets."""
    proxy = proxy_at(Secret("http://ada:h%40sh@proxy.lan:8080"))
    assert (proxy.url, proxy.headers) == ("http://proxy.lan:8080", {"Proxy-Authorization": "Basic YWRhOmhAc2g="})
    assert "YWRhOmhAc2g=" not in repr(proxy)
    assert mask("Basic YWRhOmhAc2g=") == "Basic ***"
    assert proxy_at(Secret("http://[fd00::1]")) == Proxy("fd00::1", 3128)
    assert proxy_at(Secret("http://[fd00::1]")).url == "http://[fd00::1]:3128"
    assert proxy_at(Secret("http://proxy")).headers == {}


@pytest.mark.parametrize(
    ("host", "direct", "serves"),
    [
        ("erp.example.com", (), True),
        ("erp.example.com", ("other.com", "10.0.0.0/8"), True),
        ("Erp.Example.com.", ("example.com",), False),
        ("erp.example.com", (".example.com",), False),
        ("erp.example.com", ("erp.example.com",), False),
        ("notexample.com", ("example.com",), True),
        ("10.1.2.3", ("10.0.0.0/8",), False),
        ("11.1.2.3", ("10.0.0.0/8",), True),
        ("[fd00::7]", ("fd00::/8",), False),
        ("fd00::7", ("[fd00::7]",), False),
        ("10.1.2.3", ("2.3",), True),
        ("erp", ("*",), False),
        ("localhost", (), False),
        ("a.localhost", (), False),
        ("127.0.0.9", (), False),
        ("[::1]", (), False),
    ],
)
def test_whom_it_serves(host: str, direct: tuple[str, ...], serves: bool):
    """Everybody but this machine, and those that NO_PROXY names: a host, a domain with all in it, an address, a network."""
    assert Proxy("proxy", 3128, direct=direct).serves(host) is serves


def test_from_the_settings(tmp_path):
    """From a variable or a file; none unless given."""
    (tmp_path / "proxy").write_text("http://ada:file-hush@proxy.lan:8080\n")
    found = proxy_of(
        settings.load({"IMAGEFLOW_HTTP_PROXY_FILE": str(tmp_path / "proxy"), "IMAGEFLOW_NO_PROXY": ".LAN, 10.0.0.0/8,"})
    )
    assert found is not None
    assert (found.host, found.port, found.direct) == ("proxy.lan", 8080, (".lan", "10.0.0.0/8"))
    assert mask("file-hush") == "***"
    assert proxy_of(settings.load({})) is None
    assert proxy_of(settings.load({"IMAGEFLOW_HTTP_PROXY": ""})) is None


@pytest.mark.parametrize(
    "url",
    [
        "proxy:3128",
        "https://proxy",
        "socks5://proxy",
        "http://",
        "http://a b",
        "http://p:0",
        "http://p:70000",
        "http://p/x",
        "http://u:hush-1@p:x",
        "http://u:hush/1@p",
    ],
)
def test_what_is_no_proxy(url: str):
    """It is refused with how one is written; not with a password that may be in it."""
    with pytest.raises(SettingsError, match="IMAGEFLOW_HTTP_PROXY: must ") as caught:
        settings.load({"IMAGEFLOW_HTTP_PROXY": url})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("entry", ["http://a", "a b", "10.0.0.0/99", "a/8", "a:1"])
def test_what_is_no_exception(entry: str):
    """It is refused with its text."""
    with pytest.raises(SettingsError, match="IMAGEFLOW_NO_PROXY: must be hosts"):
        settings.load({"IMAGEFLOW_NO_PROXY": f"erp.lan,{entry}"})
