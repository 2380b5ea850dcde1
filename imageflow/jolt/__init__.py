"""A Jolt engine: chains of JSON transformations with the meaning of Java's Jolt. It imports nothing of the product."""

from __future__ import annotations

from imageflow.jolt.chain import Chain, compile_chain, problems
from imageflow.jolt.errors import JoltError, LimitError, Problem

__all__ = ["Chain", "JoltError", "LimitError", "Problem", "compile_chain", "problems"]
