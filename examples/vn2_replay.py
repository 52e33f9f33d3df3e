"""VN2: the planning game's history replayed, open loop and closed loop, against its published benchmark policy.

    python examples/vn2_replay.py FOLDER_WITH_THE_FILES

Rules: an order at the end of week X sells from week X + 3 (lead time 2, a review every week), 0.2 per unit and week
left, 1 per lost unit. Weeks 79 to 130 of the history are scored, counted from 0; models are fitted and settings tuned
on what lies before. A week out of stock takes the demand of the nearest week in stock and is not counted.

The benchmark: mean of the latest 13 weeks in stock, each divided by its week's factor of the year (over all products,
smoothed), times the factors ahead; order up to four weeks of it.
"""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from shelfcast.closed_loop import SoldOut, closed_loop
from shelfcast.config import read_config
from shelfcast.data.panel import Panel
from shelfcast.forecast import Forecast, concat_origins
from shelfcast.horizons import Horizon
from shelfcast.inventory.economics import Economics, Supply
from shelfcast.inventory.learned import Learned
from shelfcast.inventory.learning import Lesson, Schooling, train
from shelfcast.inventory.policies import CappedBaseStock, Cover, Policy, ProjectedStockout, QuantileOfSum
from shelfcast.inventory.savings import difference, measures
from shelfcast.inventory.stock import Stock
from shelfcast.inventory.trials import Oracle, Outcome, Trial, run_rule
from shelfcast.inventory.tuning import candidates, tune
from shelfcast.loading import Run, load_panel, products
from shelfcast.models.base import Forecaster
from shelfcast.models.table import forecaster
from shelfcast.replays import Cell, ForecastLaws, horizons_for, stretch
from shelfcast.rolling import backtest

FIRST, LAST, TUNING = 79, 130, 26
LEVELS = (0.02, 0.05, 0.1, 0.175, 0.25, 0.375, 0.5, 0.625, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99)
TERMS = Supply(lead_time=2, review_period=1, pack_size=1.0)
MONEY = Economics(holding_cost=0.2, stockout_cost=1.0)


class Benchmark:
    """The published forecast: a mean only, so its quantiles are all that mean."""

    def __init__(self, horizons: tuple[Horizon, ...]) -> None:
        self.horizons = horizons

    def predict(self, panel: Panel, origin: int) -> Forecast:
        """Means of every series from one origin."""
        demand, seen = panel.as_of(origin).window(panel.first, origin)
        weeks = self._weeks(panel, panel.first, origin)
        factors = self._factors(demand, seen, weeks)
        recent = slice(-13, None)
        worth = np.where(seen[:, recent], demand[:, recent] / factors[weeks[recent]], 0.0)
        rate = worth.sum(axis=1) / np.maximum(seen[:, recent].sum(axis=1), 1)
        mean = np.empty((panel.n_series, 1, len(self.horizons)), dtype=np.float32)
        for k, h in enumerate(self.horizons):
            ahead = self._weeks(panel, origin + h.lead + 1, origin + h.end)
            mean[:, 0, k] = rate * factors[ahead].sum()
        keys = panel.series.select(panel.keys)
        return Forecast(keys, (origin,), panel.frequency, self.horizons, (0.5,), mean[..., None], mean, "benchmark")

    def _weeks(self, panel: Panel, first: int, last: int) -> np.ndarray:
        """Week of the year, from 0, of every period."""
        dates = panel.frequency.to_date(np.arange(first, last + 1))
        return np.array([date.isocalendar()[1] - 1 for date in dates.astype("datetime64[D]").astype(object)])

    def _factors(self, demand: np.ndarray, seen: np.ndarray, weeks: np.ndarray) -> np.ndarray:
        """(53,) mean demand in stock of a week of the year over that of all weeks, smoothed over three."""
        mean = demand.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        raw = np.array([mean[weeks == w].mean() if (weeks == w).any() else np.nan for w in range(53)]) / mean.mean()
        raw = np.where(np.isnan(raw), 1.0, raw)
        return np.convolve(np.concatenate((raw[-1:], raw, raw[:1])), [0.25, 0.5, 0.25], "valid")


def trial(panel: Panel, first: int, n_weeks: int) -> Trial:
    """`n_weeks` from week `first` on; everyone starts with three weeks of the mean of the 13 before."""
    at = panel.first + first
    before, _ = panel.window(at - 13, at - 1)
    past = stretch(panel, at, n_weeks, TERMS, MONEY, imputed=False, start=before.mean(axis=1))
    counted = past.counted.copy()
    counted[:, :2] = False
    stock = Stock.of(np.ceil(3 * past.start), 2)
    return Trial(past.demand, counted, stock, past.economics, past.supply)


def model_of(name: str, horizons: tuple[Horizon, ...]) -> Forecaster:
    """A model by its name; `a+b` is the blend of two."""
    settings = {"members": name.split("+")} if "+" in name else {}
    return forecaster("blend" if settings else name, horizons=horizons, levels=LEVELS, **settings)


def laws(
    panel: Panel, name: str, horizons: tuple[Horizon, ...], first: int, n_weeks: int, refit: int | None = None
) -> ForecastLaws:
    """Forecasts before each of the weeks, from a model fitted before the first, and again every `refit` weeks."""
    at = panel.first + first
    if name == "benchmark":
        made = [Benchmark(horizons).predict(panel, at + t - 1) for t in range(n_weeks)]
    else:
        made = list(backtest(model_of(name, horizons), panel, range(at - 1, at + n_weeks - 1), refit_every=refit))
    return ForecastLaws(concat_origins(made), np.arange(panel.n_series), at)


