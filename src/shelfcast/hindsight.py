"""Latent demand as a step of a run: what past periods that began empty or sold out would have sold."""

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl

from shelfcast.data.aggregates import AGGREGATE, SINGLE
from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError
from shelfcast.forecast import Forecast, concat_origins
from shelfcast.horizons import per_period
from shelfcast.latent import latent_demand
from shelfcast.loading import Run, products, read_products
from shelfcast.pipelines import model_of, publishing, step_of, trained
from shelfcast.store import RunInfo, RunKind


def latent(run: Run, panel: Panel, since: date | None = None) -> tuple[pl.DataFrame, RunInfo]:
    """Demand in past periods that sales do not tell, from `since` on, published (`shelfcast.latent`).

    The configured model is fitted on what came before, and forecasts from origins `backtest.step` apart (a season of
    hours and days, else one period); each period is told by the latest of them before it. Without `since`, the last
    year, or the later half of a shorter history.
    """
    begin = _begin(panel, since)
    made = _forecasts(run, panel, begin)
    table = latent_demand(made, products(panel), _as_sold(run), whole_units=run.config.forecast.whole_units)
    with publishing(run, RunKind.LATENT, panel) as writer:
        writer.write("latent", table)
    return table, writer.info


def _forecasts(run: Run, panel: Panel, begin: int) -> Forecast:
    """Forecasts of every period of the products from `begin` on, one each."""
    step = step_of(run.config.backtest, panel)
    fitted = trained(run, model_of(run, run.config.forecast.model, per_period(step)), panel.as_of(begin - 1))
    origins, made = range(begin - 1, panel.last, step), []
    for done, origin in enumerate(origins):
        run.progress("latent demand", done, len(origins))
        made.append(fitted.predict(panel.as_of(origin), [origin]))
    run.progress("latent demand", len(origins), len(origins))
    whole = concat_origins(made)
    if AGGREGATE not in panel.series.columns:
        return whole
    return whole.take(np.flatnonzero((panel.series[AGGREGATE] == SINGLE).to_numpy()))


def _begin(panel: Panel, since: date | None) -> int:
    """First period told of."""
    if since is None:
        return max(panel.last - round(panel.frequency.year), (panel.first + panel.last) // 2) + 1
    begin = int(panel.frequency.to_period(np.datetime64(since)))
    if not panel.first < begin <= panel.last:
        after, last = panel.date(panel.first), panel.date(panel.last)
        raise ConfigError("since", f"expected a date after {after}, up to {last}; got {since}")
    return begin


def _as_sold(run: Run) -> Panel | None:
    """The products with what was sold in sold-out periods; None where none are recorded."""
    sales = run.config.sales
    if sales.sold_out is None:
        return None
    plain = sales.model_copy(update={"sold_out": None, "past": (*sales.past, sales.sold_out)})
    return read_products(replace(run, config=run.config.model_copy(update={"sales": plain})))
