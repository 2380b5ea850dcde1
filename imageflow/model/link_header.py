"""The Link header of an HTTP answer (RFC 8288). Pure."""

from __future__ import annotations

import re

_LINK = re.compile(r"<([^<>]*)>((?:\s*;\s*[^\s=;,<>]+(?:\s*=\s*(?:\"(?:[^\"\\]|\\.)*\"|[^\s;,\"]*))?)*)")
_PARAMETER = re.compile(r";\s*([^\s=;,]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;,\"]*))")


def next_target(header: str) -> str | None:
    """The target of the first link with `rel=next`, None where there is none."""
    for target, parameters in _LINK.findall(header):
        for name, quoted, bare in _PARAMETER.findall(parameters):
            if name.lower() == "rel" and "next" in (quoted or bare).lower().split():
                return str(target) or None
    return None
