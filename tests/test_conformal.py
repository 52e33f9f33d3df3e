"""Calibration as a repair: validity on exchangeable outcomes, no change where none is due, never crossing, causal."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from shelfcast.conformal import ALL, Repair, Settings, by_segment, covered, gaps, learn, moved_levels, walked
from shelfcast.errors import ConfigError, DataError
from shelfcast.evaluation import calibration
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon, per_period
from shelfcast.laws import Counts
from shelfcast.segments import segments
from shop import panel_of, rewritten_after

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
SMOOTH = Settings(strength=0.0, bands=1, whole_units=False)
N, T = 60, 120


def one_group(panel, origin):
    return pl.DataFrame({"one": [ALL] * panel.n_series})


def halves(panel, origin):
    return pl.DataFrame({"parity": ["odd" if i % 2 else "even" for i in range(panel.n_series)]})


def two_ways(panel, origin):
    first = pl.Series("place", ["early" if i < N // 2 else "late" for i in range(panel.n_series)])
    return halves(panel, origin).with_columns(first)


def counted(seed=0, means=None):
    rng = np.random.default_rng(seed)
    means = rng.uniform(0.3, 12, N) if means is None else means
    return panel_of(rng.poisson(means[:, None], (N, T)).astype(float)), means


def said(panel, values, origins, horizons=per_period(3), levels=LEVELS):
    """A forecast with the same quantiles (N, Q) at every origin and horizon."""
    shape = (panel.n_series, len(origins), len(horizons), len(levels))
    made = np.broadcast_to(values[:, None, None, :], shape).astype(np.float32)
    return Forecast(
        panel.series.select("item"), tuple(origins), panel.frequency, tuple(horizons), levels, made,
        made.mean(axis=-1), "m",
    )  # fmt: skip


@pytest.mark.parametrize("law", ["too low", "too narrow", "right"])
@pytest.mark.parametrize("n", [7, 40, 999])
def test_finite_sample_validity_on_exchangeable_outcomes(law, n):
    """P(y <= repaired quantile) lies between a and a + 1/(n+1), whatever law was said."""
    rng = np.random.default_rng(n)
    draws = 800 if n < 100 else 300
    u = rng.random((draws, n + 1))
    u = {"too low": u**0.4, "too narrow": np.clip(2 * (u - 0.5) + 0.5, 0, 1), "right": u}[law]
    pairs = np.repeat(u[:, :n, None], 2, axis=2)
    within = np.array([u[d, n] <= moved_levels(covered(pairs[d]), LEVELS, n) for d in range(draws)]).mean(axis=0)
    noise = 4 * np.sqrt(0.25 / draws)
    wanted = np.minimum(np.ceil(np.array(LEVELS) * (n + 1) - 1e-9) / (n + 1), 1)
    assert (within >= np.array(LEVELS) - noise).all()
    if law != "too narrow":  # ties at the ends of a clipped transform cover more
        assert within == pytest.approx(wanted, abs=noise)


def test_a_calibrated_forecast_stays_nearly_as_it_is():
    panel, means = counted()
    made = said(panel, Counts.poisson(means).quantile(LEVELS), range(60, 110))
    repair = learn(made, panel, panel.last, one_group, Settings(bands=1))
    moved = repair.moved[1, 0, ALL]
    assert moved == pytest.approx(LEVELS, abs=0.035)
    after = repair.apply(made.at([109]), one_group(panel, 0)).rounded()
    assert (np.abs(after.values - made.at([109]).values) >= 1).mean() < 0.04


@pytest.mark.parametrize("factor", [0.6, 1.5])
def test_a_biased_forecast_is_mended_on_later_outcomes(factor):
    panel, means = counted(1)
    made = said(panel, Counts.poisson(factor * means).quantile(LEVELS), range(40, 115))
    before, after = walked(made, panel, one_group, Settings(bands=1))
    late = [o for o in after.origins if o > 80]
    wrong, mended = (
        gaps(calibration(f.at(late).rounded(), panel).filter(pl.col("span") == 1))["gap"].abs().max()
        for f in (before, after)
    )
    assert wrong > 0.1
    assert mended < 0.03


def test_segments_are_mended_apart():
    rng = np.random.default_rng(2)
    rows = rng.poisson(np.where(np.arange(N) % 2, 16.0, 4.0)[:, None], (N, T)).astype(float)
    panel = panel_of(rows)
    made = said(panel, Counts.poisson(np.full(N, 9.0)).quantile(LEVELS), range(40, 110))
    repair = learn(made, panel, panel.last, halves, Settings(bands=1, strength=50))
    after = repair.apply(made.at([109]), halves(panel, 0))
    middle = LEVELS.index(0.5)
    assert np.median(after.values[1::2, 0, :, middle]) == pytest.approx(16, abs=1)
    assert np.median(after.values[0::2, 0, :, middle]) == pytest.approx(4, abs=1)


def gaps_by_segment(made, panel, ways):
    """Widest gap in the segments of each way."""
    named = replace(panel, series=panel.series.hstack(ways(panel, 0)))
    return {
        way: gaps(calibration(made.rounded(), named, (way,)))["gap"].abs().max() for way in ways(panel, 0).columns
    }  # fmt: skip


def test_segments_of_two_ways_are_mended_at_once():
    rng = np.random.default_rng(7)
    late, odd = np.arange(N) >= N // 2, np.arange(N) % 2 == 1
    panel = panel_of(rng.poisson((9.0 * np.where(late, 1.4, 0.8) * np.where(odd, 1.3, 0.7))[:, None], (N, T)) * 1.0)
    made = said(panel, Counts.poisson(np.full(N, 9.0)).quantile(LEVELS), range(40, 115))
    widest = {}
    for name, ways in (("parity alone", halves), ("both", two_ways)):
        pair = walked(made, panel, ways, Settings(bands=1, strength=50))
        late_ones = [o for o in pair[1].origins if o > 90]
        widest[name] = gaps_by_segment(pair[1].at(late_ones), panel, two_ways)
    assert widest["parity alone"]["parity"] < 0.03 < 0.1 < widest["parity alone"]["place"]
    assert max(widest["both"].values()) < 0.03


def test_segments_never_seen_together_are_repaired_as_all():
    panel, means = counted(8)
    made = said(panel, Counts.poisson(0.7 * means).quantile(LEVELS), range(60, 110))
    repair = learn(made, panel, panel.last, two_ways)
    strange = two_ways(panel, 0).with_columns(place=pl.lit("elsewhere"))
    alone = pl.DataFrame({"none": [None] * N}, schema={"none": pl.String})
    assert np.array_equal(repair.apply(made, strange).values, repair.apply(made, alone).values)
    assert not np.array_equal(repair.apply(made, strange).values, made.values)


def test_names_that_are_no_segments_are_refused():
    panel, _ = counted(9)
    for name in ("velosity", "lead"):
        with pytest.raises(ConfigError, match=name):
            by_segment(("velocity", name), segments)(panel, 60)


@pytest.mark.parametrize("seed", range(6))
def test_never_crossing_never_negative_zeros_stay(seed):
    rng = np.random.default_rng(seed)
    panel, _ = counted(seed, rng.uniform(0, 400, N))
    values = np.sort(rng.exponential(rng.uniform(0, 300, (N, 1)), (N, len(LEVELS))), axis=1)
    values[:5] = 0
    made = said(panel, values, range(100, 118))
    repair = learn(made, panel, panel.last, halves, Settings(strength=float(rng.choice([0, 30])), bands=2))
    after = repair.apply(made, halves(panel, 0))
    assert (after.values >= 0).all()
    assert (np.diff(after.values, axis=-1) >= 0).all()
    assert np.isfinite(after.values).all()
    assert (after.values[:5] == 0).all()
    assert (after.mean >= 0).all()


def test_only_outcomes_known_at_the_origin_count():
    panel, means = counted(3)
    horizons = (*per_period(3), Horizon(0, 7))
    made = said(panel, Counts.poisson(means).quantile(LEVELS), range(60, 118), horizons)
    origin = 90
    now = learn(made, panel, origin, halves)
    later = learn(made, rewritten_after(panel, origin), origin, halves)
    assert now.table().equals(later.table())
    assert not now.table().equals(learn(made, panel, 110, halves).table())
    assert now.counts[7, 0, ALL] == N * len(range(60, 84))


def test_unobserved_outcomes_do_not_count_and_nothing_known_is_nothing_learned():
    panel, means = counted(4)
    made = said(panel, Counts.poisson(means).quantile(LEVELS), range(60, 80))
    blind = replace(panel, observed=np.zeros_like(panel.observed))
    assert learn(made, blind, 100, one_group) is None
    assert learn(made, panel, 60, one_group) is None
    assert walked(made.at([60]), panel, one_group) is None


def test_few_outcomes_move_little():
    panel, means = counted(5)
    made = said(panel, Counts.poisson(0.5 * means).quantile(LEVELS), [100])
    far = learn(made, panel, panel.last, one_group, Settings(strength=0, bands=1)).moved[1, 0, ALL]
    near = learn(made, panel, panel.last, one_group, Settings(strength=20_000, bands=1)).moved[1, 0, ALL]
    assert np.abs(near - LEVELS).max() < 0.01 < np.abs(far - LEVELS).max()


def test_a_repair_is_kept_as_a_table():
    panel, means = counted(6)
    made = said(panel, Counts.poisson(means).quantile(LEVELS), range(60, 118), (*per_period(4), Horizon(0, 7)))
    repair = learn(made, panel, panel.last, halves)
    again = Repair.from_table(repair.table())
    names = halves(panel, 0)
    assert np.array_equal(again.apply(made, names).values, repair.apply(made, names).values)
    with pytest.raises(DataError, match="levels"):
        again.apply(replace(made, levels=tuple(a / 2 for a in LEVELS)), names)
