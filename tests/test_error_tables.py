"""Tables of past errors: against loops, by closed forms, and the right form chosen on data drawn so."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shelfcast.horizons import Horizon, per_period
from shelfcast.models.error_tables import SHIFT, ErrorTables, Form, PastErrors, Shape, chosen_form, grouped_quantiles

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
HORIZONS = (Horizon(0), Horizon(1), Horizon(5), Horizon(0, 3))
SHAPE = Shape(HORIZONS, n_classes=2, n_bands=3, shrink=10.0)


def past_of(seed=0, n=15, o=6, horizons=HORIZONS, missing=0.2):
    rng = np.random.default_rng(seed)
    mean = rng.gamma(1.0, 5.0, (n, o, len(horizons))) * [h.span for h in horizons]
    demand = rng.poisson(mean).astype(float)
    return PastErrors(mean, demand, rng.random(mean.shape) >= missing, rng.integers(0, 2, (n, o)))


def pool(past, power, group, edges, *, span=None, place=None, band=None, of_class=None):
    """Standardised errors of a cell, one by one; what is None is not asked for."""
    found = []
    for i, o, k in np.ndindex(past.mean.shape):
        h = HORIZONS[k]
        f = past.mean[i, o, k]
        wanted = past.complete[i, o, k] and (span is None or h.span == span) and (place is None or group[k] == place)
        wanted = wanted and (of_class is None or past.classes[i, o] == of_class)
        mine = sum(edge < np.log(f / h.span + SHIFT) for edge in edges[h.span])
        if wanted and (band is None or mine == band):
            found.append((past.demand[i, o, k] - f) / (f + SHIFT * h.span) ** power)
    return found


def shrunk(own, prior, k):
    n = len(own)
    return prior if n == 0 else (n * np.quantile(own, LEVELS) + k * prior) / (n + k)


@pytest.mark.parametrize("form", list(Form))
def test_cells_and_shrinkage_equal_a_loop(form):
    past, group = past_of(), SHAPE.lead_groups()
    tables = ErrorTables.learn(past, SHAPE, LEVELS, form)
    edges = {}
    for span in (1, 3):
        sizes = [past.mean[i, o, k] for i, o, k in np.ndindex(past.mean.shape)
                 if past.complete[i, o, k] and HORIZONS[k].span == span]  # fmt: skip
        edges[span] = np.quantile(np.log(np.array(sizes) / span + SHIFT), [1 / 3, 2 / 3])
    np.testing.assert_allclose(tables.edges, list(edges.values()))
    filled = 0
    for c, g, b in np.ndindex(2, SHAPE.n_groups, 3):
        every = np.quantile(pool(past, form.value, group, edges, span=(1, 3)[g // 4]), LEVELS)
        ours = shrunk(pool(past, form.value, group, edges, place=g, band=b), every, 20.0)
        own = pool(past, form.value, group, edges, place=g, band=b, of_class=c)
        filled += len(own) > 0
        np.testing.assert_allclose(tables.quantiles[c, g, b], shrunk(own, ours, 10.0), atol=1e-12)
    assert filled >= 12
    assert tables.n_errors.sum() == past.complete.sum()


@pytest.mark.parametrize("form", list(Form))
def test_quantiles_go_back_around_the_forecast_as_by_hand(form):
    tables = ErrorTables.learn(past_of(1), SHAPE, LEVELS, form)
    mean, classes = np.array([[0.0, 3.0, 9.0, 30.0], [1.0, 2.0, 80.0, 0.5]]), np.array([1, 0])
    found = tables.apply(mean, classes)
    for i, k in np.ndindex(mean.shape):
        h, f = HORIZONS[k], mean[i, k]
        s = (1, 3).index(h.span)
        band = sum(edge < np.log(f / h.span + SHIFT) for edge in tables.edges[s])
        errors = tables.quantiles[classes[i], SHAPE.lead_groups()[k], band]
        hand = np.maximum(f + (f + SHIFT * h.span) ** form.value * errors, 0)
        np.testing.assert_allclose(found[i, k], np.maximum.accumulate(hand))
    assert (found >= 0).all()
    assert (np.diff(found, axis=-1) >= 0).all()


def test_lead_groups_are_quarters_of_each_span():
    shape = Shape((*per_period(28), Horizon(0, 7), Horizon(21, 7)), 1)
    np.testing.assert_array_equal(shape.lead_groups()[:28], np.repeat([0, 1, 2, 3], 7))
    np.testing.assert_array_equal(shape.lead_groups()[28:], [4, 7])
    assert (shape.spans, shape.n_groups) == ([1, 7], 8)
    assert Shape((Horizon(0),), 1).lead_groups().tolist() == [0]


@given(st.integers(0, 10_000))
def test_grouped_quantiles_are_those_of_each_group(seed):
    rng = np.random.default_rng(seed)
    m = int(rng.integers(0, 60))
    values, groups = rng.normal(size=m) * 10.0 ** rng.integers(-3, 6), rng.integers(0, 7, m)
    found, count = grouped_quantiles(values, groups, 8, LEVELS)
    for g in range(8):
        mine = values[groups == g]
        assert count[g] == len(mine)
        expected = np.quantile(mine, LEVELS) if len(mine) else np.zeros(5)
        np.testing.assert_allclose(found[g], expected, rtol=1e-9, atol=1e-9)


DRAWN = {
    Form.ADDITIVE: lambda f, z: f + 6 * z,
    Form.ROOT: lambda f, z: f + 1.5 * np.sqrt(f) * z,
    Form.MULTIPLICATIVE: lambda f, z: f * (1 + 0.25 * z),
}


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("seed", [0, 1])
def test_the_form_that_drew_the_errors_is_chosen(form, seed):
    """One band for all sizes, so that only the form can tell small from large."""
    rng = np.random.default_rng(seed)
    mean = np.exp(rng.uniform(np.log(40), np.log(2000), (120, 8, 2)))
    demand = DRAWN[form](mean, rng.normal(size=mean.shape))
    past = PastErrors(mean, demand, np.ones(mean.shape, dtype=bool), np.zeros(mean.shape[:2], dtype=np.int64))
    assert chosen_form(past, Shape(per_period(2), 1, n_bands=1), LEVELS) is form


def test_few_origins_or_nothing_observed_is_root():
    past = past_of()
    assert chosen_form(past.origins(slice(0, 3)), SHAPE, LEVELS) is Form.ROOT
    nothing = PastErrors(past.mean, past.demand, np.zeros_like(past.complete), past.classes)
    assert chosen_form(nothing, SHAPE, LEVELS) is Form.ROOT


@pytest.mark.parametrize("form", list(Form))
def test_a_span_without_errors_scatters_like_counts(form):
    """f + sqrt(f + 0.1 span) z, whatever the form; spans with errors keep theirs."""
    past = past_of()
    complete = past.complete.copy()
    complete[..., 3] = False
    tables = ErrorTables.learn(PastErrors(past.mean, past.demand, complete, past.classes), SHAPE, LEVELS, form)
    found = tables.apply(np.full((1, 4), 100.0), np.array([0]))
    z = np.array([NormalDist().inv_cdf(a) for a in LEVELS])
    np.testing.assert_allclose(found[0, 3], 100 + np.sqrt(100.3) * z)
    full = ErrorTables.learn(past, SHAPE, LEVELS, form).apply(np.full((1, 4), 100.0), np.array([0]))
    np.testing.assert_allclose(found[0, :3], full[0, :3])
    assert tables.n_errors[1] == 0


def test_many_errors_forget_the_band_and_few_keep_it():
    """Class 0 errs by -2 always, class 1 by +2: with k = 10, n errors weigh n / (n + 10)."""
    mean = np.full((8, 5, 1), 9.9)
    classes = np.repeat([[0], [1]], 4, axis=0).repeat(5, axis=1)
    demand = mean + np.where(classes == 0, -2.0, 2.0)[..., None]
    past = PastErrors(mean, demand, np.ones(mean.shape, dtype=bool), classes)
    shape = Shape((Horizon(0),), n_classes=2, n_bands=1, shrink=10.0)
    tables = ErrorTables.learn(past, shape, (0.5,), Form.ADDITIVE)
    np.testing.assert_allclose(tables.quantiles[:, 0, 0, 0], [-2 * 20 / 30, 2 * 20 / 30])
