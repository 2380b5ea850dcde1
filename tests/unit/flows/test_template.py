"""A flow file to begin with is right as it stands."""

from __future__ import annotations

import pytest

from imageflow.flows import file as flow_file
from imageflow.flows.template import SCHEMA_FILE, Looked, flow_file_text, questions_of
from imageflow.model.pagination import TYPES

ERP = {"endpoint_url": "https://erp.example.com/", "pagination": {"type": "page"}}
SCRIPT = "def process_row(row):\n    a = 1\n\n    return row\n"


@pytest.mark.parametrize("inbound", [True, False])
def test_it_is_a_flow(inbound: bool) -> None:
    """It names its schema, and parses."""
    text = flow_file_text("winter", inbound=inbound)
    assert text.startswith(f"# yaml-language-server: $schema={SCHEMA_FILE}\n")
    flow = flow_file.parse(flow_file.read_text(text.encode(), is_yaml=True))
    assert (flow.name, flow.inbound, flow.erp is not None) == ("winter", inbound, inbound)
    assert flow.script is not None


def test_what_it_says_is_so() -> None:
    """It names the types of pagination that there are, and how this flow is tried: nobody asks an ERP that posts."""
    text = flow_file_text("winter")
    others = text.partition("pagination: {type: next, field: next}    # or ")[2].partition("\n")[0].split(", ")
    assert {"next", *others} == {one.__struct_config__.tag for one in TYPES}
    assert "imageflow try winter.yaml --live\n" in text
    assert "imageflow try winter.yaml --input POSTED.json\n" in flow_file_text("winter", inbound=False)


def test_an_endpoint_that_asks_for_a_login() -> None:
    """The file says where the endpoint is, sketches logins as comments, and is no wrong flow; no question comes too early."""
    looked = Looked({"endpoint_url": ERP["endpoint_url"]}, ("answered 401",), None, ("which login?",), refused=True)
    text = flow_file_text("winter", looked=looked)
    assert questions_of(looked) == ["which login?"]
    assert text.count("#   - ") == 1
    assert flow_file.parse(flow_file.read_text(text.encode(), is_yaml=True)).erp.login is None  # type: ignore[union-attr]
    sketch = text.partition("  # login: ")[2].partition("  # or ")[0].replace("#", "")
    login = flow_file.read_text(f"login: {sketch}".encode(), is_yaml=True)["login"]
    assert login["header"] == "Authorization"


@pytest.mark.parametrize(("header", "asked"), [("authorization", True), ("X-Api-Key", False)])
def test_a_header_that_may_expire(header: str, asked: bool) -> None:
    """A token that somebody fetched is not good for ever, so the file asks."""
    login = {"type": "header", "name": header, "value": {"env": "ERP_AUTHORIZATION"}}
    questions = questions_of(Looked({**ERP, "login": login}))
    assert any("does the value of the header Authorization expire?" in one for one in questions) == asked


@pytest.mark.parametrize(
    ("looked", "script", "said"),
    [
        (Looked(ERP, ("2 pages",), {"group": "run", "script": SCRIPT}, ("why?",)), SCRIPT, "#   - why?\n"),
        (Looked(ERP, (), {}), None, "# No script is needed"),
        (Looked(ERP, (), None, ("where?",)), None, "#   def process_row(row):\n"),
        (Looked({**ERP, "modified_date_key": "since"}, ("2 pages\nand more",), {}), None, "#   2 pages and more\n"),
    ],
)
def test_what_was_looked_at(looked: Looked, script: str | None, said: str) -> None:
    """It holds what was found, why, and what is left to ask; where nothing makes rows, a script stands as a comment."""
    text = flow_file_text("winter", looked=looked)
    flow = flow_file.parse(flow_file.read_text(text.encode(), is_yaml=True))
    assert said in text
    assert (flow.script, flow.group) == (script, (looked.rows or {}).get("group", "auto"))
    assert type(flow.erp.pagination).__name__ == "PagePagination"  # type: ignore[union-attr]
    assert ("Questions that are left" in text) == bool(looked.questions or "modified_date_key" not in looked.erp)
