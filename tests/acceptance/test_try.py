"""A flow is tried on an answer, and held to its cases, before it writes anything."""

import json

from tests.acceptance.harness import site

URL = "https://c.example/1.jpg"
CASES = """
- name: a product with a picture
  input: {results: [{sku: A1, images: [{url: "https://c.example/1.jpg", order: 0}]}]}
  expect: [{sku: A1, images: ["https://c.example/1.jpg"]}]
"""


def flow_file(here, **changes):
    """A flow whose ERP, Omnitron and secret do not exist."""
    here.erp = here.omnitron = "http://127.0.0.1:9"
    here.environ.pop("OMNITRON_PASSWORD", None)
    here.flow("main", **changes)
    return str(here.flows / "main.yaml")


def answer(here, value) -> str:
    path = here.folder / "answer.json"
    path.write_text(json.dumps(value))
    return str(path)


def test_try_a_file_and_a_saved_flow(tmp_path):
    """Script, mapping and rows of an answer, without secret or network; the same for a file and for a saved flow."""
    with site(tmp_path) as here:
        file = flow_file(here)
        good = answer(here, {"results": [{"sku": "A1", "images": [{"url": URL, "order": 3}]}]})
        result = here.json("try", file, "--input", good)
        assert not (here.folder / "data").exists()
        here.call("flow", "apply", file)
        assert here.json("try", "main", "--input", good) == result
        text = here.call("try", "main", "--input", good).stdout
        unknown = here.call("try", "other", "--input", good, check=False)
        assert here.json("runs") == []
    assert [step["step"] for step in result["steps"]] == ["input", "script", "mapping", "rows"]
    assert all(step["error"] is None for step in result["steps"])
    (row,) = result["rows"]
    assert (row["product"], row["state"], row["reason"]) == ("A1", "ready", None)
    assert row["images"] == [{"url": URL, "order": 3, "image_type": "default"}]
    assert result["ok"] is True
    assert "== mapping" in text
    assert "ok: 1 row (" in text
    assert unknown.returncode == 2


def test_try_shows_what_fails(tmp_path):
    """A failing page names the script's line, an invalid row its reason; both exit 1. What is no flow exits 2."""
    with site(tmp_path) as here:
        script = "def process(response):\n    print('seen')\n    return response['items']\n"
        file = flow_file(here, script=script)
        page = answer(here, {"results": []})
        broken = here.call("try", file, "--input", page, "--json", check=False)
        row = here.call(
            "try", flow_file(here), "--input", answer(here, {"results": [{"sku": "A1", "images": []}]}), check=False
        )
        wrong = here.call("try", file, check=False)
        gone = here.call("try", "./gone.yaml", "--input", page, check=False)
    assert [broken.returncode, row.returncode, wrong.returncode, gone.returncode] == [1, 1, 2, 2]
    step = json.loads(broken.stdout)["steps"][-1]
    assert (step["step"], step["prints"], step["error"]["line"]) == ("script", "seen\n", 3)
    assert "KeyError" in step["error"]["reason"]
    assert "no images" in row.stdout


def test_try_a_page_of_a_run(tmp_path):
    """A page that a run has read is tried again, with a flow file that is not saved; a page that is not there exits 2."""
    with site(tmp_path) as here:
        here.emulators(60)
        here.flow("main")
        run = here.json("run", "main", "--flows", str(here.flows), "--wait")
        changed = flow_file(
            here, script="def process_row(row):\n    return {'sku': 'X-' + row['sku'], 'pictures': row['images']}\n"
        )
        result = here.json("try", changed, "--from-run", run["run_id"], "--page", "2")
        gone = here.call("try", "main", "--from-run", run["run_id"], "--page", "9", check=False)
    assert len(result["rows"]) == 10
    assert all(row["product"].startswith("X-") for row in result["rows"])
    assert gone.returncode == 2


def test_cases_guard_a_flow(tmp_path):
    """`flow test` passes and fails; `apply` refuses what breaks its cases unless forced; a folder's cases are no flows."""
    with site(tmp_path) as here:
        file = flow_file(here)
        cases = here.flows / "main.test.yaml"
        none = here.call("flow", "test", file, check=False)
        cases.write_text(CASES)
        good = here.call("flow", "test", file)
        here.call("flow", "apply", file, str(cases))
        flow_file(
            here, script="def process_row(row):\n    return {'sku': row['sku'] + '!', 'pictures': row['images']}\n"
        )
        bad = here.call("flow", "test", file, check=False)
        refused = here.call("flow", "apply", file, check=False)
        version = here.json("flow", "show", "main")["version"]
        forced = here.call("flow", "apply", "--force", file)
        cases.write_text("- name: nothing to expect\n  input: []\n")
        malformed = [here.call("flow", verb, file, check=False) for verb in ("test", "apply")]
    assert none.returncode == 2
    assert "main.test.yaml" in none.stderr
    assert good.stdout.splitlines() == [
        "main.test.yaml: a product with a picture ... ok",
        "1 case: 1 passed, 0 failed",
    ]
    assert bad.returncode == 1
    assert "-A1: 1 image" in bad.stdout
    assert "+A1!: 1 image" in bad.stdout
    assert (refused.returncode, version) == (1, 1)
    assert "+A1!: 1 image" in refused.stderr
    assert "version 2" in forced.stdout
    assert [done.returncode for done in malformed] == [2, 2]
    assert "needs either expect or error" in malformed[0].stderr


def test_a_folder_of_flows_may_hold_cases(tmp_path):
    """`--flows` reads the flow files only."""
    with site(tmp_path) as here:
        here.emulators(5)
        here.flow("main")
        (here.flows / "main.test.yaml").write_text(CASES)
        run = here.json("run", "main", "--flows", str(here.flows), "--wait")
    assert run["status"] == "success"
