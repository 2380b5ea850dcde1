"""Settings that flow files share: what a flow takes of them, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from imageflow.errors import FlowFileError
from imageflow.flows import file as flow_file
from imageflow.flows import shared

OMNITRON = {"domain_url": "https://brand.example.com", "username": "bot", "password": {"env": "OMNITRON_PASSWORD"}}
ERP = {"endpoint_url": "https://erp.example.com/images/"}


def loaded(folder: Path, common: Any, own: dict[str, Any], name: str = "brand.shared.yaml") -> dict[str, Any]:
    (folder / name).write_text(common if isinstance(common, str) else yaml.safe_dump(common))
    path = folder / "winter.yaml"
    path.write_text(yaml.safe_dump({"name": "winter", "direction": "inbound", "shared_file": name, **own}))
    return flow_file.load(path)


def problems(folder: Path, common: Any, own: dict[str, Any], name: str = "brand.shared.yaml") -> list[str]:
    with pytest.raises(FlowFileError) as caught:
        flow_file.parse(loaded(folder, common, own, name))
    return [str(problem) for problem in caught.value.problems]


def test_a_flow_with_what_it_shares(tmp_path: Path) -> None:
    """The document is complete: its own fields, then what is shared; the file is not in it any more."""
    common = {"omnitron": OMNITRON, "timezone": "Europe/Istanbul"}
    document = loaded(tmp_path, common, {"erp": ERP})
    assert document == {"name": "winter", "direction": "inbound", "erp": ERP, **common}
    assert flow_file.parse(document).omnitron.domain == "https://brand.example.com"


@pytest.mark.parametrize(
    ("own", "common", "document", "given"),
    [
        ({"a": 1}, {"a": 2, "b": 3}, {"a": 1, "b": 3}, ["b"]),
        ({"schedule": None}, {"schedule": {"every": "5m"}}, {"schedule": None}, []),
        ({"schedule": {"cron": "* * * * *"}}, {"schedule": {"every": "5m"}}, {"schedule": {"cron": "* * * * *"}}, []),
        (
            {"erp": {"a": 1, "login": {"type": "basic"}}},
            {"erp": {"a": 2, "b": 2, "login": {"type": "token", "url": "u"}}},
            {"erp": {"a": 1, "b": 2, "login": {"type": "basic"}}},
            ["erp.b"],
        ),
        ({"erp": None}, {"erp": {"a": 1}}, {"erp": None}, []),
        ({"write": {"timeout": "5s"}}, {"write": None}, {"write": {"timeout": "5s"}}, []),
    ],
)
def test_what_wins(own: Any, common: Any, document: Any, given: list[str]) -> None:
    """What the flow file says, also null; sections are put together field by field, what is in a field is taken whole."""
    assert shared.joined(own, common) == document
    assert list(shared.given(own, common)) == given


@pytest.mark.parametrize(
    ("common", "said"),
    [
        ("- 1\n", "shared_file: brand.shared.yaml: must be an object with fields of a flow"),
        ("a: [\n", "shared_file: brand.shared.yaml: line 1: is not valid YAML"),
        ({"name": "x"}, "shared_file: brand.shared.yaml: name: must stand in each flow file itself"),
        ({"script_file": "x.py"}, "shared_file: brand.shared.yaml: script_file: must stand in each flow file itself"),
        ({"shared_file": "y"}, "shared_file: brand.shared.yaml: shared_file: must stand in each flow file itself"),
        ({"omnitrom": {}}, "shared_file: brand.shared.yaml: omnitrom: unknown field; did you mean omnitron?"),
        ({"omnitron": {"password": "plain"}}, "shared_file: brand.shared.yaml: omnitron.password: must be a secret"),
        ({"timezone": "Mars"}, "shared_file: brand.shared.yaml: timezone: 'Mars' is no IANA timezone"),
    ],
)
def test_what_is_wrong_with_a_shared_file(tmp_path: Path, common: Any, said: str) -> None:
    """It is said with the file, and at the field that names it; what it lacks is not wrong."""
    assert any(problem.startswith(said) for problem in problems(tmp_path, common, {"omnitron": OMNITRON, "erp": ERP}))


def test_other_problems(tmp_path: Path) -> None:
    """A name that looks like that of a flow file; a file that is not there; what is wrong only together names the file."""
    own = {"omnitron": OMNITRON, "erp": ERP}
    assert "must end with .shared.yaml" in problems(tmp_path, {}, own, "brand.yaml")[0]
    assert (
        "shared_file: gone.shared.yaml: cannot be read"
        in problems(tmp_path, {}, {**own, "shared_file": "gone.shared.yaml"})[0]
    )
    assert "shared_file: must be a text" in problems(tmp_path, {}, {**own, "shared_file": 7})[0]
    needs = problems(tmp_path, {"fetch_missing": {"enabled": True}}, own)
    assert len(needs) == 1
    assert needs[0].startswith("fetch_missing.enabled: needs erp.query_settings.sku")
    assert needs[0].endswith(" (in brand.shared.yaml)")
    assert problems(tmp_path, {"timezone": "UTC"}, {"erp": ERP}) == ["omnitron: required, and missing"]


def test_only_flow_files_share(tmp_path: Path) -> None:
    """A document that came another way has no folder to look in."""
    document = {"name": "a", "direction": "inbound", "omnitron": OMNITRON, "erp": ERP, "shared_file": "b.shared.yaml"}
    with pytest.raises(FlowFileError, match="shared_file: is read in flow files only"):
        flow_file.parse(document)