def at_fill(run: Callable[[Policy], Outcome], wanted: float) -> Outcome:
    """The projected rule with the `m` that gives a fill rate."""
    low, high = 0.02, 3.0
    for _ in range(14):
        middle = (low * high) ** 0.5
        low, high = (
            (middle, high) if measures(run(ProjectedStockout(middle)), 52)["fill_rate"] > wanted else (low, middle)
        )
    return run(ProjectedStockout(low))


def show(name: str, outcome: Outcome, base: Outcome) -> None:
    """One line: cost, against the base with interval, its parts and the fill rate."""
    found, m = difference(outcome.cost, base.cost), measures(outcome, 52)
    interval = f"{100 * found.relative:+6.1f} % ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    parts = f"holding {m['holding']:8,.0f}  lost {m['stockout']:8,.0f}  fill {m['fill_rate']:.3f}"
    print(f"{name:52s} {m['cost']:8,.0f} {interval:26s} {parts}", flush=True)


def open_loop(panel: Panel, names: list[str], horizons: tuple[Horizon, ...], n_seeds: int, refit: int | None) -> None:
    """Forecasts from recorded history."""
    n_weeks = LAST - FIRST + 1
    test, tuning = trial(panel, FIRST, n_weeks), trial(panel, FIRST - TUNING, TUNING)
    law = laws(panel, "benchmark", horizons, FIRST, n_weeks)
    base = run_rule(test, Cover(4.0), law, 4)
    print("open loop, weeks 79 to 130; tuned and learned on weeks 53 to 78")
    show("benchmark: cover 4", base, base)
    show("benchmark forecast, cover 3", run_rule(test, Cover(3.0), law, 4), base)
    show("perfect knowledge", run_rule(test, Oracle(test.demand, test.supply, test.economics), law, 4), base)
    for name in names:
        now = laws(panel, name, horizons, FIRST, n_weeks, refit)
        before = laws(panel, name, horizons, FIRST - TUNING, TUNING, refit)
        one_model(name, Lesson(test, now), Lesson(tuning, before), base, n_seeds)


def one_model(name: str, test: Lesson, tuning: Lesson, base: Outcome, n_seeds: int) -> None:
    """Every rule under one model's forecasts."""
    which, tuned = np.zeros(len(test.trial.demand), int), {}
    for label, rule in (
        ("quantile", QuantileOfSum()),
        ("capped", CappedBaseStock()),
        ("projected", ProjectedStockout()),
    ):
        show(f"{name}: {label}", play(test, rule), base)
        found = tune(candidates(label, 3, 1), partial(play, tuning), which)
        tuned[label] = found.overall
        show(f"{name}: {label}, tuned: {found.overall}", play(test, found.overall), base)
    fill = measures(base, 52)["fill_rate"]
    show(f"{name}: projected at the benchmark's fill rate", at_fill(partial(play, test), fill), base)
    if n_seeds:
        m = getattr(tuned["projected"], "m", None)
        rule = train([tuning], Schooling(seeds=tuple(range(n_seeds))), m)
        show(f"{name}: learned, {n_seeds} seeds", play(test, rule), base)
        cheapest = min((play(test, other) for other in tuned.values()), key=lambda outcome: outcome.total("cost"))
        for k, net in enumerate(rule.nets):
            show(f"   seed {k} alone, against the cheapest tuned rule", play(test, Learned((net,), m)), cheapest)
        show("   all, against the cheapest tuned rule", play(test, rule), cheapest)


def play(lesson: Lesson, rule: Policy) -> Outcome:
    """Replay a rule in blocks of four weeks."""
    return run_rule(lesson.trial, rule, lesson.laws, 4)


def closed(panel: Panel, names: list[str], horizons: tuple[Horizon, ...]) -> None:
    """Forecasts from what the rule itself sold."""
    n_weeks, at = LAST - FIRST + 1, panel.first + FIRST
    test = trial(panel, FIRST, n_weeks)
    published = Benchmark(horizons).predict
    bases = {told: closed_loop(panel, published, Cover(4.0), test, at, told) for told in SoldOut}
    base = min((bases[told] for told in SoldOut if told is not SoldOut.TRUTH), key=lambda o: o.total("cost"))
    print("\nclosed loop, weeks 79 to 130; against the cheapest benchmark that sees its own sales only")
    for told in SoldOut:
        show(f"benchmark: cover 4; sold-out weeks: {told.value}", bases[told], base)
    for name in names:
        model = model_of(name, horizons).fit(panel.as_of(at - 1))
        for told in SoldOut:
            made = closed_loop(panel, partial(predict, model), ProjectedStockout(), test, at, told)
            show(f"{name}: projected; sold-out weeks: {told.value}", made, base)


def predict(model: Forecaster, panel: Panel, origin: int) -> Forecast:
    """From one origin."""
    return model.predict(panel, [origin])


def main() -> None:
    """Both loops."""
    parser = argparse.ArgumentParser(description="Replay of the VN2 planning game.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", nargs="+", default=["season-profile"], help="names; a+b is the blend of a and b")
    parser.add_argument("--seeds", type=int, default=5, help="networks of the learned rule; 0 leaves it out")
    parser.add_argument("--refit", type=int, help="weeks between fits of a model, open loop; without it, one fit")
    parser.add_argument("--loops", choices=("open", "closed", "both"), default="both")
    given = parser.parse_args()
    config, root = read_config(Path(__file__).with_name("vn2.toml"))
    panel = products(load_panel(Run(config, root, datetime.now(UTC).replace(tzinfo=None), data=given.data)))
    horizons = horizons_for(TERMS.for_items(panel.n_series), [Cell()])
    if given.loops != "closed":
        open_loop(panel, given.models, horizons, given.seeds, given.refit)
    if given.loops != "open":
        closed(panel, given.models, horizons)


if __name__ == "__main__":
    main()
