"""Planned promotions, protocol F16: weekly forecasts of 3,909 store-products with and without the price add-on.

    python benchmarks/promoted.py

Breakfast at the Frat, from `../shared/data` beside the project: frozen at week 120, origins 133 .. 148, horizons 1 to 8
weeks, nine levels, WQL over observed weeks, all and promoted (feature, display or price reduction in the target week).
The peers are empirical quantiles of 26 weeks, and of 52 weeks with promoted and other weeks apart, drawn here.
"""

import sys
import time

import numpy as np
import polars as pl

from leaderboard import TWO_STAGE
from shelfcast.data.panel import Panel
from shelfcast.evaluation import evaluate
from shelfcast.forecast import Forecast
from shelfcast.horizons import per_period
from shelfcast.laws import Empirical
from shelfcast.models.table import forecaster
from weekly_data import FRAT, LEVELS, f16

HORIZONS = per_period(8)
PLAIN = {"demand_class": "*", "model": "ses", "season": True, "price": False}


def split_by_promotion(panel: Panel, origins: list[int], window: int = 52) -> Forecast:
    """Peer: empirical quantiles of the last weeks that were promoted as the target week is."""
    flags = [panel.names.known.index(name) for name in panel.names.promotions]
    shape = (panel.n_series, len(origins), len(HORIZONS), len(LEVELS))
    values = np.zeros(shape, dtype=np.float32)
    for o, origin in enumerate(origins):
        demand, seen = panel.history(origin, window)
        was = np.nan_to_num(panel.known_window(origin - window + 1, origin)[..., flags]).max(axis=-1) > 0
        will = np.nan_to_num(panel.known_window(origin + 1, origin + len(HORIZONS))[..., flags]).max(axis=-1) > 0
        either = Empirical.of(demand, seen | ~seen.any(axis=1, keepdims=True)).quantile(LEVELS)
        for promoted in (False, True):
            use = seen & (was == promoted)
            own = Empirical.of(demand, use | ~use.any(axis=1, keepdims=True)).quantile(LEVELS)
            law = np.where(use.any(axis=1)[:, None], own, either)
            values[:, o] = np.where((will == promoted)[..., None], law[:, None], values[:, o])
    series = panel.series.select(panel.keys)
    return Forecast(series, tuple(origins), panel.frequency, HORIZONS, LEVELS, values, None, "split quantiles")


def row(label: str, made: Forecast, panel: Panel, cpu: float) -> None:
    """Print WQL over all and over promoted weeks, and P90 of promoted ones."""
    scores = evaluate(made, panel, by=("promoted", "level"), metrics=["wql"])
    total = evaluate(made, panel, metrics=["wql"])["value"][0]
    promoted = evaluate(made, panel, by=("promoted",), metrics=["wql"]).filter(
        pl.col("promoted").cast(pl.String) == YES
    )
    p90 = scores.filter(pl.col("promoted").cast(pl.String) == YES, (pl.col("level") - 0.9).abs() < 1e-9)
    print(f"{label:44}{total:8.4f}{promoted['value'][0]:10.4f}{p90['value'][0]:10.4f}{cpu:8.1f}", flush=True)


YES = "true"


def main() -> int:
    if not FRAT.is_dir():
        print("skipped: Breakfast at the Frat is not there; it is expected in ../shared/data beside the project")
        return 0
    panel, frozen, origins = f16()
    print(f"{'model':44}{'WQL':>8}{'promoted':>10}{'P90 prom':>10}{'CPU s':>8}")
    begin = time.process_time()
    row("empirical, 52 weeks, promoted apart", split_by_promotion(panel, origins), panel, time.process_time() - begin)
    entries = [
        ("empirical, 26 weeks", "recent-quantiles", {"window": 26}),
        ("season profile", "season-profile", {"window": 26}),
        ("patchwork without price, pooled errors", "patchwork", {"rules": [PLAIN], "own_share": 0.0}),
        ("patchwork, pooled errors", "patchwork", {"group": "category", "own_share": 0.0}),
        ("patchwork", "patchwork", {"group": "category"}),
        ("sparse quantile random forest", "sqrf", {}),
        ("sqrf, two stages", "sqrf", TWO_STAGE),
    ]
    for label, name, settings in entries:
        begin = time.process_time()
        model = forecaster(name, horizons=8, levels=LEVELS, **settings).fit(panel.as_of(frozen))
        row(label, model.predict(panel, origins), panel, time.process_time() - begin)
    return 0


if __name__ == "__main__":
    sys.exit(main())
