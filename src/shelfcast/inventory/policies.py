"""Buying rules: from what a buyer knows (`View`) to units wanted.

All rules here order up to a target, `min(cap, (target - position)+)` at positions up to a reorder point, and differ in
these numbers only, so each can say why. A rule returns what it wants; packs, minimum orders and budgets come after it
(`simulator.whole_packs`, `orders`). The law in a view is that of the sum of demand over the protected periods
`Horizon(0, lead time + review period)`; quantiles of single periods are never added. Rules that know nothing of the
forecaster: any law will do.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from shelfcast.errors import ConfigError, nearest
from shelfcast.horizons import Horizon
from shelfcast.inventory import projection
from shelfcast.inventory.economics import Array, Economics
from shelfcast.inventory.stock import Stock
from shelfcast.laws import Grid, QuantileFunction, mixture


@dataclass(frozen=True)
class View:
    """What a buyer knows of B items when ordering; never the demand to come.

    Parameters
    ----------
    origin : last known period.
    stock : of B items at the start of period `origin + 1`.
    horizon : the periods an order protects, `Horizon(0, L + R)`, the same for all B.
    law : (B,) demand summed over `horizon`, units.
    economics : of B items.
    review_period : periods between two orders, `R`.
    sd : (B,) units, standard deviation of one period's demand; without it, the law's own spread is used as if periods
        were independent.
    path : laws of demand in each period before an order placed now arrives, `Horizon(k, 1)` for k < L, then in the
        window that it serves, `Horizon(L, R)`; only for rules that `needs_path`.
    chances : (B, M) of a lead time of 0 .. M - 1 periods, where it is random; `law` is then the mixture of the sums
        over `Horizon(0, l + R)`, and `horizon` goes with the planned lead time.
    pack_size : units, a number or (B,).
    calendar : what is known of the period, the same for all items, as sine and cosine of the year.
    memory : what was worked out from the other fields but the stock; views that differ in their stock share it.
    """

    origin: int
    stock: Stock
    horizon: Horizon
    law: QuantileFunction
    economics: Economics
    review_period: int = 1
    sd: Array | None = None
    path: tuple[QuantileFunction, ...] = ()
    chances: Array | None = None
    pack_size: Array | float = 1.0
    calendar: tuple[float, ...] = ()
    memory: dict[str, Array] = field(default_factory=dict, repr=False, compare=False)

    @property
    def lead_time(self) -> int:
        """Periods from order to shelf, `L`."""
        return self.horizon.span - self.review_period

    @property
    def critical_ratio(self) -> Array:
        """(B,) `p / (p + R h)`: a unit too many is held for a review period."""
        return self._once("ratio", lambda: self.economics.over(self.review_period).critical_ratio)

    @property
    def rate(self) -> Array:
        """(B,) mean demand per period, units."""
        span: Array | int = self.horizon.span
        if self.chances is not None:
            span = self.chances @ np.arange(self.chances.shape[1]) + self.review_period
        return self._once("rate", lambda: np.asarray(self.law.mean() / span))

    @property
    def lead_sd(self) -> Array | float:
        """(B,) standard deviation of the lead time, periods; 0 where it is fixed."""
        if self.chances is None:
            return 0.0
        periods = np.arange(self.chances.shape[1])
        return np.asarray(np.sqrt(np.maximum(self.chances @ periods**2 - (self.chances @ periods) ** 2, 0.0)))

    @cached_property
    def atoms(self) -> tuple[Array, Array]:
        """The path as `projection.atoms`."""
        return projection.atoms(self.path)

    @property
    def period_sd(self) -> Array:
        """(B,) standard deviation of one period's demand, units."""
        if self.sd is not None:
            return self.sd
        return self._once("sd", lambda: spread(self.law) / math.sqrt(self.horizon.span))

    def _once(self, name: str, make: Callable[[], Array]) -> Array:
        if name not in self.memory:
            self.memory[name] = make()
        return self.memory[name]


