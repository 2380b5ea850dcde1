"""Fire times: cron in both spellings, `every`, daylight saving, missed ticks, overlap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageflow.model.cron import due, next_fires, overlap, parse_cron
from imageflow.model.field_types import Duration
from imageflow.model.flow import Schedule

INSTANTS = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))
CRONS = st.sampled_from(
    [
        "* * * * *",
        "*/5 * * * *",
        "0 3 * * *",
        "30 2 * * *",
        "0,30 1-3 * * *",
        "15 * 1 * *",
        "0 0 * * 5L",
        "*/7 * * * * ?",
        "0 0,30 * * * ? *",
        "0 30 2 ? * SUN",
        "5,50 0 0 1 1 ? 2027-2029",
    ]
)
SCHEDULES = st.one_of(
    CRONS.map(lambda text: Schedule(cron=text)),
    st.sampled_from([1, 1.5, 7, 90, 3600, 86_400]).map(lambda seconds: Schedule(every=Duration(seconds))),
)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Europe/Istanbul", "America/New_York", "Asia/Kolkata"])


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local(text: str, zone: str, after: str, count: int) -> list[str]:
    """Local times with offset of the next ticks of a cron expression after a local time."""
    start = datetime.fromisoformat(after).replace(tzinfo=ZoneInfo(zone))
    fires = next_fires(Schedule(cron=text), zone, start, count)
    assert all(fire.tzinfo is UTC for fire in fires)
    return [f"{fire.astimezone(ZoneInfo(zone)):%m-%d %H:%M:%S %z}" for fire in fires]


# what an expression means -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quartz", "unix"),
    [
        ("0 0,30 * * * ? *", "0,30 * * * *"),
        ("0 0 3 * * ?", "0 3 * * *"),
        ("0 15 10 ? * MON-FRI", "15 10 * * 1-5"),
        ("0 15 10 ? * 2-6", "15 10 * * 1-5"),
        ("0 0 0 ? * 1", "0 0 * * 0"),
        ("0 0 0 ? * 7", "0 0 * * 6"),
        ("0 0 0 ? * L", "0 0 * * 6"),
        ("0 0 0 ? * 6#3", "0 0 * * 5#3"),
        ("0 0 0 ? * FRI#3", "0 0 * * 5#3"),
        ("0 0 0 ? * 6L", "0 0 * * 5L"),
        ("0 0 0 ? * FRI-MON", "0 0 * * 5,6,0,1"),
        ("0 0 0 ? * 1/2", "0 0 * * 0,2,4,6"),
        ("0 0 0 L * ?", "0 0 L * *"),
        ("0 0/15 8 * jan,feb ?", "0-59/15 8 * 1,2 *"),
    ],
)
def test_quartz_means_what_cron_means(quartz: str, unix: str) -> None:
    """A Quartz expression fires exactly when its cron twin does, days of the week counted from Sunday as 1."""
    start = at("2026-01-01")
    assert next_fires(Schedule(cron=quartz), "UTC", start, 40) == next_fires(Schedule(cron=unix), "UTC", start, 40)


@pytest.mark.parametrize(
    ("text", "fires"),
    [
        ("0 0 31 * *", ["2025-01-31", "2025-03-31", "2025-05-31"]),
        ("0 0 * * 7", ["2025-01-05", "2025-01-12"]),
        ("0 0 * * sun", ["2025-01-05", "2025-01-12"]),
        ("0 0 13 * 5", ["2025-01-03", "2025-01-10", "2025-01-13", "2025-01-17"]),
        ("0 0 1,15 * 1", ["2025-01-06", "2025-01-13", "2025-01-15", "2025-01-20"]),
        ("0 0 * * 1,3", ["2025-01-06", "2025-01-08", "2025-01-13"]),
        ("0 0 * * MON-FRI", ["2025-01-02", "2025-01-03", "2025-01-06"]),
        ("0 0 1 JAN,JUL *", ["2025-07-01", "2026-01-01"]),
        ("0 0 1 jan *", ["2026-01-01", "2027-01-01"]),
        ("0 0 L * *", ["2025-01-31", "2025-02-28"]),
        ("0,0 0 * * *", ["2025-01-02", "2025-01-03"]),
        ("*/7 * * * *", ["2025-01-01T00:07", "2025-01-01T00:14"]),
        ("10-20/5 * * * *", ["2025-01-01T00:10", "2025-01-01T00:15", "2025-01-01T00:20", "2025-01-01T01:10"]),
        ("0 9-17/4 * * *", ["2025-01-01T09:00", "2025-01-01T13:00", "2025-01-01T17:00", "2025-01-02T09:00"]),
        ("  0  12  *  *  * ", ["2025-01-01T12:00", "2025-01-02T12:00"]),
        ("0 30 10-12 ? * WED,FRI", ["2025-01-01T10:30", "2025-01-01T11:30", "2025-01-01T12:30", "2025-01-03T10:30"]),
        ("0 0/5 14 * * ?", ["2025-01-01T14:00", "2025-01-01T14:05"]),
        ("0 15 10 15 * ?", ["2025-01-15T10:15", "2025-02-15T10:15"]),
        ("0 15 10 ? * 6L 2025-2026", ["2025-01-31T10:15", "2025-02-28T10:15"]),
        ("0 0 12 1/7 * ?", ["2025-01-01T12:00", "2025-01-08T12:00"]),
        ("0 0 12 ? * SUN#2", ["2025-01-12T12:00", "2025-02-09T12:00"]),
        ("0 11 11 11 11 ?", ["2025-11-11T11:11", "2026-11-11T11:11"]),
        ("0 0 12 ? 1/3 2#1", ["2025-01-06T12:00", "2025-04-07T12:00", "2025-07-07T12:00"]),
        ("0 0 12 ? * SUN,1", ["2025-01-05T12:00", "2025-01-12T12:00"]),
        ("0 0 12 ? * L", ["2025-01-04T12:00", "2025-01-11T12:00"]),
    ],
)
def test_what_people_write(text: str, fires: list[str]) -> None:
    """The next ticks after the first instant of 2025, a Wednesday."""
    assert next_fires(Schedule(cron=text), "UTC", at("2025-01-01"), len(fires)) == [at(fire) for fire in fires]


@pytest.mark.parametrize(
    ("text", "zone", "after", "fires"),
    [
        ("30 2 * * *", "America/New_York", "2026-03-07T12:00", ["2026-03-08T03:00-04:00", "2026-03-09T02:30-04:00"]),
        ("30 1 * * *", "America/New_York", "2026-10-31T12:00", ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]),
        (
            "0 * * * *",
            "America/New_York",
            "2026-11-01T04:00",
            ["2026-11-01T01:00-04:00", "2026-11-01T01:00-05:00", "2026-11-01T02:00-05:00"],
        ),
        ("0 */2 * * *", "America/New_York", "2026-03-08T04:00", ["2026-03-08T00:00-05:00", "2026-03-08T04:00-04:00"]),
        ("30 1 * * *", "Europe/London", "2026-03-28T12:00", ["2026-03-29T02:00+01:00", "2026-03-30T01:30+01:00"]),
        ("30 1 * * *", "Europe/London", "2026-10-24T12:00", ["2026-10-25T01:30+01:00", "2026-10-26T01:30+00:00"]),
        ("30 3 * * *", "Europe/Istanbul", "2026-03-28T12:00", ["2026-03-29T03:30+03:00", "2026-03-30T03:30+03:00"]),
        ("0 0 * * *", "America/Sao_Paulo", "2026-10-16T12:00", ["2026-10-17T00:00-03:00", "2026-10-18T00:00-03:00"]),
        ("30 2 * * *", "Pacific/Auckland", "2026-09-26T00:00", ["2026-09-27T03:00+13:00", "2026-09-28T02:30+13:00"]),
        ("0 3 * * *", "Pacific/Chatham", "2026-09-26T00:00", ["2026-09-27T03:45+13:45", "2026-09-28T03:00+13:45"]),
        ("*/30 * * * *", "Asia/Kolkata", "2026-01-01T00:00", ["2026-01-01T06:00+05:30", "2026-01-01T06:30+05:30"]),
        ("30 0 * * *", "Africa/Cairo", "2026-04-23T12:00", ["2026-04-24T01:00+03:00", "2026-04-25T00:30+03:00"]),
        ("0 0 * * *", "America/Santiago", "2026-09-05T12:00", ["2026-09-06T01:00-03:00", "2026-09-07T00:00-03:00"]),
        ("30 1 * * *", "Antarctica/Troll", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T01:30+02:00"]),
    ],
)
def test_clocks_that_change(text: str, zone: str, after: str, fires: list[str]) -> None:
    """A fixed time comes once a day, in a gap when it ends; wildcards follow real time; in zones of all kinds."""
    found = next_fires(Schedule(cron=text), zone, at(after), len(fires))
    assert found == [datetime.fromisoformat(fire) for fire in fires]


def test_quartz_seconds_fire_within_the_minute() -> None:
    """The seconds field gives several ticks a minute, the ones after the asked instant only."""
    fires = next_fires(Schedule(cron="*/20 * * * * ?"), "UTC", at("2026-01-01T00:00:20"), 3)
    assert fires == [at("2026-01-01T00:00:40"), at("2026-01-01T00:01:00"), at("2026-01-01T00:01:20")]


def test_quartz_year_is_honoured() -> None:
    """Only the years named fire, and when they are over nothing does."""
    fires = next_fires(Schedule(cron="0 0 12 24 12 ? 2027,2030"), "Europe/Berlin", at("2026-06-01"), 10)
    assert fires == [at("2027-12-24T11:00"), at("2030-12-24T11:00")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("@daily", "1 fields"),
        ("61 * * * *", "'61' is no minute: it takes 0-59"),
        ("* 24 * * *", "'24' is no hour"),
        ("* * 0 * *", "'0' is no day of month"),
        ("* * * FOO *", "'FOO' is no month"),
        ("* * * * 8", "'8' is no day of week"),
        ("* * ? * *", "? belongs to"),
        ("60 * * * * ?", "'60' is no second"),
        ("0 0 0 ? * 0", "1 is Sunday"),
        ("0 0 0 ? * 8", "1 is Sunday"),
        ("0 0 0 ? * ?", "not for both"),
        ("0 0 0 1 * MON", "not both"),
        ("5-1 * * * *", "'5-1' is no minute"),
        ("1.5 * * * *", "'1.5' is no minute"),
        ("0 0 * * FRI-MON", "'FRI-MON' is no day of week"),
        ("0 0 12 32 * ?", "'32' is no day of month"),
        ("0 0 12 C * ?", "'C' is no day of month"),
        ("0 0 12 ? * 6#6", "'6#6' is no day of week"),
        ("0 0 12 15 * MON", "not both"),
        ("0 0 0 15W * ?", "W"),
        ("0 0 0 L-3 * ?", "L-3"),
        ("0 0 0 * * ? 1969", "no year"),
        ("0 0 0 * * ? 2030/0", "no year"),
        ("0 0 0 * * ? 2030-2029", "no year"),
        ("*/0 * * * *", "no minute"),
        ("5,,3 * * * *", "no minute"),
        ("1/2/3 * * * *", "no minute"),
        ("\uff10 * * * *", "no minute"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6 *", "never fires"),
        ("0 0 0 1 1 ? 2020", "never fires"),
        ("0 0 0 29 2 ? 2027", "never fires"),
        ("0" * 300 + " * * * *", "at most 200"),
    ],
)
def test_wrong_expressions_are_refused_in_words(text: str, complaint: str) -> None:
    """What cannot fire or is not understood is a ValueError that says which part and what is expected."""
    with pytest.raises(ValueError, match=r".") as refused:
        parse_cron(text)
    assert complaint in str(refused.value)


@given(st.text(st.sampled_from("0123456789*/,-?LW# SUNMONJAN"), max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_understood_or_refused(text: str) -> None:
    """No expression makes the parser raise anything but ValueError, and what is understood fires."""
    try:
        cron = parse_cron(text)
    except ValueError:
        return
    assert next(cron.fires(ZoneInfo("UTC"), at("2025-12-31T23:59:59"))) is not None


# daylight saving ----------------------------------------------------------------------------------------------------


def test_fixed_time_in_the_spring_gap_runs_when_the_gap_ends() -> None:
    """Berlin has no 02:30 on 29 March 2026: the job runs at 03:00, once, and at 02:30 the days around."""
    assert local("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00", 3) == [
        "03-28 02:30:00 +0100",
        "03-29 03:00:00 +0200",
        "03-30 02:30:00 +0200",
    ]


def test_two_fixed_times_in_the_gap_run_once() -> None:
    """02:00, 02:30 and 03:00 all fall on 03:00 in Berlin's spring: one tick."""
    assert local("0,30 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00", 3) == [
        "03-29 03:00:00 +0200",
        "03-29 03:30:00 +0200",
        "03-30 02:00:00 +0200",
    ]


