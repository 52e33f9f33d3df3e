"""Baselines on the M5 sample, on nine origins: d_1857 to d_1913 a week apart, 28 days ahead, the nine M5 levels.

    python benchmarks/m5.py

L12 is the WSPL of 2,405 products weighted by dollar sales of the 28 days before each origin; A9 the mean WSPL of levels
1 to 9 with the competition's weights; both the mean of nine origins. "even" is the scaled pinball loss without weights,
which is steadier. "published" are figures measured elsewhere under the same protocol, to be reproduced within 0.001.
"""

import sys
import time
from typing import Any

import numpy as np

import m5_data
from shelfcast.evaluation import calibration, evaluate
from shelfcast.forecast import Forecast
from shelfcast.metrics import Metric
from shelfcast.models.base import M5_LEVELS
from shelfcast.models.table import forecaster

HISTORY = 280  # weeks: all there is
MODELS: list[tuple[str, str, dict[str, Any], float, float | None]] = [
    ("seasonal naive, Gaussian", "seasonal-naive", {"errors": "gaussian", "seasons": HISTORY}, 0.3624, 0.2407),
    ("weekday quantiles, 13 weeks", "season-quantiles", {"seasons": 13}, 0.2972, 0.1892),
    ("weekday quantiles, 26 weeks", "season-quantiles", {"seasons": 26}, 0.2917, 0.2053),
    ("season profile, 91 days", "season-profile", {"window": 91}, 0.2740, None),
    ("season profile, 56 days", "season-profile", {"window": 56}, 0.2677, None),
    ("season profile, 56 days, all history", "season-profile", {"window": 56, "factor_window": HISTORY}, 0.2677, None),
]
ORIGINS = tuple(m5_data.period(day) for day in m5_data.ORIGIN_DAYS)


def _forecast(panel: Any, name: str, settings: dict[str, Any]) -> tuple[Forecast, float]:
    """A frozen model's forecasts from the nine origins, and the CPU seconds of fit and predict."""
    begin = time.process_time()
    model = forecaster(name, horizons=28, levels=M5_LEVELS, **settings).fit(panel.as_of(ORIGINS[0]))
    return model.predict(panel, ORIGINS), time.process_time() - begin


def _score(forecast: Forecast, panel: Any, metric: Metric, weights: Any = None) -> float:
    return float(evaluate(forecast, panel, metrics=[metric], weights=weights)["value"][0])


def _coverage(forecast: Forecast, panel: Any) -> str:
    """Shares at or below the quantiles of levels 0.165, 0.5, 0.835 and 0.975."""
    table = calibration(forecast, panel)
    shares = [
        table["at_most"][int(np.argmin(np.abs(table["level"].to_numpy() - level)))]
        for level in (0.165, 0.5, 0.835, 0.975)
    ]
    return " ".join(f"{share:.3f}" for share in shares)


def main() -> int:
    """Print the table; exit code 0 also where the data is absent."""
    if not m5_data.FOLDER.is_dir():
        print("skipped: the M5 sample is not there; it is expected in ../shared/data/m5 beside the project")
        return 0
    products, (totals, weights) = m5_data.products(), m5_data.aggregates()
    head = f"{'CPU s':>6} {'L12':>7} {'rounded':>8} {'A9':>7} {'even':>7} {'published':>15}"
    print(f"{'model':<38}{head}  share at or below q.165 q.5 q.835 q.975")
    for title, name, settings, l12, a9 in MODELS:
        forecast, seconds = _forecast(products, name, settings)
        of_totals, _ = _forecast(totals, name, settings)
        figures = (
            _score(forecast, products, Metric.WSPL),
            _score(forecast.rounded(), products, Metric.WSPL),
            _score(of_totals, totals, Metric.WSPL, weights),
            _score(forecast, products, Metric.SCALED_PINBALL),
        )
        line = "{:7.4f} {:8.4f} {:7.4f} {:7.4f}".format(*figures)
        known = f"{l12:.4f}" + (f" / {a9:.4f}" if a9 else "")
        print(f"{title:<38}{seconds:6.1f} {line} {known:>15}  {_coverage(forecast, products)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
