"""What gets into the logs."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from imageflow.secret import Secret
from imageflow.telemetry import log
from imageflow.text.masking import hide


@pytest.fixture(params=["text", "json"])
def written(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What is logged."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, structlog.get_config()
    log.configure(request.param)
    stream = io.StringIO()
    [handler] = (one for one in root.handlers if type(one) is logging.StreamHandler)
    handler.setStream(stream)
    yield stream
    root.handlers[:], _, config = before
    root.setLevel(before[1])
    structlog.configure(**config)


def fail(text: str) -> None:
    raise ValueError(text)


def test_no_secret_is_logged(written: io.StringIO) -> None:
    """Not in a phrase, a field, a list, an error, a traceback, and not by a library either; the names that we give stay."""
    hide("topsecret-token", "demo")
    ours = structlog.get_logger("imageflow.test")
    ours.warning("it said topsecret-token", error=ValueError("topsecret-token"), tasks=["topsecret-token"], flow="demo")
    ours.warning("a value", value=Secret("another"), nested={"k": ("topsecret-token", 1)})
    try:
        fail("bad topsecret-token")
    except ValueError:
        ours.exception("unexpected")
        logging.getLogger("asyncio").exception("Task exception was never retrieved: %s", "topsecret-token")
    logging.getLogger("sqlalchemy.pool").error("cannot connect with topsecret-token")
    text = written.getvalue()
    assert "topsecret" not in text
    assert "another" not in text
    assert "Traceback" in text
    assert text.count("***") >= 7
    assert "demo" in text


def test_malformed_requests_are_one_line(written: io.StringIO) -> None:
    """Without what they held, and not one for each."""
    server = logging.getLogger("aiohttp.server")
    for _ in range(100):
        try:
            fail("b'Authorization: Bearer topsecret'")
        except ValueError:
            server.exception("Error handling request from %s", "10.0.0.1")
    text = written.getvalue()
    assert text.count("\n") == 1
    assert "malformed requests were refused" in text
    assert "topsecret" not in text


@pytest.mark.parametrize("form", ["text", "json"])
def test_strangers_texts_in_log_lines(form, capsys):
    """Neither an escape nor a mark of direction, and no line of its own."""
    log.configure(form)
    structlog.get_logger().warning("read failed", error="a\x1b[2J\nforged\u202e\x9b1m", who={"n\u2028": ["\x07"]})
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.rstrip("\n").isprintable()