@dataclass(frozen=True)
class Target:
    """What a rule aims at, so that an order can be explained.

    Parameters
    ----------
    units : (B,) order-up-to level.
    cap : (B,) most units wanted at once; infinite where there is none.
    level : (B,) level of the law that was asked for; NaN where the rule does not use one.
    reorder : (B,) nothing is wanted while the position is above it.
    """

    units: Array
    cap: Array
    level: Array
    reorder: Array

    @classmethod
    def of(
        cls, units: ArrayLike, cap: ArrayLike = np.inf, level: ArrayLike = np.nan, reorder: ArrayLike = np.inf
    ) -> "Target":
        """Cap, level and reorder point default to none."""
        aim = np.asarray(units, dtype=np.float64)
        return cls(aim, *(np.broadcast_to(np.asarray(x, dtype=np.float64), aim.shape) for x in (cap, level, reorder)))

    def order(self, position: Array) -> Array:
        """(B,) units wanted: up to the target, never more than the cap, none above the reorder point."""
        wanted = np.minimum(self.cap, np.maximum(self.units - position, 0.0))
        return np.where(position <= self.reorder, wanted, 0.0)


class Policy(Protocol):
    """A buying rule."""

    def target(self, view: View) -> Target:
        """What the rule aims at."""
        ...

    def order(self, view: View) -> Array:
        """(B,) units wanted now, >= 0."""
        ...


@dataclass(frozen=True)
class Cover:
    """Order up to `periods` periods of mean demand: what many shops do.

    Parameters
    ----------
    periods : of mean demand to hold and have on order, > 0.
    """

    periods: float = 4.0

    def __post_init__(self) -> None:
        _require(self.periods > 0, "policy.periods", "a number above 0", self.periods)

    def target(self, view: View) -> Target:
        return Target.of(self.periods * view.rate)

    def order(self, view: View) -> Array:
        return self.target(view).order(view.stock.position)


@dataclass(frozen=True)
class SafetyStock:
    """Mean demand over the protected periods plus `z` standard deviations of it: the spreadsheet.

    `target = mean + z x sd x sqrt(L + R)`, with `sd` of one period: right for independent Normal periods.

    Parameters
    ----------
    z : standard deviations, >= 0; 1.645 covers 95 % of a Normal law.
    """

    z: float = 1.645

    def __post_init__(self) -> None:
        _require(self.z >= 0, "policy.z", "a number of at least 0", self.z)

    def target(self, view: View) -> Target:
        return Target.of(view.law.mean() + self.z * view.period_sd * math.sqrt(view.horizon.span))

    def order(self, view: View) -> Array:
        return self.target(view).order(view.stock.position)


@dataclass(frozen=True)
class QuantileOfSum:
    """Order up to a quantile of demand over the protected periods; optimal where unmet demand is backlogged.

    Parameters
    ----------
    level : in (0, 1), for all items; without it, each item's critical ratio.
    """

    level: float | None = None

    def __post_init__(self) -> None:
        _require_level(self.level)

    def target(self, view: View) -> Target:
        levels = np.broadcast_to(view.critical_ratio if self.level is None else self.level, view.law.shape)
        return Target.of(quantile_each(view.law, levels), level=levels)

    def order(self, view: View) -> Array:
        return self.target(view).order(view.stock.position)


@dataclass(frozen=True)
class CappedBaseStock:
    """`min(r, (S - position)+)`: with lost sales, a cap keeps the pipeline smooth (Xin 2021).

    Parameters
    ----------
    cap : `r` as a multiple of mean demand per review period, > 0.
    level : as in `QuantileOfSum`; gives `S`.
    base_stock : `S` in units for every item, instead of a quantile, >= 0.
    """

    cap: float = 1.5
    level: float | None = None
    base_stock: float | None = None

    def __post_init__(self) -> None:
        _require(self.cap > 0, "policy.cap", "a number above 0", self.cap)
        _require_level(self.level)
        given = self.base_stock
        _require(given is None or given >= 0, "policy.base_stock", "a number of at least 0", given)

    def target(self, view: View) -> Target:
        cap = self.cap * view.rate * view.review_period
        if self.base_stock is not None:
            return Target.of(np.full(view.law.shape, self.base_stock), cap)
        aim = QuantileOfSum(self.level).target(view)
        return Target.of(aim.units, cap, aim.level)

    def order(self, view: View) -> Array:
        return self.target(view).order(view.stock.position)


