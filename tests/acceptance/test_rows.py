"""From answers to rows: what names a product, what is joined, what fails alone."""

import json

from tests.acceptance.harness import balanced, site

BY_BASE_CODE = """
def process(response):
    sets = {}
    for row in response["results"]:
        sets.setdefault(row["base_code"], [image["url"] for image in row["images"]])
    return [{"base_code": code, "images": urls} for code, urls in sets.items()]
"""
BY_FILE = """
def process(response):
    return [f"https://cdn.example.com/{row['sku']}_{n}.jpg?v=1" for row in response["results"] for n in (1, 0)]
"""


def test_a_base_code_reaches_all_its_skus(tmp_path):
    """One row per base code, written to each of its SKUs; a base code that comes on each page is looked up once."""
    with site(tmp_path) as here:
        here.emulators(8)
        here.omnitron = here.emulate("omnitron", "--rows", "8")
        document = here.flow(script=BY_BASE_CODE, mapping=None, filename_template="{base_code}")
        document["erp"]["extra_params"] = {"limit": 2}
        here.flow(script=BY_BASE_CODE, mapping=None, filename_template="{base_code}", group="run", erp=document["erp"])
        run = here.json("run", "main", "--flows", str(here.flows), "--wait")
        images = here.images()
    assert run["status"] == "success"
    assert run["pages"] == 4
    assert run["rows"] == {"total": 2, "written": 2, "unchanged": 0, "superseded": 0, "failed": 0, "cancelled": 0}
    assert sorted(images) == [f"SKU-{n:06}" for n in range(1, 9)]
    assert images["SKU-000001"] == images["SKU-000004"] != images["SKU-000005"]


def test_images_are_assigned_by_their_file_names(tmp_path):
    """With a template of several fields, product and order are read out of each URL's file name."""
    with site(tmp_path) as here:
        here.emulators(3)
        here.flow(script=BY_FILE, mapping=None, filename_template="{sku}_{image_order}.jpg")
        run = here.json("run", "main", "--flows", str(here.flows), "--wait")
        images = here.images()
    assert run["rows"]["written"] == 3
    assert images["SKU-000002"] == [(n, f"https://cdn.example.com/SKU-000002_{n}.jpg?v=1", "default") for n in (0, 1)]


def test_one_row_of_a_thousand_fails_alone(tmp_path):
    """process_row that fails for one row in a page of 1,000 fails that row, with the script's line; 999 are written."""
    script = (
        "def process_row(row):\n"
        "    if row['sku'] == 'SKU-000500':\n"
        "        return row['no such field']\n"
        "    return {'sku': row['sku'], 'images': [image['url'] for image in row['images']]}\n"
    )
    with site(tmp_path) as here:
        here.emulators(1000)
        document = here.flow(script=script, mapping=None)
        here.flow(script=script, mapping=None, erp={**document["erp"], "extra_params": {"limit": 1000}})
        done = here.call("run", "main", "--flows", str(here.flows), "--wait", "--json", check=False)
        run = json.loads(done.stdout.splitlines()[-1])
        (failed,) = json.loads(here.call("rows", run["run_id"], "--state", "failed", "--json").stdout)
    assert (run["status"], run["pages"]) == ("partial", 1)
    assert balanced(run)
    assert (run["rows"]["written"], run["rows"]["failed"]) == (999, 1)
    assert (failed["stage"], failed["reason"]) == (
        "script",
        "line 3: KeyError: 'no such field' (in `return row['no such field']`)",
    )
