# ruff: noqa: RUF001 - Turkish has letters of its own
"""The console in a real browser: what people do, and what no page may do. A console message or a foreign host fails a test."""

import json
import re
from datetime import timedelta

import msgspec
import pytest

from imageflow.actions import errors
from imageflow.model.imageset import Image
from imageflow.model.row import RowLog
from imageflow.model.run import Run, Trigger
from tests.console_site import CLOCK, LONG, PASSWORD, POLLED, RUN, SKUS, end_long_run, long_run
from tests.integration.test_console import SHOWN
from tests.posting import accept_post

AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]}
PAGES = [*SHOWN, "/nothing", "/products/A-1?how=1"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("scheme", "locale"), [("light", "en-US"), ("dark", "tr-TR")])
def test_every_page_is_accessible_and_fits_a_phone(watched, scheme, locale):
    """No finding of axe; no sideways scroll at 390 px; at most three requests before the first paint; nothing is said."""
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - may be missing

    axe = Axe()
    page = watched.page("admin", color_scheme=scheme, locale=locale, viewport={"width": 1400, "height": 900})
    wrong = []
    for path in PAGES:
        page.goto(path)
        found = axe.run(page, options=AXE).response["violations"]
        wrong += [(path, one["id"], one["nodes"][0]["html"][:200]) for one in found]
        blocking = page.evaluate(
            "performance.getEntriesByType('resource').filter(one => one.renderBlockingStatus === 'blocking').length"
        )
        wrong += [(path, "blocking requests", blocking)] * (blocking > 3)
        page.set_viewport_size({"width": 390, "height": 844})
        wide = page.evaluate("document.documentElement.scrollWidth")
        wrong += [(path, "width", wide)] * (wide > 390)
        page.set_viewport_size({"width": 1400, "height": 900})
    assert not wrong


OFF = """wide => [
    ...[...document.querySelectorAll(".button, .chip, .time text, .pane > header > *, .made .mark")]
        .filter(one => one.checkVisibility() && !one.closest("[popover]"))
        .filter(one => one.getBoundingClientRect().right > wide || one.getBoundingClientRect().left < 0)
        .map(one => "off the window: " + one.outerHTML.slice(0, 160)),
    ...[...document.querySelectorAll(".pane > header")].flatMap(header => [...header.children].filter(one =>
        one.getBoundingClientRect().top < header.getBoundingClientRect().top + 2
        || one.getBoundingClientRect().bottom > header.getBoundingClientRect().bottom - 2))
        .map(one => "at the edge: " + one.outerHTML.slice(0, 160)),
    ...[...document.querySelectorAll(".jumps, .answer")].filter(one => one.previousElementSibling
        && one.getBoundingClientRect().top - one.previousElementSibling.getBoundingClientRect().bottom < 6)
        .map(one => "touches what is above: " + one.outerHTML.slice(0, 160)),
    ...[...document.querySelectorAll(".made li")].filter(row => [...row.querySelectorAll(".pic")].some(one => {
        const [a, b] = [one, row.querySelector(".mark")].map(it => it.getBoundingClientRect());
        return a.right > b.left + 1 && a.left < b.right - 1 && a.bottom > b.top + 1 && a.top < b.bottom - 1; }))
        .map(one => "a picture covers the state: " + one.outerHTML.slice(0, 160)),
    ...(document.documentElement.scrollWidth > wide ? ["width " + document.documentElement.scrollWidth] : []),
]"""


