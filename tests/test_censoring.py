"""Sold-out periods as lower bounds on demand."""

import numpy as np
import polars as pl
import pytest

from shelfcast.data.censoring import at_least
from shelfcast.data.panel import Panel
from shelfcast.data.schema import Schema
from shelfcast.inventory.economics import Economics, Supply
from shelfcast.replays import stretch


@pytest.fixture
def truth():
    return np.random.default_rng(0).poisson(8.0, (300, 60)).astype(float)


def test_what_was_not_sold_out_is_kept_and_a_bound_is_never_undercut(truth):
    shelf = np.full(truth.shape, 9.0)
    sales, sold_out = np.minimum(truth, shelf), truth >= shelf
    made = at_least(sales, np.ones(truth.shape, bool), sold_out)
    np.testing.assert_array_equal(made[~sold_out], sales[~sold_out])
    assert (made >= sales).all()
    late = slice(30, None)
    assert abs(made[:, late].mean() - truth[:, late].mean()) < 0.3 * abs(sales[:, late].mean() - truth[:, late].mean())


def test_no_later_period_is_used(truth):
    sold_out = truth >= 9
    sales = np.minimum(truth, 9.0)
    seen = np.ones(truth.shape, bool)
    whole = at_least(sales, seen, sold_out)
    np.testing.assert_array_equal(at_least(sales[:, :40], seen[:, :40], sold_out[:, :40]), whole[:, :40])


def sold_out_shop(shelf=9.0):
    """Thirty products over sixty days, each day begun with a shelf of nine; the table as a shop exports it."""
    wanted = np.random.default_rng(1).poisson(8.0, (30, 60)).astype(float)
    day = np.datetime64("2024-01-01") + np.arange(60)
    frame = pl.DataFrame(
        {
            "item": np.repeat([f"item-{i:02d}" for i in range(30)], 60),
            "date": np.tile(day, 30),
            "demand": np.minimum(wanted, shelf).ravel(),
            "empty": (wanted >= shelf).astype(int).ravel(),
        }
    )
    return wanted, frame


def test_a_sold_out_column_completes_demand_when_the_panel_is_packed():
    wanted, frame = sold_out_shop()
    plain = Panel.from_frame(frame, Schema())
    panel = Panel.from_frame(frame, Schema(sold_out="empty"))
    sales, seen = plain.window(plain.first, plain.last)
    made, still = panel.window(panel.first, panel.last)
    assert still.all()
    sold_out = wanted >= 9
    assert np.array_equal(panel.sold_out(panel.first, panel.last), sold_out)
    np.testing.assert_array_equal(made[~sold_out], sales[~sold_out])
    np.testing.assert_allclose(made, at_least(sales.astype(float), seen, sold_out), rtol=1e-6)
    assert made[:, 30:].mean() == pytest.approx(wanted[:, 30:].mean(), rel=0.03)


def test_what_is_completed_depends_on_nothing_later_and_the_flag_is_hidden_after_the_origin(tmp_path):
    _, frame = sold_out_shop()
    schema = Schema(sold_out="empty")
    panel = Panel.from_frame(frame, schema)
    origin = panel.first + 39
    short = Panel.from_frame(frame.filter(pl.col("date") < np.datetime64("2024-02-10")), schema)
    assert short.last == origin
    np.testing.assert_array_equal(panel.window(panel.first, origin)[0], short.window(short.first, origin)[0])
    assert not panel.as_of(origin).sold_out(origin + 1, panel.last).any()
    panel.save(tmp_path / "panel")
    back = Panel.open(tmp_path / "panel")
    assert back.sold_out(back.first, back.last).any()
    assert back.fingerprint() == panel.fingerprint()


def test_sold_out_periods_are_counted_in_a_replay_only_where_that_is_declared():
    _, frame = sold_out_shop()
    panel = Panel.from_frame(frame, Schema(sold_out="empty"))
    arguments = (panel, panel.last - 9, 10, Supply(1), Economics(1.0, 9.0))
    start = np.ones(30)
    out = panel.sold_out(panel.last - 9, panel.last)
    assert np.array_equal(stretch(*arguments, imputed=False, start=start).counted, ~out)
    assert stretch(*arguments, imputed=True, start=start).counted.all()
