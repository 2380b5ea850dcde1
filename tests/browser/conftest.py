"""A console in a thread, and a browser that tells of everything that is wrong."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.browser import chromium
from tests.console_site import PICTURE, furnish, opened

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63c8b82f0f0003020154ade61eb20000000049454e44ae426082"
)


def pytest_collection_modifyitems(items):
    """Skipped where the tools are missing, which is said; in CI that fails."""
    why = chromium.missing()
    if why is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"the browser tests always run in CI: {why}")
    for item in items:
        if "tests/browser" in str(item.path):
            item.add_marker(pytest.mark.skip(reason=why))


@contextmanager
def in_thread(serving):
    """Keep an async context open in a thread of its own, since playwright blocks; gives what it gave, and a way to call it."""
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    opened_as = []

    async def main():
        async with serving as value:
            opened_as.append(value)
            ready.set()
            await stop.wait()

    def run():
        try:
            loop.run_until_complete(main())
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(60)
        yield opened_as[0], lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(60)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)


@pytest.fixture(scope="session")
def furnished(tmp_path_factory):
    file = tmp_path_factory.mktemp("furniture") / "store.db"
    with ThreadPoolExecutor(1) as apart:  # playwright has a loop in this thread
        apart.submit(asyncio.run, furnish(file)).result()
    return file


@pytest.fixture
def served(furnished, tmp_path):
    """A console with a store of its own: the site, and how to call it."""
    with in_thread(opened(furnished, tmp_path)) as both:
        yield both


@pytest.fixture
def browser():
    """One for each test: as long as playwright runs, no other event loop can in this thread, and async tests follow."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - may be missing

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium.path(), args=chromium.ARGUMENTS)
        yield found
        found.close()


class Watched:
    """Browser windows on a console. Whatever their pages complain of, or ask of a foreign host, is in `wrong`."""

    def __init__(self, browser, site, do):
        self._browser, self._site, self._do = browser, site, do
        self.url, self.wrong, self._contexts = site.url, [], []

    def window(self, role=None, **options):
        """A window of its own, logged in with a role."""
        context = self._browser.new_context(base_url=self.url, **{"locale": "en-US", **options})
        self._contexts.append(context)
        context.set_default_timeout(20_000)
        context.route(f"{PICTURE}/**", lambda route: route.fulfill(body=PNG, content_type="image/png"))
        context.on("request", self._asked)
        context.on("console", lambda message: self._said(message.text))
        context.on("weberror", lambda error: self._said(str(error.error)))
        if role is not None:
            user = self._do(self._site.store.user(role))
            text = self._do(self._site.gateway.sessions.begin(user))
            context.add_cookies(
                [{"name": "imageflow", "value": text, "url": self.url, "httpOnly": True, "sameSite": "Lax"}]
            )
        return context

    def page(self, role=None, **options):
        return self.window(role, **options).new_page()

    def _asked(self, request):
        if not request.url.startswith((self.url, PICTURE, "data:", "blob:")):
            self.wrong.append(f"asked {urlsplit(request.url).netloc}")

    def _said(self, text):
        # Chromium says each refusal, which tests look at themselves, and that it has cleared what the log-out asks for
        if "status of 4" not in text and "Clear-Site-Data header" not in text:
            self.wrong.append(text)

    def close(self):
        for context in self._contexts:
            context.close()


@pytest.fixture
def watched(browser, served):
    """Fails where a page complained: a policy that was broken, an error in a script, a foreign host."""
    site, do = served
    found = Watched(browser, site, do)
    yield found
    found.close()
    assert not found.wrong
