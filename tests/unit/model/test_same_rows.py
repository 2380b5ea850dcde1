"""Which changes of a flow make other rows of the same page: only then rows that were ready go through their page again."""

import pytest

from imageflow.model.flow import makes_the_same_rows
from tests.unit.transform.flows import definition

SCRIPT = "def process_row(row):\n    return row\n"
ERP = {"endpoint_url": "https://erp.example.com/x"}


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"alarms": {"silence": "2d"}}, True),
        ({"write": {"concurrency": 3}}, True),
        ({"enabled": False}, True),
        ({"script": SCRIPT}, False),
        ({"mapping": [{"operation": "sort"}]}, False),
        ({"filename_template": "{base_code}"}, False),
        ({"group": "run"}, False),
        ({"erp": {**ERP, "rows_path": "items"}, "direction": "inbound"}, False),
    ],
)
def test_what_makes_other_rows(changes, same):
    """What lies between page and row; not when, where to and how fast."""
    assert makes_the_same_rows(definition(), definition(**changes)) is same
