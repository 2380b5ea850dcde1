"""Flow definitions for tests of the transform stage."""

from __future__ import annotations

from typing import Any

import msgspec

from imageflow.model.flow import Definition, decode_custom


def definition(**changes: Any) -> Definition:
    """A small inbound flow with these fields changed."""
    document: dict[str, Any] = {
        "name": "winter",
        "direction": "inbound",
        "omnitron": {"domain_url": "https://o.example", "username": "u", "password": {"env": "P"}},
        "erp": {"endpoint_url": "https://erp.example/images"},
    }
    return msgspec.convert({**document, **changes}, Definition, dec_hook=decode_custom)
