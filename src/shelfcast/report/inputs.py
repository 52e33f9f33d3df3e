"""What a report is made from: the tables of one run, each of which may be missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

import polars as pl

from shelfcast.data.panel import Panel


class Kind(Enum):
    """Why a product deserves a look."""

    MONEY = "money at risk"
    RISK = "stock-out risk"
    MISS = "biggest miss"
    NEW = "new"
    ENDED = "ended"


@dataclass(frozen=True)
class Attention:
    """One product that deserves a look, and why in a plain sentence; a higher `score` comes first within its kind."""

    kind: Kind
    item: str
    location: str | None
    sentence: str
    score: float


@dataclass(frozen=True)
class ReportInputs:
    """The tables of a run; only the title and the panel are needed.

    Parameters
    ----------
    title : heading of the page.
    panel : history; `series` gives the static columns.
    created : when the report was made; left out of the page without it.
    attribution : sentences on where the data come from and under which licence.
    run_ids : identities of the runs shown.
    facts : further names and values worth recording (settings, versions).
    model : name of the model whose forecast and backtest are drawn; the first of `backtest` without it.
    baseline : name of the model that errors are set against.
    forecast : wide table as `Forecast.table()` makes it; its latest origin is shown.
    backtest : model -> wide table, or several of them, of past origins.
    scores : long table of model, lead, span, level, metric, value, weight; null lead, span, level means over all.
    segments : the same with `segment_kind` and `segment` (lead, span and level may be left out).
    calibration : model, level, below, at_most, n: shares of observed demand below, and at most, each quantile.
    orders : as `inventory.orders` makes them.
    savings : tables of a replay by name, as `simulating` makes them.
    cycle : tables of a cycle's run by name.
    alignment : keys, lead, period, weight: past periods that a forecast attended to.
    cases : past cases that a forecast leans on, as `QuantileForest.cases` makes them.
    importance : feature, share: what the model learned from, the largest first.
    attention : products worth a look; found by `worth_a_look` without it.
    max_products : most products with charts; the largest are kept.
    currency : sign put before money, as "£".
    """

    title: str
    panel: Panel
    created: datetime | None = None
    attribution: Sequence[str] = ()
    run_ids: Sequence[str] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    model: str = ""
    baseline: str = "seasonal-naive"
    forecast: pl.DataFrame | None = None
    backtest: Mapping[str, pl.DataFrame | Sequence[pl.DataFrame]] = field(default_factory=dict)
    scores: pl.DataFrame | None = None
    segments: pl.DataFrame | None = None
    calibration: pl.DataFrame | None = None
    orders: pl.DataFrame | None = None
    savings: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    cycle: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    alignment: pl.DataFrame | None = None
    cases: pl.DataFrame | None = None
    importance: pl.DataFrame | None = None
    attention: Sequence[Attention] | None = None
    max_products: int = 1200
    currency: str = ""

    @property
    def chosen(self) -> str:
        """The model drawn; empty where there is none."""
        return self.model or next(iter(self.backtest), "")

    def past_forecast(self, model: str) -> pl.DataFrame | None:
        """The backtest of a model as one wide table, or None."""
        tables = self.backtest.get(model)
        if tables is None or isinstance(tables, pl.DataFrame):
            return None if tables is None or tables.is_empty() else tables
        return pl.concat(tables, how="vertical_relaxed") if tables else None
