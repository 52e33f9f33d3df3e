"""How well sums of 7, 14 and 28 days are forecast, by the window of the level they start from, against seasonal naive.

    python benchmarks/spans.py

Orders protect sums, so single days are not enough to judge a model by. On the embedded sample (six weekly origins whose
targets end with the data) and, where it is there, on the M5 sample (nine origins, as in `m5.py`). WQL over all levels,
quantiles in whole units; then the share of sums at or below the quantile of the second highest level.
"""

from collections.abc import Sequence

import polars as pl

import m5_data
from shelfcast import Horizon, Panel, Schema, evaluate, forecaster, rolling_origins, sample
from shelfcast.models.base import M5_LEVELS

SPANS = tuple(Horizon(0, span) for span in (7, 14, 28))
DEMO_LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
CONTENDERS = [("seasonal-naive", {}), *(("season-profile", {"level_window": days}) for days in (14, 28, 56, 91))]


def table(title: str, panel: Panel, origins: Sequence[int], levels: Sequence[float]) -> None:
    """Print a row for each contender."""
    top = levels[-2]
    print(f"{title:34}" + "".join(f"{f'WQL {h.span}':>9}" for h in SPANS) + f"   at or below q{top}")
    for name, settings in CONTENDERS:
        model = forecaster(name, horizons=SPANS, levels=levels, **settings).fit(panel.as_of(origins[0]))
        scores = evaluate(model.predict(panel, origins).rounded(), panel, metrics=["wql", "coverage_at_most"])
        scores = scores.sort("span")
        wql = scores.filter(pl.col("metric") == "wql")["value"]
        share = scores.filter(pl.col("metric") == "coverage_at_most", pl.col("level") == top)["value"]
        row = f"{name} {settings.get('level_window', '')}"
        print(f"{row:34}" + "".join(f"{v:9.3f}" for v in wql) + "   " + " ".join(f"{v:.3f}" for v in share), flush=True)


def main() -> None:
    """Print the tables."""
    shop = Panel.from_frame(sample("sales"), Schema(demand="units", paid="price"))
    table("web shop, before Christmas", shop, rolling_origins(shop, 6, 7, 28), DEMO_LEVELS)
    table("web shop, 26 weeks earlier", shop, [o - 182 for o in rolling_origins(shop, 6, 7, 28)], DEMO_LEVELS)
    if m5_data.FOLDER.is_dir():
        table("M5, 2,405 products", m5_data.products(), [m5_data.period(day) for day in m5_data.ORIGIN_DAYS], M5_LEVELS)


if __name__ == "__main__":
    main()
