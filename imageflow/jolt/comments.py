"""Comments in the text of a spec, which Java's Jolt reads over: `//` to the end of a line, and `/* */`."""

from __future__ import annotations

import re

_PART = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)


def without_comments(text: str) -> str:
    """JSON text without its comments; what stands behind them stays in its line and column. Texts stay as they are."""
    return _PART.sub(lambda found: found[0] if found[0][0] == '"' else re.sub(r"[^\n]", " ", found[0]), text)
