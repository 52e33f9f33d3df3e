"""Scores the slow, obvious way: one series and period at a time, or SQL over a long table."""

import duckdb
import numpy as np
import polars as pl

from shelfcast.data.panel import Panel
from shelfcast.forecast import Forecast


def value_at(panel: Panel, series: int, period: int) -> float | None:
    """Observed demand of a series in a period, or None."""
    row = period - int(panel.start[series])
    begin, end = int(panel.indptr[series]), int(panel.indptr[series + 1])
    if not 0 <= row < end - begin or not panel.observed[begin + row]:
        return None
    return float(panel.demand[begin + row])


def truth(panel: Panel, series: int, origin: int, lead: int, span: int) -> float | None:
    """Demand of a horizon, or None where any of its periods was not observed."""
    values = [value_at(panel, series, origin + lead + 1 + i) for i in range(span)]
    return None if None in values else float(sum(v for v in values if v is not None))


def loss(demand: float, quantile: float, level: float) -> float:
    return level * (demand - quantile) if demand >= quantile else (1 - level) * (quantile - demand)


def scale(panel: Panel, series: int, origin: int) -> float | None:
    """Mean absolute one-step difference from the first sale to the origin; None without a pair."""
    history = [value_at(panel, series, period) for period in range(int(panel.start[series]), origin + 1)]
    sold = [place for place, value in enumerate(history) if value is not None and value > 0]
    if not sold:
        return None
    steps = []
    for earlier, later in zip(history[sold[0] :], history[sold[0] + 1 :], strict=False):
        if earlier is not None and later is not None:
            steps.append(abs(later - earlier))
    return sum(steps) / len(steps) if steps and sum(steps) > 0 else None


def series_spl(forecast: Forecast, panel: Panel, series: int, o: int, span: int) -> float | None:
    """Scaled pinball loss of one series at one origin, mean over scored cells and levels."""
    size = scale(panel, series, forecast.origins[o])
    losses = []
    for k, horizon in enumerate(forecast.horizons):
        demand = truth(panel, series, forecast.origins[o], horizon.lead, horizon.span)
        if horizon.span == span and demand is not None:
            losses += [loss(demand, float(forecast.values[series, o, k, q]), a) for q, a in enumerate(forecast.levels)]
    return None if size is None or not losses else sum(losses) / len(losses) / size


def scaled_pinball(forecast: Forecast, panel: Panel, span: int, weights: np.ndarray | None = None) -> float:
    """Mean over origins of the (weighted) mean over series."""
    origins = []
    for o in range(len(forecast.origins)):
        total = weight_sum = 0.0
        for i in range(panel.n_series):
            spl, weight = series_spl(forecast, panel, i, o, span), 1.0 if weights is None else float(weights[i])
            if spl is not None:
                total, weight_sum = total + weight * spl, weight_sum + weight
        if weight_sum > 0:
            origins.append(total / weight_sum)
    return sum(origins) / len(origins)


def long_table(forecast: Forecast, panel: Panel) -> pl.DataFrame:
    """One row for every series, origin, horizon and level, with its quantile and demand (null where not observed)."""
    stores = panel.series["store"].to_list()
    rows = [
        (stores[i], h.lead, h.span, a, float(forecast.values[i, o, k, q]), truth(panel, i, origin, h.lead, h.span))
        for i in range(panel.n_series)
        for o, origin in enumerate(forecast.origins)
        for k, h in enumerate(forecast.horizons)
        for q, a in enumerate(forecast.levels)
    ]
    schema = ["store", "lead", "span", "level", "quantile", "demand"]
    return pl.DataFrame(rows, schema=schema, orient="row")


def sql_scores(cells: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """wql, pinball, coverage and cells left out, by columns of `long_table`, in SQL."""
    keys = ", ".join(by)
    query = f"""
        with scored as (
            select *, case when demand >= quantile then level * (demand - quantile)
                           else (1 - level) * (quantile - demand) end as loss
            from cells)
        select {keys}, 2 * sum(loss) / nullif(sum(abs(demand)), 0) as wql, avg(loss) as pinball,
               avg(case when demand is null then null when demand < quantile then 1.0 else 0 end) as coverage_below,
               avg(case when demand is null then null when demand <= quantile then 1.0 else 0 end) as coverage_at_most,
               count(*) - count(demand) as left_out
        from scored group by {keys} order by {keys}"""
    with duckdb.connect() as connection:
        connection.register("cells", cells.to_arrow())
        return connection.sql(query).pl()
