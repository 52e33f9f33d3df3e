"""Savings: a test period replayed for forecasters and rules, and what each rung is worth in money.

Every model is fitted before the tuning period and forecasts at each review from what was known then. Settings are
tuned on the tuning period and judged on the test period that follows it. Each rule of each model runs on the same
demand, start and lead times; the first rule of the first model, untuned, is what all are set against.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from shelfcast.config import SimulateConfig
from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError, nearest
from shelfcast.forecast import Forecast, concat_origins
from shelfcast.horizons import Horizon
from shelfcast.inventory.budget import NO_LIMIT, Scarce
from shelfcast.inventory.economics import Economics, Ints, Supply
from shelfcast.inventory.learned import Learned
from shelfcast.inventory.policies import POLICIES, Policy, ProjectedStockout, policy
from shelfcast.inventory.savings import Difference, difference, measures, regret_captured, share, stock_at_fill
from shelfcast.inventory.trials import Oracle, Outcome, Segmented
from shelfcast.inventory.tuning import Tuned, candidates, tune
from shelfcast.lessons import LEARNED, check_lessons, judged, learn
from shelfcast.models.base import Forecaster
from shelfcast.replays import (
    Cell,
    Group,
    Stretch,
    check_length,
    groups,
    has_rows,
    horizons_for,
    review_origins,
    run_groups,
    stretch,
    year_angles,
)
from shelfcast.rolling import backtest as roll
from shelfcast.segments import segments

ORACLE = "oracle"
_TEST = {"hour": 24 * 28, "day": 182, "week": 26, "month": 12}  # periods tested without a setting


@dataclass(frozen=True)
class Plan:
    """Everything but the models: the two stretches, the cells, and who belongs together.

    Parameters
    ----------
    tuning, test : stretches.
    cells : name of what varies -> cells; the configured one is `main`.
    which : (N,) segment of each series for tuning.
    segment_names : of the segments.
    clusters : (N,) item of each series, for intervals.
    block : periods a block of the intervals.
    """

    panel: Panel
    settings: SimulateConfig
    tuning: Stretch
    test: Stretch
    cells: dict[str, list[Cell]]
    which: Ints
    segment_names: tuple[str, ...]
    clusters: Ints
    block: int

    @property
    def horizons(self) -> tuple[Horizon, ...]:
        """What models must forecast."""
        return horizons_for(self.test.supply, [cell for cells in self.cells.values() for cell in cells])

    @property
    def origins(self) -> list[int]:
        """Where they forecast from: before every review of both stretches."""
        reviews = np.unique(self.test.supply.review_period).tolist()
        both = [review_origins(s.first, s.length, reviews) for s in (self.tuning, self.test)]
        return sorted({origin for part in both for origin in part})

    @property
    def scope(self) -> dict[str, Any]:
        """What is replayed: series, dates of both stretches, reviews, and what becomes of periods without a truth."""
        dates = {
            name: str(self.panel.date(period))
            for name, s in (("tuned", self.tuning), ("tested", self.test))
            for name, period in ((f"{name}_from", s.first), (f"{name}_to", s.first + s.length - 1))
        }
        first, last = self.test.first, self.test.first + self.test.length - 1
        there = has_rows(self.panel, first, self.test.length)
        truth = self.panel.window(first, last)[1] & ~self.panel.sold_out(first, last)
        unknown = float((there & ~truth).sum() / max(there.sum(), 1))
        counts = {"series": self.panel.n_series, "reviews": len(self.origins)}
        return counts | dates | {"unknown": unknown, "censored": self.settings.censored}


@dataclass
class Results:
    """Tables of a simulation, filled model by model; see `simulate` for their columns."""

    savings: list[dict[str, Any]] = field(default_factory=list)
    ladder: list[dict[str, Any]] = field(default_factory=list)
    grid: list[dict[str, Any]] = field(default_factory=list)
    sensitivity: list[dict[str, Any]] = field(default_factory=list)
    settings: list[dict[str, Any]] = field(default_factory=list)
    acceptance: list[dict[str, Any]] = field(default_factory=list)
    scope: list[dict[str, Any]] = field(default_factory=list)
    learned: dict[str, Learned] = field(default_factory=dict)

    def tables(self) -> dict[str, pl.DataFrame]:
        """Those with rows."""
        names = ("savings", "ladder", "grid", "sensitivity", "settings", "acceptance", "scope")
        return {name: pl.DataFrame(getattr(self, name)) for name in names if getattr(self, name)}


def plan(
    panel: Panel, settings: SimulateConfig, supply: Supply, economics: Economics, scarce: Scarce = NO_LIMIT
) -> Plan:
    """Stretches, cells and groups of a panel without aggregates; `scarce` is what the orders of a review may take.

    Raises
    ------
    ConfigError : the panel is too short, or a policy has no such name.
    """
    for name in settings.policies:
        if name == LEARNED:
            check_lessons(settings.settings.get(LEARNED, {}))
        elif name not in POLICIES:
            named = nearest(name, (*POLICIES, LEARNED))
            raise ConfigError("simulate.policies", f"no policy is called '{name}'; {named}")
    n_test = settings.periods or _TEST[panel.frequency.unit.value]
    n_tuning = settings.tuning_periods or n_test
    check_length(panel, n_test, n_tuning)
    first = panel.last - n_test + 1
    terms = supply.for_items(panel.n_series)
    start = _usual_demand(panel, first - n_tuning - 1)
    is_imputed = settings.censored == "imputed"
    tuning = stretch(panel, first - n_tuning, n_tuning, terms, economics, imputed=is_imputed, start=start)
    test = stretch(panel, first, n_test, terms, economics, imputed=is_imputed, start=start)
    tuning, test = (replace(s, scarce=scarce) for s in (tuning, test))
    if n_tuning >= panel.frequency.year:  # less than a year teaches nothing of the time of the year
        tuning, test = (
            replace(s, calendar=year_angles(panel.frequency.year, s.first, s.length)) for s in (tuning, test)
        )
    labels = segments(panel, first - n_tuning - 1)[settings.segment].fill_null("none").cast(pl.String)
    names = tuple(labels.unique().sort())
    which = labels.replace_strict({name: i for i, name in enumerate(names)}, return_dtype=pl.Int64).to_numpy()
    items = panel.series["item"].cast(pl.String)
    clusters = (items.rank("dense").cast(pl.Int64) - 1).to_numpy()
    review = int(terms.review_period.max(initial=1))
    block = settings.block or max(4 * review, 1)
    return Plan(panel, settings, tuning, test, _cells(settings, terms), which, names, clusters, block)


def _usual_demand(panel: Panel, origin: int) -> Any:
    """(N,) mean demand per observed period in the quarter up to an origin, units."""
    demand, seen = panel.window(origin - max(round(panel.frequency.year / 4), 1) + 1, origin)
    return demand.sum(axis=1, dtype=np.float64) / np.maximum(seen.sum(axis=1), 1)


def _cells(settings: SimulateConfig, terms: Supply) -> dict[str, list[Cell]]:
    """The configured cell, and around it one thing at a time, or all combinations."""
    ratios, leads, packs = settings.critical_ratios, settings.lead_times, settings.packs
    found: dict[str, list[Cell]] = {"main": [Cell()]}
    if settings.every_cell:
        lead_cells = [Cell(lead_time=lead) for lead in leads] or [Cell()]
        found["grid"] = [
            replace(cell, critical_ratio=ratio, pack_size=pack)
            for cell in lead_cells
            for ratio in ratios
            for pack in packs
        ]
        return found
    found["critical_ratio"] = [Cell(critical_ratio=ratio) for ratio in ratios]
    found["lead_time"] = [Cell(lead_time=lead) for lead in leads]
    found["pack_size"] = [Cell(pack_size=pack) for pack in packs]
    if settings.random_lead and int(terms.lead_time.min(initial=1)) > 0:
        found["random lead"] = [Cell(is_random=True)]
    return found


def simulate(
    made_plan: Plan, model: Callable[[str, tuple[Horizon, ...]], Forecaster], names: Sequence[str], *, seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda doing, done, total: None,
) -> Results:  # fmt: skip
    """All tables, model by model, so that only one model's forecasts are held at a time.

    Parameters
    ----------
    model : makes a forecaster by name for the horizons needed.
    names : of the models, the one that all are set against first.

    Returns
    -------
    savings : model, policy, is_tuned, measures, regret captured, stock at the base's fill rate.
    ladder : model, policy against model, policy: relative cost with interval, money saved, shares of items.
    grid : what varies, its value, model, policy, is_tuned, measures, and saving against the base of that cell.
    sensitivity : what was wrong, model, policy, cost and saving against the base under the same error.
    settings : model, policy, segment, the setting chosen.
    acceptance : model, the tuned rule that the learned one was set against, relative cost with interval, whether it is
        accepted, and the least and largest difference of one seed alone.
    scope : one row, as `Plan.scope`.
    """
    results, bases = Results(scope=[made_plan.scope]), _Bases()
    for place, name in enumerate(names):
        progress(f"simulate: forecasts of {name}", 2 * place, 2 * len(names))
        made = _forecasts(made_plan, model(name, made_plan.horizons), seed)
        progress(f"simulate: replays of {name}", 2 * place + 1, 2 * len(names))
        _Model(made_plan, name, made, results, bases, progress).run()
    return results


def _forecasts(made_plan: Plan, model: Forecaster, seed: int) -> Forecast:
    """Forecasts at every review, from a model fitted before the tuning period."""
    made = list(roll(model, made_plan.panel, made_plan.origins, seed=seed))
    return concat_origins(made)


@dataclass
class _Bases:
    """Outcomes that later models are set against: by cell, and the rungs of the first model."""

    main: Outcome | None = None
    oracle: float = float("nan")
    by_cell: dict[Cell, Outcome] = field(default_factory=dict)
    rungs: dict[str, Outcome] = field(default_factory=dict)
    who: tuple[str, str] = ("", "")


@dataclass
class _Model:
    """The replays of one model."""

    plan: Plan
    name: str
    made: Forecast
    results: Results
    bases: _Bases
    progress: Callable[[str, int, int], None]
    tuned: dict[str, Tuned] = field(default_factory=dict)
    learned: Learned | None = None

    def run(self) -> None:
        self._main()
        self._grid()
        self._sensitivity()

    def _groups(self, past: Stretch, cell: Cell) -> list[Group]:
        return groups(past, self.made, cell)

    def _untuned(self, name: str) -> Policy:
        return policy(name, self.plan.settings.settings.get(name, {}))

    def _play(self, parts: Sequence[Group], rule: Policy | Tuned) -> Outcome:
        def of(part: Group) -> Policy:
            return Segmented(rule.rules, self.plan.which[part.rows]) if isinstance(rule, Tuned) else rule

        return run_groups(parts, of, self.plan.block)

    def _tune(self, name: str, cell: Cell, parts: Sequence[Group]) -> Tuned | None:
        """On the tuning period, `parts`, under the terms of a cell."""
        supply = self.plan.test.supply
        lead = int(np.median(supply.lead_time)) if cell.lead_time is None else cell.lead_time
        review = int(np.median(supply.review_period))
        tried = candidates(name, lead + review, review)
        if not tried:
            return None
        return tune(tried, lambda rule: self._play(parts, rule), self.plan.which)

    def _main(self) -> None:
        parts, tuning = (self._groups(past, Cell()) for past in (self.plan.test, self.plan.tuning))
        before: tuple[str, Outcome] | None = None
        tuned: dict[str, Outcome] = {}
        for name in self.plan.settings.policies:
            for label, rule in self._rungs_of(name, tuning):
                outcome = self._play(parts, rule)
                if self.bases.main is None:
                    self.bases.main, self.bases.who = outcome, (self.name, label)
                    self.bases.oracle = self._oracle(parts)
                if isinstance(rule, Tuned):
                    tuned[label] = outcome
                if isinstance(rule, Learned) and tuned:
                    self._judge(rule, outcome, parts, tuned)
                self._record(label, outcome)
                self._rungs(label, outcome, before)
                before = (label, outcome)

    def _rungs_of(self, name: str, tuning: Sequence[Group]) -> Iterator[tuple[str, Policy | Tuned]]:
        """A policy as it comes, and tuned; the learned one is all tuning."""
        if name == LEARNED:
            self.learned = self._learn(tuning)
            yield LEARNED, self.learned
            return
        yield name, self._untuned(name)
        found = self._tune(name, Cell(), tuning)
        if found is not None:
            self.tuned[name] = found
            self._record_settings(name, found)
            yield f"{name}, tuned", found

    def _learn(self, tuning: Sequence[Group]) -> Learned:
        base = self.tuned["projected"].overall if "projected" in self.tuned else None
        m = base.m if isinstance(base, ProjectedStockout) else None
        doing = f"simulate: learning with {self.name}"
        settings = self.plan.settings.settings.get(LEARNED, {})
        return learn(tuning, settings, m, lambda done, total: self.progress(doing, done, total))

    def _judge(self, rule: Learned, outcome: Outcome, parts: Sequence[Group], tuned: dict[str, Outcome]) -> None:
        made = judged(rule, outcome, lambda other: self._play(parts, other), tuned, self.plan.clusters)
        seen = made.evidence
        assert seen is not None
        self.learned = self.results.learned[self.name] = made
        found = {name: getattr(seen, name) for name in ("against", "relative", "low", "high", "is_accepted")}
        seeds = {"seeds": len(seen.seeds), "seed_low": min(seen.seeds), "seed_high": max(seen.seeds)}
        self.results.acceptance.append({"model": self.name} | found | seeds)

    def _oracle(self, parts: Sequence[Group]) -> float:
        def of(part: Group) -> Policy:
            return Oracle(part.trial.demand, part.trial.supply, part.trial.economics, part.trial.first)

        outcome = run_groups(parts, of, self.plan.block)
        self.results.savings.append({"model": "", "policy": ORACLE} | self._measured(outcome))
        return outcome.total("cost")

    def _measured(self, outcome: Outcome) -> dict[str, Any]:
        return measures(outcome, self.plan.panel.frequency.year)

    def _record(self, label: str, outcome: Outcome) -> None:
        assert self.bases.main is not None
        cost, base = outcome.total("cost"), self.bases.main.total("cost")
        row = {"model": self.name, "policy": label} | self._measured(outcome)
        self.results.savings.append(row | {"regret_captured": regret_captured(cost, base, self.bases.oracle)})

    def _rungs(self, label: str, outcome: Outcome, before: tuple[str, Outcome] | None) -> None:
        """Against the base, against the rung before, and against the same rule under the first model."""
        assert self.bases.main is not None
        self._compare(label, outcome, "base", self.bases.who, self.bases.main)
        if before is not None:
            self._compare(label, outcome, "rung before", (self.name, before[0]), before[1])
        first = self.bases.rungs.setdefault(label, outcome)
        if first is not outcome:
            self._compare(label, outcome, "forecast", (self.bases.who[0], label), first)

    def _compare(self, label: str, outcome: Outcome, kind: str, who: tuple[str, str], other: Outcome) -> None:
        found: Difference = difference(outcome.cost, other.cost, self.plan.clusters)
        row = {"model": self.name, "policy": label, "kind": kind, "against_model": who[0], "against_policy": who[1]}
        self.results.ladder.append(row | vars(found))

    def _record_settings(self, name: str, found: Tuned) -> None:
        named = [("all", found.overall), *zip(self.plan.segment_names, found.rules, strict=False)]
        for segment, rule in named:
            row = {"model": self.name, "policy": name, "segment": segment, "setting": str(rule)}
            self.results.settings.append(row)

    def _grid(self) -> None:
        for what, cells in self.plan.cells.items():
            if what != "main":
                for cell in cells:
                    self._cell(what, cell)

    def _cell(self, what: str, cell: Cell) -> None:
        """Every rule in a cell; those whose settings do not follow the costs by themselves are tuned anew."""
        parts, tuning = (self._groups(past, cell) for past in (self.plan.test, self.plan.tuning))
        for name in self.plan.settings.policies:
            if name == LEARNED:  # it has learned the configured terms only
                continue
            outcome = self._play(parts, self._untuned(name))
            base = self.bases.by_cell.setdefault(cell, outcome)
            self._record_cell(what, cell, name, outcome, base)
            if name != "projected" and (found := self._tune(name, cell, tuning)) is not None:
                self._record_cell(what, cell, f"{name}, tuned", self._play(parts, found), base)

    def _record_cell(self, what: str, cell: Cell, label: str, outcome: Outcome, base: Outcome) -> None:
        found = difference(outcome.cost, base.cost, self.plan.clusters, n=200)
        where = {"critical_ratio": cell.critical_ratio, "lead_time": cell.lead_time, "pack_size": cell.pack_size}
        row = {"varies": what, **where, "model": self.name, "policy": label} | self._measured(outcome)
        self.results.grid.append(row | {"against_base": found.relative, "low": found.low, "high": found.high})

    def _sensitivity(self) -> None:
        """Savings where the costs that rules are told, or the lead time they plan with, are wrong."""
        worlds = {
            "costs 20 % too low": Cell(told=0.8),
            "costs 20 % too high": Cell(told=1.2),
            "orders a period late": Cell(late=1),
        }
        for what, cell in worlds.items():
            parts = self._groups(self.plan.test, cell)
            for name in self.plan.settings.policies:
                for label, rule in self._settled(name):
                    outcome = self._play(parts, rule)
                    base = self.bases.by_cell.setdefault(cell, outcome)
                    found = difference(outcome.cost, base.cost, self.plan.clusters, n=200)
                    row = {"error": what, "model": self.name, "policy": label, "cost": outcome.total("cost")}
                    row |= {"against_base": found.relative, "low": found.low, "high": found.high}
                    self.results.sensitivity.append(row)

    def _settled(self, name: str) -> Iterator[tuple[str, Policy | Tuned]]:
        """The rungs of a policy as they were tuned or learned."""
        if name == LEARNED:
            assert self.learned is not None
            yield LEARNED, self.learned
            return
        yield name, self._untuned(name)
        if name in self.tuned:
            yield f"{name}, tuned", self.tuned[name]


def equal_fill(grid: pl.DataFrame, savings: pl.DataFrame) -> pl.DataFrame:
    """Mean stock that each rule needs for the fill rate of the base, from its frontier over critical ratios.

    Returns
    -------
    model, policy, stock (units; null where the frontier does not reach that fill rate), against_base (relative).
    """
    base = savings.filter(pl.col("policy") != ORACLE).row(0, named=True)
    rows = []
    frontier = grid.filter(pl.col("varies") == "critical_ratio")
    for (model, name), part in frontier.group_by("model", "policy", maintain_order=True):
        stock = stock_at_fill(part["fill_rate"].to_numpy(), part["mean_stock"].to_numpy(), base["fill_rate"])
        rows.append(
            {"model": model, "policy": name, "stock": stock, "against_base": share(stock, base["mean_stock"]) - 1.0}
        )
    schema = {"model": pl.String, "policy": pl.String, "stock": pl.Float64, "against_base": pl.Float64}
    return pl.DataFrame(rows, schema=schema).fill_nan(None)
