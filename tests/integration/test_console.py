"""The console over real HTTP: its door, its forms, its headers, and what each page has by the contract. Without a script."""

# ruff: noqa: RUF001 - Turkish has letters of its own
import asyncio
import json
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from ipaddress import ip_network

import msgspec
import pytest

from imageflow.actions import credentials, shapes
from imageflow.actions.runs import Seen
from imageflow.commands import texts
from imageflow.console import packaged
from imageflow.console.assets import Assets
from imageflow.console.pages import PAGES
from imageflow.console.pages import errors as errors_page
from imageflow.emulator.erp import FakeErp
from imageflow.flows.bounded import Reach
from imageflow.flows.folder import author
from imageflow.gateway.login_pace import PACES
from imageflow.http.public_address import Allowed
from imageflow.model.imageset import Image, digest
from imageflow.model.row import CANCELLED, RowLog, Try
from imageflow.model.run import Run, Trigger
from imageflow.schedule.fetch import Begun
from imageflow.secret import Bounds, Secret
from imageflow.store import AuditEntry, LedgerEntry, User, Wanted
from imageflow.store.connect import connect
from tests import console_site
from tests.console_site import (
    CLOCK,
    LONG,
    PASSWORD,
    PICTURE,
    POLLED,
    POSTS,
    RUN,
    Html,
    end_long_run,
    form_of,
    furnish,
    long_run,
    opened,
)

SAMPLES = {
    "{name}": "polled",
    r"{version:\d{1,9}}": "1",
    "{run_id}": RUN,
    "{sku}": "A-1",
    "{cause}": "0" * 16,
    "{key}": "none",
    r"{row:\d{1,9}}": "2",
    r"{number:\d{1,9}}": "1",
    "{user}": "viewer",
    "{message}": "0" * 12,
}
WORDS = {
    "en": {"nav": "Pages", "search": "Search", "skip": "Skip to content", "out": "Log out", "now": "Now"},
    "tr": {"nav": "Sayfalar", "search": "Ara", "skip": "İçeriğe geç", "out": "Çıkış yap", "now": "Şimdi"},
}


def sample(path):
    for name, value in SAMPLES.items():
        path = path.replace(name, value)
    return path


GONE = ("/keys/", "/system/parked/", ".csv")
"""Pages of what the furnished store does not have, and downloads."""
SHOWN = sorted(
    {
        sample(page.path)
        for page in PAGES
        if page.method == "GET" and page.role and not any(part in page.path for part in GONE)
    }
)
FORMS = sorted({sample(page.path) for page in PAGES if page.method == "POST" and page.role})


@pytest.fixture(scope="module")
def furnished(tmp_path_factory):
    """A furnished store's file, to be copied: making it is most of what a test would cost."""
    file = tmp_path_factory.mktemp("furniture") / "store.db"
    asyncio.run(furnish(file))
    return file


@pytest.fixture
async def site(tmp_path, furnished):
    async with opened(furnished, tmp_path) as site:
        yield site


# the door -------------------------------------------------------------------------------------------------------------


async def test_without_a_session_pages_lead_to_the_login(site):
    """Each page, also one that is not there, is 303 to the log-in and comes back after it; what is no page is 401 or 404."""
    visitor = await site.visitor()
    for path in [*SHOWN, "/nothing"]:
        answer = await visitor.get(f"{path}?a=b")
        assert answer.status == 303, path
        assert answer.to == f"/login?next={path.replace('%', '%25')}%3Fa%3Db"
    assert (await visitor.get("/api/events")).status == 401
    assert (await visitor.get("/api/nothing")).status == 404


async def test_logging_in_and_out(site):
    """The cookie changes at the log-in, opens pages, and opens nothing after the log-out."""
    visitor = await site.visitor()
    shown = await visitor.get("/login?next=/flows")
    before = visitor.cookies["imageflow"]
    assert shown.html.one("h1").text == "Log in to ImageFlow"
    answer = await visitor.send("/login?next=/flows", "/login", username="viewer", password=PASSWORD)
    assert (answer.status, answer.to) == (303, "/flows")
    cookie = answer.headers["Set-Cookie"]
    assert re.search(r"Max-Age=43200; Path=/; .*SameSite=Lax", cookie)
    assert "HttpOnly" in cookie
    session = visitor.cookies["imageflow"]
    assert session != before
    flows = await visitor.get("/flows")
    assert flows.status == 200
    assert "viewer · viewer" in flows.text
    answer = await visitor.send("/flows", "/logout")
    assert (answer.status, answer.to) == (303, "/login")
    assert answer.headers["Clear-Site-Data"] == '"cache"'
    assert (await visitor.get("/flows", Cookie=f"imageflow={session}")).status == 303


async def test_a_wrong_password(site):
    """It is said at the form, in the visitor's language, with the name still there; nobody is logged in."""
    visitor = await site.visitor(language="tr")
    answer = await visitor.log_in("viewer", "wrong words here")
    assert answer.status == 401
    assert "Bu ad ve parola birbirine uymuyor." in answer.html.one(role="alert").text
    assert answer.html.one("input", name="username").attributes["value"] == "viewer"
    assert answer.html.one("input", name="password").attributes["aria-invalid"] == "true"
    assert (await visitor.get("/flows")).status == 303


async def test_guessing_is_slowed(site):
    """After the free tries the form says when the next one counts, and so does Retry-After."""
    visitor = await site.visitor()
    page = await visitor.get("/login")
    token = page.html.one("input", name="csrf").attributes["value"]
    for _ in range(PACES["pair"].free):
        answer = await visitor.post("/login", {"csrf": token, "username": "viewer", "password": "wrong"})
        assert answer.status == 401
    answer = await visitor.post("/login", {"csrf": token, "username": "viewer", "password": PASSWORD})
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert "Too many tries" in answer.html.one(role="alert").text


async def test_a_login_link_works_once(site):
    """A GET shows a button and uses nothing up; the button's POST does, and it works once."""
    link = await site.gateway.sessions.login_link("operator")
    for _ in range(2):
        first = await site.visitor()
        shown = await first.get(f"/login?once={link}")
        assert [button.text for button in shown.html.all("button")][-1] == "Log in"
    answer = await first.send(f"/login?once={link}", "/login")
    assert (answer.status, answer.to) == (303, "/")
    assert "operator · operator" in (await first.get("/flows")).text
    second = await site.visitor()
    assert (await second.get(f"/login?once={link}")).html.one("h1").text == "This link has been used, or is too old"
    token = (await second.get("/login")).html.one("input", name="csrf").attributes["value"]
    assert (await second.post("/login", {"csrf": token, "once": link})).status == 403
    assert (await second.get("/flows")).status == 303


async def test_the_first_admin(site, tmp_path):
    """A link makes the first admin: once, not with a weak password, and not once there are users."""
    assert await site.gateway.sessions.setup_link() is None
    visitor = await site.visitor()
    assert (await visitor.get("/setup?once=x")).status == 404
    for role in ("viewer", "operator", "admin"):
        await site.store.remove_user(role)
    old, link = [await site.gateway.sessions.setup_link() for _ in range(2)]
    assert (await visitor.get(f"/setup?once={old}")).status == 404
    refused = await visitor.send(f"/setup?once={link}", "/setup", username="ayse", password="short")
    assert refused.status == 422
    assert "8 to 1024 characters" in refused.html.one(role="alert").text
    made = await visitor.send(f"/setup?once={link}", "/setup", username="ayse", password="a long sentence")
    assert (made.status, made.to) == (303, "/")
    shown = await visitor.get("/flows")
    assert "ayse · admin" in shown.text
    assert "You are the first admin" in shown.html.one(id="notice").text
    assert (await visitor.get(f"/setup?once={link}")).status == 404
    (record,) = await site.store.audit(what="user.save", limit=1)
    assert (record.entry.who, record.entry.object, record.entry.origin) == ("ayse", "user ayse", "127.0.0.1")


