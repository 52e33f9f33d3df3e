"""A panel's past as trials: truth, terms and forecasts of a stretch of periods, in groups that one replay can take.

Truth is demand where it was observed. A period that was not (sold out, closed, missing) takes the demand of the nearest
observed period before it, or after where there is none, so that stock keeps moving; whether it counts is declared.
Nothing counts before the first order of the stretch can arrive. Every rule starts with the same stock: whole packs of
the first model's mean demand over the protected periods.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon
from shelfcast.inventory.blocks import whole_packs
from shelfcast.inventory.budget import NO_LIMIT, Scarce
from shelfcast.inventory.economics import Array, Economics, Ints, Supply
from shelfcast.inventory.orders import GridLaws
from shelfcast.inventory.policies import Policy, path_horizons, possible_leads
from shelfcast.inventory.stock import Stock
from shelfcast.inventory.trials import Laws, Outcome, Outlook, Trial, with_ratio
from shelfcast.laws import QuantileFunction

RANDOM_LEADS = (-1, 0, 1)  # periods around the lead time ...
RANDOM_SHARES = (0.25, 0.5, 0.25)  # ... and how often


@dataclass(frozen=True)
class Cell:
    """What differs from the configured terms; None for as configured.

    Parameters
    ----------
    critical_ratio : `p / (p + R h)` of every item, by its stock-out cost.
    lead_time : periods; rules know it.
    is_random : lead times vary by a period around it.
    pack_size : units.
    told : factor on the stock-out cost that rules are told, and not charged.
    late : periods by which orders come later than rules plan.
    """

    critical_ratio: float | None = None
    lead_time: int | None = None
    is_random: bool = False
    pack_size: float | None = None
    told: float = 1.0
    late: int = 0


@dataclass(frozen=True)
class Stretch:
    """N series over T periods.

    Parameters
    ----------
    first : number of the first period.
    demand : (N, T) units, filled where not observed.
    counted : (N, T) bool.
    start : (N,) mean demand per period at the start, units.
    supply, economics : configured terms of the N series.
    calendar : (T, 2) sine and cosine of the year, where rules may look at them.
    scarce : what all orders of a review may take; series of unlike lead or review times get the share of it that their
        usual demand costs.
    """

    first: int
    demand: Array
    counted: NDArray[np.bool_]
    start: Array
    supply: Supply
    economics: Economics
    calendar: Array | None = None
    scarce: Scarce = NO_LIMIT

    @property
    def length(self) -> int:
        """T."""
        return int(self.demand.shape[1])


def stretch(
    panel: Panel, first: int, n_periods: int, supply: Supply, economics: Economics, *, imputed: bool, start: Array
) -> Stretch:
    """The periods `first .. first + n_periods - 1` of a panel; `imputed` counts periods that were not observed, or sold
    out, too."""
    last = first + n_periods - 1
    demand, seen = panel.window(first, last)
    filled = nearest_observed(demand.astype(np.float64), seen)
    n = panel.n_series
    counted = has_rows(panel, first, n_periods) if imputed else seen & ~panel.sold_out(first, last)
    return Stretch(first, filled, counted, start, supply.for_items(n), economics.for_items(n))


def has_rows(panel: Panel, first: int, n_periods: int) -> NDArray[np.bool_]:
    """(N, T) whether a series had begun."""
    begun: NDArray[np.bool_] = panel.start[:, None] <= first + np.arange(n_periods)
    return begun & (panel.lengths > 0)[:, None]


def nearest_observed(demand: Array, seen: NDArray[np.bool_]) -> Array:
    """Demand (N, T) with unobserved periods filled from the observed one before, else the one after, else 0."""
    at = np.where(seen, np.arange(demand.shape[1]), -1)
    before = np.maximum.accumulate(at, axis=1)
    after = np.where(seen, np.arange(demand.shape[1]), demand.shape[1])
    after = np.minimum.accumulate(after[:, ::-1], axis=1)[:, ::-1]
    place = np.where(before >= 0, before, np.where(after < demand.shape[1], after, 0))
    found = np.take_along_axis(demand, place, axis=1)
    return np.where((before >= 0) | (after < demand.shape[1]), found, 0.0)


@dataclass(frozen=True)
class Group:
    """Series of one lead time and review period: their places among all N, a trial and the laws for it."""

    rows: Ints
    trial: Trial
    laws: Laws

    @cached_property
    def outlook(self) -> Outlook:
        """What all rules that are tried can know."""
        return Outlook(self.trial, self.laws)


@dataclass
class ForecastLaws:
    """Laws of a stretch from forecasts at the origins before its reviews; each is made once."""

    made: Forecast
    rows: Ints
    first: int
    _kept: dict[tuple[int, Horizon], QuantileFunction] = field(default_factory=dict)

    def __call__(self, t: int, horizon: Horizon) -> QuantileFunction:
        if (t, horizon) not in self._kept:
            o = self.made.origins.index(self.first + t - 1)
            mean = None if self.made.mean is None else self.made.mean[:, o]
            laws = GridLaws(self.made.horizons, self.made.levels, self.made.values[:, o], mean)
            self._kept[t, horizon] = laws.law(horizon, self.rows)
        return self._kept[t, horizon]


def groups(past: Stretch, made: Forecast, cell: Cell, seed: int = 0) -> list[Group]:
    """The stretch under the terms of a cell, split by lead time and review period."""
    supply, economics = terms_in(past, cell)
    pairs = np.stack((supply.lead_time, supply.review_period), axis=1)
    found = []
    for lead, review in np.unique(pairs, axis=0).tolist():
        rows = np.flatnonzero((pairs == (lead, review)).all(axis=1))
        found.append(_group(past, made, cell, (rows, supply.take(rows), economics.take(rows)), seed))
    return found


def terms_in(past: Stretch, cell: Cell) -> tuple[Supply, Economics]:
    """Supply and economics of all series in a cell; lead times as rules plan them."""
    n, supply, economics = len(past.demand), past.supply, past.economics
    if cell.lead_time is not None:
        supply = replace(supply, lead_time=np.full(n, cell.lead_time), chances=None)
    if cell.pack_size is not None:
        supply = replace(supply, pack_size=np.full(n, float(cell.pack_size)))
    if cell.critical_ratio is not None:
        economics = with_ratio(economics, cell.critical_ratio, supply.review_period)
    return supply, economics


def _group(past: Stretch, made: Forecast, cell: Cell, terms: tuple[Ints, Supply, Economics], seed: int) -> Group:
    rows, supply, economics = terms
    lead, review = int(supply.lead_time[0]), int(supply.review_period[0])
    held = np.ceil(past.start[rows] * (lead + review) - 1e-9)
    stock = Stock.of(whole_packs(held, supply.pack_size, 0.0), lead)
    true = replace(supply, lead_time=supply.lead_time + cell.late)
    if cell.is_random:
        true = replace(true, chances=_chances(lead, len(rows)))
    if true.chances is not None:
        true = replace(true, drawn=_drawn(true.chances, past, rows, seed) + cell.late)
    counted = past.counted[rows].copy()
    counted[:, : lead + cell.late] = False
    told = None if cell.told == 1.0 else replace(economics, stockout_cost=economics.stockout_cost * cell.told)
    paid = past.start * past.economics.cost
    part = float(paid[rows].sum() / paid.sum()) if paid.sum() > 0 else len(rows) / len(paid)
    trial = Trial(
        past.demand[rows], counted, stock, economics, true, told, lead, past.first, past.calendar,
        past.scarce.share(part, rows),
    )  # fmt: skip
    return Group(rows, trial, ForecastLaws(made, rows, past.first))


def _chances(lead: int, n: int) -> Array:
    """(n, M) chances of lead times around the planned one."""
    found = np.zeros(lead + max(RANDOM_LEADS) + 1)
    for shift, share in zip(RANDOM_LEADS, RANDOM_SHARES, strict=True):
        found[max(lead + shift, 0)] += share
    return np.tile(found, (n, 1))


def _drawn(chances: Array, past: Stretch, rows: Ints, seed: int) -> Ints:
    """(len(rows), T) lead times of the given chances; a series' draws do not depend on who else is in `rows`."""
    luck = np.random.default_rng(seed).random((len(past.demand), past.length))[rows]
    reached = np.cumsum(chances, axis=1)
    return np.asarray((luck[:, :, None] >= reached[:, None, :-1]).sum(axis=2), dtype=np.int64)


