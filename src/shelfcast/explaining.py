"""What forecasts rest on, as tables that a report can show: features, past cases, past periods looked at."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.aggregates import AGGREGATE, SINGLE
from shelfcast.data.panel import Panel
from shelfcast.horizons import Horizon
from shelfcast.models.base import Explaining, Forecaster
from shelfcast.models.forest import QuantileForest
from shelfcast.models.mq_transformer import MQTransformer

EXPLANATIONS = ("alignment", "cases", "importance")
_LOOKED_AT = 200  # largest products that are explained
_HEAVIEST = 12  # past periods kept of each horizon
_SERIES = 4  # products that one forecast leans on most


def explanations(model: Forecaster, panel: Panel, origin: int) -> dict[str, pl.DataFrame]:
    """Tables by name (`EXPLANATIONS`): those that the model can give."""
    found = {"alignment": looked_at(model, panel, origin), "cases": leaned_on(model, panel, origin)}
    if isinstance(model, Explaining):
        shares = model.importance()
        found["importance"] = pl.DataFrame(
            {"feature": list(shares), "share": list(shares.values())},
            schema={"feature": pl.String, "share": pl.Float64},
        )
    return {name: table for name, table in found.items() if table is not None}


def leaned_on(model: Forecaster, panel: Panel, origin: int) -> pl.DataFrame | None:
    """What `QuantileForest.cases` says of the largest products: the first and last single period, the widest span.

    None where the model keeps no cases.
    """
    if not isinstance(model, QuantileForest):
        return None
    single = [h for h in model.horizons if h.span == 1]
    chosen: list[Horizon] = list(dict.fromkeys((*single[:1], *single[-1:], max(model.horizons, key=lambda h: h.span))))
    return model.cases(panel, origin, _largest(panel, origin).tolist(), chosen, _SERIES)


def _largest(panel: Panel, origin: int) -> NDArray[np.int64]:
    """Places of the products that sold most lately; totals go last."""
    demand, _ = panel.history(origin, max(round(panel.frequency.year / 4), 1))
    own = (panel.series[AGGREGATE] == SINGLE).to_numpy() if AGGREGATE in panel.series.columns else True
    return np.argsort(-np.where(own, demand.sum(axis=1), -1.0), kind="stable")[:_LOOKED_AT]


def looked_at(model: Forecaster, panel: Panel, origin: int) -> pl.DataFrame | None:
    """Keys, lead, span, period and weight: the past periods that forecasts of the largest products looked at most.

    None where the model has no attention to past periods.
    """
    if not isinstance(model, MQTransformer) or not model.aligns:
        return None
    series = _largest(panel, origin)
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
