"""A flow file to begin with is right as it stands."""

from __future__ import annotations

import pytest

from imageflow.flows import file as flow_file
from imageflow.flows.template import SCHEMA_FILE, flow_file_text

FOUND = "erp:\n  endpoint_url: https://erp.example.com/\n  pagination: {type: page}\n"


@pytest.mark.parametrize(("inbound", "erp"), [(True, None), (True, FOUND), (False, None)])
def test_it_is_a_flow(inbound: bool, erp: str | None) -> None:
    """It names its schema, holds what a probe found and said, and parses."""
    text = flow_file_text("winter", inbound=inbound, erp=erp, said=("2 pages",))
    assert text.startswith(f"# yaml-language-server: $schema={SCHEMA_FILE}\n")
    flow = flow_file.parse(flow_file.read_text(text.encode(), is_yaml=True))
    assert (flow.name, flow.inbound) == ("winter", inbound)
    assert (flow.erp is not None) == inbound
    assert ("# 2 pages\n" in text) == inbound
    if erp is not None:
        assert type(flow.erp.pagination).__name__ == "PagePagination"  # type: ignore[union-attr]
