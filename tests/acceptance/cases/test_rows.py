"""Rows: what names a product, what is a URL, and what fails alone."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.cases.erp import steps
from tests.acceptance.cases.site import Site


def test_url_forms(site: Site):
    """woocommerce/woocommerce#17390, shopware#5957, PrestaShop/PrestaShop#3584: URLs go out as a browser would ask for them."""
    with site.stage("url_forms") as stage:
        ended = stage.run()
        given = {row["sku"]: row["images"][0] for row in json.loads(steps("url_forms")[0].body({}))["results"]}
        assert stage.pictures == {
            "COMMA": ["https://c.example/p/CR36211,CR36212,CR36213.jpg"],
            "NFD": ["https://c.example/u%CC%88ru%CC%88n-Fant%C3%A1stico.jpg"],
            "TIMES": ["https://c.example/1000-%C3%97-1000.png"],
            "QUERY": ["http://asset.example/8/4/0.png?x=260&y=260&t=image/jpeg"],
            "SPACE": ["https://c.example/My%20Example.png"],
            "TRAIL": ["https://c.example/a.jpg"],
            "TRAILNL": ["https://c.example/a.jpg"],
            "LEAD": ["https://c.example/a.jpg"],
            "LONG": [given["LONG"]],
            "AMP": ["https://c.example/i?a=1&amp;w=2"],
            "PIPE": ["https://c.example/a|b.jpg"],
            "BRACK": ["https://c.example/a[1].jpg"],
            "ZWSP": ["https://c.example/a%E2%80%8B.jpg"],
            "FRAG": ["https://c.example/a.jpg#1"],
            "NBSP": ["https://c.example/a%C2%A0b.jpg"],
            "UPPER": ["HTTPS://CDN.EXAMPLE/A.JPG"],
            "IDN": ["https://görsel.example/a.jpg"],
        }
        assert (ended.status, ended.exit) == ("partial", 1)
        assert ended.rows == {"total": 23, "written": 17, "failed": 6}
        assert {product: "http(s)" in reason for product, reason in ended.failed.items()} == {
            "PATH": True,
            "PROTOREL": True,
            "FTP": True,
            "DATA": True,
            "BACK": True,
            "TOOLONG": False,
        }
        assert "longer than 4096" in ended.failed["TOOLONG"]
        (warning,) = ended.shown["warnings"]
        assert warning.startswith("5 image URLs have blanks or letters beyond ASCII")


def test_file_names(site: Site):
    """shopware/shopware-cli#336: product and order by file name, whatever stands around it; misfits fail alone."""
    with site.stage("file_names") as stage:
        ended = stage.run()
        assert stage.products == {
            "K_12_A": [
                ("https://b.example/K_12_A_01.jpg?X-Amz-Signature=a_9.jpg", 1, "default"),
                ("https://b.example/K_12_A_2.jpg", 2, "default"),
                ("https://b.example/K_12_A_10.JPG", 10, "default"),
            ],
            "ŞIK A": [("https://b.example/%C5%9EIK%20A_1.jpg", 1, "default")],
            "ŞIK A+B": [("https://b.example/%C5%9EIK%20A+B_1.jpg", 1, "default")],
            "Y": [("https://b.example/Y_1.jpg#f", 1, "default")],
        }
        assert ended.status == "partial"
        assert ended.rows == {"total": 10, "written": 4, "failed": 6}
        assert all("does not fit the filename template" in reason for reason in ended.failed.values())


def test_turkish_charsets(site: Site):
    """javaee/jersey#2985, ryrych/rcarousel#63: declared Turkish charsets are read; bytes of another one are refused."""
    with site.stage("turkish_charsets") as stage:
        name = stage.flow()
        for _ in range(3):
            ended = stage.again(name)
            assert (ended.status, ended.rows) == ("success", {"total": 1, "written": 1})
            assert stage.pictures == {"ŞIK-ğüİı": ["https://c.example/%C3%A7anta.jpg"]}
        undeclared = stage.again(name)
        assert (undeclared.status, undeclared.exit, undeclared.rows) == ("failed", 1, {})
        assert "utf-8" in undeclared.says.lower()
        assert stage.omnitron.writes == {"ŞIK-ğüİı": 3}


@pytest.mark.parametrize("file", ["flow.yaml", "flow2.yaml"])
def test_long_numeric_sku(site: Site, file: str):
    """tidwall/gjson#29, douglascrockford/JSON-js#134: a number names a product digit by digit, or fails its row."""
    with site.stage("long_numeric_sku") as stage:
        ended = stage.run(file)
        assert stage.pictures == {
            "9007199254740993": ["https://c.example/0.jpg"],
            "12345678901234567890": ["https://c.example/1.jpg"],
            "123456789012345678901": ["https://c.example/2.jpg"],
            "8680001234567": ["https://c.example/3.jpg"],
            "100000": ["https://c.example/4.jpg"],
            "000123": ["https://c.example/7.jpg"],
        }
        assert (ended.status, ended.rows) == ("partial", {"total": 8, "written": 6, "failed": 2})
        reasons = [row.reason for row in ended.logs]
        assert "12.5" in reasons[1]
        assert "may have lost digits" in reasons[0]


def test_odd_skus(site: Site):
    """Eshopbox#357, magento/magento2#33989, wc-api-python#70: products are named letter by letter, and found again."""
    with site.stage("odd_skus") as stage:
        ended = stage.run()
        rows = json.loads(steps("odd_skus")[0].body({}))["results"]
        wanted = {row["sku"].strip(): row["images"] for row in rows}
        assert len(wanted) == 17
        assert (ended.status, ended.rows) == ("success", {"total": 17, "written": 17})
        assert stage.pictures == wanted
        assert {product: stage.trace(product) for product in wanted} == {product: ["written"] for product in wanted}


def test_odoo_false(site: Site):
    """odoo/odoo#99173, OCA/rest-framework#217: false, {} and null for what is not there clear nothing and fail alone."""
    with site.stage("odoo_false") as stage:
        ended = stage.run()
        assert stage.pictures == {"OK": ["https://c.example/ok.jpg"]}
        assert (ended.status, ended.rows) == ("partial", {"total": 10, "written": 1, "failed": 9})
        reasons = {row.payload["sku"]: row.reason for row in ended.logs}
        assert {sku: text for sku, text in reasons.items() if sku in ("F", "E", "D")} == {
            "F": "`images` must be a list, this is a boolean",
            "E": "`images` must be a list, this is an object without fields",
            "D": "`images` must be a list, this is an object with the fields 0, 2",
        }
        assert reasons[False] == "no product: sku must be a text, this is a boolean"
        assert "null" in reasons["N"]
        assert "boolean" in reasons["U"]
        assert "order" in reasons["O"]
        assert "image_type" in reasons["T"]
        assert "allow_clear" in reasons["EMPTY"]
