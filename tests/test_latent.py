"""Latent demand: what was wanted where the shelf was empty, as a law given what was sold."""

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest

from commandline import refused, shelfcast
from shelfcast.cells import window_demand
from shelfcast.data.panel import Panel
from shelfcast.data.schema import Schema
from shelfcast.errors import DataError
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon, per_period
from shelfcast.latent import at_least, latent_demand
from shelfcast.laws import Counts, Tailed

LEVELS = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98)


@pytest.mark.parametrize(("mean", "sold"), [(0.4, 1), (3.0, 2), (8.0, 9), (8.0, 14), (60.0, 70)])
def test_given_what_was_sold_the_law_is_that_of_counts_at_least_as_many(mean, sold):
    table = Counts.poisson(np.array([mean])).table[0]
    above = np.where(np.arange(len(table)) >= sold, table, 0.0)
    exact = Counts((above / above.sum())[None])
    fine = np.linspace(0.005, 0.995, 199)
    found, quantiles = at_least(tuple(fine), Counts.poisson(np.array([mean])).quantile(fine), np.array([float(sold)]))
    assert found[0] == pytest.approx(exact.mean()[0], rel=0.06)
    assert np.abs(quantiles - exact.quantile(fine))[:, 20:180].max() <= 1.0
    assert (np.diff(quantiles) >= 0).all()
    assert (quantiles >= sold).all()


def test_nothing_known_leaves_the_law_and_far_more_than_expected_goes_on_from_there():
    values = Counts.poisson(np.array([8.0, 8.0])).quantile(LEVELS)
    mean, quantiles = at_least(LEVELS, values, np.array([0.0, 500.0]))
    np.testing.assert_allclose(quantiles[0], values[0], atol=0.06)
    assert mean[0] == pytest.approx(8.0, rel=0.03)
    assert 500 < mean[1] < 510
    assert (np.diff(quantiles[1])[3:] > 0).all()
    zero, at_zero = at_least(LEVELS, np.zeros((1, len(LEVELS))), np.array([3.0]))
    assert zero == pytest.approx(3.0)
    assert (at_zero == 3.0).all()


def test_a_tailed_law_reads_back_its_own_chances():
    law = Tailed.of(LEVELS, np.linspace(1.0, 9.0, len(LEVELS))[None])
    units = law.exceeded(np.array([0.9, 0.5, 0.2, 0.01, 1e-6]))
    assert law.above(units[:, 0])[0] == pytest.approx(0.9)
    for k, chance in enumerate((0.9, 0.5, 0.2, 0.01, 1e-6)):
        assert law.above(units[:, k])[0] == pytest.approx(chance, rel=1e-6)


def shop_with_a_shelf(shelf=9.0, n=40, n_days=80):
    """What was wanted (N, T), and the table of a shop whose shelf holds nine, and is empty all day every tenth day."""
    wanted = np.random.default_rng(2).poisson(8.0, (n, n_days)).astype(float)
    there = np.ones((n, n_days), dtype=int)
    there[:, 9::10] = 0
    day = np.datetime64("2024-01-01") + np.arange(n_days)
    frame = pl.DataFrame(
        {
            "item": np.repeat([f"item-{i:02d}" for i in range(n)], n_days),
            "date": np.tile(day, n),
            "demand": np.where(there, np.minimum(wanted, shelf), 0).ravel(),
            "in_stock": there.ravel(),
            "empty": (there * (wanted >= shelf)).ravel().astype(int),
        }
    )
    return wanted, frame


def panels(frame):
    with_bounds = Panel.from_frame(frame, Schema(in_stock="in_stock", sold_out="empty"))
    return with_bounds, Panel.from_frame(frame, Schema(in_stock="in_stock", past=("empty",)))


def true_forecast(panel, origins, n=5):
    """The law that demand was drawn from, with a mean that tells the origin."""
    law = Counts.poisson(np.full((panel.n_series, len(origins), n), 8.0))
    mean = np.broadcast_to(8.0 + np.arange(len(origins))[:, None] / 1e3, law.shape).astype(np.float32)
    values = law.quantile(LEVELS).astype(np.float32)
    keys = panel.series.select(panel.keys)
    return Forecast(keys, tuple(origins), panel.frequency, per_period(n), LEVELS, values, mean, "truth")


