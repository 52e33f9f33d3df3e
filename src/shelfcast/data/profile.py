"""What a panel looks like: how much of it there is, what kinds of series, and what deserves a look before forecasting.

"Now" is the panel's last period and "lately" the quarter of a year that ends there: 13 weeks, 91 days, 3 months.
Series are read in shards, so that memory stays small beside the panel.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.scoring import ratio

ADI_CUT = 1.32
CV2_CUT = 0.49
_FAST, _MEDIUM = 0.8, 0.95  # share of units sold by faster series
_SHARD_ROWS = 4_000_000
_N_SPIKES = 5
_SPIKE = 20.0  # standard deviations that deserve a warning
_ENOUGH = 8  # observed periods for a series to have spikes

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spike:
    """One cell far above its series: units, and standard deviations above the series' mean."""

    keys: str
    date: str
    demand: float
    z: float


@dataclass(frozen=True)
class Profile:
    """Numbers that describe a panel up to its last period.

    Parameters
    ----------
    frequency, first_date, last_date : the length of a period, the first and the last with demand.
    n_series, n_rows : series, and periods of all series together.
    units : total demand.
    zeros : share of observed periods without demand.
    unobserved : share of periods that are missing, out of stock or closed (a panel does not tell them apart).
    n_gaps : series with any such period.
    n_constant : series with two or more observed periods, all of one demand, not zero.
    n_unsold : series with rows but no demand at all.
    n_without_rows : products that no row of the sales table names.
    n_new : series whose first sale lies in the last quarter of a year.
    n_ended : series that sold, but not in the last quarter of a year.
    velocity : series by class, see `velocity_classes`; by units a period in the last quarter of a year.
    demand : series by class, see `demand_classes`.
    spikes : the cells farthest above their series' mean.
    warnings : sentences on what deserves a look.
    """

    frequency: str
    first_date: str
    last_date: str
    n_series: int
    n_rows: int
    units: float
    zeros: float
    unobserved: float
    n_gaps: int
    n_constant: int
    n_unsold: int
    n_without_rows: int
    n_new: int
    n_ended: int
    velocity: dict[str, int]
    demand: dict[str, int]
    spikes: tuple[Spike, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "spikes": [asdict(spike) for spike in self.spikes], "warnings": list(self.warnings)}

    def __str__(self) -> str:
        frame = self.frame()
        lines = [f"{what:<24}{value}" for what, value in frame.iter_rows()]
        return "\n".join([*lines, *(f"! {warning}" for warning in self.warnings)])

    def frame(self) -> pl.DataFrame:
        """What and how much, as text, in the order to be read."""
        lines = {
            "frequency": self.frequency,
            "dates": f"{self.first_date} to {self.last_date}",
            "series": f"{self.n_series:,}",
            "rows": f"{self.n_rows:,}",
            "units": f"{self.units:,.0f}",
            "periods without demand": f"{self.zeros:.1%}",
            "periods not observed": f"{self.unobserved:.1%}, in {self.n_gaps:,} series",
            "constant series": f"{self.n_constant:,}",
            "never sold": f"{self.n_unsold:,}",
            "without rows": f"{self.n_without_rows:,}",
            "new series": f"{self.n_new:,}",
            "ended series": f"{self.n_ended:,}",
            "velocity": ", ".join(f"{name} {count:,}" for name, count in self.velocity.items()),
            "demand classes": ", ".join(f"{name} {count:,}" for name, count in self.demand.items()),
        }
        lines |= {
            f"spike {place}": f"{spike.keys}, {spike.date}: {spike.demand:,.0f} ({spike.z:.0f} sd above its mean)"
            for place, spike in enumerate(self.spikes, start=1)
        }
        return pl.DataFrame({"what": list(lines), "value": list(lines.values())})