def test_fixed_time_in_the_repeated_hour_runs_once() -> None:
    """Berlin has two 02:30 on 25 October 2026: the job runs at the first."""
    assert local("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 2) == [
        "10-25 02:30:00 +0200",
        "10-26 02:30:00 +0100",
    ]


def test_asked_within_the_repeated_hour_the_past_does_not_come_back() -> None:
    """From the second 02:10 the next 02:30 is tomorrow's."""
    second = datetime(2026, 10, 25, 2, 10, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    fires = next_fires(Schedule(cron="30 2 * * *"), "Europe/Berlin", second, 1)
    assert fires == [at("2026-10-26T01:30")]


def test_quartz_obeys_the_same_rules() -> None:
    """Six fields make no difference: neither is the spring day skipped nor the autumn run doubled."""
    assert local("15 30 2 * * ?", "Europe/Berlin", "2026-03-29T00:00", 2) == [
        "03-29 03:00:15 +0200",
        "03-30 02:30:15 +0200",
    ]
    assert local("0 30 2 * * ?", "Europe/Berlin", "2026-10-25T00:00", 2) == [
        "10-25 02:30:00 +0200",
        "10-26 02:30:00 +0100",
    ]


def test_wildcards_follow_real_time() -> None:
    """Every half hour is every half hour, through the gap and through the repeated hour."""
    for zone, start in (("Europe/Berlin", "2026-03-29T00:45"), ("Europe/Berlin", "2026-10-25T01:45")):
        first = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone))
        fires = next_fires(Schedule(cron="*/30 * * * *"), zone, first, 8)
        assert {later - earlier for earlier, later in pairwise(fires)} == {timedelta(minutes=30)}


