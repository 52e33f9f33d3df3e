"""Latent demand: what was wanted in past periods whose sales do not tell.

A period that began empty, or is missing for any other reason, has the law that was forecast for it before it came. A
sold-out one has that law given that demand reached what was sold: `P(D <= x | D >= s)`. Each period takes the latest
forecast made before it, so nothing that came afterwards, such as purchases put off, enters.

For whole units `D >= s` is read as `D > s - 1/2`: the same continuity as in `conformal`.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.cells import aligned
from shelfcast.data.panel import Panel
from shelfcast.errors import DataError
from shelfcast.forecast import Forecast, level_column
from shelfcast.laws import Tailed

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


def at_least(
    levels: tuple[float, ...], values: NDArray[np.floating], sold: Array, *, whole_units: bool = True
) -> tuple[Array, Array]:
    """Mean (*b) and quantiles (*b, Q) of demand given that it reached `sold` (*b) units, from a grid (*b, Q).

    Examples
    --------
    Uniform on 0..10, of which at least 5 is known: uniform on 5..10.

    >>> mean, quantiles = at_least((0.25, 0.5, 0.75), np.array([2.5, 5.0, 7.5]), np.array(5.0), whole_units=False)
    >>> quantiles[:2].round(2).tolist()
    [6.25, 7.5]
    """
    law = Tailed.of(levels, values)
    floor = sold - 0.5 if whole_units else sold
    chance = law.above(floor)
    quantiles = law.exceeded(chance[..., None] * (1 - np.asarray(levels)))
    return np.maximum(law.mean(floor), sold), np.maximum(quantiles, sold[..., None])


def latent_demand(
    made: Forecast, panel: Panel, sales: Panel | None = None, *, whole_units: bool = True
) -> pl.DataFrame:  # fmt: skip
    """Expected demand, with quantiles, of the past periods that a forecast covers and sales do not tell.

    Parameters
    ----------
    made : forecasts of single periods from any origins; of several for one period the latest counts.
    panel : holds what was observed, and which periods sold out.
    sales : the same series with what was sold in sold-out periods (packing completes `panel`'s); needed where any did.
    whole_units : demand comes in whole units.

    Returns
    -------
    One row for every such period between a series' first row and `panel.last`: keys, date, origin, `known`
    (`at_least` for a sold-out period, `nothing` otherwise), `sold` units (null where nothing is known), mean, and a
    column for every level. Raises DataError where single periods were not forecast, or `sales` is wanted.
    """
    panel = aligned(made, panel)
    sales = None if sales is None else aligned(made, sales)
    leads = {h.lead: k for k, h in enumerate(made.horizons) if h.span == 1}
    if not leads:
        raise DataError("a forecast of single periods", "sums of several only", "set forecast.periods")
    tables = []
    for period, place in _latest(made, leads, panel.last):
        hidden = _hidden(panel, sales, period)
        if len(hidden.rows):
            tables.append(
                _of_period(made, panel, hidden, place, leads[hidden.period - made.origins[place] - 1], whole_units)
            )
    return pl.concat(tables or [_nothing(made, panel)]).sort(*panel.keys, "date")


def _latest(made: Forecast, leads: dict[int, int], last: int) -> list[tuple[int, int]]:
    """Every past period that is forecast, and the place of the latest origin before it that did."""
    found: dict[int, int] = {}
    for place in np.argsort(made.origins):
        found |= {made.origins[place] + lead + 1: int(place) for lead in leads}
    return sorted((period, place) for period, place in found.items() if period <= last)


@dataclass(frozen=True)
class _Hidden:
    """Places `rows` (n,) of series that a period does not tell; what they `sold` (n,) where it sold out, else NaN."""

    period: int
    rows: NDArray[np.int64]
    sold: Array


def _hidden(panel: Panel, sales: Panel | None, period: int) -> _Hidden:
    offset = period - panel.start.astype(np.int64)
    begun = (offset >= 0) & (offset < panel.lengths)
    observed, sold_out = panel.window(period, period)[1][:, 0], panel.sold_out(period, period)[:, 0]
    if sold_out.any() and sales is None:
        raise DataError("what was sold in sold-out periods", "a panel that has completed them", "hand over `sales`")
    sold = np.full(panel.n_series, np.nan)
    if sales is not None:
        sold[sold_out] = sales.window(period, period)[0][sold_out, 0]
    rows = np.flatnonzero(begun & (~observed | sold_out))
    return _Hidden(period, rows, sold[rows])


def _of_period(made: Forecast, panel: Panel, hidden: _Hidden, o: int, k: int, whole_units: bool) -> pl.DataFrame:
    """Rows of one period, from the forecast at places `o` and `k`."""
    values = made.values[hidden.rows, o, k].astype(np.float64)
    mean = (
        Tailed.of(made.levels, values).mean() if made.mean is None else made.mean[hidden.rows, o, k].astype(np.float64)
    )
    out = np.isfinite(hidden.sold)
    mean[out], values[out] = at_least(made.levels, values[out], hidden.sold[out], whole_units=whole_units)
    known = np.where(out, "at_least", "nothing")
    when = pl.lit(panel.date(hidden.period)), pl.lit(panel.date(made.origins[o]))
    return made.series[pl.Series(hidden.rows)].select(panel.keys).with_columns(
        when[0].alias("date"), when[1].alias("origin"), pl.Series("known", known, dtype=pl.String),
        pl.Series("sold", hidden.sold).fill_nan(None), pl.Series("mean", mean),
        *(pl.Series(level_column(level), values[:, q]) for q, level in enumerate(made.levels)),
    )  # fmt: skip


def _nothing(made: Forecast, panel: Panel) -> pl.DataFrame:
    """The table without rows."""
    none = np.zeros(0, dtype=np.int64)
    return _of_period(made, panel, _Hidden(panel.last, none, np.zeros(0)), 0, 0, True)
