"""A forecast's tables say what its arrays say, and come back as they were."""

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shelfcast.errors import DataError
from shelfcast.forecast import Forecast, concat_origins, concat_series, level_column
from shelfcast.horizons import Horizon
from shelfcast.periods import Frequency, Unit

DAY = Frequency(Unit.DAY)
HORIZONS = (Horizon(0, 1), Horizon(0, 7), Horizon(2, 3))


def make(n=3, origins=(19_723, 19_730), horizons=HORIZONS, levels=(0.1, 0.5, 0.9), frequency=DAY, mean=True, seed=0):
    rng = np.random.default_rng(seed)
    shape = (n, len(origins), len(horizons), len(levels))
    values = np.sort(rng.gamma(2, 5, shape), axis=-1).astype(np.float32)
    keys = pl.DataFrame({"item": [f"i{i}" for i in range(n)], "location": ["x", "y", "z"][:n]})
    centre = values.mean(axis=-1) if mean else None
    return Forecast(keys, origins, frequency, horizons, levels, values, centre, "made-up")


def same(one, other):
    assert one.series.equals(other.series)
    assert (one.origins, one.horizons, one.levels) == (other.origins, other.horizons, other.levels)
    assert (one.values == other.values).all()
    assert (one.mean is None) == (other.mean is None)
    assert one.mean is None or (one.mean == other.mean).all()


def test_the_wide_table_by_hand():
    forecast = make()
    table = forecast.table()
    assert table.columns == [
        "item", "location", "origin", "lead", "span", "first_date", "last_date", "mean", "q0.1", "q0.5", "q0.9",
    ]  # fmt: skip
    assert table.height == 3 * 2 * 3
    row = table.filter(item="i1", origin=date(2024, 1, 8), lead=2).row(0, named=True)
    assert (row["location"], row["span"]) == ("y", 3)
    assert (row["first_date"], row["last_date"]) == (date(2024, 1, 11), date(2024, 1, 13))
    assert [row["q0.1"], row["q0.5"], row["q0.9"]] == forecast.values[1, 1, 2].tolist()
    assert row["mean"] == forecast.mean[1, 1, 2]


def test_the_long_table_is_the_wide_one_unpivoted():
    forecast = make()
    keys = ["item", "location", "origin", "lead", "span", "first_date", "last_date"]
    wide = forecast.table().drop("mean").unpivot(index=keys, variable_name="name", value_name="value")
    long = forecast.frame().with_columns(name=pl.format("q{}", "level"))
    assert long.height == forecast.values.size
    together = long.join(wide, on=[*keys, "name"], suffix="_wide")
    assert together.height == long.height
    assert (together["value"] == together["value_wide"]).all()


@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([DAY, Frequency(Unit.WEEK, 6), Frequency(Unit.MONTH)]))
def test_from_table_is_the_inverse_in_any_row_order(seed, mean, frequency):
    forecast = make(frequency=frequency, mean=mean, seed=seed)
    table = forecast.table().sample(fraction=1.0, shuffle=True, seed=seed)
    same(Forecast.from_table(table, frequency, "made-up"), forecast)


def test_hours_keep_their_time_of_day():
    hour = Frequency(Unit.HOUR)
    forecast = make(origins=(473_000, 473_001), frequency=hour)
    assert forecast.table()["first_date"].to_list()[0] == datetime(2023, 12, 17, 9)
    same(Forecast.from_table(forecast.table(), hour), forecast)


@pytest.mark.parametrize("levels", [(0.00001, 0.5, 0.99999), (0.1 + 0.2, 0.5, 0.75), (0.123456789, 0.1234567891, 0.5)])
def test_every_level_has_a_name_and_comes_back(levels):
    forecast = make(levels=levels)
    same(Forecast.from_table(forecast.table(), DAY), forecast)


def test_names_of_levels():
    assert [level_column(level) for level in (0.005, 0.1, 0.5, 0.975)] == ["q0.005", "q0.1", "q0.5", "q0.975"]


def test_a_table_with_a_hole_or_a_repeated_row_is_refused():
    table = make().table()
    with pytest.raises(DataError, match=r"18 rows.*got 17"):
        Forecast.from_table(table[1:], DAY)
    with pytest.raises(DataError, match="every origin and horizon"):
        Forecast.from_table(pl.concat([table[1:], table[-1:]]), DAY)


def test_the_law_of_one_horizon():
    forecast = make()
    law = forecast.law(Horizon(0, 7), 19_723)
    assert law.quantile([0.1, 0.5, 0.9]) == pytest.approx(forecast.values[:, 0, 1], rel=1e-6)
    assert (forecast.law(Horizon(0, 7)).values == forecast.values[:, 1, 1]).all()
    with pytest.raises(DataError, match=r"horizon 3\+1.*0\+7"):
        forecast.law(Horizon(3, 1))
    with pytest.raises(DataError, match="origin 2024-01-02"):
        forecast.law(Horizon(0, 7), 19_724)
    with pytest.raises(DataError, match="origin 2024-01-02"):
        forecast.at([19_724])


def test_parts_put_together_are_the_whole():
    forecast = make()
    same(concat_series([forecast.take(slice(0, 1)), forecast.take(np.array([1, 2]))]), forecast)
    same(concat_origins([forecast.at([origin]) for origin in forecast.origins]), forecast)
    same(concat_series([forecast]), forecast)
    reversed_ = forecast.at([19_730, 19_723])
    assert (reversed_.values == forecast.values[:, ::-1]).all()


def test_rounding_keeps_the_mean():
    forecast = make()
    rounded = forecast.rounded()
    assert (rounded.values == np.rint(forecast.values)).all()
    assert (rounded.mean == forecast.mean).all()


def test_wrong_shapes_are_our_fault():
    with pytest.raises(AssertionError, match="axes say"):
        Forecast(make().series, (1,), DAY, HORIZONS, (0.5,), np.zeros((3, 1, 3, 2), np.float32))