async def test_over_tls(tmp_path, furnished):
    """Behind a proxy that is trusted and speaks TLS, the cookie is bound to the host and goes over TLS alone."""
    async with opened(furnished, tmp_path, trusted=[ip_network("127.0.0.1")]) as site:
        visitor = await site.visitor()
        visitor.headers |= {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https", "Host": "console.example"}
        answer = await visitor.get("/login")
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith("__Host-imageflow=")
        assert "Secure" in cookie
        assert "Path=/" in cookie
        assert "Domain" not in cookie
        token = answer.html.one("input", name="csrf").attributes["value"]
        form = {"csrf": token, "username": "viewer", "password": PASSWORD}
        sent = {"Cookie": cookie.partition(";")[0]}
        assert (await visitor.post("/login", form, **sent)).status == 303


async def test_no_password_goes_over_plain_http(site):
    """From elsewhere, without TLS, there is no form; what is posted all the same is refused."""
    visitor = await site.visitor()
    visitor.headers["Host"] = "imageflow.example.com"
    shown = await visitor.get("/login")
    assert shown.html.one("h1").text == "Logging in needs https"
    assert not shown.html.all("input", type="password")
    assert "Set-Cookie" not in shown.headers
    assert (await visitor.post("/login", {"username": "viewer", "password": PASSWORD})).status == 403


# forms ----------------------------------------------------------------------------------------------------------------


async def test_forms_of_others_change_nothing(site):
    """Without the form's token, or from another site, each form is 403."""
    visitor = await site.visitor("admin")
    right = (await visitor.get("/flows")).html.all("input", name="csrf")[0].attributes["value"]
    for token, headers in (
        ("", {"Sec-Fetch-Site": "same-origin"}),
        ("wrong", {"Sec-Fetch-Site": "same-origin"}),
        (right, {"Sec-Fetch-Site": "cross-site"}),
        (right, {"Sec-Fetch-Site": "same-site"}),
        (right, {"Origin": "https://evil.example"}),
        (right, {"Origin": "null"}),
    ):
        visitor.headers = headers
        for path in FORMS:
            answer = await visitor.post(path, {"csrf": token, "sure": "yes"})
            assert answer.status == 403, path
            assert answer.html.one("h1").text == "This form does not count any more"
    assert (await site.store.flow("polled")).version == 2


async def test_a_browser_that_says_only_its_origin(site):
    """Our own origin counts where Sec-Fetch-Site is missing."""
    visitor = await site.visitor("admin")
    visitor.headers = {"Origin": site.url}
    answer = await visitor.send("/flows/polled", "/flows/polled/disable", sure="yes")
    assert answer.status == 303


async def test_forms_need_a_session_and_a_role(site):
    """Nobody, and a role that is too small, change nothing; the page says who may."""
    nobody, viewer = await site.visitor(), await site.visitor("viewer")
    token = (await viewer.get("/flows")).html.all("input", name="csrf")[0].attributes["value"]
    for page in PAGES:
        if page.method == "GET" or page.role in (None, "viewer"):
            continue
        path = sample(page.path)
        assert (await nobody.post(path, {"csrf": token})).status == 403, path
        answer = await viewer.post(path, {"csrf": token, "sure": "yes"})
        assert answer.status == 403, path
        assert answer.html.one("h1").text == "Your role does not allow this", path


async def test_a_form_has_a_size(site):
    """What is larger is refused, as at the rest of the door."""
    visitor = await site.visitor("admin")
    token = (await visitor.get("/flows")).html.all("input", name="csrf")[0].attributes["value"]
    answer = await visitor.post("/logout", {"csrf": token, "more": "x" * 20_000})
    assert answer.status == 413


async def test_a_cookie_opens_no_path_of_the_api(site):
    """But for the event stream, which a browser cannot send a header to."""
    visitor = await site.visitor("admin")
    assert (await visitor.get("/api/me")).status == 401
    text = visitor.cookies["imageflow"]
    assert (await visitor.get("/api/me", Authorization=f"Bearer {text}")).status == 401


# what every page has --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "tr"])
async def test_structure_of_every_page(site, language):
    """One h1 that the title begins with, the landmarks and their names, forms with their token, captions for tables; the
    headers of the contract; nothing inline; no other host than that of pictures; small enough.
    """
    visitor, nobody = await site.visitor("admin", language), await site.visitor(None, language)
    for path in [*SHOWN, "/nothing", "/flows/nothing", "/runs/nothing", "/products/nothing"]:
        answer = await visitor.get(path)
        assert answer.status == (404 if "nothing" in path else 200), path
        check_structure(answer, language, path)
        check_headers(answer, path)
        check_targets(answer, path)
    check_structure(await nobody.get("/login"), language, "/login")


def check_structure(answer, language, path):
    words, html = WORDS[language], answer.html
    assert html.one("html").attributes["lang"] == language
    assert html.all("title")[0].text == f"{html.one('h1').text} · ImageFlow"  # plots have titles, too
    assert html.one("h1").text, path
    assert "None" not in html.one("h1").text, path
    assert html.one("nav").attributes["aria-label"] == words["nav"]
    assert html.one("main").attributes["id"] == "main"
    assert html.one(role="search").attributes["aria-label"] == words["search"]
    assert html.all("a")[0].text == words["skip"]
    assert html.all("a")[0].attributes["href"] == "#main"
    assert {"English", "Türkçe", words["now"]} <= {link.text for link in html.all("a")}
    assert len(html.all("a", aria_current="page")) <= 1
    if path != "/login":
        assert words["out"] in html.texts("button")
        assert html.one(id="live").attributes["aria-live"] == "polite"
        assert re.search(r"Europe/Istanbul \(UTC\+03:00\)|UTC", html.one("p", class_="zone small soft").text), path
    assert len(html.all("caption")) == len(html.all("table"))
    forms = re.findall(r"<form[^>]*method=\"post\".*?</form>", answer.text, re.DOTALL)
    assert all('name="csrf"' in form for form in forms)
    ids = [one.attributes["id"] for one in html.elements if "id" in one.attributes]
    assert len(ids) == len(set(ids)), (path, ids)
    for field in [*html.all("input"), *html.all("select"), *html.all("textarea")]:
        if field.attributes.get("type") != "hidden":
            assert field.attributes.get("aria-label") or html.all("label", for_=field.attributes["id"]), field


def check_headers(answer, path):
    headers = answer.headers
    assert re.fullmatch(
        r"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'( https?://[a-z0-9.:-]+)*; font-src 'self'; "
        r"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        headers["Content-Security-Policy"],
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "private, no-cache"
    assert headers["Vary"] == "Accept-Language, Cookie"
    assert headers["ETag"]
    assert int(headers.get("Content-Length", 0)) < 15_000, path  # compressed


def check_targets(answer, path):
    for element in answer.html.elements:
        assert "style" not in element.attributes, (path, element)
        assert not [name for name in element.attributes if name.startswith("on")], (path, element)
        assert element.tag != "style"
        target = (
            element.attributes.get("href") or element.attributes.get("action") or element.attributes.get("src") or "/"
        )
        if element.tag == "script":
            assert target.startswith("/static/")
        if element.tag == "img":
            assert element.attributes["referrerpolicy"] == "no-referrer"
            assert "/".join(target.split("/")[:3]) in answer.headers["Content-Security-Policy"]
        else:
            assert target.startswith(("/", "#", "?")), (path, element)


class Words(HTMLParser):
    """The texts of a page that are in its language: not code, not what a form holds, not what others said (`lang`)."""

    def __init__(self, text):
        super().__init__()
        self._said, self._foreign, self._open = set(), set(), []
        self.feed(text)
        self.words = self._said - self._foreign  # titles repeat what is cut

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag not in Html._VOID:
            foreign = tag != "html" and "lang" in given
            self._open.append((tag, foreign or tag in ("code", "pre", "script", "textarea", "option")))
        self._say(*(given.get(name) for name in ("title", "aria-label", "placeholder", "alt")))

    def handle_endtag(self, tag):
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        self._say(data)

    def _say(self, *texts):
        words = self._foreign if any(foreign for _, foreign in self._open) else self._said
        words |= {" ".join(text.split()) for text in texts if text}


DATA = re.compile(
    r"ImageFlow|Ctrl Enter · Ctrl S|Europe/Istanbul|https://\S+|/api/\S+|imageflow\.\w+|nothing for a day"
)
"""What is the same in every language: names, addresses, and what the furniture says."""


async def test_no_english_is_left_on_a_turkish_page(site):
    """What both languages say alike is data."""
    english, turkish = await site.visitor("admin", "en"), await site.visitor("admin", "tr")
    for path in [*SHOWN, "/nothing", "/flows/nothing", "/runs/nothing", "/products/nothing"]:
        left = Words((await english.get(path)).text).words & Words((await turkish.get(path)).text).words
        assert [
            text for text in left if re.search(r"[a-z]{2}.*[^\w-].*[a-z]{2}", text) and not DATA.fullmatch(text)
        ] == [], path


async def test_a_page_that_is_the_same_is_not_sent_again(site):
    """The ETag of a page is that of what it shows."""
    visitor = await site.visitor("viewer")
    first = await visitor.get("/flows/new")
    assert first.status == 403
    first = await visitor.get("/login")
    assert (await visitor.get("/login", If_None_Match=first.headers["ETag"])).status in (200, 304)


async def test_controls_that_the_role_may_not_use_say_who_may(site):
    """They are there, do nothing, and are described."""
    visitor = await site.visitor("viewer")
    html = (await visitor.get("/flows/polled")).html
    for name in ("Disable", "Run now", "Save", "Go back to version 1"):
        buttons = [button for button in html.all("button") if button.text == name]
        assert buttons, name
        for button in buttons:
            assert button.attributes["aria-disabled"] == "true"
            assert html.one(id=button.attributes["aria-describedby"]).text


async def test_languages(site):
    """The link sets a cookie and leads back to the same page; else the browser's languages decide."""
    visitor = await site.visitor("viewer", "tr-TR,tr;q=0.9")
    assert (await visitor.get("/flows")).html.one("html").attributes["lang"] == "tr"
    answer = await visitor.get("/flows?lang=en&state=x")
    assert (answer.status, answer.to) == (303, "/flows?state=x")
    assert (await visitor.get("/flows")).html.one("html").attributes["lang"] == "en"
    assert (await visitor.get("/flows?lang=xx")).status == 303
    assert (await visitor.get("/flows")).html.one("html").attributes["lang"] == "en"


async def test_static_files(site):
    """They never change, and are sent compressed; another digest is not there."""
    visitor = await site.visitor()
    url = Assets(packaged.contents()).url("console.css")
    answer = await visitor.get(url)
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Content-Type"].startswith("text/css")
    assert (await visitor.get("/static/000000000000/console.css")).status == 404
    assert (await visitor.get("/static/../secret.key")).status in (303, 404)


# flows ----------------------------------------------------------------------------------------------------------------


async def test_a_flow_is_run_by_hand(site):
    """With identifiers, to a line or with commas; the page of the run shows it."""
    visitor = await site.visitor("operator")
    assert not (await visitor.get("/flows/polled")).html.all("textarea", name="identifiers")
    refused = await visitor.send("/flows/polled", "/flows/polled/run", identifiers="A-1")
    assert refused.status == 409
    assert "The flow cannot ask for single products" in refused.html.one(role="alert").text
    assert (await visitor.get("/flows/polled/run")).to == "/flows/polled", "what stays there can be loaded again"
    await site.store.save_flow(takes_skus(POLLED))
    answer = await visitor.send("/flows/polled", "/flows/polled/run", identifiers="A-1, B-2\nC-3")
    assert answer.status == 303
    (run,) = await site.store.runs("polled", limit=1)
    assert answer.to == f"/runs/{run.run_id}"
    assert run.trigger.ids == ("A-1", "B-2", "C-3")
    assert run.trigger.by == "operator"


async def test_settings_are_saved_as_a_version(site):
    """The form holds what the flow says; saving makes a version; the page says so."""
    visitor = await site.visitor("admin")
    answer = await visitor.send("/flows/polled", "/flows/polled", schedule__every="20m", timezone="UTC")
    assert (answer.status, answer.to) == (303, "/flows/polled")
    shown = await visitor.get("/flows/polled")
    assert "version 3 is in force" in shown.html.one(id="notice").text
    flow = await site.store.flow("polled")
    assert (flow.document["schedule"], flow.document["timezone"]) == ({"every": "20m"}, "UTC")
    assert (await visitor.get("/flows/polled")).html.one(id="notice").text == ""


async def test_a_mistake_is_said_at_its_field(site):
    """Each with what is wrong, the first with the focus; what was typed stays; nothing is saved."""
    visitor = await site.visitor("admin")
    answer = await visitor.send("/flows/polled", "/flows/polled", schedule__every="soon", script="def process_row(:")
    assert answer.status == 422
    html = answer.html
    wrong = html.all(aria_invalid="true")
    assert {field.attributes["name"] for field in wrong} == {"schedule.every", "script"}
    assert all(html.one(id=field.attributes["aria-describedby"]).text for field in wrong)
    assert len([field for field in html.elements if "autofocus" in field.attributes]) == 1
    assert html.one("input", name="schedule.every").attributes["value"] == "soon"
    assert html.one("input", name="erp.query_settings").attributes["placeholder"].startswith('as in {"sku": {"key": ')
    assert (await site.store.flow("polled")).version == 2


async def test_two_editors(site):
    """Who saves after somebody else is told; what only one of them changed is in the form, and of what both changed both texts
    are shown. Sent again, it is saved.
    """
    visitor = await site.visitor("admin")
    form = (await visitor.get("/flows/polled")).text
    await visitor.send("/flows/polled", "/flows/polled", schedule__every="20m", erp__timeout="5s")
    mine = form_of(form, "/flows/polled") | {"schedule.every": "30m", "timezone": "UTC"}
    answer = await visitor.post("/flows/polled", mine)
    assert answer.status == 409
    assert answer.html.one("h1").text == "admin saved version 3 of polled while you changed it"
    fields = {
        name: answer.html.one("input", name=name).attributes["value"]
        for name in ("schedule.every", "timezone", "erp.timeout")
    }
    assert fields == {"schedule.every": "30m", "timezone": "UTC", "erp.timeout": "5s"}
    assert [one.text for one in answer.html.all("span", class_="del")] == ["- 20m"]
    assert (await visitor.post("/flows/polled", form_of(answer.text, "/flows/polled"))).status == 303
    saved = (await site.store.flow("polled")).document
    assert (saved["schedule"], saved["timezone"], saved["erp"]["timeout"]) == ({"every": "30m"}, "UTC", "5s")


async def test_disabling_is_confirmed(site):
    """The button leads to a question; only its answer disables."""
    visitor = await site.visitor("admin")
    answer = await visitor.send("/flows/polled", "/flows/polled/disable")
    assert (answer.status, answer.to) == (303, "/flows/polled/disable")
    question = await visitor.get(answer.to)
    assert "Disable" in question.html.texts("button")
    assert [link.attributes["href"] for link in question.html.all("a") if link.text == "Cancel"] == ["/flows/polled"]
    assert (await site.store.flow("polled")).definition.enabled
    assert (await visitor.send(answer.to, "/flows/polled/disable")).to == "/flows/polled"
    assert not (await site.store.flow("polled")).definition.enabled
    assert (await visitor.send("/flows/polled", "/flows/polled/enable")).status == 303
    assert (await site.store.flow("polled")).definition.enabled


async def test_versions_are_compared_and_rolled_back(site):
    """What a version changed is shown; rolling back is confirmed with what it changes."""
    visitor = await site.visitor("admin")
    shown = await visitor.get("/flows/polled/versions/2")
    assert [line.text for line in shown.html.all("span", class_="add")] == ["+ every: 10m"]
    comes = "version 1 comes into force again, as version 3"
    for number in (1, 2):  # of the version in force, the one before it
        shown = await visitor.get(f"/flows/polled/versions/{number}")
        assert (shown.html.one(id="comes").text, "in force" in shown.text) == (comes, number == 2)
        answer = await visitor.send(f"/flows/polled/versions/{number}", "/flows/polled/versions/1/rollback")
    question = await visitor.get(answer.to)
    assert "Version 1 comes into force again, as version 3, in place of version 2." in question.text
    assert 'data-zone="Europe/Istanbul"' in question.text
    assert (await visitor.get("/flows/polled/versions/2/rollback")).to == "/flows/polled/versions/2"
    only = await visitor.get("/flows/posts/versions/1")
    assert not [text for text in only.html.texts("button") if text.startswith("Go back")]
    assert "- every: 10m" in question.text.replace("-  ", "- ")
    await visitor.send(answer.to, "/flows/polled/versions/1/rollback")
    flow = await site.store.flow("polled")
    assert (flow.version, "cron" in flow.document["schedule"]) == (3, True)
    states = [one.text for one in (await visitor.get("/flows/polled")).html.all("td", data_label="State")]
    assert [text for text in states if "version 1 again" in text] == ["in force version 1 again"]


async def test_what_a_version_wrote_that_was_rolled_back(site):
    """The run says how many products, and asks the ERP for these; not before, and not where nobody can be asked."""
    visitor = await site.visitor("admin")
    by_sku = {**POLLED, "erp": {**POLLED["erp"], "query_settings": {"sku": {"key": "sku", "type": "string"}}}}
    for every in ("20m", "30m"):
        await site.store.save_flow({**by_sku, "schedule": {"every": every}})
    run_id = await long_run(site.store, version=4)
    await end_long_run(site.store)
    assert "rewrite" not in (await visitor.get(f"/runs/{run_id}")).text
    await visitor.send("/flows/polled/versions/3/rollback", "/flows/polled/versions/3/rollback")
    shown = await visitor.get(f"/runs/{run_id}")
    assert "3 products are as version 4 wrote them" in shown.html.texts("h2")
    of_flow = (await visitor.get("/flows/polled")).html
    assert "3 products are as version 4 wrote them: run" in of_flow.one("p", class_="waiting").text
    assert f"/runs/{run_id}" in [one.attributes.get("href") for one in of_flow.all("a")]
    now = (await visitor.get("/")).html
    assert "polled: at least 3 products are as version 4 wrote them, run" in now.one("p", class_="waiting").text
    assert f"/runs/{run_id}" in [one.attributes.get("href") for one in now.all("a")]
    omnitron = "https://brand.omnitron.example"
    await site.store.settle(
        "",
        [],
        written=[
            LedgerEntry(omnitron, "L-3", 7, "d", run_id, 3),
            LedgerEntry(omnitron, "L-5", 8, "d", "later", 1),
        ],
    )
    assert "2 products are as version 4 wrote them" in (await visitor.get(f"/runs/{run_id}")).html.texts("h2")
    started = await visitor.send(f"/runs/{run_id}", f"/runs/{run_id}/rewrite")
    again = await site.store.run(started.to.rpartition("/")[2])
    assert (again.version, set(again.trigger.ids)) == (5, {"L-3", "L-6"})
    later = [LedgerEntry(omnitron, sku, 9, "d", "later", 2) for sku in ("L-3", "L-6")]
    await site.store.settle("", [], written=later)
    assert "rewrite" not in (await visitor.get(f"/runs/{run_id}")).text
    refused = await visitor.post(f"/runs/{RUN}/rewrite", form_of(shown.text, f"/runs/{run_id}/rewrite"))
    assert refused.status == 409


@asynccontextmanager
async def bare(folder):
    """A site with the flow polled, a viewer, and nothing that ever happened."""
    (folder / "site").mkdir()
    async with connect(Secret(f"sqlite:///{folder}/bare.db"), CLOCK) as store:
        await store.upgrade()
        await store.save_user(User("viewer", credentials.hash_password(PASSWORD), "viewer"))
        await store.save_flow(POLLED, "ada")
    async with opened(folder / "bare.db", folder / "site") as site:
        yield site


async def read(store, number, *, flow="polled", version=1):
    """A run of a flow that has read two rows, and its id."""
    run_id, now = f"20260106-000000-000000000{number}", CLOCK.now()
    trigger = Trigger("schedule")
    run = Run(run_id=run_id, flow=flow, version=version, trigger=trigger, status="queued", created_at=now)
    await store.create_run(run)
    await store.start_reading(run_id, None, now)
    await store.save_page(run_id, 1, b"[]", cursor=None, last=True)
    await store.register_page(run_id, 1, 2, [])
    return run_id


async def cancel(store, run_id):
    await store.cancel_run(run_id)
    await store.cancel_rows(run_id)


async def write(store, run_id):
    await store.settle("t", [RowLog(run_id=run_id, row=n, product=f"S-{n}", state="written") for n in (1, 2)])


async def test_all_is_not_well_after_a_cancel(tmp_path):
    """While rows of the cancelled run were not sent: nothing asks for them by itself. Newer runs that bring as many end it."""
    async with bare(tmp_path) as site:
        visitor, store = await site.visitor("viewer"), site.store
        cancelled = await read(store, 1)
        await cancel(store, cancelled)
        html = (await visitor.get("/")).html
        assert html.one("h1").text == "2 rows of cancelled runs were not sent"
        assert "polled: 2 rows were not sent when their run was cancelled" in html.one("main").text
        assert f"/runs/{cancelled}" in [one.attributes.get("href") for one in html.all("a")]
        await write(store, await read(store, 2))
        assert (await visitor.get("/")).html.one("h1").text.startswith("All well")


async def test_all_is_not_well_after_a_roll_back(tmp_path):
    """While products are as the version wrote them that was rolled back; once newer runs brought as many rows, all is well."""
    async with bare(tmp_path) as site:
        visitor, store = await site.visitor("viewer"), site.store
        for version, title in (
            (1, "All well"),
            (2, "2 products or more are as a version wrote them that was rolled back"),
            (3, "All well"),
        ):
            if version == 2:
                await store.save_flow({**POLLED, "schedule": {"every": "20m"}}, "ada")
            await write(store, await read(store, version, version=version))
            if version == 2:
                back = AuditEntry("ada", "flow.rollback", "flow polled", "here", {"version": 3, "to": 1})
                await store.save_flow(POLLED, "ada", audit=back)
            assert (await visitor.get("/")).html.one("h1").text.startswith(title)


async def test_a_flow_that_differs_from_its_file(site):
    """It says which version the file has; not once it is as in the file again."""
    visitor = await site.visitor("admin")
    text = "The file winter.yaml says what version 3 said"
    await site.store.save_flow({**POLLED, "schedule": {"every": "20m"}}, author("winter.yaml"))
    assert text not in (await visitor.get("/flows/polled")).text
    saved = await visitor.send("/flows/polled", "/flows/polled", schedule__every="30m")
    assert text in (await visitor.get(saved.to)).text
    await visitor.send("/flows/polled/versions/3/rollback", "/flows/polled/versions/3/rollback")
    assert text not in (await visitor.get("/flows/polled")).text


async def test_who_saved_a_version_is_said_in_the_pages_language(site):
    """A person by name; a flow file as a file."""
    await site.store.save_flow({**POLLED, "schedule": {"every": "20m"}}, author("winter.yaml"))
    for language, file in (("en", "the file winter.yaml"), ("tr", "winter.yaml dosyası")):
        visitor = await site.visitor("admin", language)
        for path in ("/", "/flows/polled", "/flows/polled/versions/3"):
            page = (await visitor.get(path)).text
            assert file in page, path
            assert language == "en" or "file winter.yaml" not in page, path


async def test_a_run_for_identifiers_says_how_many(site):
    """The card of the ERP tells what was asked for in the last run."""
    run_id, now = "20260104-000000-0000000004", CLOCK.now()
    trigger = Trigger("person", "ada", ids=("A-1", "A-2"))
    await site.store.create_run(
        Run(run_id=run_id, flow="polled", version=2, trigger=trigger, status="queued", created_at=now)
    )
    await site.store.start_reading(run_id, None, now)
    await site.store.save_page(run_id, 1, b"[]", cursor=None, last=True)
    await site.store.register_page(run_id, 1, 1, [])
    await site.store.settle("t", [RowLog(run_id=run_id, row=1, product="A-1", state="written")])
    page = (await (await site.visitor("admin")).get("/flows/polled")).text
    assert "2 identifiers were asked for" in page
    assert "everything was asked for" not in page


async def test_how_long_a_retried_run_took(site):
    """The list, its page and the command say the same: the time of the retry, not what lies between."""
    run_id, began = "20260104-000000-0000000004", CLOCK.now() - timedelta(minutes=5)
    again = began + timedelta(minutes=2, seconds=45)
    run = Run(
        run_id=run_id,
        flow="polled",
        version=2,
        trigger=Trigger("schedule"),
        status="success",
        created_at=began,
        started_at=began,
        retried_at=again,
        finished_at=again + timedelta(seconds=2),
    )
    await site.store.create_run(run)
    visitor = await site.visitor("viewer")
    (_, listed) = (await visitor.get("/runs?flow=polled")).html.texts("tr")
    assert "2 sec" in listed
    assert "the last retry" in listed
    assert "min" not in listed
    assert "2 sec since the last retry" in (await visitor.get(f"/runs/{run_id}")).text
    assert texts.took(shapes.run_shown(Seen(run, None)), CLOCK.now()) == texts.span(run.seconds(CLOCK.now())) == "2.0s"


async def test_a_run_whose_rows_were_sent_by_a_newer_version(site):
    """Its head says which, and how many rows; its own version stays the first."""
    await site.store.save_flow({**POSTS, "write": {"timeout": "20s"}}, "ada")
    visitor = await site.visitor("operator")
    await visitor.send(f"/runs/{RUN}", f"/runs/{RUN}/retry")
    head = (await visitor.get(f"/runs/{RUN}")).html.one("main").text
    assert "version 1; 3 rows were put through again by version 2," in head


async def test_what_was_looked_at_for_missing_images(site, monkeypatch):
    """The answer names it: which products of Omnitron; and some that cannot be asked for are not none."""
    await site.store.save_flow({**POLLED, "fetch_missing": {"productization_date_limit_days": 30}}, "ada")
    visitor, path = await site.visitor("operator"), "/flows/polled"
    assert "productized on Omnitron in the last 30 days" in (await visitor.get(path)).html.one(id="by-hand").text
    none = await visitor.send(path, f"{path}/missing")
    assert "productized on Omnitron in the last 30 days" in (await visitor.get(none.to)).html.one(id="notice").text

    async def nameless(*_):
        return Begun([], ("2 products without images cannot be asked for",))

    monkeypatch.setattr(console_site.Fetcher, "ask_now", staticmethod(nameless))
    told = await visitor.send(path, f"{path}/missing")
    assert "2 products without images cannot be asked for" in told.html.one(id="warned").text


async def test_choices_have_names_in_the_language_of_the_page(site):
    """Beside what goes into the flow file, which stays what it is."""
    for language, first, second in (
        ("en", "skip the new run (skip), default", "refuse the row (block)"),
        ("tr", "yeni çalışmayı atla (skip), varsayılan", "satırı reddet (block)"),
    ):
        html = (await (await site.visitor("admin", language)).get("/flows/polled")).html
        assert first in html.texts("option")
        assert html.one("option", value="block").text == second


async def test_saving_what_is_saved(site):
    """Nothing changes, and that is said."""
    visitor = await site.visitor("admin")
    saved = await visitor.send("/flows/polled", "/flows/polled")
    assert (await visitor.get(saved.to)).html.one(id="notice").text == "Nothing was changed: version 2 stays in force"


@pytest.mark.parametrize("path", ["/flows/polled", "/flows/posts", f"/runs/{RUN}"])
async def test_the_parts_of_a_long_page(site, path):
    """A line of links at its top; each leads to a part that is there."""
    html = (await (await site.visitor("viewer")).get(path)).html
    there = {one.attributes.get("id") for one in html.elements}
    places = [one.attributes["href"][1:] for one in html.all("a") if one.attributes.get("href", "").startswith("#")]
    assert len(places) > 3
    assert set(places) <= there


async def test_the_watermark_is_set(site):
    """In the flow's own zone, once it is confirmed what the next run asks for then."""
    visitor = await site.visitor("operator")
    await site.store.save_flow({**POLLED, "erp": {**POLLED["erp"], "modified_date_key": "since"}})
    path = "/flows/polled/watermark"
    asked = await visitor.send("/flows/polled", path, since="2026-01-31T12:00")
    question = await visitor.get(asked.to)
    assert "The next run asks for changes since" in question.text
    assert (await site.store.watermark("polled")) is None
    await visitor.send(asked.to, path)
    found = await site.store.watermark("polled")
    assert found.isoformat() == "2026-01-31T09:00:00+00:00"
    empty = await visitor.send("/flows/polled", path)
    assert "The next run asks for everything." in (await visitor.get(empty.to)).text
    assert (await site.store.watermark("polled")) == found
    await visitor.send(empty.to, path)
    assert (await site.store.watermark("polled")) is None
    answer = await visitor.send("/flows/polled", "/flows/polled/watermark", since="soon")
    assert answer.status == 422


async def test_a_new_flow(site):
    """A flow file in a form; what is wrong with it is listed."""
    visitor = await site.visitor("admin")
    bad = await visitor.send("/flows/new", "/flows/new", file="name: x\n")
    assert bad.status == 422
    assert "direction" in bad.html.one(role="alert").text
    good = (
        "name: fresh\ndirection: outbound\nomnitron: {domain_url: https://b.example, username: u, password: {env: P}}\n"
    )
    answer = await visitor.send("/flows/new", "/flows/new", file=good)
    assert (answer.status, answer.to) == (303, "/flows/fresh")


async def test_keys_of_an_outbound_flow(site):
    """Where to post and with what; a key's text is shown once; revoking is confirmed."""
    visitor = await site.visitor("admin")
    answer = await visitor.send("/flows/posts", "/flows/posts/keys", key_name="logo", days="30")
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    shown = re.search(r"ifk\.[\w-]+", answer.text)
    assert shown
    assert f"{site.url}/api/outbound/posts" in answer.text
    later = await visitor.get("/flows/posts")
    assert shown[0] not in later.text
    (key,) = await site.store.keys("posts")
    question = await visitor.send("/flows/posts", f"/keys/{key.id}/revoke")
    await visitor.send(question.to, f"/keys/{key.id}/revoke")
    assert not await site.store.keys("posts")


# runs, rows, products, errors -----------------------------------------------------------------------------------------


async def test_a_run_adds_up(site):
    """The balance in numbers, badges with their exact words, rows with a filter that the address holds."""
    visitor = await site.visitor("viewer", "tr")
    html = (await visitor.get(f"/runs/{RUN}")).html
    counts = {one.attributes["data-count"]: int(one.attributes["value"]) for one in html.all("data")}
    assert counts == {
        "read": 4,
        "written": 1,
        "unchanged": 0,
        "superseded": 0,
        "failed": 3,
        "cancelled": 0,
        "waiting": 0,
    }
    assert html.all(data_status="partial")[0].text == "kısmen başarısız"
    assert [one.attributes["data-state"] for one in html.elements if "data-state" in one.attributes] == [
        "written",
        "failed",
        "failed",
        "failed",
    ]
    failed = (await visitor.get(f"/runs/{RUN}?state=failed")).html
    assert len([one for one in failed.elements if one.attributes.get("data-state") == "failed"]) == 3
    group = failed.all("caption")
    assert "Çalışmanın satırları" in [one.text for one in group]
    empty = (await visitor.get(f"/runs/{RUN}?state=cancelled")).html
    assert [one for one in empty.elements if "data-empty" in one.attributes]


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (("8690",), "the ERP has no 8690"),
        (("8690", "8691"), "the ERP has none of the 2 products that it was asked for"),
        ((), "nothing new at the ERP"),
    ],
)
async def test_a_run_that_the_erp_has_nothing_for(site, ids, said):
    """It was asked for products that the ERP lacks, or for what is new."""
    now = CLOCK.now()
    trigger = Trigger("person", "ada", ids)
    run = Run(run_id=f"{LONG}9", flow="polled", version=1, trigger=trigger, status="queued", created_at=now)
    await site.store.create_run(run)
    await site.store.start_reading(run.run_id, None, now)
    await site.store.save_page(run.run_id, 1, b"[]", cursor=None, last=True)
    await site.store.register_page(run.run_id, 1, 0, [])
    html = (await (await site.visitor("viewer")).get(f"/runs/{run.run_id}")).html
    assert html.one("h1").text == f"Run 0000: {said}"


