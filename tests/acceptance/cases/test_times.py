"""Schedules: what cron expressions and timezones of other products mean here, or that they are refused in words."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import pytest

from imageflow.errors import FlowFileError
from imageflow.flows import file as flow_file
from imageflow.model.cron import next_fires
from tests.acceptance.cases.erp import DATA
from tests.acceptance.cases.site import document

FIRES = [
    pytest.param(path.parent.name, entry, id=f"{path.parent.name}-{entry.get('cron', entry['timezone'])}-{number}")
    for path in sorted(DATA.glob("*/fires.json"))
    for number, entry in enumerate(json.loads(path.read_text("utf-8")))
]


@pytest.mark.parametrize(("case", "entry"), FIRES)
def test_fires(case: str, entry: dict[str, Any]):
    """A flow file fires at the right instants, or is refused with the field and the reason."""
    made = document(case)
    made["timezone"] = entry["timezone"]
    if "cron" in entry:
        made["schedule"] = {"cron": entry["cron"]}
    if entry.get("refused") or entry.get("accepted") is False:
        field = "schedule.cron" if "cron" in entry else "timezone"
        with pytest.raises(FlowFileError) as refused:
            flow_file.parse(made)
        (problem,) = refused.value.problems
        assert problem.path == field
        named = re.findall(r"'([^']+)'", problem.message)
        assert any(text in made["timezone"] or text in entry.get("cron", "") for text in named), problem.message
        return
    definition = flow_file.parse(made)
    if "fires" in entry:
        after = datetime.fromisoformat(entry["after"])
        fires = next_fires(definition.schedule, definition.timezone, after, len(entry["fires"]))
        assert fires == [datetime.fromisoformat(text) for text in entry["fires"]]
