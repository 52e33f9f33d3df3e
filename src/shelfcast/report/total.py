"""The total over all products, with a fan that never adds quantiles.

Means may be added over products, quantiles may not. Where the panel has a series of the total (a static column
`aggregate` or `level` says so), its own forecast is drawn. Otherwise the line is the sum of the products' means, and
its fan comes from how far such sums were from the truth at the backtest's origins: quantiles of the ratio truth / sum
of means over origins and neighbouring leads.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.aggregates import SINGLE
from shelfcast.data.panel import Panel
from shelfcast.horizons import Horizon
from shelfcast.report.aligned import Aligned, truth
from shelfcast.report.numbers import short

Array = NDArray[np.float64]
_NEIGHBOURS = 3
_FEWEST = 10
_CLOSED = 0.05
_TOTALS = ("total", "all")
_COLUMNS = ("aggregate", "level")


def series_levels(panel: Panel) -> tuple[NDArray[np.bool_], int | None]:
    """Which series are products, and the place of the total series (None without one).

    A static column `aggregate` (or `level`) sets totals apart: products are those that say 'item', or without such a
    word those of its most frequent value.
    """
    products = np.ones(panel.n_series, dtype=bool)
    column = next((name for name in _COLUMNS if name in panel.series.columns), None)
    if column is None or panel.n_series < 2:
        return products, None
    level = panel.series[column].cast(pl.String).fill_null("").str.to_lowercase()
    counts = level.value_counts(sort=True, name="n").sort(["n", column], descending=[True, False])
    total = level.is_in(_TOTALS).arg_true()
    single = SINGLE if (level == SINGLE).any() else counts[column][0]
    return (level == single).to_numpy(), int(total[0]) if len(total) == 1 else None


@dataclass(frozen=True)
class Ratios:
    """Truth over sum of means (O, K), NaN where nothing was observed, at O origins."""

    value: Array
    origins: list[int]


def ratios(panel: Panel, rows: Aligned) -> Ratios:
    """Ratio of total demand to the total of means at every origin and horizon, over the rows observed in full."""
    demand, complete = truth(panel, rows)
    kept = complete & np.isfinite(rows.mean)
    origins = np.array(rows.origins)
    shape = (len(origins), len(rows.horizons))
    at = (np.searchsorted(origins, rows.origin[kept]), rows.horizon[kept])
    came, said = np.zeros(shape), np.zeros(shape)
    np.add.at(came, at, demand[kept])
    np.add.at(said, at, rows.mean[kept])
    usual = np.median(said, axis=1, keepdims=True)  # a day when all is closed has a ratio without meaning
    with np.errstate(invalid="ignore", divide="ignore"):
        return Ratios(np.where(said > _CLOSED * usual, came / said, np.nan), origins.tolist())


def fan(found: Ratios, horizons: tuple[Horizon, ...], shown: tuple[Horizon, ...], levels: Array) -> Array | None:
    """(K, Q) quantiles of the ratio for each shown horizon, from leads within three of it; None with too few errors."""
    index = {h: k for k, h in enumerate(horizons)}
    out = np.full((len(shown), len(levels)), np.nan)
    for k, horizon in enumerate(shown):
        near = [
            index[h]
            for h in shown
            if h in index and h.span == horizon.span and abs(h.lead - horizon.lead) <= _NEIGHBOURS * h.span
        ]
        pool = found.value[:, near]
        pool = pool[np.isfinite(pool)]
        if len(pool) < _FEWEST:
            return None
        out[k] = np.quantile(pool, levels)
    return out


def total(
    panel: Panel, now: Aligned, past: Aligned | None, shown: tuple[Horizon, ...], levels: Array
) -> dict[str, Any]:
    """Mean (K), quantiles (Q, K) or None for the shown horizons and levels, and a caption that says what the fan is."""
    products, place = series_levels(panel)
    values, mean = now.dense(panel.n_series)
    at = [now.horizons.index(h) for h in shown]
    if place is not None and len(levels) and np.isfinite(values[place][at]).all():
        picks = [int(np.abs(now.levels - level).argmin()) for level in levels]
        caption = "The total is forecast as a series of its own: its quantiles are its own, not sums over products."
        return {"mean": short(mean[place, at]), "q": short(values[place][at][:, picks].T), "caption": caption}
    line = np.nansum(mean[products], axis=0)[at]
    caption = "The line is the sum of the products' mean forecasts: means add up, quantiles do not."
    found = None if past is None else ratios(panel, past.where(products[past.place]))
    spread = None if found is None or past is None else fan(found, past.horizons, shown, levels)
    if found is None or spread is None:
        return {"mean": short(line), "q": None, "caption": f"{caption} It has no fan: too few backtests to tell."}
    n = len(found.origins)
    caption += (
        f" The fan shows how far such sums were from the truth at {n} backtest origin{'s' if n > 1 else ''},"
        " pooled over neighbouring leads."
    )
    return {"mean": short(line), "q": short((line[:, None] * spread).T), "caption": caption}