def test_istanbul_has_no_daylight_saving_any_more() -> None:
    """Istanbul stays at +03:00: 03:30 is 03:30 on every spring and autumn day."""
    for day in ("2026-03-28T04:00", "2026-10-24T04:00"):
        fires = local("30 3 * * *", "Europe/Istanbul", day, 2)
        assert [fire[6:] for fire in fires] == ["03:30:00 +0300"] * 2


def test_istanbul_had_daylight_saving_in_2015() -> None:
    """In 2015 the gap was 03:00-04:00 on 29 March, and 03:30 came twice on 8 November."""
    assert local("30 3 * * *", "Europe/Istanbul", "2015-03-28T12:00", 2) == [
        "03-29 04:00:00 +0300",
        "03-30 03:30:00 +0300",
    ]
    assert local("30 3 * * *", "Europe/Istanbul", "2015-11-07T12:00", 2) == [
        "11-08 03:30:00 +0300",
        "11-09 03:30:00 +0200",
    ]


# every and after ----------------------------------------------------------------------------------------------------


def test_every_is_aligned_whenever_it_is_asked() -> None:
    """Two schedulers that start at different moments agree on the ticks."""
    schedule = Schedule(every=Duration(90))
    early = next_fires(schedule, "UTC", at("2026-01-01T00:00:00"), 50)
    late = next_fires(schedule, "Europe/Berlin", at("2026-01-01T00:10:07.5"), 5)
    assert set(late) <= set(early)
    assert early[0] == at("2026-01-01T00:01:30")


