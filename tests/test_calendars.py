"""Calendar tables and public holidays: hand-made dates, counted by hand."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from shelfcast.data.calendars import calendar_from
from shelfcast.errors import ConfigError, DataError
from shelfcast.periods import Frequency

DAY, WEEK, MONTH, HOUR = (Frequency.parse(name) for name in ("day", "week", "month", "hour"))


def period(frequency: Frequency, text: str) -> int:
    return int(frequency.to_period([text])[0])


def events() -> pl.DataFrame:
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(14)]
    event = ["New Year", *[None] * 12, "Sale"]
    return pl.DataFrame({"date": days, "event": event, "snap": [1, 0] * 7, "heat": [float(i) for i in range(14)]})


def test_text_becomes_one_column_for_each_category():
    calendar, places = calendar_from(events(), frequency=DAY, first=period(DAY, "2023-12-31"), last=19737)
    assert calendar.names == ("event=New Year", "event=Sale", "snap", "heat")
    assert places == ()
    assert calendar.values.dtype == np.float32
    at = calendar.at(0, [period(DAY, d) for d in ("2023-12-31", "2024-01-01", "2024-01-02")])
    np.testing.assert_array_equal(at[:, :3], [[0, 0, 0], [1, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(at[:, 3], [np.nan, 0, 1])


def test_weeks_count_flags_and_average_numbers():
    first = period(WEEK, "2024-01-01")
    calendar, _ = calendar_from(events(), frequency=WEEK, first=first, last=first + 1)
    np.testing.assert_array_equal(calendar.values[0], [[1, 0, 4, 3], [0, 1, 3, 10]])


def test_a_daily_table_holds_for_every_hour():
    first = period(HOUR, "2024-01-01T00")
    calendar, _ = calendar_from(events(), frequency=HOUR, first=first, last=first + 47, columns=["snap"])
    np.testing.assert_array_equal(calendar.values[0, :, 0], [1] * 24 + [0] * 24)


def test_places_have_their_own_columns():
    table = pl.DataFrame(
        {"date": ["2024-01-01", "2024-01-01", "2024-01-02"], "state": ["TX", "CA", "CA"], "snap": [1, 0, 1]}
    )
    first = period(DAY, "2024-01-01")
    calendar, places = calendar_from(table, frequency=DAY, first=first, last=first + 1, place="state")
    assert places == ("CA", "TX")
    np.testing.assert_array_equal(calendar.values[:, :, 0], [[0, 1], [1, 0]])
    np.testing.assert_array_equal(calendar.at([0, 1], [first, first])[:, 0], [0, 1])


def test_holidays_of_a_country_by_day():
    first, last = period(DAY, "2022-01-01"), period(DAY, "2023-12-31")
    calendar, _ = calendar_from(None, frequency=DAY, first=first, last=last, country="US")
    assert calendar.names[0] == "holiday"
    independence = calendar.names.index("holiday=Independence Day")
    days = [period(DAY, d) for d in ("2022-07-04", "2023-07-04", "2023-07-05")]
    np.testing.assert_array_equal(calendar.at(0, days)[:, [0, independence]], [[1, 1], [1, 1], [0, 0]])
    assert not any("observed" in name for name in calendar.names)


def test_months_count_the_holidays_inside():
    first = period(MONTH, "2023-01-01")
    calendar, _ = calendar_from(None, frequency=MONTH, first=first, last=first + 11, country="DE", subdivision="BY")
    # Bavaria 2023: Jan 1, 6 | Apr 7, 10 | May 1, 18, 29 | Jun 8 | Aug 15? only some towns | Oct 3 | Nov 1 | Dec 25, 26
    counts = calendar.values[0, :, 0]
    assert list(counts[[0, 1, 3, 4, 5, 9, 10, 11]]) == [2, 0, 2, 3, 1, 1, 1, 2]


def test_weeks_and_holidays_agree_with_days():
    first = period(WEEK, "2022-01-03")
    weeks, _ = calendar_from(None, frequency=WEEK, first=first, last=first + 99, country="GB")
    begin = period(DAY, "2022-01-03")
    days, _ = calendar_from(None, frequency=DAY, first=begin, last=begin + 699, country="GB")
    np.testing.assert_array_equal(weeks.values[0, :, 0], days.values[0, :, 0].reshape(100, 7).sum(axis=1))


def test_a_table_and_holidays_together():
    first = period(DAY, "2024-01-01")
    calendar, _ = calendar_from(events(), frequency=DAY, first=first, last=first, columns=["snap"], country="US")
    assert calendar.names == ("snap", "holiday", "holiday=New Year's Day")
    np.testing.assert_array_equal(calendar.values[0, 0], [1, 1, 1])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"country": "Germany"}, ["calendar.country", "Germany", "did you mean 'DE (Germany)'?"]),
        ({"country": "US", "subdivision": "XX"}, ["calendar.subdivision", "XX"]),
    ],
)
def test_unknown_country_or_subdivision(settings, words):
    with pytest.raises(ConfigError) as caught:
        calendar_from(None, frequency=DAY, first=19000, last=19010, **settings)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pl.DataFrame({"date": ["2024-01-01"] * 2, "x": [1, 2]}), ["repeated dates", "row 1", "To do"]),
        (pl.DataFrame({"day": ["2024-01-01"], "x": [1]}), ["'date'", "there are: day, x"]),
        (pl.DataFrame({"date": ["2024-01-01"]}), ["columns beside the date"]),
        (pl.DataFrame({"date": ["soon"], "x": [1]}), ["dates of one format", "soon"]),
        (pl.DataFrame({"date": [None, "2024-01-01"], "x": [1, 2]}), ["nulls", "row 1"]),
        (pl.DataFrame({"date": [], "x": []}, schema={"date": pl.Date, "x": pl.Int8}), ["header only"]),
    ],
)
def test_bad_tables(table, words):
    with pytest.raises(DataError) as caught:
        calendar_from(table, frequency=DAY, first=19000, last=20000)
    assert all(word in str(caught.value) for word in words)
    assert "calendar" in str(caught.value)


def test_too_many_categories():
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(60)]
    table = pl.DataFrame({"date": days, "note": [f"text {i}" for i in range(60)]})
    with pytest.raises(DataError, match="at most 50 categories in 'note'"):
        calendar_from(table, frequency=DAY, first=19000, last=20000)


def test_a_holiday_counts_in_the_week_that_ends_after_it() -> None:
    frequency = Frequency.parse("week-ending-wed")
    christmas = np.datetime64("2023-12-25")
    period = int(frequency.to_period(christmas))
    found, _ = calendar_from(None, frequency=frequency, first=period, last=period + 3, country="US")
    assert str(frequency.to_date(period)) == "2023-12-27"
    holiday = found.at(0, np.arange(period, period + 4))[:, found.names.index("holiday")]
    assert holiday.tolist() == [1.0, 1.0, 0.0, 1.0]  # Christmas, New Year, none, Martin Luther King's day
