"""Manual changes: arithmetic by hand, order kept, expiry, and whether they helped."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from shelfcast.errors import DataError
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon, per_period
from shelfcast.overrides import apply_overrides, read_overrides, score_overrides
from shop import panel_of

HORIZONS = (*per_period(4), Horizon(0, 4))
LEVELS = (0.1, 0.5, 0.9)
START = 19_723  # 2024-01-01


@pytest.fixture
def panel():
    rows = np.tile(np.array([[10.0], [20.0], [5.0]]), (1, 30))
    return panel_of(rows, starts=[START] * 3, static={"department": ["food", "food", "toys"]})


@pytest.fixture
def made(panel):
    one = np.array([8.0, 10.0, 14.0])
    values = np.stack([np.stack([one * h.span for h in HORIZONS])] * 3)[:, None].astype(np.float32)
    return Forecast(
        panel.series.select("item"), (START + 20,), panel.frequency, HORIZONS, LEVELS, values, values[..., 1], "m"
    )  # fmt: skip


def table_of(panel, folder: Path, text: str) -> pl.DataFrame:
    path = folder / "overrides.csv"
    path.write_text(text)
    return read_overrides(str(path), panel)


def test_each_action_by_hand(panel, made, tmp_path):
    """Origin 21 January: leads 1..4 are the 22nd to 25th; the sum takes each change by its share of days."""
    rows = """item,department,first,last,action,amount,expires,reason,author
item-00,,2024-01-23,2024-01-24,multiply,2,,promotion,anna
,toys,2024-01-22,2024-01-22,add,3,,delivery,ben
item-01,,2024-01-25,2024-02-20,set,7,2024-03-01,closing,anna
"""
    done = apply_overrides(made, panel, table_of(panel, tmp_path, rows))
    single = done.forecast.values[:, 0, :4, 1]
    assert single.tolist() == [[10, 20, 20, 10], [10, 10, 10, 7], [13, 10, 10, 10]]
    assert done.forecast.values[:, 0, 4, 1].tolist() == [40 * 1.5, 30 + 7, 43]
    assert done.forecast.values[0, 0, 4].tolist() == [48, 60, 84]
    assert done.forecast.mean[:, 0, 4].tolist() == [60, 37, 43]
    assert done.changed[:, 0].tolist() == [["", "1", "1", "", "1"], ["", "", "", "3", "3"], ["2", "", "", "", "2"]]
    assert done.audit["status"].to_list() == ["applied"] * 3
    assert done.audit["units_after"].to_list() == [40, 13, 7]
    assert done.audit["units_before"].to_list() == [20, 10, 10]
    assert done.audit["author"].to_list() == ["anna", "ben", "anna"]
    assert np.array_equal(made.values[0, 0, 0], [8, 10, 14])  # the model's word is untouched


def test_laws_stay_ordered_and_not_below_zero(panel, made, tmp_path):
    rows = """department,first,last,action,amount
food,2024-01-22,2024-01-25,add,-9
,2024-01-22,2024-01-25,multiply,0.5
toys,2024-01-23,2024-01-23,set,0
"""
    done = apply_overrides(made, panel, table_of(panel, tmp_path, rows)).forecast
    assert (done.values >= 0).all()
    assert (np.diff(done.values, axis=-1) >= 0).all()
    assert done.values[0, 0, 0].tolist() == [0, 0.5, 2.5]  # in the order of the rows


def test_what_does_not_apply_says_why(panel, made, tmp_path):
    rows = """item,first,last,action,amount,expires
item-00,2024-01-22,2024-01-30,multiply,2,2024-01-21
item-00,2024-01-22,2024-01-30,multiply,2,2024-01-22
item-00,2024-01-02,2024-01-21,multiply,2,
item-00,2024-02-22,2024-02-23,multiply,2,
item-77,2024-01-22,2024-01-30,multiply,2,
"""
    done = apply_overrides(made, panel, table_of(panel, tmp_path, rows))
    assert done.audit["status"].to_list() == ["expired", "applied", "past", "not yet", "no product"]
    assert done.forecast.values[0, 0, 0, 1] == 20
    assert done.forecast.values[1:].tolist() == made.values[1:].tolist()


def test_no_rows_change_nothing(panel, made, tmp_path):
    table = table_of(panel, tmp_path, "item,first,last,action,amount\n")
    done = apply_overrides(made, panel, table)
    assert np.array_equal(done.forecast.values, made.values)
    assert done.audit.height == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("item,first,last,action,amount\nitem-00,2024-01-22,2024-01-20,add,1\n", "not before the first"),
        ("item,first,last,action,amount\nitem-00,2024-01-22,2024-01-23,double,1\n", "an action among multiply"),
        ("item,first,last,action,amount\nitem-00,2024-01-22,2024-01-23,set,-1\n", "0 or more"),
        ("item,first,last,action,amount\nitem-00,22.1.24,2024-01-23,set,1\n", "dates as"),
        ("itme,first,last,action,amount\nitem-00,2024-01-22,2024-01-23,set,1\n", "did you mean 'item'"),
        ("item,first,last,amount\nitem-00,2024-01-22,2024-01-23,1\n", "a column 'action'"),
        ("id,first,last,action,amount\na,2024-01-22,2024-01-23,set,1\na,2024-01-22,2024-01-23,set,2\n", "each id once"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_refused(panel, tmp_path, text, words):
    with pytest.raises(DataError, match=words):
        table_of(panel, tmp_path, text)


def test_did_it_help(panel, made, tmp_path):
    """Item 1 sells 20 where 10 was said: doubling is right. Item 0 sells 10: doubling is wrong. Losses by hand."""
    rows = """id,item,first,last,action,amount
right,item-01,2024-01-22,2024-01-22,multiply,2
wrong,item-00,2024-01-22,2024-01-22,multiply,2
"""
    done = apply_overrides(made, panel, table_of(panel, tmp_path, rows))
    scored = score_overrides(made, done.forecast, done.changed, panel)
    right, wrong = (scored.row(by_predicate=pl.col("id") == name, named=True) for name in ("right", "wrong"))
    # single day: y 20; quantiles 8, 10, 14 lose .1*12, .5*10, .9*6; doubled 16, 20, 28 lose .1*4, 0, .1*8
    # sum of 4: y 80; 32, 40, 56 lose .1*48, .5*40, .9*24; times 1.25: 40, 50, 70 lose .1*40, .5*30, .9*10
    assert right["wql_model"] == pytest.approx(2 * (11.6 + 46.4) / 3 / 100)
    assert right["wql_changed"] == pytest.approx(2 * (1.2 + 28.0) / 3 / 100)
    assert right["verdict"].startswith("helped")
    assert wrong["verdict"].startswith("hurt")
    assert (right["cells"], right["demand"]) == (2, 100)
    assert right["bias_model"] == pytest.approx(-0.5)
    unknown = panel.as_of(START + 20)
    assert score_overrides(made, done.forecast, done.changed, unknown).height == 0


def test_dates_are_of_the_panel(panel):
    assert panel.date(START).item() == date(2024, 1, 1)