def test_periods_that_sales_do_not_tell_and_no_others_are_listed_with_the_demand_to_be_expected():
    wanted, frame = shop_with_a_shelf()
    panel, sales = panels(frame)
    made = true_forecast(panel, range(panel.first + 19, panel.last, 5))
    table = latent_demand(made, panel, sales)
    empty, none = table.filter(pl.col("known") == "at_least"), table.filter(pl.col("known") == "nothing")
    late = slice(20, None)
    hidden = (np.arange(80) % 10 == 9)[late]
    sold_out = (wanted[:, late] >= 9) & ~hidden
    assert (empty.height, none.height) == (sold_out.sum(), 40 * hidden.sum())
    assert (empty["sold"] == 9).all()
    assert none["sold"].null_count() == none.height
    truth = wanted[:, late][sold_out].mean()
    assert abs(empty["mean"].mean() - truth) < 0.15 * abs(9 - truth)  # sales alone are a lot lower
    assert none["mean"].mean() == pytest.approx(8.0, abs=0.02)
    assert ((empty["q0.9"] >= empty["q0.5"]) & (empty["q0.5"] >= 9)).all()


def test_the_latest_forecast_before_a_period_counts():
    _, frame = shop_with_a_shelf()
    panel, sales = panels(frame)
    at = panel.first
    table = latent_demand(true_forecast(panel, (at + 27, at + 25)), panel, sales).filter(pl.col("known") == "nothing")
    assert table["date"].unique().to_list() == [date(2024, 1, 30)]  # the thirtieth day, two after the later origin
    assert (table["origin"] == date(2024, 1, 28)).all()
    assert (table["mean"] - 8.0).abs().max() < 1e-6


def test_what_cannot_be_told_is_said():
    _, frame = shop_with_a_shelf()
    panel, sales = panels(frame)
    made = true_forecast(panel, (panel.first + 30,))
    with pytest.raises(DataError, match="sold-out periods"):
        latent_demand(made, panel)
    with pytest.raises(DataError, match="single periods"):
        latent_demand(replace(made, horizons=tuple(Horizon(k, 2) for k in range(5))), panel, sales)
    nothing = latent_demand(true_forecast(panel, (panel.last,)), panel, sales)
    assert nothing.height == 0
    assert "q0.9" in nothing.columns


def test_sold_out_periods_are_not_scored():
    wanted, frame = shop_with_a_shelf()
    panel, _ = panels(frame)
    _, scored = window_demand(panel, panel.first, per_period(20))
    hidden = np.arange(1, 21) % 10 == 9
    np.testing.assert_array_equal(scored, (wanted[:, 1:21] < 9) & ~hidden)


def test_the_command_stores_a_table_that_undoes_most_of_what_sales_miss(tmp_path):
    wanted, frame = shop_with_a_shelf()
    frame.write_parquet(tmp_path / "sales.parquet")
    config = tmp_path / "shop.toml"
    config.write_text(
        '[sales]\npath = "sales.parquet"\nin_stock = "in_stock"\nsold_out = "empty"\nfrequency = "day"\n'
        '[forecast]\nmodel = "ses"\nwhole_units = true\nperiods = 7\n'
    )
    done = shelfcast("latent", config, "--since", "2024-02-20")
    assert done.code == 0, done.err
    assert "sold out" in done.out
    table = pl.read_parquet(next(tmp_path.glob("**/latent/*.parquet"))).filter(pl.col("known") == "at_least")
    late = wanted[:, 50:][:, np.arange(50, 80) % 10 != 9]
    truth = late[late >= 9].mean()
    assert table.height == (late >= 9).sum()
    assert abs(table["mean"].mean() - truth) < 0.4 * (truth - 9)
    refused(shelfcast("latent", config, "--since", "2019-01-01"), "since", "2024-01-01")
