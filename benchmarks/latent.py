"""Latent demand on VN2: weeks in stock are hidden, and what is said of them is set against what was sold.

    python benchmarks/latent.py [MODEL ...]

599 store-products, weeks 79 to 130 of the history (from 0). A tenth of the observed weeks is drawn (seed 0) and made
to look `empty` (nothing is known), or as if the shelf had held a random number of units, drawn apart from that week's
demand: 0.2 to 1.5 times the mean of the 13 weeks before, rounded. Where demand reached the shelf, the week `sold out`.

First table: units said of hidden weeks against the truth, from forecasts of one week ahead by a model fitted before
week 79; bias is (said - true) / true, over and under at three levels are coverage P(y < q) .. P(y <= q). Sold-out weeks
are picked by high demand, so the forecast alone is too low for them.

Second table: all weeks have such a shelf with chance 0.5. Bias and WQL of forecasts of weeks 1 to 4 ahead, against true
demand, where history is taken as sold, without the sold-out weeks, or as a lower bound (`sold_out`).
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from shelfcast.data.censoring import with_lower_bounds
from shelfcast.data.panel import Panel
from shelfcast.evaluation import evaluate
from shelfcast.forecast import Forecast, concat_origins
from shelfcast.latent import latent_demand
from shelfcast.models.table import forecaster
from shelfcast.rolling import backtest
from weekly_data import VN2, panel_of

FIRST, LAST = 79, 130
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
FLAG = "flag"


@dataclass(frozen=True)
class Hidden:
    """True demand, what is known of it, and the same with sales as they look; (R,) rows that were made to look so."""

    bounded: Panel
    sold: Panel
    rows: np.ndarray


def shelves(panel: Panel, rng: np.random.Generator, chance: float, *, since: int) -> Hidden:
    """Each observed week from `since` on has, with a chance, a shelf of its own, which may have sold out."""
    demand, seen = panel.window(panel.first, panel.last)
    mean = np.stack(
        [
            demand[:, max(t - 13, 0) : t].sum(1) / np.maximum(seen[:, max(t - 13, 0) : t].sum(1), 1)
            for t in range(demand.shape[1])
        ],
        1,
    )
    shelf = np.maximum(np.rint(mean * rng.uniform(0.2, 1.5, demand.shape)), 1)
    late = np.arange(demand.shape[1]) >= since
    out = seen & late & (rng.random(demand.shape) < chance) & (demand >= shelf)
    rows = _rows(panel, out)
    units, flag = np.array(panel.demand), np.zeros((len(panel.demand), 1), dtype=np.float32)
    units[rows], flag[rows] = shelf[out], 1.0
    plain = replace(panel, demand=units, past=flag, names=replace(panel.names, past=(FLAG,)))
    return Hidden(with_lower_bounds(replace(plain, names=replace(plain.names, sold_out=FLAG))), plain, rows)


def emptied(panel: Panel, rng: np.random.Generator, chance: float, *, since: int) -> Hidden:
    """Observed weeks from `since` on, hidden with a chance."""
    _, seen = panel.window(panel.first, panel.last)
    out = seen & (np.arange(seen.shape[1]) >= since) & (rng.random(seen.shape) < chance)
    rows = _rows(panel, out)
    units, observed = np.array(panel.demand), np.array(panel.observed)
    units[rows], observed[rows] = 0.0, False
    made = replace(panel, demand=units, observed=observed)
    return Hidden(made, made, rows)


def _rows(panel: Panel, cells: np.ndarray) -> np.ndarray:
    """Rows of cells (N, T) that count from the panel's first period."""
    series, when = np.nonzero(cells)
    return panel.indptr[series] + when + panel.first - panel.start[series]


def forecasts(panel: Panel, name: str, n_ahead: int, step: int) -> Forecast:
    """From every `step`-th week of the test period, by a model fitted before it."""
    origins = range(panel.first + FIRST - 1, panel.first + LAST + 1 - n_ahead, step)
    return concat_origins(list(backtest(forecaster(name, horizons=n_ahead, levels=LEVELS), panel, origins)))