async def test_rows_are_paged_by_their_number(site):
    """After the row that the address names; back to the beginning."""
    visitor = await site.visitor("viewer")
    html = (await visitor.get(f"/runs/{RUN}?after=2")).html
    assert len([one for one in html.elements if "data-state" in one.attributes]) == 2
    assert [link.attributes["href"] for link in html.all("a", rel="first")] == [f"/runs/{RUN}"]


async def test_what_strangers_say_is_text(site):
    """A reason with markup in it is shown, not obeyed; so is a search."""
    visitor = await site.visitor("viewer")
    page = await visitor.get(f"/runs/{RUN}")
    assert "<b>too large</b>" not in page.text
    assert "&lt;b&gt;too large" in page.text
    assert "<script>x" not in (await visitor.get("/search?q=<script>x")).text


async def test_viewers_see_no_excerpts_of_answers(site):
    """In no page and in no file; operators do."""
    viewer, operator = await site.visitor("viewer"), await site.visitor("operator")
    html = (await viewer.get("/errors")).html
    (own,) = [
        link.attributes["href"].partition("#")[0] for link in html.all("a", class_="whole") if "larger" in link.text
    ]
    listed = [
        one.attributes["href"] for one in (await viewer.get(own)).html.all("a") if ".csv" in one.attributes["href"]
    ]
    for path in [*SHOWN, f"/runs/{RUN}/rows/4", "/products/D-4", "/search?q=large", *listed, own]:
        assert "canary" not in (await viewer.get(path)).text, path
    assert listed
    for path in (f"/runs/{RUN}", f"/runs/{RUN}/rows/4", *listed):
        assert "canary" in (await operator.get(path)).text, path


