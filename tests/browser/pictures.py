"""Pictures of every page of the console, from the demo's data: `python -m tests.browser.pictures FOLDER`.

Light, dark, on a phone, and in Turkish.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.browser import chromium

LOOKS = {
    "light": {"viewport": {"width": 1400, "height": 900}},
    "dark": {"viewport": {"width": 1400, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}},
    "turkish": {"viewport": {"width": 1400, "height": 900}, "locale": "tr-TR"},
}

ALL_LOADED = """() => Promise.all([...document.images].map(one => {
    one.loading = "eager";
    return one.complete || new Promise(done => { one.onload = one.onerror = done; }); }))"""
"""Pictures below the fold load when one scrolls to them, and a whole page is taken without scrolling."""


def main(folder: Path) -> None:
    """Run the demo, log in by its link, and take the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    program = [sys.executable, "-m", "imageflow", "demo", "--rows", "300", "--serve"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as demo:
        try:
            assert demo.stdout is not None
            link = next(found[1] for line in demo.stdout if (found := re.search(r"(http://\S+/login\?once=\S+)", line)))
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium.path(), args=chromium.ARGUMENTS)
                _take(browser, link, folder)
                browser.close()
        finally:
            demo.terminate()


def _take(browser: Browser, link: str, folder: Path) -> None:
    base = link.partition("/login")[0]
    door = browser.new_context(base_url=base, locale="en-US")
    page = door.new_page()
    page.goto(link)
    page.screenshot(path=folder / "login-light.png")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{base}/")
    state = door.storage_state()
    page.goto("/runs")
    run = page.locator('table a[href^="/runs/2"]').last.get_attribute("href")
    page.goto("/products")
    product = page.locator("a.brick").first.get_attribute("href")
    paths = {
        "now": "/",
        "errors": "/errors",
        "products": "/products",
        "product": f"{product}?how=1",
        "runs": "/runs",
        "run": run,
        "flows": "/flows",
        "flow": "/flows/demo-inbound",
        "outbound-flow": "/flows/demo-outbound",
        "bench": "/flows/demo-inbound/bench",
        "system": "/system",
        "alarms": "/alarms",
        "audit": "/audit",
        "users": "/users",
        "search": "/search?q=demo",
    }
    for look, options in LOOKS.items():
        window = browser.new_context(base_url=base, storage_state=state, **{"locale": "en-US", **options})
        for name, path in paths.items():
            page = window.new_page()
            page.goto(path, wait_until="load")
            page.locator(".live.on").wait_for()
            page.evaluate(ALL_LOADED)
            page.screenshot(path=folder / f"{name}-{look}.png", full_page=True)
            page.close()
        window.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "console-pictures"))
