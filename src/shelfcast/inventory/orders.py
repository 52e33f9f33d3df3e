"""From laws of demand, stock and terms of supply to a table of orders that says why.

One row per series. An order is placed at the start of the period after the origin and is on the shelf `lead_time`
periods later; it protects `Horizon(0, lead_time + review_period)`, and that horizon must have been forecast. What a
policy wants is raised to the minimum order and rounded up to packs; then, if it all costs more than the budget, units
that earn least per unit of money are given up, packs whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum
from functools import partial
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.errors import DataError, nearest
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon
from shelfcast.inventory.blocks import whole_packs
from shelfcast.inventory.budget import Group, Rationed, Scarce, expected_gain, ration
from shelfcast.inventory.economics import Array, Economics, Ints, Supply
from shelfcast.inventory.policies import Policy, View, mixed, needs_path, path_horizons, possible_leads
from shelfcast.inventory.simulator import Stock
from shelfcast.laws import Grid, QuantileFunction


class Missing(Enum):
    """What it means that a series has no row in the on-hand table."""

    REFUSE = "refuse"
    ZERO = "zero"


class Bound(Enum):
    """What decided the quantity, in the order in which the last to apply is named."""

    NONE = "none"
    NO_DEMAND = "no demand"
    ENOUGH_STOCK = "enough stock"
    CAP = "cap"
    PACK = "pack"
    MINIMUM = "minimum"
    BUDGET = "budget"
    CAPACITY = "capacity"


class Laws(Protocol):
    """Laws of demand of N series over the horizons that were forecast."""

    @property
    def horizons(self) -> tuple[Horizon, ...]:
        """Those there are."""
        ...

    def law(self, horizon: Horizon, rows: Ints) -> QuantileFunction:
        """The laws (len(rows),) of the series at `rows`, units summed over `horizon`."""
        ...


@dataclass(frozen=True)
class _Centred(Grid):
    """A grid whose mean is known, not integrated."""

    centre: Array

    def mean(self) -> Array:
        return self.centre


@dataclass(frozen=True)
class GridLaws:
    """Laws from quantiles on a grid, as a forecast holds them.

    Parameters
    ----------
    horizons : K horizons.
    levels : (Q,) strictly increasing in (0, 1).
    values : (N, K, Q) units.
    mean : (N, K) units; without it, means are integrated from the grid.
    """

    horizons: tuple[Horizon, ...]
    levels: Sequence[float]
    values: NDArray[np.floating]
    mean: NDArray[np.floating] | None = None

    @classmethod
    def of(cls, made: Forecast) -> "GridLaws":
        """The laws of a forecast at its latest origin."""
        return cls(made.horizons, made.levels, made.values[:, -1], None if made.mean is None else made.mean[:, -1])

    def law(self, horizon: Horizon, rows: Ints) -> QuantileFunction:
        k, levels = self.horizons.index(horizon), np.asarray(self.levels, dtype=np.float64)
        values = self.values[rows, k]
        return Grid(levels, values) if self.mean is None else _Centred(levels, values, self.mean[rows, k].astype(float))


@dataclass(frozen=True)
class Inventory:
    """Stock as tables.

    Parameters
    ----------
    on_hand : the keys and `on_hand` (units); one row per series. Negative records count as 0. Rows of other series
        are ignored.
    on_order : the keys, `quantity` (units) and optionally `due` (whole periods until it arrives, 0 = the coming one;
        without it, one lead time). Several open orders of a series are added.
    missing : what a series without an on-hand row means; refused unless declared to be zero.
    """

    on_hand: pl.DataFrame
    on_order: pl.DataFrame | None = None
    missing: Missing = Missing.REFUSE

    def stock(self, keys: pl.DataFrame, supply: Supply) -> tuple[Stock, Array]:
        """Stock of the N series in `keys`, and what is recorded on hand (N,), negatives and all.

        Raises
        ------
        DataError : a column is missing or of another type, a key is doubled, a number is missing, or a series has no
            row and `missing` refuses that.
        """
        _same_keys(keys, self.on_hand, "on hand", "on_hand")
        _no_doubles(self.on_hand, keys.columns, "on hand")
        _numbers(self.on_hand, "on hand", "on_hand")
        joined = keys.join(self.on_hand, on=keys.columns, how="left", maintain_order="left")
        absent = joined.filter(pl.col("on_hand").is_null())
        if len(absent) and self.missing is Missing.REFUSE:
            raise DataError(
                "a row for every series",
                f"none for {len(absent)} of {len(keys)}",
                "add the rows, or declare that no row means no stock",
                table="on hand",
                samples=absent.select(keys.columns).head(3).rows(),
            )
        recorded = joined["on_hand"].fill_null(0).cast(pl.Float64).to_numpy()
        return Stock(np.maximum(recorded, 0.0), self._pipeline(keys, supply.for_items(len(keys)))), recorded

    def _pipeline(self, keys: pl.DataFrame, supply: Supply) -> Array:
        """(N, L) open orders by period of arrival; what comes after the protected periods is no cover for them."""
        pipeline = np.zeros((len(keys), int(supply.protected.max(initial=1))))
        if self.on_order is None or not len(self.on_order):
            return pipeline
        _same_keys(keys, self.on_order, "on order", "quantity")
        _numbers(self.on_order, "on order", "quantity", least=0.0)
        placed = keys.with_row_index("_row").join(self.on_order, on=keys.columns, how="inner")
        rows, quantity = placed["_row"].to_numpy(), placed["quantity"].cast(pl.Float64).to_numpy()
        due = np.maximum(supply.lead_time - 1, 0)[rows]
        if "due" in placed.columns:
            _numbers(self.on_order, "on order", "due", least=0.0)
            due = placed["due"].cast(pl.Int64).to_numpy()
        in_time = due < supply.protected[rows]
        np.add.at(pipeline, (rows[in_time], due[in_time]), quantity[in_time])
        return pipeline


@dataclass(frozen=True)
class Limits:
    """What an order must respect.

    Parameters
    ----------
    supply : lead times and review periods (periods), packs and minimum orders (units), for all series or each.
    budget : most money for all orders together, >= 0; none without it. 0 orders nothing.
    capacity : most room for all orders together, in units of `volume`, >= 0; none without it.
    volume : room a unit takes, > 0, for all series or each.
    """

    supply: Supply
    budget: float | None = None
    capacity: float | None = None
    volume: Array | float = 1.0

    def __post_init__(self) -> None:
        for name in ("budget", "capacity"):
            given = getattr(self, name)
            if given is not None and not given >= 0:
                raise DataError(f"a {name} of at least 0", f"{given}", f"leave it out for no {name}", table="limits")

    @property
    def scarce(self) -> Scarce:
        """Budget and capacity alone."""
        return Scarce(self.budget, self.capacity, self.volume)


@dataclass(frozen=True)
class _Plan:
    """What the policy wants of N series, before packs and money; NaN for no level, infinity for no cap."""

    target: Array
    cap: Array
    level: Array
    mean: Array
    top_level: Array
    wanted: Array
    groups: tuple[Group, ...]
    is_projected: bool


def orders(
    keys: pl.DataFrame,
    laws: Laws,
    inventory: Inventory,
    economics: Economics,
    policy: Policy,
    limits: Limits,
    *,
    origin: int = 0,
    dates: Sequence[date] = (),
    calendar: tuple[float, ...] = (),
) -> pl.DataFrame:
    """What to buy now, and why.

    Parameters
    ----------
    keys : N rows, one per series; every column is a key (item, or item and location).
    laws : of the same N series in the same order.
    economics : of the same N series, or one for all.
    origin : last known period.
    dates : first day of the periods after the origin, in order; gives arrival dates as far as they reach.
    calendar : of the period after the origin, as in `View`.

    Returns
    -------
    The keys in the order given, then `quantity` (units), `arrival` (periods until it is on the shelf),
    `arrival_date`, `cost` (money), `gain` (money the order is expected to save over the protected periods), `rank` (1
    for the order that gains most per unit of money, null without one), `price_of_money` (what one more unit of money
    would earn; 0 where there is enough), `protects` (horizon as "lead+span"), `critical_ratio`, `mean_demand` and
    `target` (units over that horizon), `on_hand`, `on_order`, `position` (units), `limit` (a `Bound`), `why` (a
    sentence).

    Raises
    ------
    DataError : a series is doubled, a needed horizon was not forecast, or stock, costs or terms are wrong.
    """
    n = len(keys)
    _no_doubles(keys, keys.columns, "series")
    money, supply = economics.for_items(n), limits.supply.for_items(n)
    worth = money.over(supply.review_period)
    stock, recorded = inventory.stock(keys, supply)
    plan = _plan(laws, stock, money, policy, supply, (origin, calendar))
    unlimited = whole_packs(plan.wanted, supply.pack_size, supply.minimum_order)
    paid = roomy = Rationed(unlimited, 0.0)
    if limits.budget is not None:
        paid = roomy = ration(limits.budget, unlimited, stock.position, plan.groups, worth, supply)
    if limits.capacity is not None:
        volume = np.broadcast_to(np.asarray(limits.volume, dtype=np.float64), (n,))
        roomy = ration(limits.capacity, paid.quantity, stock.position, plan.groups, worth, supply, volume)
    quantity = roomy.quantity
    bound = _bounds(quantity, paid.quantity, unlimited, plan, supply, stock.position)
    gain = expected_gain(quantity, stock.position, plan.groups, worth)
    days = np.array([*dates, None], dtype="datetime64[D]")
    table = keys.with_columns(
        quantity=quantity,
        arrival=supply.lead_time,
        arrival_date=days[np.minimum(supply.lead_time, len(dates))],
        cost=quantity * money.cost,
        gain=gain,
        rank=_ranks(gain, quantity, money.cost),
        price_of_money=pl.lit(paid.price if limits.budget is not None else 0.0),
        protects=pl.format("0+{}", pl.Series(supply.protected)),
        critical_ratio=worth.critical_ratio,
        mean_demand=plan.mean,
        target=plan.target,
        on_hand=stock.on_hand,
        on_order=stock.on_order,
        position=stock.position,
        limit=pl.Series([b.value for b in Bound], dtype=pl.String)[bound],
    )
    return table.with_columns(why=_why(table, plan, unlimited, recorded, supply))


def _ranks(gain: Array, quantity: Array, cost: Array) -> pl.Series:
    """(N,) place of each order by gain per unit of money, or per unit where units cost nothing."""
    paid = quantity * np.where(cost > 0, cost, 1.0)
    rate = pl.Series(np.divide(gain, paid, out=np.full(len(gain), np.nan), where=paid > 0)).fill_nan(None)
    return rate.rank("ordinal", descending=True)


def _plan(
    laws: Laws, stock: Stock, money: Economics, policy: Policy, supply: Supply, now: tuple[int, tuple[float, ...]]
) -> _Plan:
    """What the policy wants, one group of equal lead and review times after another."""
    n, (origin, calendar) = len(stock.on_hand), now
    found = {name: np.full(n, np.nan) for name in ("target", "cap", "level", "mean", "top_level", "wanted")}
    terms, group_of = np.unique(np.stack((supply.protected, supply.review_period), axis=1), axis=0, return_inverse=True)
    _check_horizons(laws, supply, needs_path(policy))
    groups = []
    for g, (span, review) in enumerate(terms.tolist()):
        rows = np.flatnonzero(group_of.ravel() == g)
        horizon = Horizon(0, span)
        of = partial(laws.law, rows=rows)
        chances = None if supply.chances is None else supply.chances[rows]
        law = of(horizon) if chances is None else mixed(of, chances, review)
        path = tuple(map(of, path_horizons(span - review, review))) if needs_path(policy) else ()
        view = View(
            origin, stock.take(rows), horizon, law, money.take(rows), review, path=path, chances=chances,
            pack_size=supply.pack_size[rows], calendar=calendar,
        )  # fmt: skip
        aim = policy.target(view)
        found["target"][rows], found["cap"][rows], found["level"][rows] = aim.units, aim.cap, aim.level
        found["mean"][rows], found["wanted"][rows] = law.mean(), policy.order(view)
        found["top_level"][rows] = law.levels[-1] if isinstance(law, Grid) else 1.0
        groups.append(Group(rows, law if isinstance(law, Grid) else Grid(_LEVELS, law.quantile(_LEVELS))))
    return _Plan(**found, groups=tuple(groups), is_projected=needs_path(policy))


_LEVELS = np.arange(1, 400) / 400


def horizons_needed(supply: Supply, with_path: bool) -> dict[Horizon, Ints]:
    """What orders look at, and for which series: what they protect, for every lead time that may be; and where rules
    look at it, the path to the arrival. `supply` is of one value per series."""
    found: dict[Horizon, Ints] = {}
    pairs = np.stack((supply.lead_time, supply.review_period), axis=1)
    for lead, review in np.unique(pairs, axis=0).tolist():
        rows = np.flatnonzero((pairs == (lead, review)).all(axis=1))
        leads = [lead] if supply.chances is None else sorted({lead, *possible_leads(supply.chances[rows])})
        path = path_horizons(lead, review) if with_path else ()
        for horizon in dict.fromkeys((*(Horizon(0, m + review) for m in leads), *path)):
            found[horizon] = np.concatenate((found.get(horizon, rows[:0]), rows))
    return found


def _check_horizons(laws: Laws, supply: Supply, with_path: bool) -> None:
    """Raise a DataError where a horizon that the rule looks at was not forecast."""
    needed = horizons_needed(supply, with_path)
    lacking = [str(horizon) for horizon in needed if horizon not in laws.horizons]
    rows = [who for horizon, who in needed.items() if horizon not in laws.horizons]
    n_series = len(np.unique(np.concatenate(rows))) if rows else 0
    if lacking:
        there = ", ".join(str(horizon) for horizon in laws.horizons)
        raise DataError(
            "a forecast of the periods each order protects (lead time + review period)",
            f"no {' or '.join(lacking)} for {n_series} series; forecast are {there}",
            f"add {', '.join(lacking)} to the horizons and forecast again (quantiles of periods must not be added)",
            table="orders",
        )


def _bounds(quantity: Array, paid: Array, unlimited: Array, plan: _Plan, supply: Supply, position: Array) -> Ints:
    """(N,) index into `Bound` of what decided each quantity."""
    wanted = plan.wanted
    tests = {
        Bound.CAPACITY: quantity < paid - 1e-9,
        Bound.BUDGET: paid < unlimited - 1e-9,
        Bound.NO_DEMAND: plan.target <= 1e-9,
        Bound.ENOUGH_STOCK: wanted <= 1e-9,
        Bound.MINIMUM: wanted < supply.minimum_order,
        Bound.PACK: (supply.pack_size > 1) & (unlimited > wanted + 1e-9),
        Bound.CAP: plan.target - position > plan.cap,
    }
    places = list(Bound)
    return np.select(list(tests.values()), [np.int64(places.index(b)) for b in tests], places.index(Bound.NONE))


_ENDINGS = {
    Bound.NONE: ("order {}.", ("quantity",)),
    Bound.NO_DEMAND: ("no order, no demand is expected.", ()),
    Bound.ENOUGH_STOCK: ("enough, no order.", ()),
    Bound.CAP: ("the cap on one order keeps it at {}.", ("quantity",)),
    Bound.PACK: ("{} wanted, in packs of {} that is {}.", ("wanted", "pack", "quantity")),
    Bound.MINIMUM: ("{} wanted, the minimum order makes it {}.", ("wanted", "quantity")),
    Bound.BUDGET: ("{} wanted, the budget leaves {}.", ("unlimited", "quantity")),
    Bound.CAPACITY: ("{} wanted, the capacity leaves {}.", ("unlimited", "quantity")),
}


def _why(table: pl.DataFrame, plan: _Plan, unlimited: Array, recorded: Array, supply: Supply) -> pl.Series:
    """(N,) one or two sentences a planner understands."""
    shown = ("quantity", "mean_demand", "target", "on_hand", "on_order", "position", "limit")
    numbers = table.select(shown).with_columns(
        wanted=plan.wanted, unlimited=unlimited, recorded=recorded, level=plan.level, top=plan.top_level,
        pack=supply.pack_size, span=supply.protected,
    )  # fmt: skip
    after, mean = pl.col("position") + pl.col("quantity"), pl.col("mean_demand")
    numbers = numbers.with_columns(cover=after / mean * pl.col("span"))
    seen = ("mean_demand", "span", "target", "on_hand", "on_order")
    start = _text("Expect {} in {} periods, aim at {}, have {} and {} on order: ", seen).str.replace(
        " 1 periods", " 1 period"
    )
    ending = pl.coalesce(pl.when(pl.col("limit") == b.value).then(_text(*_ENDINGS[b])) for b in Bound)
    level = _text(" The forecast stops at level {}, {} was asked.", ("top", "level"), 3)
    notes = (
        pl.when(pl.col("recorded") < 0).then(_text(" Recorded stock {} counts as 0.", ("recorded",))),
        pl.when(pl.col("level").fill_nan(0) > pl.col("top") + 1e-9).then(level),
        pl.when(pl.lit(plan.is_projected) & (pl.col("quantity") > 0) & (pl.col("target") < mean)).then(
            pl.lit(" What is asked for before it comes, and not on the shelf, is lost.")
        ),
        pl.when((pl.col("quantity") > 0) & (mean > 0) & (after > _LONG * mean)).then(
            _text(" That lasts about {} periods.", ("cover",), 0)
        ),
    )
    return numbers.select(pl.concat_str(start, ending, *(note.otherwise(pl.lit("")) for note in notes)))[:, 0]


_LONG = 4  # stock for more than four times the protected periods is worth a remark


def _text(template: str, columns: Sequence[str], decimals: int = 1) -> pl.Expr:
    """The template filled with numbers: whole from ten units on, without a trailing `.0`."""
    return pl.format(template, *(_number(c, decimals) for c in columns)) if columns else pl.lit(template)


def _number(column: str, decimals: int) -> pl.Expr:
    value = pl.col(column).cast(pl.Float64)
    shown = pl.when(value.abs() >= 10).then(value.round(0)).otherwise(value.round(decimals))
    return shown.cast(pl.String).str.strip_suffix(".0")


def _same_keys(keys: pl.DataFrame, table: pl.DataFrame, called: str, column: str) -> None:
    """Raise a DataError unless `table` has the key columns, of the same types, and `column`."""
    for name in (*keys.columns, column):
        if name not in table.columns:
            raise DataError(f"a column '{name}'", "none", nearest(name, table.columns), table=called)
    for name in keys.columns:
        if table[name].dtype != keys[name].dtype:
            came = f"{table[name].dtype} against {keys[name].dtype}"
            raise DataError(f"'{name}' of the same type as in the sales", came, "convert one of them", table=called)


def _no_doubles(table: pl.DataFrame, keys: Sequence[str], called: str) -> None:
    doubled = table.select(keys).filter(table.select(keys).is_duplicated())
    if len(doubled):
        samples = doubled.unique(maintain_order=True).head(3).rows()
        raise DataError("one row per series", f"{len(doubled)} rows that share a key", table=called, samples=samples)


def _numbers(table: pl.DataFrame, called: str, column: str, least: float = -np.inf) -> None:
    """Raise a DataError unless `column` holds finite numbers of at least `least`."""
    if not table[column].dtype.is_numeric():
        raise DataError(f"numbers in '{column}'", str(table[column].dtype), "convert the column", table=called)
    wrong = table.filter(~(pl.col(column).cast(pl.Float64).is_finite() & (pl.col(column) >= least)).fill_null(False))
    if len(wrong):
        expected = f"'{column}' to be a number" + ("" if least == -np.inf else f" of at least {least:g}")
        came = f"{len(wrong)} rows without"
        raise DataError(expected, came, "correct or drop them", table=called, samples=wrong.head(3).rows())