async def test_a_page_says_in_which_zone_its_times_are(site):
    """That of the flow, on pages of one; that of most flows, on the others."""
    visitor = await site.visitor("admin")
    await site.store.save_flow({**POSTS, "timezone": "America/New_York"}, "ada")
    for path, said in (
        ("/flows/polled", r"Europe/Istanbul \(UTC\+03:00\)"),
        (f"/runs/{RUN}", r"America/New_York \(UTC-0[45]:00\)"),
    ):
        shown = (await visitor.get(path)).html
        assert re.fullmatch(
            f"Times on this page are in the time zone {said}.", shown.one("p", class_="zone small soft").text
        )


async def test_the_log_of_a_run_has_its_instants_in_the_zone_of_the_flow(site):
    """As all instants of its page."""
    since = datetime(2026, 10, 31, 21, tzinfo=UTC)
    run = Run(run_id="w", flow="polled", version=1, trigger=Trigger("person", "ada"), status="queued", created_at=since)
    await site.store.create_run(msgspec.structs.replace(run, window=True, since=since))
    await site.store.start_reading("w", since, since)
    log = (await (await site.visitor("viewer")).get("/runs/w")).html.one(id="log").text
    assert "asks for changes since 1 Nov 00:00" in log
    assert "Z" not in log


async def test_the_course_of_a_run(site):
    """The map of its pages, of which failed ones lead to their rows; the steps, with a hold over the write; when it is done."""
    run_id = await long_run(site.store)
    await site.store.hold("w1", {}, 3600)
    visitor = await site.visitor("operator")
    html = (await visitor.get(f"/runs/{run_id}")).html
    assert "to go" not in html.one("h1").text or "about" in html.one("h1").text
    assert html.one("a", aria_label="page 2: rows failed").attributes["href"] == f"/runs/{run_id}?page=2#rows"
    drawn = {one.attributes["class"] for one in html.all("path") if "class" in one.attributes}
    assert {"s", "x", "f", "hole", "done", "go", "wait", "flag"} <= drawn
    assert "writers held back" in html.one("main").text
    page = (await visitor.get(f"/runs/{run_id}?page=2")).html
    assert next(one for one in page.elements if "data-picked" in one.attributes).text == "page 2: 1 failed, 1 written"
    assert [one.attributes["data-state"] for one in page.elements if "data-state" in one.attributes] == [
        "written",
        "failed",
    ]
    assert not [one for one in page.elements if one.attributes.get("form") == "marked"]
    await end_long_run(site.store)
    ended = (await visitor.get(f"/runs/{run_id}")).html
    drawn = {one.attributes["class"] for one in ended.all("path") if "class" in one.attributes}
    assert {"w", "u", "f"} <= drawn
    assert not {"x", "n", "go", "s"} & drawn
    assert "every 4s" in ended.one(id="page").attributes["hx-trigger"]  # until its last steps are kept
    assert "every" not in (await visitor.get("/flows/polled")).html.one(id="page").attributes["hx-trigger"]
    assert [one.attributes["name"] for one in ended.all("input", form="marked")] == ["row-4"]
    nothing = (await visitor.get(f"/runs/{run_id}?page=999")).html
    assert [one for one in nothing.elements if "data-empty" in one.attributes]


async def test_where_a_row_came_from(site):
    """Its page leads to the bench, and shows the ERP's row."""
    visitor = await site.visitor("viewer")
    path = f"/runs/{RUN}/rows/2"
    shown = await visitor.get(path)
    links = [one.attributes.get("href") for one in shown.html.all("a")]
    assert f"/flows/posts/bench?run={RUN}&row=2" in links
    erp = await visitor.get(next(link for link in links if link.startswith(path) and "erp" in link).partition("#")[0])
    assert '"B/2"' in erp.html.one("pre", aria_label="The ERP's row").text


