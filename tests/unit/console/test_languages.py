"""Languages: the catalogues are whole, and numbers and instants are written as people of that language do."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from imageflow.console import packaged
from imageflow.console.languages import Language, all_languages, chosen, utc, zone
from tests import console_messages

NOW = datetime(2026, 11, 28, 9, 4, tzinfo=UTC)
ISTANBUL = ZoneInfo("Europe/Istanbul")
EN, TR = (Language(code, packaged.catalogue(code)) for code in ("en", "tr"))


@pytest.mark.parametrize("code", ["en", "tr"])
def test_a_catalogue_has_all_messages(code):
    """What the sources say is in each catalogue, and nothing else; `python -m tests.console_messages` brings it up to date."""
    there = {message.id for message in console_messages.catalog(code) if message.id}
    assert there == {message.id for message in console_messages.wanted() if message.id}


@pytest.mark.parametrize("code", ["en", "tr"])
def test_every_message_is_said_with_its_placeholders(code):
    """No translation is missing, in no plural, and each has the placeholders of its message."""
    wrong = []
    for message in console_messages.catalog(code):
        if not message.id:
            continue
        ids = message.id if isinstance(message.id, tuple) else (message.id,)
        said = message.string if isinstance(message.string, tuple) else (message.string,)
        names = set(re.findall(r"%\((\w+)\)s", " ".join(ids)))
        found = [set(re.findall(r"%\((\w+)\)s", text)) for text in said]
        if not all(said) or any(each - names for each in found) or found[-1] != names:
            wrong.append(message.id)
    assert not wrong


def test_numbers():
    """Thousands and shares as the language writes them; a share that is not nothing is not 0%."""
    assert (EN.number(48210), TR.number(48210)) == ("48,210", "48.210")
    assert (EN.percent(0.61), TR.percent(0.61)) == ("61%", "%61")
    assert (EN.percent(0.0001), EN.percent(0.01), EN.percent(0)) == ("under 1%", "1%", "0%")
    assert TR.percent(0.0001) == "%1’den az"  # noqa: RUF001


def test_instants():
    """Today is a time, another day has its date, another year its year; in the zone that is asked for."""
    assert EN.moment(NOW, ISTANBUL, NOW) == "12:04"
    assert EN.moment(NOW - timedelta(days=2), ISTANBUL, NOW) == "26 Nov 12:04"
    assert TR.moment(NOW - timedelta(days=2), ISTANBUL, NOW) == "26 Kas 12:04"
    assert EN.moment(NOW - timedelta(days=400), ISTANBUL, NOW) == "24 Oct 2025 12:04"
    assert EN.exact(NOW, ISTANBUL) == "28 Nov 2026 12:04:00"
    assert utc(NOW) == "2026-11-28T09:04:00Z"


def test_distances():
    """How long ago, and how long until."""
    assert EN.ago(NOW - timedelta(minutes=4), NOW) == "4 minutes ago"
    assert TR.ago(NOW - timedelta(minutes=4), NOW) == "4 dakika önce"
    assert EN.ago(NOW + timedelta(hours=2), NOW) == "in 2 hours"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.05, "50 ms"),
        (1, "1 sec"),
        (72, "1 min 12 sec"),
        (3600, "1 hr"),
        (3 * 3600 + 240, "3 hr 4 min"),
        (90_000, "1 day 1 hr"),
        (-1, "0 ms"),
    ],
)
def test_durations(seconds, said):
    """The two largest units."""
    assert EN.duration(seconds) == said


def test_sizes():
    """With one digit after the point below ten."""
    assert [EN.bytes(size) for size in (12, 1500, 96_000_000)] == ["12 B", "1.5 kB", "96 MB"]
    assert TR.bytes(1500) == "1,5 kB"


@pytest.mark.parametrize(
    ("cookie", "accepted", "code"),
    [
        ("tr", "en", "tr"),
        (None, "tr-TR,tr;q=0.9,en;q=0.8", "tr"),
        (None, "de, en;q=0.5, tr;q=0.7", "tr"),
        (None, "en;q=x, tr;q=0", "en"),
        ("xx", "", "en"),
        (None, "fr", "en"),
    ],
)
def test_the_language_of_a_request(cookie, accepted, code):
    """The cookie, else what the browser likes most of what there is, else English."""
    assert chosen(cookie, accepted) == code


def test_a_zone_that_is_none():
    """It is UTC then: a page about a flow is shown all the same."""
    assert zone("Europe/Istanbul") == ISTANBUL
    assert zone("Nowhere/Land").key == zone("../etc").key == "UTC"


def test_all_languages():
    """Two of them."""
    assert set(all_languages(packaged.catalogue)) == {"en", "tr"}