@dataclass(frozen=True)
class ReorderPoint:
    """(s, S): once the position is at or below `s`, order up to `S`; for orders that cost something each.

    `s` is a quantile of demand over the protected periods, and `S = s + max(EOQ, demand of a review period)` with the
    economic order quantity `sqrt(2 x order cost x rate / holding cost)` (Harris 1913).

    Parameters
    ----------
    level : of `s`, as in `QuantileOfSum`.
    periods : `S - s` in periods of mean demand, instead of the EOQ, >= 0.
    reorder, base_stock : `s` and `S` in units for every item, instead.
    """

    level: float | None = None
    periods: float | None = None
    reorder: float | None = None
    base_stock: float | None = None

    def __post_init__(self) -> None:
        _require_level(self.level)
        for name in ("periods", "reorder", "base_stock"):
            given = getattr(self, name)
            _require(given is None or given >= 0, f"policy.{name}", "a number of at least 0", given)
        together = (self.reorder is None) == (self.base_stock is None)
        _require(together, "policy.reorder", "reorder and base_stock together", "one of them")

    def target(self, view: View) -> Target:
        if self.reorder is not None and self.base_stock is not None:
            return Target.of(np.full(view.law.shape, self.base_stock), reorder=self.reorder)
        aim = QuantileOfSum(self.level).target(view)
        money, rate = view.economics, view.rate
        lot = np.sqrt(2.0 * money.order_cost * rate / money.holding_cost)
        lot = np.maximum(lot, rate * view.review_period) if self.periods is None else self.periods * rate
        return Target.of(aim.units + lot, level=aim.level, reorder=aim.units)

    def order(self, view: View) -> Array:
        return self.target(view).order(view.stock.position)


@dataclass(frozen=True)
class ProjectedStockout:
    """Order the least quantity whose *projected* stock-out chance is at most `m R h / (p + R h)`.

    The law of demand is rolled through the shelf and the open orders, sales lost where they run out, up to the window
    that the order serves (`projection`). The default rule.

    Parameters
    ----------
    m : multiple of the newsvendor's stock-out chance, > 0; without it 1, 1.2, 1.4, 1.5, 1.6 for lead times of 0 to 4
        reviews, and 1.6 beyond: what comes near the optimum with Poisson demand.
    """

    m: float | None = None

    def __post_init__(self) -> None:
        _require(self.m is None or self.m > 0, "policy.m", "a number above 0", self.m)

    def allowed(self, view: View) -> Array:
        """(B,) stock-out chance that is allowed in the window served, at most 1."""
        m = _MULTIPLES[min(round(view.lead_time / view.review_period), 4)] if self.m is None else self.m
        chance = m * (1.0 - view.critical_ratio)
        return np.asarray(np.minimum(np.broadcast_to(chance, view.law.shape), 1.0))

    def target(self, view: View) -> Target:
        assert len(view.path) == view.lead_time + 1, "a rule that needs the path was given none"
        allowed = self.allowed(view)
        on_hand, pipeline, chance = (
            np.ascontiguousarray(x) for x in (view.stock.on_hand, view.stock.pipeline, allowed)
        )
        wanted = projection.wanted_from(on_hand, pipeline, view.path, chance)
        return Target.of(view.stock.position + wanted, level=1.0 - allowed)

    def order(self, view: View) -> Array:
        return self.target(view).order(view.stock.position)


_MULTIPLES = (1.0, 1.2, 1.4, 1.5, 1.6)

Parametric = Cover | SafetyStock | QuantileOfSum | CappedBaseStock | ReorderPoint | ProjectedStockout