async def test_marked_rows_are_retried(site):
    """Those alone; where none is marked, nothing happens."""
    visitor = await site.visitor("operator")
    token = (await visitor.get(f"/runs/{RUN}")).html.all("input", name="csrf")[0].attributes["value"]
    form = {"csrf": token, "marked": "yes"}
    answer = await visitor.post(f"/runs/{RUN}/retry", form)
    assert answer.to == f"/runs/{RUN}#rows"
    answer = await visitor.post(f"/runs/{RUN}/retry", form | {"row-2": "on", "row-4": "on", "row-x": "on"})
    assert "2 rows are being retried" in (await visitor.get(answer.to)).html.one(id="notice").text
    assert (await site.store.run(RUN)).counts.failed == 1
    assert (await visitor.post(f"/runs/{RUN}/retry", form | {"row-1": "on"})).status == 404


async def test_failed_rows_are_retried(site):
    """All, those of a cause, or one; the notice says how many. Few rows need no question."""
    visitor = await site.visitor("operator")
    shown = await visitor.get(f"/runs/{RUN}")
    assert "Retry 3 rows" in shown.html.texts("button")
    answer = await visitor.send(f"/runs/{RUN}/rows/4", f"/runs/{RUN}/rows/4/again")
    assert (answer.status, answer.to) == (303, f"/runs/{RUN}")
    answer = await visitor.post(
        f"/runs/{RUN}/retry", {"csrf": shown.html.all("input", name="csrf")[0].attributes["value"]}
    )
    assert answer.status == 303
    assert "2 rows are being retried" in (await visitor.get(answer.to)).html.one(id="notice").text
    assert (await site.store.run(RUN)).counts.in_flight == 3


async def test_many_rows_are_retried_after_a_question(site, monkeypatch):
    """With their number in it."""
    monkeypatch.setattr("imageflow.console.pages.runs.CONFIRM_FROM", 2)
    visitor = await site.visitor("operator")
    token = (await visitor.get(f"/runs/{RUN}")).html.all("input", name="csrf")[0].attributes["value"]
    answer = await visitor.post(f"/runs/{RUN}/retry", {"csrf": token})
    assert answer.to == f"/runs/{RUN}/retry"
    question = await visitor.get(answer.to)
    assert question.html.one("h1").text == "Retry 3 rows of run 0000?"
    unchanged = "Nothing has changed since: version 1 was in force then and is now."
    assert (
        f"{unchanged} What failed for its data or its flow fails again. All 3 rows go" in question.html.one("main").text
    )
    assert "All 3 rows go by version 1, the newest one of the flow." in question.html.one("main").text
    assert len(question.html.texts("li")) == 3
    assert (await visitor.send(answer.to, f"/runs/{RUN}/retry")).to == f"/runs/{RUN}"


async def test_a_retry_before_an_unchanged_version(site):
    """The question says that nothing has changed, until a version is saved, and again once the rows failed by that one."""
    visitor = await site.visitor("operator")
    causes = await site.store.causes("posts")
    group = next(one.group for one in causes if one.rows == 1)
    paths = (f"/errors/posts/{group}/retry", f"/runs/{RUN}/retry?cause={group}")
    said = "Nothing has changed since: version {} was in force then and is now."
    for path in paths:
        assert said.format(1) in (await visitor.get(path)).html.one("main").text
    await site.store.save_flow({**POSTS, "write": {"timeout": "20s"}}, "ada")
    for path in paths:
        assert "Nothing has changed" not in (await visitor.get(path)).html.one("main").text
    (row,) = await site.store.open_rows(group, "posts")
    await visitor.send(f"/runs/{RUN}", f"/runs/{RUN}/retry", cause=group)
    again = RowLog(
        run_id=RUN,
        row=row.row,
        product=row.product,
        state="failed",
        stage=row.stage,
        http_status=row.http_status,
        reason=row.reason,
        page=1,
    )
    await site.store.settle("t", [again])
    for path in paths:
        assert said.format(2) in (await visitor.get(path)).html.one("main").text


async def test_a_run_is_cancelled_after_a_question(site):
    """And one that has ended is not: the page says why."""
    visitor = await site.visitor("operator")
    started = await visitor.send("/flows/polled", "/flows/polled/run")
    run_id = started.to.rpartition("/")[2]
    question = await visitor.send(started.to, f"{started.to}/cancel")
    assert question.to == f"{started.to}/cancel"
    asked = (await visitor.get(question.to)).html
    assert "What is written stays on Omnitron." in asked.one("main").text
    assert "/flows/polled#versions" in [one.attributes.get("href") for one in asked.all("a")]
    assert ("Cancel run" in asked.texts("button"), "Leave it running" in asked.texts("a")) == (True, True)
    await visitor.send(question.to, f"{started.to}/cancel")
    assert (await site.store.run(run_id)).cancelled_at is not None
    shown = (await visitor.get(started.to)).html
    assert "Cancel run" not in shown.texts("button")
    token = (await visitor.get(f"/runs/{RUN}")).html.all("input", name="csrf")[0].attributes["value"]
    refused = await visitor.post(f"/runs/{RUN}/cancel", {"csrf": token, "sure": "yes"})
    assert refused.status == 409
    assert "has ended" in refused.html.one(role="alert").text


async def test_a_product(site):
    """One sentence, who can mend it, its pictures, all that happened to it; a SKU may hold any character."""
    visitor = await site.visitor("viewer")
    html = (await visitor.get("/products/B%2F2")).html
    assert html.one("h1").text == "B/2 has no pictures from us"
    assert html.one("caption").text == "History of the product"
    assert len(html.all("img")) == 6
    assert "Catalogue team" in html.one(class_="card answer").text
    assert "Write again" in html.texts("button")
    unknown = await visitor.get("/products/nothing%20like%20it")
    assert unknown.status == 404
    assert unknown.html.one("h1").text == "Nothing is known of nothing like it"
    assert (await visitor.get("/products?sku=A-1")).to == "/products/A-1"


async def test_a_product_that_nothing_is_known_of(site):
    """The page says what may help: others that begin alike, case, errors, the flows that can ask for it."""
    asking = {"query_settings": {"sku": {"key": "sku"}}}
    await site.store.save_flow({**POLLED, "erp": {**POLLED["erp"], **asking}}, "ada")
    await site.store.settle("t", [], written=[LedgerEntry("https://brand.omnitron.example", "A-12", 5, "d", RUN, 1)])
    lost = await (await site.visitor("operator")).get("/products/A-17")
    links = [one.attributes.get("href") for one in lost.html.all("a")]
    assert lost.status == 404
    assert {"/products/A-12", "/errors", "/search?q=A-", "/flows/polled#by-hand"} <= set(links)


async def test_a_product_that_was_only_claimed(site):
    """Refused, then made another of by a newer version: nothing is on Omnitron for it, and the other one is named."""
    await site.store.alive("w", 60)
    await site.store.claim("https://brand.omnitron.example", "w", "t", [Wanted("a-1", 5)])
    visitor = await site.visitor("viewer")
    assert (await visitor.get("/products/a-1")).html.one("h1").text == "a-1 is being written now"
    await site.store.settle("t", [], release=[("https://brand.omnitron.example", "a-1")])
    known = await visitor.get("/products/a-1")
    assert (known.status, known.html.one("h1").text) == (404, "Nothing is known of a-1")
    assert "/products/A-1" in [one.attributes["href"] for one in known.html.all("a")]
    assert (await visitor.get("/search?q=a-1")).to == "/products/A-1"


async def test_a_product_whose_only_write_is_in_doubt(site):
    """A picture that is not known to be on Omnitron is not said to be there."""
    await site.store.alive("w", 60)
    await site.store.claim("https://brand.omnitron.example", "w", "t", [Wanted("N-1", 5)])
    await site.store.gone("w")
    shown = await (await site.visitor("viewer")).get("/products/N-1")
    assert (shown.status, shown.html.one("h1").text) == (200, "Nothing is known to be on Omnitron for N-1")


async def test_a_product_that_fails_again(site):
    """Each try is told with its answer, and that it failed again; nothing says that it goes on."""
    visitor = await site.visitor("operator")
    reason, at = "Product with this SKU does not exist.", CLOCK.now().timestamp()
    answer = await visitor.send("/products/B%2F2", "/products/B%2F2/again")
    tries = (Try(at - 60, 400, reason), Try(at, 400, reason))
    failed = RowLog(
        run_id=RUN,
        row=2,
        product="B/2",
        state="failed",
        http_status=400,
        reason=reason,
        attempts=1,
        tries=tries,
        page=1,
    )
    await site.store.settle("t", [failed])
    html = (await visitor.get(f"{answer.to}?how=1")).html
    assert not html.one(id="notice").text
    assert "and failed again." in html.one(class_="card answer").text
    history = html.elements[html.elements.index(html.one("caption")) :]
    assert [one.text for one in history if one.tag == "tr"][2].count("a try that failed") == 1
    assert "2 tries" in html.one("main").text
    assert "2 tries" in (await visitor.get(f"/runs/{RUN}/rows/2")).text


async def test_a_product_that_a_newer_version_wrote(site):
    """Each try with the version that it was sent by."""
    await site.store.save_flow({**POSTS, "write": {"max_attempts": 3}})
    visitor = await site.visitor("operator")
    at = CLOCK.now().timestamp()
    await visitor.send("/products/B%2F2", "/products/B%2F2/again")
    tries = (Try(at, 400, "no"), Try(CLOCK.now().timestamp(), 200))
    await site.store.settle("t", [RowLog(run_id=RUN, row=2, product="B/2", state="written", tries=tries, page=1)])
    html = (await visitor.get("/products/B%2F2")).html
    assert "version 2" in html.one("section", id="how").text
    history = html.elements[html.elements.index(html.one("caption")) :]
    assert [one.text for one in history if one.tag == "td" and one.text.startswith("posts")] == ["posts v2", "posts v1"]


async def test_a_product_without_pictures_at_the_erp(site):
    """Who can mend it is the ERP, and asking it again is what helps."""
    await long_run(site.store)
    why = "no images: the row has neither `images` nor `url`"
    await site.store.settle(
        "t", [RowLog(run_id=LONG, row=5, product="L-5", state="failed", stage="rows", reason=why, page=3)]
    )
    html = (await (await site.visitor("operator")).get("/products/L-5")).html
    assert html.one(class_="card answer").text.startswith("The ERP has no picture for it")
    assert "The ERP's picture export" in html.one(class_="card answer").text
    assert mains(html) == ["Ask the ERP for what changed"]
    assert html.one("a", class_="button main").attributes["href"] == "/flows/polled#by-hand"
    assert "Write again" in html.texts("button")
    await site.store.save_flow(takes_skus(POLLED))
    assert mains((await (await site.visitor("operator")).get("/products/L-5")).html) == ["Ask the ERP again"]


