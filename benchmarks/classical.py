"""The textbook models in compiled batches against statsforecast on the same series, and on 30,490 x 1,941 values.

    python benchmarks/classical.py [--series 300] [--full 30490] [--heavy 20]

First the same models in both libraries, on generated smooth and intermittent series and, where `../shared/data/m5` is
there, on M5's products: largest absolute difference of the forecasts, CPU-seconds of each, and their ratio.
Statsforecast is called model by model without its frames, which flatters it; both are compiled before the clock starts.
Then each cheap model once over all series, in CPU-seconds, beside the floor of reading the values once; then the
automatic models per series, with the number that fell back to SES. `--full 0` leaves the second part out.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfcast.models.intermittent import ADIDA, IMAPA, SBA, TSB, Croston
from shelfcast.models.points import PointModel, Series
from shelfcast.models.smoothing import SES, Form, HoltWinters, SeasonalES, SeasonalWindowAverage, WindowAverage
from shelfcast.models.textbook import POINT_MODELS

N_DAYS, N_PERIODS = 1941, 28
HEAVY = ("ets", "theta", "arima")
TWINS: list[tuple[PointModel, str, dict[str, Any]]] = [
    (SES(0.1), "SimpleExponentialSmoothing", {"alpha": 0.1}),
    (SES(), "SimpleExponentialSmoothingOptimized", {}),
    (SeasonalES(0.1), "SeasonalExponentialSmoothing", {"season_length": 7, "alpha": 0.1}),
    (WindowAverage(28), "WindowAverage", {"window_size": 28}),
    (SeasonalWindowAverage(8), "SeasonalWindowAverage", {"season_length": 7, "window_size": 8}),
    (Croston(), "CrostonClassic", {}),
    (SBA(), "CrostonSBA", {}),
    (TSB(0.1, 0.1), "TSB", {"alpha_d": 0.1, "alpha_p": 0.1}),
    (ADIDA(), "ADIDA", {}),
    (IMAPA(), "IMAPA", {}),
]


def flat(values: NDArray[np.float64]) -> Series:
    """(N, T) complete values as series of days."""
    n_series, n_days = values.shape
    indptr = np.arange(n_series + 1, dtype=np.int64) * n_days
    return Series(values.ravel(), np.ones(values.size, dtype=bool), indptr, n_days - 1, 7)


def smooth(n_series: int) -> Series:
    """Poisson demand around 5 to 50 with a weekly season and a slow level."""
    rng = np.random.default_rng(0)
    level = np.exp(np.cumsum(rng.normal(0, 0.01, (n_series, N_DAYS)), axis=1)) * rng.uniform(5, 50, (n_series, 1))
    week = np.tile([0.8, 0.8, 0.9, 1.0, 1.1, 1.3, 1.1], N_DAYS // 7 + 1)[:N_DAYS]
    return flat(rng.poisson(level * week).astype(np.float64))


def intermittent(n_series: int) -> Series:
    """Negative binomial demand; two thirds of the days without, and 5 % to 95 % by series."""
    rng = np.random.default_rng(1)
    chance = rng.uniform(0.05, 0.6, (n_series, 1))
    sold = rng.random((n_series, N_DAYS)) < chance
    return flat(sold * (1.0 + rng.poisson(rng.gamma(0.5, 2.0, (n_series, N_DAYS)))))


def products(n_series: int) -> Series | None:
    """M5's products from their first sale; None where the data are not there."""
    try:
        import m5_data

        panel = m5_data.products()
    except OSError:
        return None
    places = np.linspace(0, panel.n_series - 1, min(n_series, panel.n_series)).astype(np.int64)
    return Series.of(panel.take(places), panel.last)


def cpu(action: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, and its CPU-seconds, compiled before."""
    begin = time.process_time()
    done = action()
    return done, time.process_time() - begin


def first_few(series: Series, count: int) -> Series:
    """The first `count` series."""
    end = series.indptr[count]
    return Series(series.demand[:end], series.observed[:end], series.indptr[: count + 1], series.origin, series.season)


def compare(name: str, series: Series) -> None:
    """Both libraries on the same series."""
    from statsforecast import models

    histories = np.split(series.demand, series.indptr[1:-1])
    print(
        f"\n{name}: {series.n_series:,} series, {len(series.demand):,} values, {(series.demand == 0).mean():.0%} zeros"
    )
    print(f"{'model':26}{'max |diff|':>12}{'ours s':>10}{'theirs s':>10}{'ratio':>8}")
    for model, twin, settings in TWINS:
        theirs = getattr(models, twin)(**settings)
        model.path(first_few(series, 1), 1), theirs.forecast(histories[0], 1)
        path, ours_s = cpu(lambda model=model: model.path(series, N_PERIODS))
        other, theirs_s = cpu(lambda theirs=theirs: [theirs.forecast(y, N_PERIODS)["mean"] for y in histories])
        difference = np.abs(path - np.array(other)).max()
        print(f"{str(model)[:25]:26}{difference:12.1e}{ours_s:10.4f}{theirs_s:10.3f}{theirs_s / ours_s:8.0f}")


def full(n_series: int) -> None:
    """Every cheap model over all series."""
    series = intermittent(n_series)
    _, floor = cpu(lambda: (series.demand.sum(), series.observed.all()))
    print(f"\n{n_series:,} series x {N_DAYS:,} values; floor (values and mask read once) {floor:.2f} CPU s")
    models = {name: POINT_MODELS[name]() for name in POINT_MODELS if name not in HEAVY}
    models |= {"ses, alpha .1": SES(0.1), "seasonal-es, alpha .1": SeasonalES(0.1)}
    models |= {"holt-winters, times": HoltWinters(Form.MULTIPLICATIVE)}
    total = 0.0
    for name, model in models.items():
        model.path(first_few(series, 1), 1)
        _, seconds = cpu(lambda model=model: model.path(series, N_PERIODS))
        total += seconds * (name in ("ses", "seasonal-es", "croston", "sba", "tsb", "adida", "imapa"))
        print(f"{name:26}{seconds:8.2f} CPU s{seconds / max(floor, 1e-9):8.0f} x floor")
    print(f"{'ses ... imapa together':26}{total:8.2f} CPU s  (ses, seasonal-es, croston, sba, tsb, adida, imapa)")


def heavy(name: str, series: Series) -> None:
    """The automatic models, a few series each."""
    for key in HEAVY:
        model: Any = POINT_MODELS[key]()
        model.path(first_few(series, 1), 1)
        outcome, seconds = cpu(lambda model=model: model.outcome(series, N_PERIODS))
        each = seconds / series.n_series
        print(f"{key:8}{name:14}{each:8.3f} CPU s a series, {int(outcome.failed.sum())} of {series.n_series} fell back")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=300)
    parser.add_argument("--full", type=int, default=30_490)
    parser.add_argument("--heavy", type=int, default=20)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    sets = {"smooth": smooth(asked.series), "intermittent": intermittent(asked.series), "M5": products(asked.series)}
    given = {name: series for name, series in sets.items() if series is not None}
    for name, series in given.items():
        compare(name, series)
    if asked.full:
        full(asked.full)
    print()
    for name, series in given.items():
        if asked.heavy:
            heavy(name, first_few(series, min(asked.heavy, series.n_series)))


if __name__ == "__main__":
    main()