def profile(panel: Panel) -> Profile:
    """Describe a panel up to its last period."""
    quarter = round(panel.frequency.year / 4)
    parts = [_facts(piece.as_of(panel.last), panel.last - quarter) for piece in panel.shards(_SHARD_ROWS)]
    facts = pl.concat([part for part, _ in parts]) if parts else _facts(panel, 0)[0]
    spikes = sorted((spike for _, found in parts for spike in found), key=lambda spike: -spike.z)[:_N_SPIKES]
    totals = facts.sum().row(0, named=True)
    n_rows, n_seen = int(totals["rows"]), int(totals["seen"])
    has_rows, sold = facts["rows"] > 0, facts["positive"] > 0
    made = Profile(
        frequency=str(panel.frequency),
        first_date=str(panel.date(panel.first)),
        last_date=str(panel.date(panel.last)),
        n_series=panel.n_series,
        n_rows=n_rows,
        units=float(totals["units"]),
        zeros=(n_seen - int(totals["positive"])) / max(n_seen, 1),
        unobserved=(n_rows - n_seen) / max(n_rows, 1),
        n_gaps=int((facts["seen"] < facts["rows"]).sum()),
        n_constant=int(facts["constant"].sum()),
        n_unsold=int((has_rows & ~sold).sum()),
        n_without_rows=int((~has_rows).sum()),
        n_new=int((sold & (facts["first_sale"] > panel.last - quarter)).sum()),
        n_ended=int((sold & (facts["last_sale"] <= panel.last - quarter)).sum()),
        velocity=_counts(velocity_classes(facts["rate"].to_numpy()), ("fast", "medium", "slow", "none")),
        demand=_counts(facts["class"].to_numpy(), ("smooth", "intermittent", "erratic", "lumpy", "none")),
        spikes=tuple(spikes),
        warnings=(),
    )
    return replace(made, warnings=tuple(_warnings(made, panel)))


def _counts(classes: NDArray[Any], names: tuple[str, ...]) -> dict[str, int]:
    return {name: int((classes == name).sum()) for name in names}


def _facts(panel: Panel, before: int) -> tuple[pl.DataFrame, list[Spike]]:
    """Numbers of each series (N rows) of a panel up to its last period, and its spikes; `before` ends the quarter."""
    n = panel.n_series
    periods = panel.row_periods()
    inside = periods <= panel.last
    seen = panel.observed & inside
    series, when = panel.row_series()[seen], periods[seen]
    demand = panel.demand[seen].astype(np.float64)
    count, units = np.bincount(series, minlength=n), np.bincount(series, demand, n)
    positive = demand > 0
    lately = when > before
    mean = ratio(units, count)
    sd = np.sqrt(ratio(np.bincount(series, (demand - mean[series]) ** 2, n), count))
    first, last = np.full(n, panel.last + 1), np.full(n, before)
    np.minimum.at(first, series[positive], when[positive])
    np.maximum.at(last, series[positive], when[positive])
    recent = np.bincount(series[lately], demand[lately], n)
    facts = pl.DataFrame(
        {
            "rows": np.bincount(panel.row_series()[inside], minlength=n),
            "seen": count,
            "units": units,
            "positive": np.bincount(series[positive], minlength=n),
            "first_sale": first,
            "last_sale": last,
            "constant": (count > 1) & (sd == 0) & (units > 0),
            "rate": recent / np.maximum(np.bincount(series[lately], minlength=n), 1),
            "class": demand_classes(panel),
        }
    )
    steady = (count < _ENOUGH) | ~(sd > 0)
    z = np.where(steady[series], 0.0, (demand - mean[series]) / np.where(steady, 1.0, sd)[series])
    return facts, _spikes(panel, series, when, demand, z)


def _spikes(panel: Panel, series: NDArray[np.int64], when: NDArray[np.int64], demand: Floats, z: Floats) -> list[Spike]:
    """The cells of largest `z`."""
    least = np.partition(z, -_N_SPIKES)[-_N_SPIKES] if len(z) > _N_SPIKES else 0.0
    rows = np.flatnonzero((z >= least) & (z > 0))
    top = rows[np.argsort(-z[rows], kind="stable")][:_N_SPIKES]
    names = panel.series.select(panel.keys).cast(pl.String)
    return [
        Spike(" / ".join(names.row(int(series[i]))), str(panel.date(int(when[i]))), float(demand[i]), float(z[i]))
        for i in top
    ]