def told(panel: Panel, hidden: Hidden, made: Forecast) -> tuple[np.ndarray, pl.DataFrame]:
    """True units of the hidden weeks of the test period, and what the table of latent demand says of them."""
    table = latent_demand(made, hidden.bounded, hidden.sold)
    keys = panel.series[pl.Series(panel.row_series()[hidden.rows])].select(panel.keys)
    dates = panel.frequency.to_date(panel.row_periods()[hidden.rows])
    truth = keys.with_columns(date=pl.Series(dates), true=pl.Series(panel.demand[hidden.rows]).cast(pl.Float64))
    both = truth.join(table.with_columns(pl.col("date").cast(truth.schema["date"])), on=[*panel.keys, "date"])
    assert both.height == len(hidden.rows), (both.height, len(hidden.rows))
    return both["true"].to_numpy(), both


def first_table(panel: Panel, name: str) -> None:
    """Hidden weeks, by what is known of them."""
    kinds: tuple[tuple[str, Callable[..., Hidden], float], ...] = (("empty", emptied, 0.1), ("sold out", shelves, 0.25))
    for label, hide, chance in kinds:
        hidden = hide(panel, np.random.default_rng(0), chance, since=FIRST)
        made = forecasts(hidden.bounded, name, 1, 1)
        true, table = told(panel, hidden, made)
        alone = latent_demand(made, emptied_like(hidden), None).join(
            table.select(*panel.keys, "date"), on=[*panel.keys, "date"]
        )
        says = {"sales": table["sold"].fill_null(0.0), "forecast alone": alone["mean"], "latent": table["mean"]}
        biases = "  ".join(
            f"{what} {100 * (said.sum() - true.sum()) / true.sum():+6.1f} %" for what, said in says.items()
        )
        inside = "  ".join(covers(true, table, level) for level in (0.1, 0.5, 0.9))
        print(
            f"{name:16}{label:10}{len(true):6,} weeks {true.sum():8,.0f} units  {biases}  covers {inside}", flush=True
        )


def covers(true: np.ndarray, table: pl.DataFrame, level: float) -> str:
    """P(y < q) .. P(y <= q)."""
    quantile = table[f"q{level}"].to_numpy()
    return f"{level}: {(true < quantile).mean():.2f}-{(true <= quantile).mean():.2f}"


def emptied_like(hidden: Hidden) -> Panel:
    """The panel with its hidden weeks told as empty: the law without the bound."""
    observed = np.array(hidden.bounded.observed)
    observed[hidden.rows] = False
    return replace(hidden.bounded, observed=observed, names=replace(hidden.bounded.names, sold_out=None))


def second_table(panel: Panel, name: str) -> None:
    """Forecasts from histories that take sold-out weeks in three ways."""
    hidden = shelves(panel, np.random.default_rng(1), 0.5, since=0)
    histories = {
        "true demand": panel,
        "as sold": hidden.sold,
        "left out": emptied_like(hidden),
        "lower bound": hidden.bounded,
    }
    for label, seen in histories.items():
        made = forecasts(seen, name, 4, 4)
        scores = evaluate(made, panel, metrics=["wql", "bias"])
        wql, bias = (float(scores.filter(pl.col("metric") == metric)["value"][0]) for metric in ("wql", "bias"))
        print(f"{name:16}{label:14}{wql:8.4f}{100 * bias:+8.1f} %", flush=True)


def main() -> int:
    if not VN2.is_dir():
        print("skipped: VN2 is not there; it is expected in ../shared/data beside the project")
        return 0
    panel = panel_of("vn2", VN2)
    names = sys.argv[1:] or ["season-profile", "patchwork", "sqrf"]
    for name in names:
        first_table(panel, name)
    print(f"{'':16}{'history':14}{'WQL':>8}{'bias':>10}")
    for name in names:
        second_table(panel, name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
