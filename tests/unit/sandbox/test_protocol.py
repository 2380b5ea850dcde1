"""Frames: length and JSON, through a pipe and back."""

from __future__ import annotations

import os

import msgspec

from imageflow.sandbox import protocol


def test_frames_are_length_and_json() -> None:
    """A frame is its length, little endian, and the JSON."""
    assert protocol.frame({"a": [1]}) == b"\x09\x00\x00\x00" + b'{"a":[1]}'


def test_both_sides_make_the_same_frames() -> None:
    """The supervisor frames text that is JSON already, the worker a value."""
    assert protocol.framed(b'{"a":[1]}') == bytes(protocol.frame({"a": [1]}))


def test_frames_pass_a_pipe() -> None:
    """A frame that is sent is received whole, and the next one after it."""
    source, sink = os.pipe()
    try:
        protocol.send(sink, protocol.frame("x" * 1000))
        protocol.send(sink, protocol.frame(protocol.Ask("1")))
        assert protocol.decode(protocol.receive(source)) == "x" * 1000
        assert msgspec.json.decode(protocol.receive(source), type=protocol.Ask) == protocol.Ask("1")
    finally:
        os.close(source)
        os.close(sink)