def test_every_may_count_from_another_anchor() -> None:
    """With an anchor the ticks count from it."""
    fires = next_fires(Schedule(every=Duration(60)), "UTC", at("2026-01-01"), 2, anchor=at("2020-01-01T00:00:07"))
    assert fires == [at("2026-01-01T00:00:07"), at("2026-01-01T00:01:07")]


def test_after_another_flow_has_no_ticks() -> None:
    """A flow that runs after another one is never due by the clock."""
    schedule = Schedule(after="other")
    assert next_fires(schedule, "UTC", at("2026-01-01"), 5) == []
    assert due(schedule, "UTC", None, at("2026-01-01"), at("2027-01-01")) is None


# due ----------------------------------------------------------------------------------------------------------------


def test_missed_ticks_collapse_into_the_newest() -> None:
    """After a night without a scheduler one run is due, at the newest tick."""
    schedule = Schedule(cron="*/5 * * * *")
    assert due(schedule, "UTC", at("2026-01-01"), at("2026-01-01"), at("2026-01-02T07:03")) == at("2026-01-02T07:00")


def test_missed_years_of_seconds_are_quick() -> None:
    """However many ticks were missed, the newest is found at once."""
    schedule = Schedule(cron="* * * * * ?")
    now = at("2030-01-01T00:00:00.5")
    assert due(schedule, "Europe/Berlin", at("2020-01-01"), at("2020-01-01"), now) == at("2030-01-01")


