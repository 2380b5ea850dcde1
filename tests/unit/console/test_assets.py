"""Static files: at addresses that never change, compressed once; and small enough."""

import gzip
import re

import pytest

from imageflow.console.assets import Assets
from imageflow.console.packaged import STATIC, contents

OWN = ("live.js", "events.js", "keys.js", "bench.js")
ASSETS = Assets(contents())


def test_an_address_holds_the_digest_of_what_is_there(tmp_path):
    """Another content has another address, also where only a file changed that a style sheet names."""
    (tmp_path / "a.css").write_text("b { background: url(b.svg) }")
    (tmp_path / "b.svg").write_text("<svg/>")
    first = Assets(contents(tmp_path))
    (tmp_path / "b.svg").write_text("<svg></svg>")
    second = Assets(contents(tmp_path))
    assert first.url("a.css") != second.url("a.css")
    assert second.url("b.svg") in second.served(second.url("a.css")).body.decode()
    assert second.served(first.url("a.css")) is None


def test_every_file_of_the_style_sheet_is_there():
    """Fonts are served by us."""
    css = ASSETS.names()["console.css"].body.decode()
    urls = re.findall(r"url\(([^#)][^)]*)\)", css)
    assert urls
    assert all(ASSETS.served(url) is not None for url in urls)


def test_types_and_compression():
    """Fonts are compressed already; text is compressed once."""
    script, font = ASSETS.names()["live.js"], ASSETS.names()["inter-latin.woff2"]
    assert script.type == "text/javascript"
    assert gzip.decompress(script.packed) == script.body
    assert (font.type, font.packed) == ("font/woff2", None)


def test_own_scripts_are_small():
    """At most 12 kB in all, as they are sent."""
    names = [name for name in OWN if (STATIC / name).exists()]
    assert sum(len(ASSETS.names()[name].packed) for name in names) < 12_000


@pytest.mark.parametrize("name", ["vendor/htmx.js", "vendor/sse.js", "vendor/idiomorph-ext.js", "vendor/LICENSES.txt"])
def test_vendored_files_are_there(name):
    """With what their licences say."""
    assert ASSETS.names()[name].body
