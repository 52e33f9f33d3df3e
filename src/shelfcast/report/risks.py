"""How likely demand is to exceed what is there: before an order can arrive, and after it."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.horizons import Horizon
from shelfcast.laws import Grid
from shelfcast.report.aligned import Aligned, Array, Ints, align, places_of
from shelfcast.report.inputs import ReportInputs
from shelfcast.report.numbers import plural, spoken

_RISKY = 0.5  # more likely than not; the list is ordered by the units short
_SLACK = 0.05
_DRAWS = (np.arange(40) + 0.5) / 40


@dataclass(frozen=True)
class Risks:
    """Chances of demand above stock for R orders.

    Parameters
    ----------
    place : (R,) series of the panel.
    chance : (R,) probability that demand exceeds what will be there: over the lead time the position, where that
        horizon was forecast and this is the greater worry; else over the protected horizon position and order.
    accepted : (R,) chance from which it is worth a word: 0.5, or more where the critical ratio accepts more.
    short : (R,) units that demand is expected to exceed it by.
    waiting : (R,) whether `chance` is of the lead time, which no order can mend.
    now : (R,) chance that demand over the protected horizon exceeds the position, without the order.
    position, quantity : (R,) units.
    mean, span : (R,) expected units over the horizon that `chance` is of, and its periods.
    unit, levels : name of a period; lowest and highest level, beyond which chances are not known.
    """

    place: Ints
    chance: Array
    accepted: Array
    short: Array
    waiting: NDArray[np.bool_]
    now: Array
    position: Array
    quantity: Array
    mean: Array
    span: Ints
    unit: str
    levels: tuple[float, float]

    def sentences(self, rows: Ints) -> list[str]:
        """One sentence for each of some rows."""
        return [self._sentence(row) for row in rows.tolist()]

    def _sentence(self, row: int) -> str:
        """What is there, what is expected, and how likely it is not enough."""
        have = f"{spoken(self.position[row])} in stock and on order"
        expected = f"{spoken(self.mean[row])} expected in"
        periods, chance = plural(int(self.span[row]), self.unit), self._chance(self.chance[row])
        if self.waiting[row]:
            return f"{have} against {expected} the {periods} before an order can arrive: {chance} likely to run out."
        if self.quantity[row] > 0:
            order = spoken(self.quantity[row])
            rest = f"{self._chance(self.now[row])} likely to run out, and still {chance} with the {order} ordered."
        else:
            rest = f"{chance} likely to run out, and nothing is ordered."
        return f"{have} against {expected} {periods}: {rest}"

    def _chance(self, chance: float) -> str:
        """A probability in words, no finer than the levels reach."""
        lowest, highest = self.levels
        if chance >= 1 - lowest - 1e-9:
            return f"over {1 - lowest:.0%}"
        return f"under {1 - highest:.0%}" if chance <= 1 - highest + 1e-9 else f"{chance:.0%}"


def protected(orders: pl.DataFrame) -> pl.Series | None:
    """Column of the orders that names the horizon they protect, as text; None where there is none."""
    name = next((n for n in ("horizon", "protects") if n in orders.columns), None)
    return None if name is None else orders[name].cast(pl.String)


def risks(inputs: ReportInputs) -> Risks:
    """Chances for every order that has a position and a forecast of the horizon it protects; else none."""
    orders, table = inputs.orders, inputs.forecast
    unit = inputs.panel.frequency.unit.value
    none, whole = np.zeros(0), np.zeros(0, dtype=np.int64)
    nothing = Risks(whole, none, none, none, none > 0, none, none, none, none, whole, unit, (0.0, 1.0))
    if orders is None or table is None or orders.is_empty() or table.is_empty():
        return nothing
    if protected(orders) is None or not {"position", "quantity"} <= set(orders.columns):
        return nothing
    rows = align(inputs.panel, table)
    if not len(rows.place) or not len(rows.levels):
        return nothing
    rows = rows.where(rows.origin == rows.origins[-1])
    values, mean = rows.dense(inputs.panel.n_series)
    asked = _asked(orders, places_of(inputs.panel, orders), rows)
    place, k, lead = (asked[c].to_numpy() for c in ("place", "k", "lead"))
    known = np.isfinite(values[place, k]).all(axis=1)
    asked, place, k, lead = asked.filter(pl.Series(known)), place[known], k[known], lead[known]
    position, quantity, ratio = (asked[c].to_numpy() for c in ("position", "quantity", "ratio"))
    now, _ = _exceeds(rows.levels, values[place, k], position)
    after, short = _exceeds(rows.levels, values[place, k], position + quantity)
    wait, lacking = _exceeds(rows.levels, np.nan_to_num(values[place, lead]), position)
    waiting = (lead >= 0) & np.isfinite(values[place, lead]).all(axis=1) & (wait >= _RISKY) & (lacking >= short)
    used = np.where(waiting, lead, k)
    return Risks(
        place=place,
        chance=np.where(waiting, wait, after),
        accepted=np.where(waiting, _RISKY, np.maximum(_RISKY, 1 - ratio + _SLACK)),
        short=np.where(waiting, lacking, short),
        waiting=waiting,
        now=now,
        position=position,
        quantity=quantity,
        mean=mean[place, used],
        span=np.array([h.span for h in rows.horizons])[used],
        unit=unit,
        levels=(float(rows.levels[0]), float(rows.levels[-1])),
    )


def _asked(orders: pl.DataFrame, place: Ints, rows: Aligned) -> pl.DataFrame:
    """Place, horizon protected `k` and of the lead time `lead` (-1 where not forecast), and numbers of each order."""
    index = {str(h): k for k, h in enumerate(rows.horizons)}
    waits = {h.span: k for k, h in enumerate(rows.horizons) if h == Horizon(0, h.span)}
    text = protected(orders)
    lead = (
        orders["arrival"].cast(pl.Int64)
        if "arrival" in orders.columns
        else pl.Series([None] * len(orders), dtype=pl.Int64)
    )
    ratio = orders["critical_ratio"] if "critical_ratio" in orders.columns else pl.Series([1.0] * len(orders))
    return (
        pl.DataFrame({"place": place})
        .with_columns(
            k=text.replace_strict(index, default=None, return_dtype=pl.Int64) if text is not None else pl.lit(None),
            lead=lead.replace_strict(waits, default=-1, return_dtype=pl.Int64).fill_null(-1),
            position=orders["position"].cast(pl.Float64),
            quantity=orders["quantity"].cast(pl.Float64),
            ratio=ratio.cast(pl.Float64).fill_null(1.0).fill_nan(1.0),
        )
        .drop_nulls()
        .filter(pl.col("place") >= 0)
    )


def _exceeds(levels: Array, values: Array, there: Array) -> tuple[Array, Array]:
    """(R,) probability that demand exceeds what is there, and the units it is expected to exceed it by."""
    law = Grid(levels, values)
    over = np.maximum(law.quantile(_DRAWS) - there[:, None], 0).mean(axis=1)
    return 1 - law.cdf(there), over
