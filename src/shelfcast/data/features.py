"""Hand-made features of (series, origin, horizon): what a forest or a feed-forward network reads.

Every feature is causal: of demand, stock and past columns nothing after the origin is read; known and calendar columns
are read over the target. Demand-like ones are over the scale, so that one model serves slow and fast products. NaN
means absent: a product line without a column costs nothing.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.dated import DateColumns
from shelfcast.data.groups import Group, group_columns, is_category, learn_group, load_groups, save_groups
from shelfcast.data.panel import Panel
from shelfcast.periods import Frequency, Unit

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

WINDOWS = {
    Unit.HOUR: (24, 168, 672, 2016),
    Unit.DAY: (7, 28, 91, 364),
    Unit.WEEK: (4, 13, 26, 52),
    Unit.MONTH: (3, 6, 12, 24),
}
YEAR = {Unit.HOUR: 8736, Unit.DAY: 364, Unit.WEEK: 52, Unit.MONTH: 12}  # whole weeks: weekdays stay weekdays
VARIANCE = 0.05  # of true season factors among products: how far a noisy one is believed
STATE = (
    "log scale", "age", "mean of 1st window", "mean of 2nd window", "mean of 3rd window", "mean of 4th window",
    "last observed", "last but one observed", "trend of 2nd window", "zeros of 2nd window", "zeros of 3rd window",
    "interval between sales", "variation", "size of a sale", "since last sale", "observed share", "peak of 2nd window",
    "mean without promotions", "past lift of promotions", "promoted lately",
)  # fmt: skip
AHEAD = (
    "lead", "span", "same place, 4 seasons", "same place, 13 seasons", "a year ago", "around a year ago",
    "growth a year ago", "age at target",
)  # fmt: skip
PRICE = ("price change from origin", "price over usual", "price cut")


@dataclass(frozen=True)
class Features:
    """What features need beside a panel: histories of groups, and which columns there were.

    Parameters
    ----------
    frequency : of the panels.
    groups : histories by group, everyone first.
    offset : units added to every scale, so that silence is not zero.
    dates : calendar columns. known, past, numbers : columns read (known without the price).
    promotions : known columns that count, 0 being absent.
    has_price : whether there is a price.
    """

    frequency: Frequency
    groups: tuple[Group, ...]
    offset: float
    dates: DateColumns
    known: tuple[str, ...]
    past: tuple[str, ...]
    numbers: tuple[str, ...]
    promotions: tuple[str, ...]
    has_price: bool

    @classmethod
    def learn(cls, panel: Panel) -> "Features":
        """Learn group histories and the layout of features from all that a panel shows."""
        names, step, launch = panel.names, WINDOWS[panel.frequency.unit][0], WINDOWS[panel.frequency.unit][1]
        groups = tuple(learn_group(panel, c, step, panel.first // step, launch) for c in group_columns(panel))
        others = [c for c in panel.series.columns if c not in panel.keys]
        return cls(
            frequency=panel.frequency,
            groups=groups,
            offset=0.1 * _typical_sale(panel),
            dates=DateColumns.of(panel),
            known=tuple(name for name in names.known if name != names.price),
            past=names.past,
            numbers=tuple(c for c in others if not is_category(panel.series[c])),
            promotions=names.promotions,
            has_price=names.price is not None,
        )

    @property
    def windows(self) -> Ints:
        """(4,) periods of the rolling windows."""
        return np.array(WINDOWS[self.frequency.unit], dtype=np.int64)

    @cached_property
    def state_names(self) -> tuple[str, ...]:
        """Names of the features of (series, origin)."""
        kinds = ("level", "launch level", "growth")
        grouped = [f"{g.column} {kind}" for g in self.groups for kind in kinds]
        ranks = [f"{g.column} rank" for g in self.groups if g.is_wide]
        past = [f"{name} {kind}" for name in self.past for kind in ("lately", "growth")]
        lately = [f"{name} lately" for name in self.known]
        return (*STATE, *grouped, *ranks, *self.numbers, *past, *lately)

    @cached_property
    def ahead_names(self) -> tuple[str, ...]:
        """Names of the features of (series, origin, horizon), those that are mostly absent last."""
        kinds = ("growth to target a year ago", "price against it")
        grouped = [f"{g.column} {kind}" for g in self.groups for kind in kinds]
        price = PRICE if self.has_price else ()
        return (*AHEAD, *price, *(f"{name} at target" for name in self.known), *grouped, *self.dates.features)

    @property
    def names(self) -> tuple[str, ...]:
        """All features, those of the state first."""
        return self.state_names + self.ahead_names

    @cached_property
    def lasting(self) -> NDArray[np.bool_]:
        """(F,) features that do not change with the date of the origin: what a product is, and the target in its life.

        The place in the season is one where the season is shorter than a year.
        """
        ranks = [f"{g.column} rank" for g in self.groups if g.is_wide]
        season = ["place in season"] if self.frequency.season < 0.9 * self.frequency.year else []
        return np.isin(self.names, [*ranks, *self.numbers, "lead", "span", "age at target", *season])

    @property
    def n_state(self) -> int:
        """Number of features of the state."""
        return len(self.state_names)

    def save(self, folder: Path) -> None:
        """Write `features.json` and `groups.npz` to a folder."""
        save_groups(self.groups, folder / "groups.npz")
        plain = {k: getattr(self, k) for k in ("offset", "known", "past", "numbers", "promotions", "has_price")}
        dates = vars(self.dates)
        text = json.dumps({"frequency": str(self.frequency), "dates": dates, **plain}, indent=1)
        (folder / "features.json").write_text(text)

    @classmethod
    def load(cls, folder: Path) -> "Features":
        """Inverse of `save`; raises what reading raises where the files are not whole."""
        plain: dict[str, Any] = json.loads((folder / "features.json").read_text())
        dates = {k: tuple(v) for k, v in plain.pop("dates").items()}
        lists: dict[str, Any] = {k: tuple(plain.pop(k)) for k in ("known", "past", "numbers", "promotions")}
        frequency = Frequency.parse(plain.pop("frequency"))
        groups = load_groups(folder / "groups.npz")
        return cls(frequency=frequency, groups=groups, dates=DateColumns(**dates), **lists, **plain)


def _typical_sale(panel: Panel) -> float:
    """The smallest typical sale of any product: a low quantile over series of the mean of periods with sales."""
    sold = panel.demand > 0
    n = np.add.reduceat(np.append(sold, False), panel.indptr[:-1], dtype=np.int64) if panel.n_series else np.zeros(0)
    n = np.where(panel.lengths > 0, n, 0)
    units = np.add.reduceat(np.append(panel.demand, 0), panel.indptr[:-1], dtype=np.float64) if panel.n_series else n
    means = units[n > 0] / n[n > 0]
    return float(np.quantile(means, 0.05)) if len(means) else 1.0