@pytest.mark.parametrize("locale", ["en-US", "tr-TR"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off_or_touches(watched, served, width, locale):
    """On a phone and on a small laptop: no button or label beyond the window, no card at its neighbour, no picture over a state."""
    site, do = served
    do(long_run(site.store))
    do(end_long_run(site.store))
    phone = {"is_mobile": True, "has_touch": True} if width == 390 else {}
    page = watched.page("admin", locale=locale, viewport={"width": width, "height": 800}, **phone)
    wrong = []
    for path in [*PAGES, f"/runs/{LONG}", "/products/L-4", "/products/B%2F2"]:
        page.goto(path)
        wrong += [(path, one) for one in page.evaluate(OFF, width)]
        wrong += [(path, "a table scrolls")] * (width == 1280 and path == "/" and page.evaluate(SCROLLS))
    page.goto("/flows/posts/bench")
    page.locator(".editor").nth(2).wait_for()
    rows = [{"sku": "a long name of a product", "images": [f"https://cdn.example.com/{n}.jpg" for n in range(5)]}]
    page.locator("#f-input").evaluate(
        "(area, text) => { area.value = text; area.dispatchEvent(new Event('input')); }", json.dumps(rows)
    )
    page.locator('button[value="try"]').click()
    page.locator(".made").wait_for()
    wrong += [("bench", one) for one in page.evaluate(OFF, width)]
    icon, field = (page.locator(one).bounding_box() for one in (".bar form svg", "#q"))
    middle = [one["y"] + one["height"] / 2 for one in (icon, field)]
    assert not wrong
    assert middle[0] == pytest.approx(middle[1], abs=1)


SCROLLS = (
    """() => [...document.querySelectorAll(".card:has(> table)")].some(one => one.scrollWidth > one.clientWidth + 1)"""
)

CUT = """() => [...document.querySelectorAll(".causes td:first-child, .causes td:first-child *, .causes td:last-child .button")]
    .filter(one => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== "inline"
        || one.getBoundingClientRect().right > document.querySelector(".card:has(.causes)").getBoundingClientRect().right)
    .map(one => one.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("locale", ["en-US", "tr-TR"])
def test_causes_are_read_whole(watched, served, locale):
    """On a laptop's screen, beside the rail, no word of a cause is cut off, and no button."""
    site, do = served
    do(many_causes(site))
    page = watched.page("operator", locale=locale, viewport={"width": 1280, "height": 800})
    for width in (1280, 1440, 1000):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto("/errors")
        assert page.locator(".causes tbody tr").count() == 4
        assert page.evaluate(CUT) == []
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(f"/runs/{LONG}")
    assert page.locator("#causes tbody tr").count() == 2
    assert page.evaluate(CUT.replace(".card:has(.causes)", "#causes .card").replace(".causes", "#causes")) == []


@pytest.mark.parametrize("locale", ["en-US", "tr-TR"])
def test_a_cause_that_came_back_is_read_whole(watched, served, monkeypatch, locale):
    """Since when its rows are open is one more line; the buttons stay within the window."""
    site, do = served
    do(many_causes(site))
    listed = errors.listed

    async def came_back(*args, **options):
        found = await listed(*args, **options)
        return [msgspec.structs.replace(one, first_at=one.since - timedelta(hours=30)) for one in found]

    monkeypatch.setattr(errors, "listed", came_back)
    page = watched.page("operator", locale=locale, viewport={"width": 1280, "height": 800})
    for width in (1280, 1000):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto("/errors")
        assert page.locator(".of-open").count() == 4
        assert page.evaluate(CUT) == []


async def many_causes(site):
    """Besides what is there, a cause with many pictures and two buttons."""
    await long_run(site.store)
    rows = [
        RowLog(
            run_id=LONG,
            row=row,
            product=f"869000000{row}",
            state="failed",
            stage="script",
            reason="line 12: KeyError: 'pictures_of_the_winter_collection_in_high_resolution'",
            images=tuple(Image(f"https://cdn.example.com/{n}.jpg", n) for n in range(3)),
            page=3,
        )
        for row in (5, 6)
    ]
    await site.store.settle("t", rows)


def test_the_strip_of_days_on_a_phone(watched):
    """It is as large as on a desk."""
    page = watched.page("viewer", viewport={"width": 390, "height": 844})
    page.goto("/errors")
    box = page.locator(".strip.days").first.bounding_box()
    assert (box["width"], box["height"]) == (84, 36)


def test_a_long_run_on_a_phone(watched, served):
    """Ten rows, and all of them where one asks for them; on a desk all at once. Without a script."""
    site, do = served
    run_id = do(long_run(site.store))
    phone = watched.page("viewer", viewport={"width": 390, "height": 844}, java_script_enabled=False)
    phone.goto(f"/runs/{run_id}")
    rows = phone.locator("#rows tbody tr:visible")
    assert rows.count() == 10
    phone.get_by_role("link", name="Show all 50 rows").click()
    phone.wait_for_url("**#more-rows")
    assert rows.count() == 50
    assert not phone.locator(".unfold:visible").count()
    desk = watched.page("viewer", viewport={"width": 1280, "height": 800})
    desk.goto(f"/runs/{run_id}")
    assert desk.locator("#rows tbody tr:visible").count() == 50
    assert not desk.locator(".unfold:visible").count()


def test_a_flow_file_and_versions_on_a_phone(watched, served):
    """A long line of the file scrolls within its card; the bar of the settings never lies over the versions."""
    site, do = served
    script = f"def process_row(row):\n    return row  # {'a long line ' * 20}\n"
    do(site.store.save_flow({**POLLED, "script": script}, "ada"))
    page = watched.page("admin", viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page.goto("/flows/polled/versions/3")
    file = page.get_by_label("As a flow file")
    assert file.evaluate("one => [one.scrollWidth > one.clientWidth, getComputedStyle(one).overflowX]") == [
        True,
        "auto",
    ]
    page.goto("/flows/polled")
    assert page.evaluate(COVERED) == []


COVERED = """() => {
    const [bar, versions] = [".title.sticky", "#versions"].map(one => document.querySelector(one));
    const found = [];
    for (let top = 0; top < document.documentElement.scrollHeight; top += 40) {
        scrollTo(0, top);
        const [one, other] = [bar, versions].map(each => each.getBoundingClientRect());
        if (one.bottom > other.top + 1 && one.top < other.bottom) found.push(top);
    }
    return found;
}"""


def test_the_door_by_keyboard(watched):
    """From a page to the log-in and back to that page, without a pointer; the focus is always seen."""
    page = watched.page()
    page.goto("/runs?status=partial")
    assert page.get_by_role("heading", level=1).inner_text() == "Log in to ImageFlow"
    page.wait_for_selector("#f-username:focus")  # a page may be there before its focus is
    page.keyboard.type("operator")
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.type("wrong words")
    page.keyboard.press("Enter")
    assert page.get_by_role("alert").inner_text().strip() == "This name and password do not go together."
    page.wait_for_selector("#f-password:focus")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs?status=partial")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")


def test_a_link_of_the_door(watched, served):
    """It logs in by its button, once."""
    site, do = served
    link = do(site.gateway.sessions.login_link("viewer"))
    page = watched.page()
    page.goto(f"/login?once={link}")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{watched.url}/")
    assert page.get_by_role("navigation", name="Pages").is_visible()


def fresh_run(site, do, *, written=True):
    """A run that is going on: ten rows, one of them settled, or none."""
    now = CLOCK.now()
    run = Run(
        run_id="20260102-000000-00000000aa",
        flow="posts",
        version=1,
        trigger=Trigger("outbound", "ada"),
        status="draining",
        created_at=now,
        started_at=now,
        pages=1,
        read_complete=True,
    )
    do(accept_post(site.store, run, b"[]", rows=10))
    do(site.store.register_page(run.run_id, 1, 10, []))
    if written:
        settle(site, do, run.run_id, 1)
    return run.run_id


def settle(site, do, run_id, row):
    log = RowLog(
        run_id=run_id, row=row, product=f"P-{row}", state="written", images=(Image("https://cdn.example.com/1.jpg"),)
    )
    do(site.store.settle("t", [log]))


def test_a_run_is_watched_live(watched, served):
    """Its counter rises without loading the page again, and what is typed meanwhile stays."""
    site, do = served
    run_id = fresh_run(site, do)
    page = watched.page("viewer")
    page.goto(f"/runs/{run_id}")
    page.get_by_text("live", exact=True).wait_for()
    page.get_by_role("searchbox", name="Search").fill("typed")
    written = page.locator('data[data-count="written"]')
    assert written.get_attribute("value") == "1"
    page.evaluate("window.same = true")
    for row in (2, 3, 4):
        settle(site, do, run_id, row)
    page.locator('data[data-count="written"][value="4"]').wait_for()
    assert page.evaluate("window.same")
    assert page.get_by_role("searchbox", name="Search").input_value() == "typed"


def test_pictures_that_come_while_one_looks_on(watched, served):
    """They are of a host that the page's policy did not name: the page is loaded anew, and shows them."""
    site, do = served
    run_id = fresh_run(site, do, written=False)
    page = watched.page("viewer")
    page.goto(f"/runs/{run_id}")
    page.get_by_text("live", exact=True).wait_for()
    assert not page.locator("main img").count()
    with page.expect_response("https://cdn.example.com/1.jpg"):
        settle(site, do, run_id, 2)
    page.locator("main img").first.wait_for()


def test_from_failure_to_failure(watched, served):
    """The arrow goes to the failed page of the map, Enter to its rows; a row is marked and retried by keys alone."""
    site, do = served
    run_id = do(long_run(site.store))
    do(end_long_run(site.store))
    page = watched.page("operator")
    page.goto(f"/runs/{run_id}")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "page 2: rows failed"
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/runs/{run_id}?page=2#rows")
    assert page.locator("[data-picked]").inner_text() == "page 2: 1 failed, 1 written"
    assert page.locator("svg.pages .pick").count() == 1
    marked = page.locator("#marked button")
    assert marked.inner_text().strip() == "Retry the marked rows"
    for key in ("j", "j", "j", "x"):
        page.keyboard.press(key)
    assert marked.inner_text().strip() == "Retry 1 row"
    with page.expect_response(lambda answer: f"/runs/{run_id}" in answer.url):
        page.evaluate("htmx.trigger('#page', 'look')")
    page.wait_for_timeout(300)
    assert page.locator("#newer").inner_text() == ""  # what is marked is no news
    page.keyboard.press("r")
    page.keyboard.press("Enter")
    page.get_by_text("1 row is being retried").wait_for()
    assert do(site.store.run(run_id)).counts.in_flight == 1


def some_runs(site, do, first, last):
    """Runs of a minute each, the last one the newest; their ids end with their numbers."""
    for number in range(first, last + 1):
        at = CLOCK.now() + timedelta(minutes=number)
        run = Run(
            run_id=f"20260104-000000-00000000{number:02}",
            flow="posts",
            version=1,
            trigger=Trigger("outbound", "ada"),
            status="draining",
            created_at=at,
            started_at=at,
            pages=1,
            read_complete=True,
        )
        do(accept_post(site.store, run, b"[]", rows=1))


def test_through_the_list_one_came_from(watched, served):
    """From a run to the ones beside it in the list, and no further than its ends."""
    site, do = served
    some_runs(site, do, 1, 3)
    page = watched.page("viewer")
    page.goto("/runs?flow=posts&status=draining")
    links = page.locator("table[data-list] tbody tr td:first-child a")
    order = [link.get_attribute("href") for link in links.all()]
    links.nth(1).click()
    page.wait_for_url(f"**{order[1]}")
    page.keyboard.press("]")
    page.wait_for_url(f"**{order[2]}")
    page.keyboard.press("]")
    page.keyboard.press("[")
    page.wait_for_url(f"**{order[1]}")
    page.keyboard.press("[")
    page.wait_for_url(f"**{order[0]}")


def test_a_list_that_was_scrolled_stays_as_it_is(watched, served):
    """It says how many are newer; at its top it shows them."""
    site, do = served
    some_runs(site, do, 1, 40)
    page = watched.page("viewer", viewport={"width": 1000, "height": 500})
    page.goto("/runs?flow=posts")
    page.get_by_text("live", exact=True).wait_for()
    page.evaluate("scrollTo(0, 900)")
    some_runs(site, do, 41, 42)
    page.locator("#newer", has_text="2 newer").wait_for()
    assert not page.locator('a[href$="0000000042"]').count()
    page.locator("#newer a").click()
    page.locator('table a[href$="0000000042"]').wait_for()


HIDE = """hidden => {
    Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_six_tabs_share_one_stream(watched, served):
    """All stay live, pages still load, and while none is seen there is no stream."""
    site, _ = served
    window = watched.window("viewer")
    pages = [window.new_page() for _ in range(6)]
    for page in pages:
        page.goto("/")
        page.get_by_text("live", exact=True).wait_for()
    listeners = site.gateway._events._listeners
    assert len(listeners) == 1
    pages[0].goto("/runs")
    pages[0].get_by_text("live", exact=True).wait_for()
    for page in pages:
        page.evaluate(HIDE, True)
        page.get_by_text("paused", exact=True).wait_for()
    for _ in range(100):
        if not listeners:
            break
        pages[0].wait_for_timeout(100)
    assert not listeners
    pages[3].evaluate(HIDE, False)
    pages[3].get_by_text("live", exact=True).wait_for()


def test_back_keeps_what_was_chosen(watched):
    """Filters live in the address."""
    page = watched.page("viewer")
    page.goto("/runs")
    page.get_by_role("link", name="partly failed").first.click()
    page.wait_for_url("**/runs?status=partial")
    page.get_by_role("row").filter(has_text="posts").get_by_role("link").first.click()
    page.wait_for_url(f"**/runs/{RUN}")
    page.go_back()
    page.wait_for_url("**/runs?status=partial")
    assert page.locator('a.chip[aria-current="true"]').first.inner_text() == "partly failed"


def test_keys(watched):
    """Search, pages, rows and up; none acts in a field."""
    page = watched.page("viewer")
    page.goto("/")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("gr")
    assert page.get_by_role("searchbox", name="Search").input_value() == "gr"
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url("**/runs")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/runs/{RUN}")
    page.keyboard.press("Escape")
    page.wait_for_url("**/runs")
    page.keyboard.press("?")
    assert page.get_by_role("heading", name="Keys of this page").is_visible()


def test_a_mistake_at_its_field(watched):
    """The first wrong field has the focus and says what is wrong."""
    page = watched.page("admin")
    page.goto("/flows/polled")
    page.locator('[name="schedule.every"]').fill("soon")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("must be a duration").wait_for()
    assert page.evaluate("document.activeElement.name") == "schedule.every"
    assert page.evaluate("document.activeElement.getAttribute('aria-invalid')") == "true"


def test_a_failed_row_is_written_again(watched, served):
    """From the search to the product, with one button; the notice says so."""
    site, do = served
    page = watched.page("operator")
    page.goto("/")
    page.get_by_role("searchbox", name="Search").fill("B/2")
    page.keyboard.press("Enter")
    page.wait_for_url("**/products/B%2F2")
    page.get_by_role("button", name="Write again").click()
    notice = page.get_by_text("The row is being written again")
    notice.wait_for()
    assert do(site.store.run(RUN)).counts.in_flight == 1
    page.get_by_text("live", exact=True).wait_for()
    images = (Image("https://cdn.example.com/1.jpg"),)
    failed = RowLog(run_id=RUN, row=2, product="B/2", state="failed", reason="no", http_status=400, images=images)
    do(site.store.settle("t", [failed]))
    notice.wait_for(state="detached")
    assert page.get_by_role("heading", level=1).inner_text() == "B/2 has no pictures from us"


def test_without_scripts(watched, served):
    """Pages, filters, forms and their questions work; only live updates and the editors are missing."""
    site, do = served
    page = watched.page("admin", java_script_enabled=False, locale="tr-TR")
    page.goto("/flows/polled")
    page.get_by_role("button", name="Devre dışı bırak").click()
    page.wait_for_url("**/flows/polled/disable")
    page.get_by_role("button", name="Devre dışı bırak").click()
    page.wait_for_url("**/flows/polled")
    assert not do(site.store.flow("polled")).definition.enabled
    page.goto("/flows/polled/bench")
    page.get_by_label("ERP yanıtı").fill('[{"sku": "A-1", "images": ["https://cdn.example.com/1.jpg"]}]')
    page.get_by_role("button", name="Dene", exact=True).click()
    assert page.get_by_role("heading", level=1).inner_text() == "1 satır gönderilirdi; Omnitron’a sorulmaz"


def test_the_bench_has_editors(watched):
    """A script is typed in the editor and tried by Ctrl Enter, which changes nothing in it; the line that fails is said and marked."""
    page = watched.page("admin")
    page.goto("/flows/polled/bench")
    editors = page.locator(".editor")
    editors.nth(2).wait_for()
    page.locator("#f-input").evaluate(
        "area => { area.value = '[{\"code\": 1}]'; area.dispatchEvent(new Event('input')); }"
    )
    editors.nth(1).locator(".cm-content").click()
    page.keyboard.type("def process_row(row):\nreturn {'sku': row['sku']}")
    script = page.locator("#f-script").input_value()
    page.keyboard.press("Control+Enter")
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert page.locator("#f-script").input_value() == script
    assert re.search(r"line 2.*KeyError", alert.inner_text())
    page.locator(".editor").nth(1).locator(".cm-lint-marker-error").wait_for()
    assert page.locator("style").count() == 0


def test_two_editors_meet(watched):
    """Who saves second sees both changes at their fields, and saves them together."""
    one, other = watched.page("admin"), watched.page("admin")
    for page in (one, other):
        page.goto("/flows/polled")
    one.locator('[name="schedule.every"]').fill("20m")
    one.locator('[name="erp.timeout"]').fill("5s")
    one.locator("#settings").get_by_role("button", name="Save").click()
    one.get_by_text("Saved: version 3").wait_for()
    other.locator('[name="schedule.every"]').fill("30m")
    other.locator("#settings").get_by_role("button", name="Save").click()
    other.get_by_role("heading", level=1, name="saved version 3 of polled while you changed it").wait_for()
    assert other.locator('[name="erp.timeout"]').input_value() == "5s"
    assert other.locator(".theirs .del").inner_text() == "- 20m"
    other.locator("#settings").get_by_role("button", name="Save").click()
    other.get_by_text("Saved: version 4").wait_for()


def test_a_draft_against_what_really_came(watched):
    """One button puts the draft over the last kept pages: the answer in the headline, a map, both sets of what differs."""
    page = watched.page("operator")
    page.goto("/flows/posts/bench")
    page.locator(".editor").nth(1).locator(".cm-content").click()
    page.keyboard.type(
        "def process_row(row):\nreturn {**row, 'images': row['images'][:1] + ['https://cdn.example.com/new.jpg']}"
    )
    page.get_by_role("button", name="10 pages").click()
    page.get_by_role("heading", level=1, name="would be mended").wait_for()
    assert page.get_by_role("heading", level=1).inner_text() == "0 of 4 rows would be mended, 4 would get another set"
    assert page.locator("svg.cells path.different").count() == 1
    assert page.get_by_role("table", name="Rows that differ").get_by_role("row").count() == 5
    page.get_by_role("link", name="The 4 that differ").click()
    assert page.url.endswith("#differ")


def test_a_cause_closes(watched, served):
    """From the causes: its rows are retried by one button; once they are written it is gone from the page, which was not loaded
    again, and stands among the closed ones.
    """
    site, do = served
    page = watched.page("operator")
    page.goto("/errors")
    page.get_by_text("live", exact=True).wait_for()
    assert page.get_by_role("table", name="Open causes").get_by_role("row").count() == 3
    page.get_by_role("button", name="Retry 2 rows").first.click()
    page.get_by_text("2 rows are being retried").wait_for()
    page.goto("/errors")
    page.get_by_text("live", exact=True).wait_for()
    page.evaluate("window.same = true")
    images = (Image("https://cdn.example.com/1.jpg"),)
    cause, badge = (
        page.get_by_role("link", name="Omnitron does not know the SKU"),
        page.locator('nav a[href="/errors"]'),
    )
    assert (cause.count(), badge.get_attribute("data-open")) == (0, "1")
    words = {"reason": "Product with this SKU does not exist.", "http_status": 400, "images": images}
    failed = [RowLog(run_id=RUN, row=row, product=SKUS[row - 1], state="failed", **words) for row in (2, 3)]
    do(site.store.settle("t", failed))
    cause.wait_for()
    assert badge.get_attribute("data-open") == "2"
    do(site.store.reopen(RUN, row=2))
    do(site.store.reopen(RUN, row=3))
    logs = [RowLog(run_id=RUN, row=row, product=SKUS[row - 1], state="written", images=images) for row in (2, 3)]
    do(site.store.settle("t", logs))
    cause.wait_for(state="detached")
    assert badge.get_attribute("data-open") == "1"
    assert page.evaluate("window.same")
    page.goto("/errors?state=closed")
    assert page.get_by_text("Omnitron does not know the SKU").count() >= 1


def test_a_flow_is_changed_by_keyboard(watched, served):
    """To the flows, into one, to its field and saved, all by keys; the focus is seen all the way."""
    site, do = served
    page = watched.page("admin")
    page.goto("/")
    for key in ("g", "f"):
        page.keyboard.press(key)
    page.wait_for_url("**/flows")
    for key in ("j", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url("**/flows/polled")
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "schedule.every":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Control+a")
    page.keyboard.type("25m")
    page.keyboard.press("Enter")
    page.get_by_text("Saved: version 3").wait_for()
    assert do(site.store.flow("polled")).document["schedule"]["every"] == "25m"


def test_what_would_be_sent(watched):
    """A dry run shows the request of a row that comes out, and why another does not."""
    page = watched.page("operator")
    page.goto("/flows/posts/bench")
    page.locator(".editor").nth(2).wait_for()
    rows = '[{"sku": "Z", "images": ["https://cdn.example.com/1.jpg"]}, {"sku": "Y"}]'
    page.locator("#f-input").evaluate(
        "(area, text) => { area.value = text; area.dispatchEvent(new Event('input')); }", rows
    )
    page.get_by_role("button", name="Dry run", exact=True).click()
    sent = page.get_by_role("table", name="What would be sent")
    sent.wait_for()
    assert "POST https://brand.omnitron.example/" in sent.inner_text()
    assert "no images" in page.locator(".made").inner_text()
