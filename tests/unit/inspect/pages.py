"""A flow with a script and a mapping, and dry runs of pages by what the sandbox made of them."""

from __future__ import annotations

from typing import Any

import msgspec

from imageflow.inspect.dry_run import DryRun, dry_run_of
from imageflow.sandbox.outcome import Outcome
from tests.unit.transform.flows import definition

U = "https://c.example/"
SHIFT = [{"operation": "shift", "spec": {"*": {"sku": "[&1].sku", "pics": {"*": "[&2].images[]"}}}}]
SCRIPT = "def process_row(row):\n    print(row['sku'])\n    return {'sku': row['sku'], 'pics': row['p']}\n"
FLOW = {
    "name": "winter",
    "direction": "inbound",
    "omnitron": {"domain_url": "https://o.example", "username": "u", "password": {"env": "NOT_SET"}},
    "erp": {"endpoint_url": "https://erp.example/images", "rows_path": "results"},
    "script": SCRIPT,
    "mapping": SHIFT,
}


def result_of(outcome: Outcome, document: Any = None, **changes: Any) -> DryRun:
    """The dry run of a page with this outcome."""
    return dry_run_of(definition(**changes), document, msgspec.json.encode(document), outcome)


def image_set(sku: str, *urls: str) -> dict[str, Any]:
    return {"sku": sku, "images": list(urls)}
