"""Frames, through a pipe and back."""

from __future__ import annotations

import os

import msgspec
import pytest

from imageflow.sandbox import pipe, protocol


def test_frames_pass_a_pipe() -> None:
    """A frame that is sent is received whole, and the next one after it."""
    source, sink = os.pipe()
    try:
        pipe.send(sink, protocol.frame("x" * 1000))
        pipe.send(sink, protocol.frame(protocol.Ask("1")))
        assert protocol.decode(pipe.receive(source)) == "x" * 1000
        assert msgspec.json.decode(pipe.receive(source), type=protocol.Ask) == protocol.Ask("1")
    finally:
        os.close(source)
        os.close(sink)


def test_the_end_of_input_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also within a frame: whoever sent it is gone."""

    def leave(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(os, "_exit", leave)
    source, sink = os.pipe()
    os.write(sink, b"\x09\x00\x00\x00{")
    os.close(sink)
    with pytest.raises(SystemExit) as found:
        pipe.receive(source)
    os.close(source)
    assert found.value.code == 0