POLICIES: dict[str, type[Parametric]] = {
    "cover": Cover,
    "safety-stock": SafetyStock,
    "quantile": QuantileOfSum,
    "capped": CappedBaseStock,
    "reorder-point": ReorderPoint,
    "projected": ProjectedStockout,
}


def needs_path(rule: object) -> bool:
    """Whether a rule looks at single periods on the way to the arrival, not only at their sum."""
    return bool(getattr(rule, "is_projecting", isinstance(rule, ProjectedStockout)))


def path_horizons(lead_time: int, review_period: int) -> tuple[Horizon, ...]:
    """The horizons of `View.path`: each period before the arrival, then the window that the order serves."""
    return (*(Horizon(k, 1) for k in range(lead_time)), Horizon(lead_time, review_period))


def mixed(law: Callable[[Horizon], QuantileFunction], chances: Array, review_period: int) -> QuantileFunction:
    """(B,) demand until the next order arrives where lead times are random: each sum with the chance of its lead time.

    Parameters
    ----------
    law : (B,) demand over a horizon.
    chances : (B, M) of a lead time of 0 .. M - 1 periods.
    """
    possible = possible_leads(chances)
    laws = [law(Horizon(0, lead + review_period)) for lead in possible]
    levels = laws[0].levels if isinstance(laws[0], Grid) else _FINE
    return mixture(laws, chances[:, possible], levels)


def possible_leads(chances: Array) -> list[int]:
    """Lead times, in periods, that any item may see."""
    return [int(lead) for lead in np.flatnonzero(chances.max(axis=0, initial=0.0) > 0)]


_FINE = np.arange(1, 400) / 400


def policy(name: str, settings: Mapping[str, float] | None = None) -> Policy:
    """The rule called `name`, with its settings.

    Raises
    ------
    ConfigError : there is no such rule or setting, or a value is out of range.

    Examples
    --------
    >>> policy("cover", {"periods": 3.0})
    Cover(periods=3.0)
    """
    if name not in POLICIES:
        raise ConfigError("policy.name", f"no policy is called '{name}'", nearest(name, POLICIES))
    known = [field.name for field in fields(POLICIES[name])]
    for key in settings or {}:
        if key not in known:
            raise ConfigError(f"policy.{key}", f"'{name}' has no such setting", nearest(key, known))
    return POLICIES[name](**(settings or {}))


def quantile_each(law: QuantileFunction, levels: ArrayLike) -> Array:
    """(B,) units: each law of a batch at its own level (B,); levels are held inside [1e-6, 1 - 1e-6]."""
    wanted = np.clip(np.broadcast_to(np.asarray(levels, dtype=np.float64), law.shape), 1e-6, 1 - 1e-6)
    if isinstance(law, Grid):
        place = np.interp(wanted, law.levels, np.arange(len(law.levels)))
        below = np.floor(place).astype(np.int64)[..., None]
        above = np.minimum(below + 1, len(law.levels) - 1)
        low, high = (np.take_along_axis(law.values, at, -1)[..., 0].astype(np.float64) for at in (below, above))
        return np.asarray(low + (place - below[..., 0]) * (high - low))
    distinct, which = np.unique(wanted, return_inverse=True)
    which = which.reshape(wanted.shape)
    out = np.empty(wanted.shape)
    for start in range(0, len(distinct), _BLOCK):
        found = law.quantile(distinct[start : start + _BLOCK])
        here = (which >= start) & (which < start + _BLOCK)
        out[here] = found[here, which[here] - start]
    return out


def spread(law: QuantileFunction) -> Array:
    """(B,) standard deviation in units, from 200 quantiles at the midpoints of equal shares."""
    values = law.quantile((np.arange(200) + 0.5) / 200)
    return np.asarray(values.std(axis=-1))


_BLOCK = 64  # distinct levels at once: bounds memory at 64 numbers an item


def _require(fits: bool, key: str, expected: str, came: object) -> None:
    if not fits:
        raise ConfigError(key, f"expected {expected}; got {came}")


def _require_level(level: float | None) -> None:
    _require(level is None or 0 < level < 1, "policy.level", "a number between 0 and 1, as 0.95", level)