async def test_what_can_only_fail_again_is_asked_for_first(site):
    """What the script, the mapping or the ERP's data break goes to the ERP or the bench; after a change of the flow it is retried."""
    await site.store.save_flow(takes_skus(POLLED))
    await long_run(site.store, version=3)
    failures = ((5, "rows", "a is not an http(s) URL"), (6, "script", "KeyError: 'a'"))
    await site.store.settle(
        "t",
        [
            RowLog(run_id=LONG, row=row, product=f"L-{row}", state="failed", stage=stage, reason=why, page=3)
            for row, stage, why in failures
        ],
    )
    visitor = await site.visitor("operator")
    assert mains((await visitor.get("/products/L-5")).html) == ["Ask the ERP again"]
    assert mains((await visitor.get("/products/L-6")).html) == ["Open in the test bench"]
    retries = [one.attributes["action"] for one in (await visitor.get("/")).html.all("form", method="post")]
    assert len([one for one in retries if one.startswith("/errors/polled/")]) == 1, "for what Omnitron refused alone"
    await site.store.save_flow({**takes_skus(POLLED), "script": "def process_row(row):\n    return row\n"})
    assert mains((await visitor.get("/products/L-6")).html) == ["Write again"]
    retries = [one.attributes["action"] for one in (await visitor.get("/")).html.all("form", method="post")]
    assert len([one for one in retries if one.startswith("/errors/polled/")]) > 1


def mains(html):
    """What the main buttons and links say."""
    return [one.text for one in html.elements if one.attributes.get("class") == "button main"]


def takes_skus(flow):
    """A flow that can ask for single products."""
    return {**flow, "erp": {**flow["erp"], "query_settings": {"sku": {"key": "sku"}}}}


async def test_a_cancelled_row_that_is_written_again(site):
    """It was a person who cancelled it, nobody's fault."""
    await long_run(site.store)
    images = (Image(f"{PICTURE}/5.jpg"),)
    log = RowLog(run_id=LONG, row=5, product="L-5", state="cancelled", reason=CANCELLED, images=images, page=3)
    await site.store.settle("t", [log])
    visitor = await site.visitor("operator")
    for headline in ("L-5 was not sent: its run was cancelled", "L-5 is being tried again"):
        html = (await visitor.get("/products/L-5")).html
        assert html.one("h1").text == headline
        assert not html.all(class_="card answer")
        assert "Omnitron's operators" not in (await visitor.get(f"/runs/{LONG}/rows/5")).text
        await site.store.reopen(LONG, row=5)


async def test_a_cancelled_row_that_a_newer_run_has_written(site):
    """It is said: a retry would leave its product as it is."""
    await long_run(site.store)
    gone = [RowLog(run_id=LONG, row=row, product=f"L-{row}", state="cancelled", reason=CANCELLED) for row in (5, 6)]
    await site.store.settle("t", gone)
    visitor = await site.visitor("operator")
    assert not (await visitor.get(f"/runs/{LONG}")).html.all(id="come")
    omnitron = "https://brand.omnitron.example"
    newer = [LedgerEntry(omnitron, sku, 10_000_000_000, "d", "later", 1) for sku in ("L-5", "L-6")]
    await site.store.settle("", [], written=newer)
    shown = (await visitor.get(f"/runs/{LONG}")).html
    assert shown.one(id="come").text.startswith("2 cancelled rows have come by a newer run")


async def test_a_product_whose_row_failed_before_its_sku_was_known(site):
    """The search finds it by a value of its row, and the page says that it failed, also where older pictures are there."""
    await long_run(site.store)
    for number, sku in ((5, "A-1"), (6, "S-77")):
        payload, told = (
            {"code": sku, "pictures": []},
            {"state": "failed", "stage": "script", "reason": "KeyError: 'url'"},
        )
        row = RowLog(run_id=LONG, row=number, product=None, payload=payload, page=3, version=10_000_000_000, **told)
        await site.store.settle("t", [row])
    await site.store.settle("t", [], written=[LedgerEntry("https://brand.omnitron.example", "A-1", 5, "d", RUN, 1)])
    visitor = await site.visitor("operator")
    found = await visitor.get("/search?q=S-77")
    assert found.to == "/products/S-77"
    html = (await visitor.get(found.to)).html
    assert html.one("h1").text == "S-77 has no pictures from us"
    assert "KeyError: 'url'" in html.one("main").text
    older = (await visitor.get("/products/A-1")).html
    assert older.one("h1").text == "A-1 shows older pictures: its newest row failed before Omnitron"
    assert "refused" not in older.one(class_="card sets").text


async def test_since_when_pictures_are_there(site):
    """Since they were written, not since a row found them unchanged."""
    images = tuple(Image(f"{PICTURE}/{n}.jpg", n) for n in range(3))
    await long_run(site.store)
    row = RowLog(run_id=LONG, row=5, product="A-1", state="unchanged", images=images, page=3, version=10_000_000_000)
    await site.store.settle("t", [row], written=[LedgerEntry("https://brand.omnitron.example", "A-1", 5, "d", LONG, 5)])
    html = (await (await site.visitor("viewer")).get("/products/A-1")).html
    assert html.one("h1").text == "A-1 shows the 3 pictures that the ERP named last"
    assert [one.attributes["href"] for one in html.all("a") if one.text.startswith("row 1 of")] == [
        f"/runs/{RUN}/rows/1"
    ]
    assert "Before" not in html.one(class_="card sets").text


async def test_what_was_written_last(site):
    """Each product with when that was, also for who copies the text."""
    html = (await (await site.visitor("viewer")).get("/products")).html
    (brick,) = html.all("a", class_="brick")
    assert re.fullmatch(r"A-1 .*(ago|now)", brick.text)
    now = (await (await site.visitor("viewer")).get("/")).html
    assert re.fullmatch(r"A-1 \d\d:\d\d", now.one("figcaption").text)


async def test_how_a_row_came_about(site):
    """On demand, in the sandbox: the ERP's row, what was sent, and the answer."""
    visitor = await site.visitor("viewer")
    page = await visitor.get("/products/B%2F2?how=1")
    assert "Product with this SKU does not exist." in page.text
    assert "POST https://brand.omnitron.example" in page.text


async def test_open_causes(site):
    """The most frequent first, with who can mend it; the products of the first; retried over all runs."""
    visitor = await site.visitor("operator")
    html = (await visitor.get("/errors")).html
    assert html.one("h1").text == "2 open causes, 3 rows"
    assert html.one("caption").text == "Open causes"
    causes = [row for row in html.all("tr") if "Retry" in row.text]
    assert ["Retry 2 rows" in row.text for row in causes] == [True, False]
    assert {brick.text for brick in html.all("a", class_="brick")} == {"B/2", "Ç 3"}
    (action,) = {form.attributes["action"] for form in html.all("form") if "Retry 2 rows" in form.text}
    listed = await visitor.get(action.replace("/retry", "/products.csv"))
    assert listed.headers["Content-Disposition"].startswith("attachment")
    assert "B/2" in listed.text
    answer = await visitor.send("/errors", action)
    assert answer.to == f"/errors?cause={action.split('/')[3]}&of=posts"
    after = (await visitor.get(answer.to)).html
    assert after.one("h1").text == "1 open cause, 1 row"
    assert after.all("a", data_open="1")[0].text == "Errors"
    assert after.one(id="notice").text == "2 rows are being retried"
    assert "No row of this cause is open" in after.one("main").text
    assert not after.all("tr", aria_selected="true")
    assert not after.all(class_="brick")


async def test_a_cause_that_failed_again(site):
    """The page says that it was retried, and that it failed since; not of a retry of other rows."""
    visitor = await site.visitor("operator")
    causes = [one for one in (await visitor.get("/errors")).html.all("a", class_="whole") if "not know" in one.text]
    cause = causes[0].attributes["href"].partition("#")[0]
    assert "Last retry" not in (await visitor.get(cause)).html.one("main").text
    await visitor.send("/products/B%2F2", "/products/B%2F2/again")
    assert "No row has failed again for this cause since then." in (await visitor.get(cause)).html.one("main").text
    why = "Product with this SKU does not exist."
    await site.store.settle(
        "t", [RowLog(run_id=RUN, row=2, product="B/2", state="failed", http_status=400, reason=why, page=1)]
    )
    text = (await visitor.get(cause)).html.one("main").text
    assert re.search(r"Last retry: .*operator\. Rows have failed again for this cause since then\.", text)


async def test_what_the_erp_may_have_to_mend(site):
    """A cause of rows that cannot be made of what the ERP sent says that a retry takes what is stored, and asks the ERP."""
    await site.store.save_flow({**POLLED, "erp": {**POLLED["erp"], "query_settings": {"sku": {"key": "sku"}}}})
    await long_run(site.store)
    why = "images[0]: ftp://x is not an http(s) URL"
    logs = [
        RowLog(run_id=LONG, row=row, product=f"L-{row}", state="failed", stage="rows", reason=why, page=3)
        for row in (5, 6)
    ]
    await site.store.settle("t", logs)
    visitor = await site.visitor("operator")
    listed = (await visitor.get("/errors?flow=polled")).html
    (cause,) = [one.attributes["href"] for one in listed.all("a", class_="whole") if "no web address" in one.text]
    shown = cause.partition("#")[0]
    text = (await visitor.get(shown)).html.one("main").text
    assert "closes when the ERP gives an address that begins with http" in text
    assert "A retry takes what the ERP sent then." in text
    started = await visitor.send(shown, "/flows/polled/run")
    assert set((await site.store.run(started.to.rpartition("/")[2])).trigger.ids) == {"L-5", "L-6"}
    assert not (await visitor.get("/errors?flow=posts")).html.all("form", action="/flows/posts/run")


async def test_a_cause_that_began_after_the_flow_was_changed(site):
    """It says so, and has a way to the bench with its row; the flow's first version is no change."""
    now = CLOCK.now()
    changed = "20260104-000000-0000000004"
    trigger = Trigger("person")
    html = (await (await site.visitor("viewer")).get("/errors")).html
    assert "The flow was changed" not in html.one("main").text
    assert f"/flows/posts/bench?run={RUN}&row=3" in [one.attributes["href"] for one in html.all("a")]
    await site.store.create_run(
        Run(run_id=changed, flow="polled", version=2, trigger=trigger, status="queued", created_at=now)
    )
    await site.store.start_reading(changed, None, now)
    await site.store.save_page(changed, 1, b"[]", cursor=None, last=True)
    await site.store.register_page(changed, 1, 1, [])
    why = "Product with this SKU does not exist."
    await site.store.settle("t", [RowLog(run_id=changed, row=1, product="n-1", state="failed", reason=why, page=1)])
    html = (await (await site.visitor("viewer")).get("/errors?flow=polled")).html
    assert "The flow was changed shortly before it began: version 2" in html.one("main").text
    assert "/flows/polled/versions/2" in [one.attributes["href"] for one in html.all("a")]


async def test_the_products_of_a_cause_are_paged(site, monkeypatch):
    """So many of them, the newest first, and an address for those after them; the list to copy has them all."""
    monkeypatch.setattr(errors_page, "WALL", 1)
    visitor = await site.visitor("viewer")
    first = (await visitor.get("/errors")).html
    assert [brick.text for brick in first.all("a", class_="brick")] == ["Ç 3"]
    assert first.one("textarea", id="f-copied").text.endswith("Ç 3 B/2")
    second = (await visitor.get(first.one("a", rel="next").attributes["href"])).html
    assert [brick.text for brick in second.all("a", class_="brick")] == ["B/2"]
    assert second.one("textarea", id="f-copied").text == first.one("textarea", id="f-copied").text
    assert not second.all("a", rel="next")
    again = (await visitor.get(second.one("a", rel="first").attributes["href"])).html
    assert [brick.text for brick in again.all("a", class_="brick")] == ["Ç 3"]


