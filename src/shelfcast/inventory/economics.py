"""What a unit earns and costs, and the terms on which it can be bought, item by item.

Money is in the user's currency, units are selling units, and a period is the period of the forecast. Discount is a
factor per period (0.998 a week is about 10 % a year), not a rate. The two costs that decide how much to hold are

    stockout_cost = price - cost + goodwill                 per unit of demand that is not met
    holding_cost  = cost x (1 - discount) + storage         per unit left at the end of a period

and the critical ratio `p / (p + R h)` is the level of demand to be ready for (the newsvendor's fractile) with an order
every `R` periods: what is left over is held until the next order can take it into account.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shelfcast.errors import DataError

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Economics:
    """Prices and costs of B items; each field is a number for all items or an array (B,).

    Parameters
    ----------
    holding_cost : money per unit left at the end of a period, > 0.
    stockout_cost : money per unit of unmet demand, >= 0.
    price : money earned per unit sold, >= 0; only the cash objective needs it.
    cost : money paid per unit received, >= 0; needed by cash and by budgets.
    salvage : money per unit still on the shelf at the end of a replay; never counted above `cost`.
    discount : factor per period on cash, in (0, 1].
    order_cost : money per order placed, whatever its size, >= 0.
    names : what to call the items in messages; empty to use row numbers.

    Raises
    ------
    DataError : a value is missing, negative or out of range; the items are named.

    Examples
    --------
    >>> float(Economics(holding_cost=1.0, stockout_cost=9.0).critical_ratio)
    0.9
    """

    holding_cost: Array
    stockout_cost: Array
    price: Array = 0.0  # type: ignore[assignment]
    cost: Array = 0.0  # type: ignore[assignment]
    salvage: Array = 0.0  # type: ignore[assignment]
    discount: Array = 1.0  # type: ignore[assignment]
    order_cost: Array = 0.0  # type: ignore[assignment]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        given = [np.asarray(getattr(self, name), dtype=np.float64) for name in _NUMBERS]
        try:
            together = np.broadcast_arrays(*given)
        except ValueError:
            lengths = ", ".join(f"{n} {v.shape}" for n, v in zip(_NUMBERS, given, strict=True))
            raise DataError("one value for all items or one per item", lengths, table="economics") from None
        for name, values in zip(_NUMBERS, together, strict=True):
            _check(name, values, self.names)
            object.__setattr__(self, name, values)

    @classmethod
    def of(
        cls,
        price: ArrayLike,
        cost: ArrayLike,
        *,
        goodwill: ArrayLike = 0.0,
        storage: ArrayLike = 0.0,
        discount: ArrayLike = 1.0,
        salvage: ArrayLike = 0.0,
        names: Sequence[str] = (),
    ) -> "Economics":
        """From what a retailer knows; the formulas stand at the top of this file.

        Parameters
        ----------
        price, cost : money per unit.
        goodwill : money lost with each unit of unmet demand beyond its margin.
        storage : money per unit-period for room, handling and spoilage.
        discount, salvage, names : as in the class.

        Raises
        ------
        DataError : as the class; so also where `price + goodwill < cost`, or where both `storage` is 0 and
            `discount` is 1, since stock that costs nothing to hold has no best size.

        Examples
        --------
        >>> one = Economics.of(price=10.0, cost=6.0, storage=0.1, discount=0.95)
        >>> float(one.stockout_cost), round(float(one.holding_cost), 9)
        (4.0, 0.4)
        """
        sells, pays, factor = (np.asarray(x, dtype=np.float64) for x in (price, cost, discount))
        return cls(
            holding_cost=pays * (1.0 - factor) + np.asarray(storage, dtype=np.float64),
            stockout_cost=sells - pays + np.asarray(goodwill, dtype=np.float64),
            price=sells,
            cost=pays,
            salvage=np.asarray(salvage, dtype=np.float64),
            discount=factor,
            names=tuple(names),
        )

    @property
    def critical_ratio(self) -> Array:
        """(B,) `p / (p + h)`, in [0, 1): the share of outcomes to be ready for where every period has an order."""
        return np.asarray(self.stockout_cost / (self.stockout_cost + self.holding_cost))

    @property
    def storage(self) -> Array:
        """(B,) the part of `holding_cost` that is paid out; the rest is capital, which discounting already charges."""
        return np.asarray(np.maximum(self.holding_cost - self.cost * (1.0 - self.discount), 0.0))

    def over(self, review_period: ArrayLike) -> "Economics":
        """The same for orders that are `review_period` (B,) periods apart: holding costs of as many periods.

        A unit too many is on the shelf until the next order takes it into account, so `p / (p + R h)` is the level
        to be ready for. Rules decide by this; ledgers charge every period by itself.

        Examples
        --------
        >>> float(Economics(holding_cost=0.5, stockout_cost=9.0).over(2).critical_ratio)
        0.9
        """
        return replace(self, holding_cost=self.holding_cost * np.asarray(review_period, dtype=np.float64))

    def mismatch(self, end_stock: ArrayLike, unmet: ArrayLike) -> Array:
        """(B,) money: holding cost of what is left plus stock-out cost of what was not met, both in units."""
        return np.asarray(self.holding_cost * np.asarray(end_stock) + self.stockout_cost * np.asarray(unmet))

    def for_items(self, n: int) -> "Economics":
        """The same with every field (n,).

        Raises
        ------
        DataError : the fields hold another number of items.
        """
        if self.price.shape not in ((), (1,), (n,)):
            raise DataError(f"economics of {n} items", f"{self.price.shape[0]}", table="economics")
        return self._map(lambda values: np.broadcast_to(values, (n,)))

    def take(self, rows: Ints) -> "Economics":
        """The items at `rows`, of economics that hold one value per item."""
        return self._map(lambda values: values[rows], _names_at(self.names, rows))

    def _map(self, change: Any, names: tuple[str, ...] | None = None) -> "Economics":
        changed = {name: change(getattr(self, name)) for name in _NUMBERS}
        return Economics(**changed, names=self.names if names is None else names)


_NUMBERS = tuple(field.name for field in fields(Economics) if field.name != "names")
_ADVICE = {
    "holding_cost": "give a storage cost per unit and period, or a discount factor below 1",
    "stockout_cost": "the price is below the cost: correct it, or give a goodwill cost per unit not sold",
    "discount": "write the factor per period, 0.998, not the rate",
}


def _check(name: str, values: Array, names: tuple[str, ...]) -> None:
    """Raise a DataError that names the items whose `values` are missing or out of range."""
    if name == "discount":
        expected, fits = "a factor above 0 and at most 1", (values > 0) & (values <= 1)
    elif name == "holding_cost":
        expected, fits = "a number above 0", (values > 0) & np.isfinite(values)
    else:
        expected, fits = "a number of at least 0", (values >= 0) & np.isfinite(values)
    if fits.all():
        return
    wrong = np.flatnonzero(~np.atleast_1d(fits))
    flat = np.atleast_1d(values)
    samples = [f"{_called(names, i)}: {name} {_shown(flat[i])}" for i in wrong[:3]]
    advice = _ADVICE.get(name, f"correct or fill in {name}")
    raise DataError(f"{name} to be {expected}", f"{len(wrong)} other", advice, table="economics", samples=samples)


def _called(names: tuple[str, ...], i: int) -> str:
    return names[i] if i < len(names) else f"row {i}"


def _names_at(names: tuple[str, ...], rows: Ints) -> tuple[str, ...]:
    return tuple(names[i] for i in rows) if names else ()


def _shown(value: float) -> str:
    return "missing" if np.isnan(value) else f"{value:g}"


@dataclass(frozen=True)
class Supply:
    """Terms on which items can be bought; each field is a number for all items or an array (B,).

    Parameters
    ----------
    lead_time : whole periods from order to shelf, >= 0.
    review_period : whole periods between two chances to order, >= 1; the first is the first period.
    pack_size : units per pack, >= 0; orders are whole packs. 0 allows fractions of a unit.
    minimum_order : units, >= 0; smaller orders are raised to it.
    shelf_life : whole periods in which a unit can be sold, that of its arrival included; 0 for goods that keep.
    drawn : (B, T) lead times of the orders placed in each period of a replay, where they are random; `lead_time` is
        then what buyers plan with. None: every order takes `lead_time`.
    chances : (B, M) of a lead time of 0 .. M - 1 periods, which rules are told where lead times are random. None: they
        are told `lead_time`.
    names : what to call the items in messages; empty to use row numbers.

    Raises
    ------
    DataError : a value is missing, out of range, or not whole where it must be; the items are named.
    """

    lead_time: Ints = 1  # type: ignore[assignment]
    review_period: Ints = 1  # type: ignore[assignment]
    pack_size: Array = 1.0  # type: ignore[assignment]
    minimum_order: Array = 0.0  # type: ignore[assignment]
    shelf_life: Ints = 0  # type: ignore[assignment]
    drawn: Ints | None = None
    chances: Array | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least, whole in _TERMS:
            values = np.asarray(getattr(self, name), dtype=np.float64)
            fits = np.isfinite(values) & (values >= least) & ((values == np.floor(values)) | (not whole))
            if not fits.all():
                _refuse_terms(name, least, whole, values, fits, self.names)
            object.__setattr__(self, name, values.astype(np.int64) if whole else values)
        if self.drawn is not None:
            drawn = np.asarray(self.drawn)
            if drawn.ndim != 2 or not np.issubdtype(drawn.dtype, np.integer) or (drawn < 0).any():
                came = f"{drawn.dtype} of shape {drawn.shape}"
                raise DataError("drawn lead times: whole numbers of at least 0, (items, periods)", came, table="supply")
        if self.chances is not None:
            chances = np.asarray(self.chances, dtype=np.float64)
            if chances.ndim != 2 or not ((chances >= 0).all() and np.allclose(chances.sum(axis=1), 1.0)):
                wrong = "other" if chances.ndim == 2 else f"an array of shape {chances.shape}"
                raise DataError("chances of lead times: (items, periods), each row of sum 1", wrong, table="supply")

    def for_items(self, n: int) -> "Supply":
        """The same with every field (n,).

        Raises
        ------
        DataError : lead times were drawn for another number of items.
        """
        for random in (self.drawn, self.chances):
            if random is not None and len(random) != n:
                raise DataError(f"lead times drawn for {n} items", f"{len(random)}", table="supply")
        terms: dict[str, Any] = {name: np.broadcast_to(getattr(self, name), (n,)) for name, _, _ in _TERMS}
        return replace(self, **terms)

    def take(self, rows: Ints) -> "Supply":
        """The items at `rows`, of terms that hold one value per item."""
        drawn = None if self.drawn is None else self.drawn[rows]
        chances = None if self.chances is None else self.chances[rows]
        terms = {name: getattr(self, name)[rows] for name, _, _ in _TERMS}
        return Supply(**terms, drawn=drawn, chances=chances, names=_names_at(self.names, rows))

    @property
    def longest(self) -> int:
        """The longest lead time of any item, drawn ones included."""
        drawn = 0 if self.drawn is None else int(self.drawn.max(initial=0))
        return max(drawn, int(np.max(self.lead_time, initial=0)))

    @property
    def protected(self) -> Ints:
        """(B,) periods that an order placed now protects: `lead_time + review_period`."""
        return np.asarray(self.lead_time + self.review_period)


_TERMS = (
    ("lead_time", 0, True),
    ("review_period", 1, True),
    ("pack_size", 0, False),
    ("minimum_order", 0, False),
    ("shelf_life", 0, True),
)


def _refuse_terms(
    name: str, least: int, whole: bool, values: Array, fits: NDArray[np.bool_], names: tuple[str, ...]
) -> None:
    wrong = np.flatnonzero(~np.atleast_1d(fits))
    samples = [f"{_called(names, i)}: {name} {_shown(np.atleast_1d(values)[i])}" for i in wrong[:3]]
    expected = f"{name} to be a {'whole ' if whole else ''}number of at least {least}"
    raise DataError(expected, f"{len(wrong)} other", f"correct or fill in {name}", table="supply", samples=samples)
