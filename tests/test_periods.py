"""Dates become period numbers and come back, for every unit and weekday."""

from datetime import date, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shelfcast.errors import ConfigError, DataError
from shelfcast.periods import WEEKDAYS, Frequency, Unit, infer_frequency

ALL = [Frequency(Unit.HOUR), Frequency(Unit.DAY), Frequency(Unit.MONTH), *(Frequency(Unit.WEEK, d) for d in range(7))]
FREQUENCIES = st.sampled_from(ALL)
PERIODS = st.integers(-1_000, 3_000)
MOMENTS = st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1)).map(
    lambda d: np.datetime64(d.replace(microsecond=0))
)


@given(FREQUENCIES, st.lists(PERIODS, min_size=1))
def test_labels_round_trip(frequency, periods):
    dates = frequency.to_date(periods)
    assert frequency.to_period(dates).tolist() == periods
    assert frequency.is_label(dates).all()


@given(FREQUENCIES, MOMENTS)
def test_every_moment_lies_in_its_period(frequency, moment):
    period = frequency.to_period(moment)
    here, following = frequency.to_date([period, period + 1]).astype("datetime64[s]")
    assert here <= moment < following
    assert frequency.is_label(moment) == (here == moment)


@given(FREQUENCIES, MOMENTS, MOMENTS)
def test_order_is_kept(frequency, one, other):
    low, high = sorted([one, other])
    assert frequency.to_period(low) <= frequency.to_period(high)


@given(FREQUENCIES, PERIODS)
def test_neighbours_are_one_period_apart(frequency, period):
    here, following = frequency.to_date([period, period + 1]).astype("datetime64[h]").astype(int)
    gap = following - here
    assert gap in {Unit.HOUR: [1], Unit.DAY: [24], Unit.WEEK: [168]}.get(frequency.unit, [672, 696, 720, 744])


@pytest.mark.parametrize("anchor", range(7))
def test_week_labels_fall_on_their_weekday(anchor):
    weeks = Frequency(Unit.WEEK, anchor).to_date(np.arange(-60, 60)).astype(date)
    assert {day.weekday() for day in weeks} == {anchor}
    assert date(1970, 1, 1) <= Frequency(Unit.WEEK, anchor).to_date(0).astype(date) < date(1970, 1, 8)


def test_anything_numpy_reads_as_a_date():
    day = Frequency(Unit.DAY)
    same = ["2024-01-01", date(2024, 1, 1), datetime(2024, 1, 1, 23), np.datetime64("2024-01-01T05", "ns")]
    assert [int(day.to_period(d)) for d in same] == [19_723] * 4
    assert day.to_period([same[1], same[1]]).tolist() == [19_723] * 2
    assert Frequency(Unit.HOUR).to_period([date(1970, 1, 2)]).tolist() == [24]
    assert Frequency(Unit.MONTH).to_period([date(1971, 2, 28)]).tolist() == [13]
    assert Frequency(Unit.WEEK, 6).to_period(["1970-01-03", "1970-01-04"]).tolist() == [-1, 0]


@given(st.integers(0, 2), FREQUENCIES)
def test_text_round_trip(shift, frequency):
    assert Frequency.parse(str(frequency)) == frequency
    assert Frequency.parse(str(frequency).upper()) == frequency


@pytest.mark.parametrize(
    ("text", "unit", "anchor"),
    [
        ("D", "day", 0),
        ("h", "hour", 0),
        ("W", "week", 0),
        ("W-SUN", "week", 6),
        ("MS", "month", 0),
        (" Day ", "day", 0),
    ],
)
def test_short_forms(text, unit, anchor):
    assert Frequency.parse(text) == Frequency(Unit(unit), anchor)


@pytest.mark.parametrize("text", ["", "dya", "week-xyz", "day-mon", "15min", "month-1"])
def test_unknown_frequencies_name_those_there_are(text):
    with pytest.raises(ConfigError, match=r"frequency.*week"):
        Frequency.parse(text)


@given(FREQUENCIES, st.integers(-100, 3_000), st.integers(3, 40))
def test_consecutive_labels_infer_their_frequency(frequency, first, n):
    dates = frequency.to_date(np.arange(first, first + n))
    if frequency.unit is Unit.HOUR and len(np.unique(dates.astype("datetime64[h]").astype(int) % 24)) == 1:
        return
    assert infer_frequency(np.random.default_rng(0).permutation(np.repeat(dates, 2))) == frequency


def test_gaps_do_not_change_the_frequency():
    assert infer_frequency(["2024-01-01", "2024-01-15", "2024-02-12"]) == Frequency(Unit.WEEK, 0)
    assert infer_frequency(["2024-01-01", "2024-01-15", "2024-01-16"]) == Frequency(Unit.DAY)
    assert infer_frequency(["2024-01-01", "2024-06-01"]) == Frequency(Unit.MONTH)
    assert infer_frequency(["2024-01-07"]) == Frequency(Unit.DAY)
    assert infer_frequency(["2024-01-07", "2024-01-14"]) == Frequency(Unit.DAY)  # two tell too little
    assert infer_frequency(["2024-01-07", "2024-01-14T01:00"]) == Frequency(Unit.HOUR)


def test_minutes_and_nothing_are_refused():
    with pytest.raises(DataError, match="within the hour") as error:
        infer_frequency(["2024-01-01T00:00", "2024-01-01T00:15"])
    assert "00:15" in str(error.value)
    with pytest.raises(DataError, match="none"):
        infer_frequency(np.array([], dtype="datetime64[D]"))


def test_season_positions():
    monday = Frequency(Unit.DAY).to_period("2024-01-01")
    assert Frequency(Unit.DAY).season_position(monday + np.arange(8)).tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
    hour = Frequency(Unit.HOUR)
    assert hour.season_position(hour.to_period(["2024-01-01T05", "1969-12-31T23"])).tolist() == [5, 23]
    month = Frequency(Unit.MONTH)
    assert month.season_position(month.to_period(["2024-01-01", "1969-12-01"])).tolist() == [0, 11]
    for frequency in ALL:
        places = frequency.season_position(np.arange(-frequency.season, frequency.season))
        assert sorted(places.tolist()) == sorted(2 * list(range(frequency.season)))
        assert frequency.year >= frequency.season or frequency.unit is Unit.MONTH


def test_the_anchors_are_weekdays():
    assert [str(f) for f in ALL[3:]] == [f"week-{name.lower()}" for name in WEEKDAYS]


def test_weeks_labelled_by_their_last_day() -> None:
    ending = Frequency.parse("week-ending-wed")
    starting = Frequency.parse("week-thu")
    days = np.arange("2024-01-01", "2024-03-01", dtype="datetime64[D]")
    labels = ending.to_date(ending.to_period(days))
    assert ((labels - days).astype(int) == (2 - (days.astype(int) + 3) % 7) % 7).all()  # the Wednesday on or after
    assert (labels - starting.to_date(starting.to_period(days)) == np.timedelta64(6, "D")).all()  # the same weeks
    assert Frequency.parse(str(ending)) == ending
    assert ending.is_label(np.array(["2024-01-03"], dtype="datetime64[D]")).all()


@pytest.mark.parametrize("text", ["week-ending-", "week-ending-foo", "day-ending-mon"])
def test_endings_need_a_week_and_a_weekday(text: str) -> None:
    with pytest.raises(ConfigError, match="week-ending-sat"):
        Frequency.parse(text)
