"""Forecasts against what happened: long tables of scores by slice.

Only observed demand is scored: a cell (series, origin, horizon) counts when every period of its horizon was observed,
and `left_out` says how many did not. Horizons of different spans are never averaged together: every row has a `span`.

What each metric means is in `metrics`; the formulas are in `scoring`.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from shelfcast import scoring
from shelfcast.cells import aligned, each_origin, require_same_axes
from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError, nearest
from shelfcast.forecast import Forecast
from shelfcast.metrics import BY_LEVEL, COVERAGE, OF_REVISIONS, WEIGHTED, Metric, Term, shares_of, terms_of, total_of
from shelfcast.segments import Groups, Slices, segments, series_labels
from shelfcast.volatility import has_revisions, origins_before

Array = NDArray[np.float64]
_DIFFERENCES = dict.fromkeys("pgh", pl.Int64) | dict.fromkeys(("difference", "low", "high"), pl.Float64)
_DIFFERENCES |= {"n_series": pl.Int64}


def evaluate(
    forecast: Forecast,
    panel: Panel,
    by: Sequence[str] = (),
    *,
    metrics: Iterable[str] | None = None,
    segments: pl.DataFrame | None = None,
    weights: ArrayLike | None = None,
) -> pl.DataFrame:
    """Scores of a forecast, by slice.

    Parameters
    ----------
    forecast : N series, O origins.
    panel : holds what happened, for at least those series.
    by : static columns, `lead`, `level`, `origin`, `promoted` (a promotion planned in the target window), `repriced`
        (a price there more than 5 % from the one at the origin), `aggregate` (what a series adds up, in a panel with
        aggregates), or the segments of `segments.segments` as of the first origin. `span` is always there.
    metrics : names in `Metric`; None for all that can be had (`wspl` and `wrmsse` need weights or a price).
    segments : N rows of further labels, in the forecast's order, in place of the derived ones.
    weights : (N,) or (N, O) weight of each series for `wspl` and `wrmsse`, normalised here; None for dollar sales of
        the last 28 periods.

    Returns
    -------
    The columns of `by`, then model, lead, span, level, metric, value, weight, left_out; null where a column is not
    asked for or has no meaning. `left_out` counts cells not observed, for scaled scores also those of series without a
    scale.
    """
    panel = aligned(forecast, panel)
    labels = series_labels(panel.series, by, segments, _segments_of(panel, forecast))
    slices = Slices.of(Groups.of(labels, panel.n_series), forecast.horizons, by)
    chosen = _chosen(metrics, forecast, panel, weights)
    n_before = origins_before(OF_REVISIONS & set(chosen))
    per_origin = [
        terms_of(cells, slices, chosen, "level" in by)
        for cells in each_origin(forecast, panel, weights, flag=slices.flag, n_before=n_before)
    ]
    places: list[int | None] = list(range(len(per_origin)))
    if "origin" not in by:
        per_origin, places = [{metric: total_of([terms[metric] for terms in per_origin]) for metric in chosen}], [None]
    tables = [
        _table(terms[metric], metric, forecast, slices, by, place)
        for place, terms in zip(places, per_origin, strict=True)
        for metric in chosen
    ]
    order = [name for name in by if name not in ("lead", "span", "level")]
    columns = [*order, "model", "lead", "span", "level", "metric", "value", "weight", "left_out"]
    return pl.concat(tables).select(columns)


def calibration(forecast: Forecast, panel: Panel, by: Sequence[str] = ()) -> pl.DataFrame:
    """Coverage of every level: the columns of `by`, span, level, below (y < q), at_most (y <= q) and n scored cells."""
    long = evaluate(forecast, panel, by, metrics=[Metric.COVERAGE_BELOW, Metric.COVERAGE_AT_MOST])
    keys = [*(name for name in by if name not in ("span", "level")), "span", "level"]
    below = long.filter(pl.col("metric") == Metric.COVERAGE_BELOW)
    at_most = long.filter(pl.col("metric") == Metric.COVERAGE_AT_MOST)
    return below.select(
        *keys, below=pl.col("value"), at_most=at_most["value"], n=pl.col("weight").cast(pl.Int64)
    )  # fmt: skip


def wspl_by_series(forecast: Forecast, panel: Panel, weights: ArrayLike | None = None) -> pl.DataFrame:
    """What M5's score is made of: keys, origin, span, scale, weight and spl of every series at every origin.

    `sum(weight x spl)` over the series of one origin and aggregate is that aggregate's WSPL; weights sum to 1 over the
    series of an aggregate that could be scored. `spl` is null where a series has no scale or no observed cell.
    """
    panel = aligned(forecast, panel)
    slices = Slices.of(Groups.of(pl.DataFrame(), panel.n_series), forecast.horizons, ())
    tables = []
    for cells in each_origin(forecast, panel, weights):
        loss = sum(slices.by_series(cells.loss(q), None) for q in range(len(cells.levels)))
        n = slices.by_series(cells.scored, None)
        spl = scoring.scaled(scoring.ratio(loss, n * len(cells.levels)), cells.scale[:, None])
        share = shares_of(cells, slices, ~np.isnan(spl))
        keys = panel.series.select(panel.keys).with_columns(
            origin=pl.lit(panel.date(cells.origin)), scale=pl.Series(cells.scale).fill_nan(None)
        )  # fmt: skip
        tables += [
            keys.with_columns(
                pl.lit(span, dtype=pl.Int32).alias("span"),
                pl.Series("weight", share[0, :, h]),
                pl.Series("spl", spl[0, :, h]).fill_nan(None),
            )
            for h, span in enumerate(slices.horizons["span"])
        ]
    return pl.concat(tables).select(*panel.keys, "origin", "span", "scale", "weight", "spl")


def compare(
    a: Forecast,
    b: Forecast,
    panel: Panel,
    by: Sequence[str] = (),
    *,
    metric: str = Metric.WQL,
    n: int = 1000,
    seed: int = 0,
) -> pl.DataFrame:
    """Relative difference of two forecasts of the same cells, with a 95 % interval from resampling series.

    Parameters
    ----------
    by : as in `evaluate`, but for `origin` and `level`.
    metric : `wql` or `scaled_pinball`.
    n : bootstrap draws.

    Returns
    -------
    The columns of `by`, span, model_a, model_b, metric, difference ((A - B) / B, below 0 where `a` is better), low,
    high (null for a single series), n_series. Raises DataError where the two forecasts have different axes.
    """
    require_same_axes(a, b)
    if metric not in (Metric.WQL, Metric.SCALED_PINBALL) or set(by) & {"origin", "level"}:
        raise ConfigError(
            "compare", f"expected wql or scaled_pinball, not by origin or level; got {metric} by {list(by)}"
        )
    panel = aligned(a, panel)
    labels = series_labels(panel.series, by, None, _segments_of(panel, a))
    slices = Slices.of(Groups.of(labels, panel.n_series), a.horizons, by)
    loss_a, valid = _series_losses(a, panel, slices, by, Metric(metric))
    loss_b, _ = _series_losses(b, panel, slices, by, Metric(metric))
    rng = np.random.default_rng(seed)
    rows = []
    for p, g, h in np.ndindex(loss_a.shape[0], max(slices.groups.table.height, 1), loss_a.shape[2]):
        members = np.flatnonzero((slices.groups.place == g) & valid[p, :, h])
        if len(members):
            found = scoring.paired_bootstrap(loss_a[p, members, h], loss_b[p, members, h], 1.0, members, n, rng)
            rows.append((p, g, h, *found, len(members)))
    table = pl.DataFrame(rows, schema=_DIFFERENCES, orient="row").fill_nan(None)
    names = _slice_columns(slices, table["p"].to_numpy(), table["g"].to_numpy(), table["h"].to_numpy())
    models = [pl.lit(a.model).alias("model_a"), pl.lit(b.model).alias("model_b"), pl.lit(str(metric)).alias("metric")]
    columns = [*(name for name in by if name != "span"), "span", "model_a", "model_b", "metric"]
    return table.hstack(names).with_columns(models).select(*columns, "difference", "low", "high", "n_series")


def _segments_of(panel: Panel, forecast: Forecast) -> Callable[[], pl.DataFrame]:
    """Derived segments as of the first origin, computed when asked for."""
    return lambda: segments(panel, min(forecast.origins))


def _chosen(
    metrics: Iterable[str] | None, forecast: Forecast, panel: Panel, weights: ArrayLike | None
) -> list[Metric]:  # fmt: skip
    """Metrics asked for, checked; else all there is something to weigh with or to compare with."""
    weighed, revised = weights is not None or panel.prices is not None, has_revisions(forecast)
    if metrics is None:
        return [m for m in Metric if (weighed or m not in WEIGHTED) and (revised or m not in OF_REVISIONS)]
    names = [m.value for m in Metric]
    metrics = list(metrics)
    if not revised and (asked := OF_REVISIONS.intersection(metrics)):
        raise ConfigError(
            "metrics", f"{sorted(asked)} need windows that were forecast from two successive origins; there are none",
            "use origins closer together, or horizons with the same span at more leads",
        )  # fmt: skip
    for name in metrics:
        if name not in names:
            raise ConfigError("metrics", f"unknown metric '{name}'; {nearest(name, names)}")
    return [Metric(name) for name in metrics]


def _table(
    term: Term, metric: Metric, forecast: Forecast, slices: Slices, by: Sequence[str], origin: int | None
) -> pl.DataFrame:
    """Rows of one metric: slices with any cell, by level where it has levels."""
    p, g, h = np.nonzero(term.n_cells > 0)
    n_levels = term.numerator.shape[-1]
    value = scoring.ratio(term.numerator[p, g, h], term.denominator[p, g, h][:, None])
    has_levels = metric in COVERAGE or (metric in BY_LEVEL and "level" in by)
    levels = list(forecast.levels) if has_levels else [None]
    p, g, h = (np.repeat(axis, n_levels) for axis in (p, g, h))
    rows = pl.DataFrame(
        {
            "model": pl.Series([forecast.model], dtype=pl.String).new_from_index(0, len(p)),
            "level": pl.Series(levels * (len(p) // n_levels), dtype=pl.Float64),
            "metric": pl.Series([metric.value]).new_from_index(0, len(p)),
            "value": pl.Series(value.ravel()).fill_nan(None),
            "weight": term.weight[p, g, h],
            "left_out": term.left_out[p, g, h].astype(np.int64),
        }
    )
    rows = rows.hstack(_slice_columns(slices, p, g, h))
    if origin is not None:
        rows = rows.with_columns(origin=pl.lit(forecast.frequency.to_date(forecast.origins[origin]).item()))
    return rows


def _slice_columns(slices: Slices, p: NDArray[np.int64], g: NDArray[np.int64], h: NDArray[np.int64]) -> pl.DataFrame:
    """Lead, span, the series' labels and the state of windows, of slices at places p, g, h."""
    table = slices.horizons[pl.Series(h)]
    if slices.groups.table.width:
        table = table.hstack(slices.groups.table[pl.Series(g)])
    return table if slices.flag is None else table.with_columns(pl.Series(slices.flag, p == 1))


def _series_losses(
    forecast: Forecast, panel: Panel, slices: Slices, by: Collection[str], metric: Metric
) -> tuple[Array, NDArray[np.bool_]]:
    """(P, N, H) loss of each series summed over origins, and whether it could be scored."""
    losses: list[Array] = []
    for cells in each_origin(forecast, panel, flag=slices.flag):
        n = slices.by_series(cells.scored, cells.flagged)
        loss = np.sum([slices.by_series(cells.loss(q), cells.flagged) for q in range(len(cells.levels))], axis=0)
        if metric is Metric.SCALED_PINBALL:
            loss = scoring.scaled(scoring.ratio(loss, n), cells.scale[:, None])
        losses.append(np.where(n > 0, loss, np.nan))
    stacked = np.stack(losses)
    return np.nansum(stacked, axis=0), np.asarray(~np.isnan(stacked).all(axis=0))
