"""Buying rules: from what a buyer knows (`View`) to units wanted.

All rules here order up to a target, `min(cap, (target - position)+)`, and differ in the target only, so each can say
why. A rule returns what it wants; packs, minimum orders and budgets come after it (`simulator.whole_packs`, `orders`).
The law in a view is that of the sum of demand over the protected periods `Horizon(0, lead time + review period)`;
quantiles of single periods are never added. Rules that know nothing of the forecaster: any law will do.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from shelfcast.errors import ConfigError, nearest
from shelfcast.horizons import Horizon
from shelfcast.inventory.economics import Array, Economics, Supply
from shelfcast.inventory.simulator import Replay, Stock, Unmet, replay_steps
from shelfcast.laws import Grid, QuantileFunction


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
    """

    origin: int
    stock: Stock
    horizon: Horizon
    law: QuantileFunction
    economics: Economics
    review_period: int = 1
    sd: Array | None = None

    @property
    def rate(self) -> Array:
        """(B,) mean demand per period, units."""
        return np.asarray(self.law.mean() / self.horizon.span)

    @property
    def period_sd(self) -> Array:
        """(B,) standard deviation of one period's demand, units."""
        return spread(self.law) / math.sqrt(self.horizon.span) if self.sd is None else self.sd


@dataclass(frozen=True)
class Target:
    """What a rule aims at, so that an order can be explained.

    Parameters
    ----------
    units : (B,) order-up-to level.
    cap : (B,) most units wanted at once; infinite where there is none.
    level : (B,) level of the law that was asked for; NaN where the rule does not use one.
    """

    units: Array
    cap: Array
    level: Array

    @classmethod
    def of(cls, units: ArrayLike, cap: ArrayLike = np.inf, level: ArrayLike = np.nan) -> "Target":
        """Cap and level default to none."""
        aim = np.asarray(units, dtype=np.float64)
        return cls(aim, *(np.broadcast_to(np.asarray(x, dtype=np.float64), aim.shape) for x in (cap, level)))

    def order(self, position: Array) -> Array:
        """(B,) units wanted: up to the target, never more than the cap."""
        return np.minimum(self.cap, np.maximum(self.units - position, 0.0))


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
        levels = np.broadcast_to(view.economics.critical_ratio if self.level is None else self.level, view.law.shape)
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


POLICIES: dict[str, type[Cover] | type[SafetyStock] | type[QuantileOfSum] | type[CappedBaseStock]] = {
    "cover": Cover,
    "safety-stock": SafetyStock,
    "quantile": QuantileOfSum,
    "capped": CappedBaseStock,
}


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


def replay_policy(
    rule: Policy,
    laws: Callable[[int], QuantileFunction],
    demand: ArrayLike,
    stock: Stock,
    economics: Economics,
    supply: Supply,
    *,
    unmet: Unmet = Unmet.LOST,
    observed: ArrayLike | None = None,
) -> Replay:
    """Replay any rule on history, one period at a time, all items together.

    Parameters
    ----------
    laws : gives, for period `t`, the law (B,) of demand over periods `t .. t + L + R - 1`, made from periods before
        `t` only.
    supply : one lead time and one review period for all items; the rest may differ.
    demand, stock, economics, unmet, observed : as in `simulator.replay`.

    Raises
    ------
    ConfigError : lead times or review periods differ; replay such groups apart.
    """
    spans, reviews = np.unique(supply.protected), np.unique(supply.review_period)
    _require(len(spans) == 1 and len(reviews) == 1, "supply", "one lead time and review period", spans.tolist())
    money, horizon, review = economics.for_items(len(stock.on_hand)), Horizon(0, int(spans[0])), int(reviews[0])

    def decide(t: int, now: Stock) -> Array:
        return rule.order(View(t - 1, now, horizon, laws(t), money, review)) if t % review == 0 else np.zeros(1)

    return replay_steps(decide, demand, stock, economics, supply, unmet=unmet, observed=observed)


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
