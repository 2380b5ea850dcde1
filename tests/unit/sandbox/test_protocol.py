"""Frames: length and JSON."""

from __future__ import annotations

from imageflow.sandbox import protocol


def test_frames_are_length_and_json() -> None:
    """A frame is its length, little endian, and the JSON."""
    assert protocol.frame({"a": [1]}) == b"\x09\x00\x00\x00" + b'{"a":[1]}'


def test_both_sides_make_the_same_frames() -> None:
    """The supervisor frames text that is JSON already, the worker a value."""
    assert protocol.framed(b'{"a":[1]}') == bytes(protocol.frame({"a": [1]}))
