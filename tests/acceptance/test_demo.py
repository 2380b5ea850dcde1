"""The first two commands of the README."""

import json
import re
import subprocess
import urllib.request

from tests.acceptance.harness import balanced, site, wait_for


def test_demo_balances(tmp_path):
    """The demo moves every row, ends 0 and says so in JSON as its last line."""
    with site(tmp_path) as here:
        done = here.call("demo", "--rows", "500", "--json")
        result = json.loads(done.stdout.splitlines()[-1])
    assert result["ok"]
    assert [run["status"] for run in result["runs"]] == ["success", "success"]
    assert all(balanced(run) for run in result["runs"])
    assert result["runs"][0]["rows"]["written"] == 500
    assert result["products"] == {"expected": 700, "missing": 0, "unexpected": 0, "different": 0}


def test_demo_speaks_to_people(tmp_path):
    """Without --json the summary is text."""
    with site(tmp_path) as here:
        done = here.call("demo", "--rows", "20")
    assert "demo-inbound: success; 20 rows = 20 written" in done.stdout
    assert "balanced and complete" in done.stdout


def line_with(stream, text):
    return next(line for line in stream if text in line).strip()


def test_demo_stays_with_its_console(tmp_path):
    """With --serve it says where the console is, and gives a link that logs in there."""
    with site(tmp_path) as here:
        demo = here.spawn("demo", "--rows", "20", "--serve", stdout=subprocess.PIPE)
        here.stack.callback(demo.stdout.close)
        console = line_with(demo.stdout, "console: ").removeprefix("console: ")
        link = re.search(r"\S+/login\?once=[\w-]{43}$", line_with(demo.stdout, "once="))[0]
        assert link.startswith(console)
        with urllib.request.urlopen(link) as answer:
            assert "Log in as demo" in answer.read().decode()


def test_up_says_where_its_console_is(tmp_path):
    """And, while there is no user, gives a link that makes the first one; the link is no part of the output."""
    with site(tmp_path) as here:
        up = here.spawn("up", "--port", "0", stdout=subprocess.PIPE)
        here.stack.callback(up.stdout.close)
        console = line_with(up.stdout, "console: ").removeprefix("console: ")
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", console)
        log = here.folder / "log.txt"
        wait_for(lambda: "setup?once=" in log.read_text(), what="the link")
        said = log.read_text()
        link = re.search(r"\S+/setup\?once=[\w-]{43}", said)[0]
        assert link.startswith(console)
        with urllib.request.urlopen(link) as answer:
            assert "Make the first admin" in answer.read().decode()
