"""What a forecast rests on, as a table that a report can show: the past periods an attention looked at."""

import numpy as np
import polars as pl

from shelfcast.data.aggregates import AGGREGATE, SINGLE
from shelfcast.data.panel import Panel
from shelfcast.models.base import Forecaster
from shelfcast.models.mq_transformer import MQTransformer

_LOOKED_AT = 200  # largest products whose attention is kept
_HEAVIEST = 12  # past periods kept of each horizon


def looked_at(model: Forecaster, panel: Panel, origin: int) -> pl.DataFrame | None:
    """Keys, lead, span, period and weight: the past periods that forecasts of the largest products looked at most.

    None where the model has no attention to past periods.
    """
    if not isinstance(model, MQTransformer) or not model.aligns:
        return None
    demand, _ = panel.history(origin, max(round(panel.frequency.year / 4), 1))
    own = (panel.series[AGGREGATE] == SINGLE).to_numpy() if AGGREGATE in panel.series.columns else True
    series = np.argsort(-np.where(own, demand.sum(axis=1), -1.0), kind="stable")[:_LOOKED_AT]
    found = model.attended(panel, origin, series)
    heaviest = np.sort(np.argsort(-found.weights, axis=-1)[..., :_HEAVIEST], axis=-1)
    n, k, m = heaviest.shape
    rows = panel.series.select(panel.keys)[pl.Series(np.repeat(series, k * m))]
    leads, spans = (np.tile(np.repeat([getattr(h, a) for h in model.horizons], m), n) for a in ("lead", "span"))
    return rows.with_columns(
        pl.Series("lead", leads, dtype=pl.Int32),
        pl.Series("span", spans, dtype=pl.Int32),
        pl.Series("period", panel.frequency.to_date(found.periods[heaviest.ravel()])),
        pl.Series("weight", np.take_along_axis(found.weights, heaviest, axis=-1).ravel()),
    )