def test_a_rare_missed_tick_is_found() -> None:
    """A yearly tick that was missed months ago is still due."""
    schedule = Schedule(cron="0 0 29 2 *")
    assert due(schedule, "UTC", at("2024-03-01"), at("2020-01-01"), at("2029-01-01")) == at("2028-02-29")
    assert due(schedule, "UTC", at("2028-02-29"), at("2020-01-01"), at("2029-01-01")) is None


def test_a_new_flow_makes_up_for_nothing() -> None:
    """What lay before the flow was known is not due; its first tick afterwards is."""
    for schedule in (Schedule(cron="*/5 * * * *"), Schedule(every=Duration(300))):
        known = at("2026-01-01T00:01")
        assert due(schedule, "UTC", None, known, at("2026-01-01T00:04:59")) is None
        assert due(schedule, "UTC", None, known, at("2026-01-01T00:05")) == at("2026-01-01T00:05")


def test_a_clock_set_back_fires_nothing_again() -> None:
    """With the last fire ahead of now, nothing is due."""
    for schedule in (Schedule(cron="* * * * *"), Schedule(every=Duration(60))):
        assert due(schedule, "UTC", at("2026-01-01T01:00"), at("2026-01-01"), at("2026-01-01T00:30")) is None


@pytest.mark.slow
@given(SCHEDULES, ZONES, INSTANTS, st.lists(st.integers(0, 200_000), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_due_rises_and_fires_each_tick_once(schedule: Schedule, zone: str, known: datetime, steps: list[int]) -> None:
    """Asked again and again as time goes on, due gives rising ticks that exist, lie in the past, and never repeat."""
    last: datetime | None = None
    now = known
    for step in steps:
        now += timedelta(seconds=step)
        tick = due(schedule, zone, last, known, now)
        if tick is None:
            assert all(later > now for later in next_fires(schedule, zone, last or known, 1))
            continue
        assert (last or known) < tick <= now
        assert next_fires(schedule, zone, tick - timedelta(seconds=1), 1) == [tick]
        assert all(later > now for later in next_fires(schedule, zone, tick, 1))
        last = tick
        assert due(schedule, zone, last, known, now) is None


@given(SCHEDULES, ZONES, INSTANTS, st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_fires_rise_and_do_not_depend_on_the_start(schedule: Schedule, zone: str, start: datetime, skip: int) -> None:
    """The ticks strictly rise, and starting from one of them gives those that follow it."""
    fires = next_fires(schedule, zone, start, skip + 5)
    assert all(earlier < later for earlier, later in pairwise([start, *fires]))
    if len(fires) > skip:
        assert next_fires(schedule, zone, fires[skip - 1], len(fires) - skip) == fires[skip:]


# overlap ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "active", "waiting", "decision"),
    [
        ("skip", 0, 0, "start"),
        ("skip", 1, 0, "skip"),
        ("skip", 0, 1, "skip"),
        ("queue", 0, 0, "start"),
        ("queue", 1, 0, "start"),
        ("queue", 1, 1, "skip"),
        ("queue", 0, 1, "skip"),
    ],
)
def test_overlap(policy: str, active: int, waiting: int, decision: str) -> None:
    """`skip` starts only where nothing is under way; `queue` lets one run wait and never two."""
    assert overlap(policy, active, waiting) == decision  # type: ignore[arg-type]