async def test_a_cause_of_one_flow_that_others_have_too(site):
    """What is found is shown for the flow that it was found in."""
    await long_run(site.store)
    await site.store.settle(
        "t",
        [
            RowLog(
                run_id=LONG,
                row=5,
                product="L-5",
                state="failed",
                http_status=400,
                reason="Product with this SKU does not exist.",
                page=3,
            )
        ],
    )
    visitor = await site.visitor("viewer")
    found = (await visitor.get("/search?q=does+not+exist")).html
    links = [one for one in found.all("a") if one.attributes["href"].startswith("/errors?cause")]
    (mine,) = [one.attributes["href"] for one in links if "polled" in one.text]
    shown = (await visitor.get(mine.partition("#")[0])).html
    assert [brick.text for brick in shown.all("a", class_="brick")] == ["L-5"]


async def test_closed_causes(site):
    """Those that closed, in a list of their own; a flow that is not there has none."""
    visitor = await site.visitor("viewer")
    html = (await visitor.get("/errors?state=closed")).html
    assert html.one("h1").text == "0 causes have closed"
    assert [one for one in html.elements if "data-empty" in one.attributes]
    assert (await visitor.get("/errors?flow=nothing")).html.one("h1").text == "No open errors"


async def test_a_cause_that_was_closed_by_writing_again(site):
    """A row that was written again closes its cause, and the page says that this did it."""
    visitor = await site.visitor("operator")
    await visitor.send("/products/D-4", "/products/D-4/again")
    await site.store.settle("t", [RowLog(run_id=RUN, row=4, product="D-4", state="written", page=1)])
    html = (await visitor.get("/errors?state=closed")).html
    assert html.one("h1").text == "1 cause has closed"
    assert html.one("caption").text == "Closed causes"
    assert "closed by writing again" in html.one("main").text


async def test_a_cause_that_was_closed_by_a_new_version(site):
    """A retry that goes through a newer version is told apart from one that writes the same again."""
    await site.store.save_flow(
        {**POSTS, "script": "def process_row(row):\n    return {**row, 'sku': row['sku'].upper()}\n"}
    )
    visitor = await site.visitor("operator")
    await visitor.send("/products/D-4", "/products/D-4/again")
    await site.store.settle("t", [RowLog(run_id=RUN, row=4, product="D-4", state="written", page=1)])
    html = (await visitor.get("/errors?state=closed")).html
    assert "closed by a new version of the flow" in html.one("main").text
    assert "Most often" not in html.one("main").text, "one case says nothing of all"


async def test_what_is_being_tried_again(site):
    """While a retry is under way, its causes have not closed: errors, Now, the product and the row say that they are tried again."""
    visitor = await site.visitor("operator")
    await visitor.send("/products/D-4", "/products/D-4/again")
    for address in ("/errors", "/errors?flow=posts", "/errors?state=closed"):
        shown = (await visitor.get(address)).html
        assert "1 row is being tried again now · posts" in shown.one("p", class_="card pad").text
        assert f"/runs/{RUN}" in [one.attributes.get("href") for one in shown.all("a")]
    assert shown.one("h1").text == "0 causes have closed"
    assert not (await visitor.get("/errors?flow=polled")).html.all("p", class_="card pad")
    assert "1 row that was not written is being tried again" in (await visitor.get("/")).html.one("main").text
    product = (await visitor.get("/products/D-4")).html
    assert product.one("h1").text == "D-4 is being tried again"
    assert not product.all(class_="card answer")
    assert "Write again" not in product.texts("button")
    assert "refused" not in product.one("main").text.replace("that it was refused under the old one", "")
    assert (await visitor.get(f"/runs/{RUN}/rows/4")).html.one("h1").text.endswith("is being tried again")
    assert "being tried again" in (await visitor.get(f"/runs/{RUN}?state=failed")).html.one(id="rows").text


async def test_how_a_retry_ended(site):
    """For an hour, errors say what came of it; the product says that it failed again."""
    visitor = await site.visitor("operator")
    await visitor.send("/products/D-4", "/products/D-4/again")
    log = RowLog(run_id=RUN, row=4, product="D-4", state="failed", http_status=404, reason="no", page=1)
    await site.store.settle("t", [log])
    html = (await visitor.get("/errors")).html
    assert "1 row was tried again · posts" in html.one("main").text
    assert "3 rows of this run are open" in html.one("main").text
    answer = (await visitor.get("/products/D-4")).html.one(class_="card answer")
    assert "by operator, and failed again." in answer.text


async def test_a_retry_that_came_through(site):
    """It is not told of rows that failed and came by another run: what counts is whether one of the run is open still."""
    visitor = await site.visitor("operator")
    await visitor.send("/products/D-4", "/products/D-4/again")
    await site.store.settle("t", [RowLog(run_id=RUN, row=4, product="D-4", state="written", page=1)])
    assert "2 rows of this run are open" in (await visitor.get("/errors")).html.one("main").text
    began = CLOCK.now() + timedelta(minutes=1)
    run = Run(run_id="r2", flow="posts", version=1, trigger=Trigger("outbound"), status="queued", created_at=began)
    await site.store.create_run(run)
    await site.store.start_reading("r2", None, began)
    await site.store.save_page("r2", 1, b"[]", cursor=None, last=True)
    await site.store.register_page("r2", 1, 2, [])
    failed = await site.store.rows(RUN, state="failed")
    newer = [
        RowLog(run_id="r2", row=n, product=row.product, version=row.version + 1, state="unchanged", page=1)
        for n, row in enumerate(failed, 1)
    ]
    await site.store.settle("t", newer)
    assert (await site.store.run(RUN)).counts.failed == 2
    html = (await visitor.get("/errors")).html
    assert html.one("h1").text == "No open errors"
    assert "1 row was tried again · posts · run 0000 · no row of this run is open any more" in html.one("main").text


async def test_now(site):
    """What needs somebody, and each flow."""
    visitor = await site.visitor("operator")
    html = (await visitor.get("/")).html
    assert html.one("h1").text.startswith("4 things need you. 3 rows")
    assert html.one("caption").text == "Flows"
    assert "Retry 2 rows" in html.texts("button")
    assert "brand.omnitron.example is away" in html.one("main").text
    await long_run(site.store)
    html = (await visitor.get("/")).html
    (goes,) = [one for one in html.all("a") if "goes on now" in one.text]
    assert (goes.text, goes.attributes["href"]) == ("1 run goes on now.", f"/runs/{LONG}")


async def test_search(site):
    """The only hit is shown at once; else a list; nothing is said to be nothing."""
    visitor = await site.visitor("viewer")
    assert (await visitor.get("/search?q=B/2")).to == "/products/B%2F2"
    assert (await visitor.get(f"/search?q={RUN}")).to == f"/runs/{RUN}"
    assert (await visitor.get("/search?q=polled")).to == "/flows/polled"
    assert (await visitor.get("/search?q=too+large")).to.startswith("/errors?cause=")
    assert (await visitor.get("/search?q=too+large")).to.endswith("&of=posts#products")
    many = await visitor.get("/search?q=po")
    assert many.html.one("h1").text == "2 hits for po"
    assert (await visitor.get("/search?q=zzzz")).html.one("h1").text == "Nothing found for zzzz"


async def test_a_product_is_found_by_what_people_type(site):
    """In any case, by its number, and at once where it is named exactly; else with the state of its newest row."""
    await site.store.settle(
        "",
        [],
        written=[
            LedgerEntry("https://brand.omnitron.example", f"SKU-00{n}", 1, "d", None, None) for n in (3217, 32171)
        ],
    )
    visitor = await site.visitor("viewer")
    for typed in ("a-1", "A-1"):
        assert (await visitor.get(f"/search?q={typed}")).to == "/products/A-1"
    for typed in ("SKU-003217", "sku-003217"):
        assert (await visitor.get(f"/search?q={typed}")).to == "/products/SKU-003217"
    for typed in ("3217", "003217", "sku-0032"):
        found = (await visitor.get(f"/search?q={typed}")).html
        assert found.one("h1").text == f"2 hits for {typed}"
    await site.store.settle(
        "",
        [],
        written=[LedgerEntry("https://brand.omnitron.example", sku, 1, "d", None, None) for sku in ("B/2", "B/21")],
    )
    listed = (await visitor.get("/search?q=B/")).html
    assert listed.one("h1").text == "2 hits for B/"
    assert [one.text for one in listed.all(data_state="failed")] == ["failed"]
    assert (await visitor.get("/search?q=b/2")).to == "/products/B%2F2"


# operation ------------------------------------------------------------------------------------------------------------


async def test_the_system(site):
    """Queues, holds, alarms."""
    visitor = await site.visitor("viewer", "tr")
    html = (await visitor.get("/system")).html
    assert {"Beklemeler", "Kuyruklar"} <= set(html.texts("caption"))
    assert "https://brand.omnitron.example" in html.one("main").text
    alarms = (await visitor.get("/alarms")).html
    assert alarms.one("h1").text == "1 alarm açık"


async def test_users_are_added_and_removed(site):
    """A mistake is said at the form; one cannot remove oneself; removing is confirmed, and ends sessions."""
    visitor = await site.visitor("admin")
    wrong = await visitor.send("/users", "/users", username="ayse", password="password", role="viewer")
    assert wrong.status == 422
    assert wrong.html.one("input", name="username").attributes["value"] == "ayse"
    await visitor.send("/users", "/users", username="ayse", password="a long sentence", role="viewer")
    assert (await site.store.user("ayse")).role == "viewer"
    viewer = await site.visitor("viewer")
    question = await visitor.send("/users", "/users/viewer/remove")
    assert await site.store.user("viewer") is not None
    await visitor.send(question.to, "/users/viewer/remove")
    assert await site.store.user("viewer") is None
    assert (await viewer.get("/")).status == 303
    assert "/users/admin/remove" not in (await visitor.get("/users")).text


async def test_the_audit_log_tells_in_sentences(site):
    """Who did what; filtered by the address."""
    visitor = await site.visitor("admin", "tr")
    html = (await visitor.get("/audit?who=ada")).html
    assert html.one("caption").text == "Denetim kaydı"
    assert any("posts akışını kaydetti" in row.text for row in html.all("tr"))
    await site.store.record(
        AuditEntry("ada", "watermark.set", "flow polled", "x", {"since": "2026-01-31T09:00:00.000000Z", "before": None})
    )
    await site.store.record(AuditEntry("ada", "run.retry", f"run {RUN}", "x", {"replaced": {"cancelled": 1329}}))
    rows = [row.text for row in (await visitor.get("/audit")).html.all("tr")]
    assert any("1.329 iptal" in row and "run.retry" not in row and "replaced" not in row for row in rows)
    assert any("31 Oca" in row and "12:00" in row for row in rows)
    assert (await visitor.get("/audit?who=nobody")).html.one("h1").text == "Böyle bir değişiklik yok"


async def test_a_parked_message_is_looked_at(site):
    """Sent again, or thrown away after a question."""
    visitor = await site.visitor("operator")
    answer = await visitor.get(f"/system/parked/{'0' * 12}/drop")
    assert answer.status == 404


# the bench ------------------------------------------------------------------------------------------------------------


