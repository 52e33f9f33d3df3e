"""Price and promotion columns of a panel as regressors of the logarithm of demand.

The price enters as log(price / regular price). The regular price is a known column that the caller names, or the
highest price of the last periods up to and including the row's own (causal: a lasting price cut becomes the regular
price after `window` periods, a rise at once). The quotient is kept within `RATIOS`, so that a mistyped price cannot
rule. A promotion flag enters as 0 or 1, a depth as the share off, a category as one flag for each of its codes but 0,
which is `none`.

A flag that only says that the price is cut ("price reduction only") says nothing beyond the price, and would take the
price's effect: where no other promotion is on with it and the price is cut nine times in ten, it is left out.

The logarithm of the regular price is a control: what demand did when it changed is not to be blamed on promotions, and
is no part of a lift, since the level that a lift multiplies has it already.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError, DataError, nearest

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
PRICE = "price"
REGULAR = "regular price"
RATIOS = (0.2, 2.0)  # of price over regular price
_PERIODS = {24: 24 * 91, 7: 91, 52: 13, 12: 3}  # of the regular price, by season: promotions are shorter than that
_CUT, _DEPTH = 0.01, 0.01  # variation of price or depth that identifies: four periods at 5 % off
_ALONE, _CUTTING, _CUT_FROM = 0.98, 0.9, np.log(0.995)  # a flag of price cuts only: shares of its rows, log ratio
_FLAG = 1.5  # variation of a flag that identifies: two promoted periods among many


@dataclass(frozen=True)
class Rows:
    """Regressors of some rows of a panel, in order of series and period.

    Parameters
    ----------
    x : (R, J) regressors; NaN in the price where it or the regular price is missing.
    row, series, period : (R,) place in the panel's flat arrays, series and period of each.
    """

    x: Array
    row: Ints
    series: Ints
    period: Ints


@dataclass(frozen=True)
class Effect:
    """One regressor.

    Parameters
    ----------
    name : `price`, the name of a promotion column, `column=category`, or `regular price`.
    column : known column that it is read from.
    code : category code, or 0 for the column's own number.
    typical : value at which its lift is told: 1 for flags, the mean depth for depths.
    least : sum of squares about the other regressors from which its effect counts as identified.
    """

    name: str
    column: str
    code: int = 0
    typical: float = 1.0
    least: float = _FLAG


@dataclass(frozen=True)
class Design:
    """The J regressors of a panel: the price first, then promotions, then the regular price; without a price neither.

    Parameters
    ----------
    effects : J regressors.
    reference : known column of the regular price; None for the highest of the last `window` prices.
    window : periods.
    """

    effects: tuple[Effect, ...]
    reference: str | None
    window: int

    @classmethod
    def of(cls, panel: Panel, reference: str | None = None, window: int | None = None) -> "Design":
        """The regressors that `panel` has columns for.

        Raises
        ------
        DataError : neither price nor promotions, or no column `reference`. ConfigError : a window under one period.
        """
        names = panel.names
        if names.price is None and not names.promotions:
            came = f"known columns {', '.join(names.known) or 'none'}, none of them declared as either"
            advice = "name the column of prices or of promotions in the schema ([sales] price, [sales.promotions])"
            if names.paid is not None:
                came = f"'{names.paid}', which is declared as paid: known only afterwards"
                advice = "a price that is planned ahead is declared as `price`, promotions in [sales.promotions]"
            raise DataError("a price or promotions among the known columns", came, advice, table="panel")
        if reference is not None and reference not in names.known:
            came = nearest(reference, names.known)
            raise DataError(f"a known column '{reference}' of regular prices", came, table="panel")
        if window is not None and window < 1:
            raise ConfigError("window", f"expected a regular price over at least 1 period; got {window}")
        price = [Effect(PRICE, names.price, least=_CUT)] if names.price is not None else []
        regular = [Effect(REGULAR, names.price, least=_CUT)] if names.price is not None else []
        promotions = [effect for column in names.promotions for effect in _promotion(panel, column)]
        return cls((*price, *promotions, *regular), reference, window or _PERIODS[panel.frequency.season])

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Design":
        """Inverse of `dataclasses.asdict`."""
        effects = tuple(Effect(**effect) for effect in stored["effects"])
        return cls(effects, stored["reference"], int(stored["window"]))

    @property
    def names(self) -> tuple[str, ...]:
        """The J names."""
        return tuple(effect.name for effect in self.effects)

    @property
    def has_price(self) -> bool:
        """Whether the first regressor is the price."""
        return bool(self.effects) and self.effects[0].name == PRICE

    @property
    def promotions(self) -> slice:
        """Where the promotions are."""
        return slice(1, len(self.effects) - 1) if self.has_price else slice(0, len(self.effects))

    @property
    def lifting(self) -> NDArray[np.bool_]:
        """(J,) false for the control, which is no part of a lift."""
        return np.array([effect.name != REGULAR for effect in self.effects])

    @property
    def least(self) -> Array:
        """(J,) variation from which an effect is identified."""
        return np.array([effect.least for effect in self.effects])

    def without_cut_flags(self, x: Array) -> "tuple[Design, Array]":
        """The design without flags that only say that the price is cut, judged by regressors x (R, J); and its x."""
        active = x[:, self.promotions] > 0
        if not self.has_price or active.shape[1] < 2:
            return self, x
        rows = np.maximum(active.sum(axis=0), 1)
        alone = (active & (active.sum(axis=1) == 1)[:, None]).sum(axis=0) / rows
        cut = (active & (x[:, :1] < _CUT_FROM)).sum(axis=0) / rows
        useless = (alone >= _ALONE) & (cut >= _CUTTING)
        if useless.all():
            return self, x
        drop = np.zeros(x.shape[1], dtype=bool)
        drop[self.promotions] = useless
        kept = tuple(effect for effect, out in zip(self.effects, drop, strict=True) if not out)
        return replace(self, effects=kept), x[:, ~drop]

    def rows(self, panel: Panel, first: int, last: int) -> Rows:
        """Regressors of all rows of the periods `first` to `last`, both included; DataError for a lost column."""
        missing = sorted({column for column in self._columns if column not in panel.names.known})
        if missing:
            raise DataError(f"known columns {', '.join(self._columns)}", f"no {', '.join(missing)}", table="panel")
        row, indptr = _span(panel, first - self.window + 1, last)
        series = np.repeat(np.arange(panel.n_series), np.diff(indptr))
        period = row - panel.indptr[series] + panel.start[series]
        x = np.empty((len(row), len(self.effects)))
        for j, effect in enumerate(self.effects):
            values = panel.known[row, panel.names.known.index(effect.column)].astype(np.float64)
            if effect.name == PRICE:
                x[:, j], x[:, -1] = self._log_prices(panel, values, row, indptr)
            elif effect.name != REGULAR:
                x[:, j] = (values == effect.code) if effect.code else np.nan_to_num(values)
        inside = period >= first
        return Rows(x[inside], row[inside], series[inside], period[inside])

    @property
    def _columns(self) -> list[str]:
        reference = [self.reference] if self.reference is not None and self.has_price else []
        return [*dict.fromkeys(effect.column for effect in self.effects), *reference]

    def _log_prices(self, panel: Panel, price: Array, row: Ints, indptr: Ints) -> tuple[Array, Array]:
        """(R,) logs of price over regular price and of the regular price; NaN where one is missing or not positive."""
        if self.reference is None:
            regular = rolling_max(np.where(price > 0, price, np.nan), indptr, self.window)
        else:
            regular = panel.known[row, panel.names.known.index(self.reference)].astype(np.float64)
        there = (price > 0) & (regular > 0) & np.isfinite(price) & np.isfinite(regular)
        quotient = np.divide(price, regular, out=np.full(len(price), np.nan), where=there)
        return np.log(np.clip(quotient, *RATIOS)), np.log(np.where(there, regular, np.nan))


def rolling_max(values: Array, indptr: Ints, window: int) -> Array:
    """(R,) highest of the last `window` values of the same series; NaN is skipped, and stays where there is no other.

    By doubling: the maximum over 2 k values is that of two neighbours over k, so the cost is R log(window).
    """
    begin = np.repeat(indptr[:-1], np.diff(indptr))
    at = np.arange(len(values))

    def joined(best: Array, shift: int) -> Array:
        earlier = at - shift
        there = earlier >= begin
        return np.asarray(np.fmax(best, np.where(there, best[np.where(there, earlier, at)], np.nan)))

    best, covered = values, 1
    while 2 * covered <= window:
        best, covered = joined(best, covered), 2 * covered
    return joined(best, window - covered) if window > covered else best


def _span(panel: Panel, first: int, last: int) -> tuple[Ints, Ints]:
    """Rows of the periods `first` to `last`, and where those of each series begin (N + 1,)."""
    start = panel.start.astype(np.int64)
    begin = np.clip(first - start, 0, panel.lengths)
    size = np.clip(last + 1 - start, begin, panel.lengths) - begin
    indptr = np.concatenate(([0], np.cumsum(size)))
    return np.arange(indptr[-1]) + np.repeat(panel.indptr[:-1] + begin - indptr[:-1], size), indptr


def _promotion(panel: Panel, column: str) -> list[Effect]:
    """A flag or depth as one effect, a category as one for each code but 0."""
    codes = panel.names.categories.get(column)
    if codes is not None:
        return [Effect(f"{column}={name}", column, code) for code, name in enumerate(codes) if code]
    values = panel.known[:, panel.names.known.index(column)]
    active = values[values > 0]
    if len(active) == 0 or (active == 1).all():
        return [Effect(column, column)]
    return [Effect(column, column, typical=float(active.mean(dtype=np.float64)), least=_DEPTH)]
