"""Flat series for tests of point models: ragged, with gaps, intermittent or smooth; and statsforecast's answers."""

import importlib.util
import warnings

import numpy as np
import pytest

from shelfcast.models.points import Series

has_extra = pytest.mark.skipif(importlib.util.find_spec("statsforecast") is None, reason="extra 'classical'")


def series_of(*histories, season=7):
    """`Series` of lists; None or NaN is unobserved."""
    rows = [np.array([np.nan if v is None else v for v in history], dtype=np.float64) for history in histories]
    flat = np.concatenate(rows) if rows else np.zeros(0)
    seen = ~np.isnan(flat)
    indptr = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    return Series(np.where(seen, flat, 0.0), seen, indptr, 100, season)


def histories(seed, n_series=12, *, chance=0.4, gaps=0.0, longest=200, shortest=30):
    """Ragged intermittent histories whose level moves; `gaps` is the share unobserved (NaN)."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_series):
        size = int(rng.integers(shortest, longest + 1))
        level = np.exp(np.cumsum(rng.normal(0, 0.05, size)))
        values = rng.poisson(3 * level) * (rng.random(size) < chance) * 1.0
        values[rng.random(size) < gaps] = np.nan
        found.append(values)
    return found


def one_by_one(model, series, n_periods):
    """Paths of each series alone."""
    paths = []
    for i in range(series.n_series):
        rows = slice(series.indptr[i], series.indptr[i + 1])
        alone = Series(
            series.demand[rows],
            series.observed[rows],
            np.array([0, rows.stop - rows.start]),
            series.origin,
            series.season,
        )
        paths.append(model.path(alone, n_periods)[0])
    return np.array(paths)


def rows(series):
    """Demand and mask of each series."""
    for begin, end in zip(series.indptr[:-1], series.indptr[1:], strict=True):
        yield series.demand[begin:end], series.observed[begin:end]


def library(name, **settings):
    """A model of statsforecast as a function of values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsforecast import models

        model = getattr(models, name)(**settings)

    def path(values, n_periods):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.forecast(np.asarray(values, dtype=np.float64), n_periods)["mean"]

    return path
