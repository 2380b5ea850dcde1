"""Fetch missing, by hand: products without images get them, and nobody else is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .harness import Site, balanced, site


def asks(here: Site, **changes: Any) -> None:
    """A flow whose ERP can be asked for identifiers."""
    here.flow(**changes)
    path = here.flows / "main.yaml"
    path.write_text(path.read_text().replace("erp:\n", "erp:\n  query_settings: {sku: {key: sku}}\n"))


def test_fetch_missing_fills_exactly_the_gaps(tmp_path: Path):
    """`run --missing --wait` asks the ERP for what lacks images, says what the ERP does not have, and is `empty` when
    nothing lacks.
    """
    with site(tmp_path) as here:
        here.erp = here.emulate("erp", "--rows", "20")
        here.omnitron = here.emulate("omnitron", "--rows", "23")
        asks(here, fetch_missing={"enabled": True, "batch_size": 50, "productization_date_limit_days": 7})
        result = here.json("run", "main", "--flows", "flows", "--ids", "SKU-000001,SKU-000002", "--wait")
        assert result["rows"]["written"] == 2
        missing = here.json("run", "main", "--missing", "--wait")
        assert (missing["status"], missing["rows"]["written"]) == ("success", 18)
        assert balanced(missing)
        assert missing["warnings"] == ["3 identifiers are not in the ERP: SKU-000021, SKU-000022, SKU-000023"]
        assert missing["watermark"] is None
        assert len(here.images()) == 20
        assert missing.keys() == result.keys()


def test_nothing_missing_is_an_empty_run(tmp_path: Path):
    """Where nothing lacks images there is no run, and an object of the same shape."""
    with site(tmp_path) as here:
        here.emulators(5)
        here.flow()
        result = here.json("run", "main", "--flows", "flows", "--missing", "--wait")
        assert (result["run_id"], result["status"], result["rows"]["total"]) == (None, "empty", 0)
        assert here.json("runs") == []
        assert here.call("run", "main", "--missing", "--ids", "A", check=False).returncode == 2


def test_an_omnitron_that_cannot_be_asked_is_a_failed_run(tmp_path: Path):
    """The attempt leaves a failed run behind, with the reason; exit status 1."""
    with site(tmp_path) as here:
        here.emulators(5, omnitron=("path=/api/v1/products/,status=500",))
        here.flow()
        done = here.call("run", "main", "--flows", "flows", "--missing", "--wait", "--json", check=False)
        assert done.returncode == 1
        (run,) = here.json("runs")
        assert run["status"] == "failed"
        assert "500" in run["error"]


def test_a_flow_that_cannot_be_asked_for_identifiers_is_refused(tmp_path: Path):
    """Where products lack images, as with --ids: exit status 2, and no run."""
    with site(tmp_path) as here:
        here.erp = here.emulate("erp", "--rows", "5")
        here.omnitron = here.emulate("omnitron", "--rows", "8")
        here.flow()
        done = here.call("run", "main", "--flows", "flows", "--missing", "--wait", check=False)
        assert done.returncode == 2
        assert "does not say which parameter carries them: add erp.query_settings.sku" in done.stderr
        assert here.json("runs") == []
