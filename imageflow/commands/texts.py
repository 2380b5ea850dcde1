"""Results as people read them."""

from __future__ import annotations

from typing import Any


def run_text(item: dict[str, Any]) -> str:
    rows_ = item["rows"]
    parts = ", ".join(
        f"{rows_[state]} {state}" for state in ("written", "unchanged", "superseded", "failed") if rows_[state]
    )
    text = f"{item['run_id']}  {item['flow']:20}  {item['status']:8}  {item['pages']} pages, {rows_['total']} rows"
    text += f" ({parts})" if parts else ""
    text += f"  {item['error']}" if item["error"] else ""
    return "\n    warning: ".join([text, *item["warnings"]])