async def test_the_bench_shows_what_a_change_would_do(site):
    """An answer of a run, the flow's own script; the rows that come out, what would change, what would be sent."""
    visitor = await site.visitor("operator")
    shown = await visitor.get(f"/flows/posts/bench?run={RUN}&row=2")
    assert '"B/2"' in shown.html.one("textarea", name="input").text
    script = 'def process_row(row):\n    print(row["sku"])\n    return row\n'
    path = "/flows/posts/bench"
    answer = await visitor.send(f"{path}?run={RUN}&row=2", path, script=script, do="dry")
    assert answer.html.one("h1").text == "1 row would be sent; Omnitron has refused 1 of these products before"
    (made,) = [one.text for one in answer.html.all("li") if one.text.startswith("B/2")]
    assert "Omnitron refused this product before: Product with this SKU does not exist." in made
    assert "What would be sent" in answer.html.texts("h2")
    assert "What the script printed" in answer.html.texts("h2")


async def test_the_bench_says_where_it_fails(site):
    """The line of the script; a mapping that is no JSON at its field; nothing is saved, and what was typed stays."""
    visitor = await site.visitor("operator")
    path = "/flows/posts/bench"
    script = "def process_row(row):\n    return row['nothing']\n"
    failed = await visitor.send(path, path, input='[{"sku": "A"}]', script=script, do="try")
    assert "line 2" in failed.html.one(role="alert").text
    wrong = await visitor.send(path, path, input="[]", mapping="[{", do="try")
    assert wrong.status == 422
    assert "not JSON" in wrong.html.one(id="e-mapping").text
    assert wrong.html.one("textarea", name="mapping").text == "[{"
    assert (await site.store.flow("posts")).version == 1


async def test_the_page_that_lies_on_the_bench(site):
    """It is the one that is chosen, also where it is not among the newest; saving leaves it there."""
    await long_run(site.store)
    admin = await site.visitor("admin")
    path = f"/flows/polled/bench?run={LONG}&page=1"
    shown = (await admin.get(path)).html
    (chosen,) = [one for one in shown.all("option") if "selected" in one.attributes]
    assert chosen.attributes["value"] == f"{LONG} 1"
    script = "def process_row(row):\n    return row\n"
    saved = await admin.send(path, "/flows/polled/bench", script=script, do="save")
    assert form_of(saved.text, "/flows/polled/bench").items() >= {"run": LONG, "page": "1"}.items()


async def test_mapping_steps_are_shown(site):
    """Each operation with what it made."""
    visitor = await site.visitor("operator")
    path = "/flows/posts/bench"
    mapping = '[{"operation": "shift", "spec": {"*": {"code": "[&1].sku", "pics": "[&1].images"}}}]'
    body = '[{"code": "A", "pics": ["https://cdn.example.com/1.jpg"]}]'
    answer = await visitor.send(path, path, input=body, mapping=mapping, do="try")
    assert answer.html.one("h1").text == "1 row would be sent; Omnitron is not asked"
    assert [one.text.split()[:2] for one in answer.html.all("h3")] == [["1", "shift"]]


async def test_the_bench_saves(site):
    """A version, by an admin alone; a test case, as a file to be put beside the flow file."""
    operator, admin = await site.visitor("operator"), await site.visitor("admin")
    path = "/flows/posts/bench"
    script = "def process_row(row):\n    return row\n"
    assert (await operator.send(path, path, input="[]", script=script, do="save")).status == 403
    body = '[{"sku": "A", "images": ["https://cdn.example.com/1.jpg"]}, {"sku": "B"}]'
    case = await operator.send(path, path, input=body, script=script, do="case")
    assert case.headers["Content-Disposition"].startswith("attachment")
    (found,) = json.loads(case.text)
    assert [set(one) for one in found["expect"]] == [{"sku", "images"}, {"sku", "error"}]
    saved = await admin.send(path, path, input="[]", script=script, do="save")
    assert (await site.store.flow("posts")).document["script"] == script
    assert "/errors?flow=posts" in [one.attributes.get("href") for one in saved.html.all("a")]
    retried = await admin.send(path, "/flows/posts/retry")
    assert (await admin.get(retried.to)).html.one(id="notice").text.startswith("3 rows are being retried")
    assert "/flows/posts/retry" not in (await admin.get(path)).text


async def test_what_was_typed_in_is_there_after_a_save(site):
    """The answer, the script, and where the answer was from; the page says which version is in force and what comes next. Sent again,
    as by loading the page anew, it saves nothing and refuses nothing.
    """
    admin = await site.visitor("admin")
    path, script = "/flows/posts/bench", "def process_row(row):\n    return row\n"
    typed = {"input": '[{"sku": "typed in"}]', "script": script, "do": "save"}
    sent = form_of((await admin.get(path)).text, path) | typed
    for said in ("Saved: version 2 is in force", "Nothing was changed: version 2 stays in force"):
        saved = await admin.post(path, sent)
        assert (saved.status, saved.html.one("h1").text) == (200, "Version 2 of posts is in force")
        assert saved.html.one(id="notice").text == said
        kept = form_of(saved.text, path)
        assert kept["input"] == typed["input"]
        assert (kept["run"], kept["page"], kept["version"]) == (RUN, "1", "2")
        assert "3 rows of this flow have failed" in saved.html.one(id="open").text
        assert "version 2, which is in force now" in saved.html.one(id="open").text
        assert "Retry 3 rows" in saved.html.texts("button")


async def test_why_the_bench_did_not_save(furnished, tmp_path, monkeypatch):
    """The headline and the place at the button say so, and not that it cannot be tried; what is in no field of the form stands there."""
    monkeypatch.setattr(console_site, "REACH", Reach(Bounds((), ("P",)), Allowed([])))
    path = "/flows/posts/bench"
    async with opened(furnished, tmp_path) as site:
        for language, title, said in (
            ("en", "This version was not saved", "127.0.0.1 is in a private network"),
            ("tr", "Bu sürüm kaydedilmedi", "127.0.0.1 özel bir ağda"),
        ):
            admin = await site.visitor("admin", language)
            omnitron = {**POLLED["omnitron"], "domain_url": "http://127.0.0.1:8092"}
            await site.store.save_flow({"name": "posts", "direction": "outbound", "omnitron": omnitron}, "admin")
            refused = await admin.send(path, path, script="def process_row(row):\n    return row\n", do="save")
            assert refused.status == 422
            assert refused.html.one("h1").text == title
            assert said in refused.html.one(id="refused").text
            assert refused.html.one("button", value="save").attributes["aria-describedby"] == "refused"
            wrong = await admin.send(path, path, mapping="[{", do="save")
            assert wrong.html.one("h1").text == title
            assert "JSON" in wrong.html.one(id="refused").text
            late = await admin.send(
                path, path, version="1", script="def process_row(row):\n    return row\n", do="save"
            )
            assert late.html.one("h1").text == title
            assert re.search(r"version \d+ meanwhile|bu arada", late.html.one(id="refused").text)


async def test_what_is_on_omnitron_is_not_announced(site):
    """A row that is there like this is not counted among those that would be sent."""
    visitor = await site.visitor("operator")
    path = "/flows/posts/bench"
    there = [{"sku": "K", "images": [f"{PICTURE}/1.jpg"]}]
    written = digest((Image(f"{PICTURE}/1.jpg"),))
    await site.store.settle(
        "", [], written=[LedgerEntry("https://brand.omnitron.example", "K", 1, written, None, None)]
    )
    same = await visitor.send(path, path, input=json.dumps(there), do="dry")
    assert same.html.one("h1").text == "Nothing would be sent: Omnitron has the row like this"
    both = [*there, {"sku": "L", "images": [f"{PICTURE}/2.jpg"]}]
    one = await visitor.send(path, path, input=json.dumps(both), do="try")
    assert one.html.one("h1").text == "1 of 2 rows would be sent; Omnitron is not asked"


async def test_which_flow_is_tried(site):
    """A list of them."""
    visitor = await site.visitor("viewer")
    links = [link.attributes["href"] for link in (await visitor.get("/bench")).html.all("a")]
    assert {"/flows/polled/bench", "/flows/posts/bench"} <= set(links)


async def test_a_draft_against_what_really_came(site):
    """Counts, a map and examples with both sets; without a change all is the same; what is no flow is said."""
    visitor = await site.visitor("operator")
    path = "/flows/posts/bench"
    same = await visitor.send(path, path, do="compare")
    assert same.html.one("h1").text == "All 4 rows come out the same"
    assert same.html.all("svg", class_="cells")
    script = "def process_row(row):\n    if row['sku'] == 'A-1': raise ValueError('no A')\n    return row\n"
    broken = await visitor.send(path, path, do="compare", script=script)
    assert broken.html.one("h1").text == "1 row of 4 would break"
    (row,) = [one.text for one in broken.html.all("tr") if "broken" in one.text]
    assert "A-1" in row and "no A" in row
    wrong = await visitor.send(path, path, do="compare-many", script="def (")
    assert wrong.status == 422
    taken = await visitor.send(path, path, do="take", script=script, **{"from": f"{RUN} 1"})
    assert "".join(taken.html.one("textarea", name="script").words).strip() == script.strip()
    assert '"A-1"' in taken.html.one("textarea", name="input").text


async def test_a_draft_that_sends_other_skus(site):
    """A refused row under a SKU that Omnitron never took is not mended, a good one has not got another set: both are warned of."""
    visitor = await site.visitor("operator")
    path = "/flows/posts/bench"
    script = "def process_row(row):\n    return {**row, 'sku': 'X' + row['sku']}\n"
    html = (await visitor.send(path, path, do="compare", script=script)).html
    assert html.one("h1").text == (
        "1 product would be sent under another SKU, which Omnitron has never had from us. "
        "3 refused rows would be sent under another SKU; whether Omnitron knows it is not known"
    )
    assert "XA-1 was A-1. XB/2 was B/2." in html.one("main").text
    rows = [one for one in html.all("tr") if "another SKU" in one.text]
    assert ["Omnitron has never had it from us" in one.text for one in rows] == [True, False, False, False]
    assert ["was refused; whether Omnitron knows" in one.text for one in rows] == [False, True, True, True]
    marks = [one.attributes.get("class") for one in html.all("span") if one.text == "another SKU"]
    assert marks == ["mark waiting"] * 4
    assert [len(html.all("path", class_=kind)) for kind in ("renamed", "untried", "fixed", "different")] == [1, 1, 0, 0]


async def test_an_erp_is_asked_from_the_bench(site):
    """Its first elements become the input, what was typed stays; where it does not answer, the page says why."""
    erp = FakeErp(rows=20)
    visitor = await site.visitor("operator")
    path = "/flows/polled/bench"
    async with erp.serve():
        await site.store.save_flow(
            {**POLLED, "erp": {"endpoint_url": f"{erp.url}/images/none/", "rows_path": "results"}}
        )
        answer = await visitor.send(path, path, do="ask", script="def process_row(row):\n    return row\n")
        short = {"endpoint_url": f"{erp.url}/images/next/", "rows_path": "results", "extra_params": {"limit": 5}}
        await site.store.save_flow({**POLLED, "erp": short})
        incomplete = await visitor.send(path, path, do="ask")
    assert ("the read ended after" in answer.text, "the read ended after 5 rows" in incomplete.text) == (False, True)
    assert "the first of 20 elements" in answer.text
    assert "SKU-000001" in answer.html.one("textarea", name="input").text
    refused = await visitor.send(path, path, do="ask")
    assert (refused.status, "127.0.0.1" in refused.html.one(role="alert").text) == (422, True)
    assert [one.entry.what for one in await site.store.audit(what="erp.ask")] == ["erp.ask"] * 3