def _warnings(made: Profile, panel: Panel) -> list[str]:
    """Sentences on what deserves a look before forecasts are trusted."""
    n, found = max(made.n_series, 1), []
    length = panel.last - panel.first + 1
    if length < 2 * panel.frequency.season:
        found.append(f"The history of {length:,} periods is shorter than two seasons of {panel.frequency.season}.")
    if made.n_without_rows:
        found.append(f"{made.n_without_rows:,} products have no row in the sales table; they are forecast as new.")
    if made.n_unsold:
        found.append(f"{made.n_unsold:,} series never sold a unit.")
    if made.n_constant:
        found.append(f"{made.n_constant:,} series have the same demand in every period; are they real sales?")
    if made.n_ended > 0.05 * n:
        found.append(f"{made.n_ended:,} series sold nothing in the last quarter of a year; leave out what has ended.")
    if made.unobserved > 0.2:
        found.append(f"{made.unobserved:.0%} of the periods are not observed; check in_stock and absent rows.")
    if made.zeros > 0.8:
        found.append(f"{made.zeros:.0%} of the observed periods have no demand; a coarser frequency may serve better.")
    if made.spikes and made.spikes[0].z > _SPIKE:
        top = made.spikes[0]
        found.append(
            f"{top.keys} has {top.demand:,.0f} units on {top.date}, {top.z:.0f} standard deviations above its mean; "
            "check for a wrong entry."
        )
    return found


def first_sale(panel: Panel) -> NDArray[np.int64]:
    """(N,) period of the first observed positive demand; after `panel.last` where there is none."""
    rows = np.flatnonzero(panel.observed & (panel.demand > 0))
    series, place = np.unique(np.searchsorted(panel.indptr, rows, side="right") - 1, return_index=True)
    found = np.full(panel.n_series, panel.last + 1, dtype=np.int64)
    found[series] = rows[place] - panel.indptr[series] + panel.start[series]
    return found


def pareto_classes(amount: Floats, names: tuple[str, str, str]) -> NDArray[np.str_]:
    """(N,) `names` of the series that together make the first 80 % of an amount (N,), the next 15 % and the rest."""
    order = np.argsort(-amount, kind="stable")
    before = np.empty_like(amount)
    before[order] = np.cumsum(amount[order]) - amount[order]
    share = before / max(amount.sum(), 1e-300)
    return np.select([(amount > 0) & (share < _FAST), (amount > 0) & (share < _MEDIUM)], names[:2], names[2])


def velocity_classes(rate: Floats) -> NDArray[np.str_]:
    """(N,) class of each series from `rate` (N,) in units per period.

    `fast` are the series that together sell the first 80 % of units, `medium` the next 15 %, `slow` the rest, `none`
    those that sold nothing.
    """
    return np.where(rate > 0, pareto_classes(rate, ("fast", "medium", "slow")), "none")


def demand_classes(panel: Panel) -> NDArray[np.str_]:
    """(N,) class of each series: smooth, intermittent, erratic, lumpy, or none where nothing was sold.

    ADI = observed periods from the first sale / periods with demand, at least 1.32 for intermittent and lumpy;
    CV2 = (sd / mean of the positive demands)^2, at least 0.49 for erratic and lumpy (Syntetos, Boylan, Croston, 2005).
    """
    n, series = panel.n_series, panel.row_series()
    positive = panel.observed & (panel.demand > 0)
    before = np.concatenate(([0], np.cumsum(positive)))
    on_sale = panel.observed & (before[1:] > before[panel.indptr[:-1]][series])
    count = np.bincount(series[positive], minlength=n)
    units = panel.demand[positive].astype(np.float64)
    mean = np.bincount(series[positive], units, n) / np.maximum(count, 1)
    square = np.bincount(series[positive], (units - mean[series[positive]]) ** 2, n) / np.maximum(count, 1)
    adi = np.nan_to_num(ratio(np.bincount(series[on_sale], minlength=n), count))
    cv2 = np.nan_to_num(ratio(square, mean**2))
    rare, wild = adi >= ADI_CUT, cv2 >= CV2_CUT
    return np.select([count == 0, rare & wild, rare, wild], ["none", "lumpy", "intermittent", "erratic"], "smooth")