def year_angles(year: float, first: int, n_periods: int) -> Array:
    """(T, 2) sine and cosine of the time of the year, a year having `year` periods."""
    angle = 2 * np.pi * (first + np.arange(n_periods)) / year
    return np.stack((np.sin(angle), np.cos(angle)), axis=1)


def run_groups(parts: Sequence[Group], rule: Callable[[Group], Policy], n_periods: int) -> Outcome:
    """Replay every group and put the series back in order; blocks of `n_periods` periods."""
    outcomes = [part.outlook.run(rule(part), n_periods) for part in parts]
    order = np.argsort(np.concatenate([part.rows for part in parts]), kind="stable")
    return Outcome.concat(outcomes).take(order)


def horizons_for(supply: Supply, cells: Sequence[Cell]) -> tuple[Horizon, ...]:
    """All that the rules look at in the given cells, each once: protected sums, and the paths to the arrivals."""
    found: dict[Horizon, None] = {}
    if supply.chances is not None:
        reviews, possible = np.unique(supply.review_period).tolist(), possible_leads(supply.chances)
        found |= dict.fromkeys(Horizon(0, lead + review) for review in reviews for lead in possible)
    for cell in cells:
        leads = supply.lead_time if cell.lead_time is None else np.full_like(supply.lead_time, cell.lead_time)
        pairs = np.unique(np.stack(np.broadcast_arrays(leads, supply.review_period), axis=-1).reshape(-1, 2), axis=0)
        for lead, review in pairs.tolist():
            found |= dict.fromkeys((Horizon(0, lead + review), *path_horizons(lead, review)))
            if cell.is_random:
                found |= dict.fromkeys(Horizon(0, m + review) for m in possible_leads(_chances(lead, 1)))
    return tuple(sorted(found))


def review_origins(first: int, n_periods: int, reviews: Sequence[int]) -> list[int]:
    """Origins (the last known period) of every review in a stretch, for all review periods there are."""
    return sorted({first + t - 1 for review in reviews for t in range(0, n_periods, review)})


def check_length(panel: Panel, n_test: int, n_tuning: int) -> None:
    """ConfigError where a panel is too short to tune, test, and have something to learn from before."""
    there = panel.last - panel.first + 1
    needed = n_test + n_tuning + 2
    if there < needed:
        raise ConfigError(
            "simulate", f"{n_tuning} periods of tuning and {n_test} of test need {needed}; the panel has {there}",
            "give fewer in simulate.periods and simulate.tuning_periods",
        )  # fmt: skip
