"""What new products sold: quantiles for series that have too little history of their own.

At `fit`, the first periods of every product that was launched while the panel was watching are pooled, by group where a
static column is named, with horizons counted from the launch. Where a group saw fewer than `MIN_LAUNCHES` launches, all
groups are pooled; where the panel saw none, the latest demand of every series stands in.
"""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.features import WINDOWS
from shelfcast.data.groups import launched
from shelfcast.data.panel import Panel
from shelfcast.errors import StoreError
from shelfcast.horizons import Horizon
from shelfcast.laws import Empirical

MIN_LAUNCHES = 20
_EVERYONE = ""


@dataclass(frozen=True)
class LaunchProfile:
    """Quantiles and means of launches.

    Parameters
    ----------
    group : static column by which launches are pooled, or None.
    groups : G group names; the first is everyone.
    values : (G, K, Q) units.
    mean : (G, K) units.
    """

    group: str | None
    groups: tuple[str, ...]
    values: NDArray[np.float64]
    mean: NDArray[np.float64]

    @classmethod
    def learn(
        cls, panel: Panel, horizons: tuple[Horizon, ...], levels: tuple[float, ...], group: str | None
    ) -> "LaunchProfile":
        """Pool the launches of `panel`; a panel without any row gives zeros."""
        names = [_EVERYONE]
        labels = np.zeros(panel.n_series, dtype=np.int64)
        if group is not None:
            column = panel.column(group).cast(pl.String).fill_null("?")
            distinct = column.unique().sort()
            names += distinct.to_list()
            labels = column.replace_strict(distinct, list(range(1, len(distinct) + 1))).to_numpy()
        values = np.zeros((len(names), len(horizons), len(levels)))
        mean = np.zeros((len(names), len(horizons)))
        for k, horizon in enumerate(horizons):
            sums, valid = _launch_sums(panel, horizon)
            for g in range(len(names)):
                mine = valid & (labels == g) if g else valid
                pool = sums[mine] if not g or mine.sum() >= MIN_LAUNCHES else sums[valid]
                if len(pool):
                    values[g, k] = Empirical.of(pool[None, :]).quantile(levels)[0]
                    mean[g, k] = pool.mean()
        return cls(group, tuple(names), values, mean)

    def of(self, panel: Panel) -> NDArray[np.int64]:
        """(N,) row of `values` for every series; an unseen group counts as everyone."""
        if self.group is None:
            return np.zeros(panel.n_series, dtype=np.int64)
        places = {name: place for place, name in enumerate(self.groups)}
        column = panel.column(self.group).cast(pl.String).fill_null("?")
        return np.asarray(column.replace_strict(places, default=0, return_dtype=pl.Int64).to_numpy())

    def save(self, folder: Path) -> None:
        """Write the arrays to `launches.npz` in a folder."""
        groups = np.asarray(self.groups, dtype=np.str_)
        np.savez(folder / "launches.npz", group=self.group or "", groups=groups, values=self.values, mean=self.mean)

    @classmethod
    def load(cls, folder: Path) -> "LaunchProfile":
        """Inverse of `save`."""
        try:
            with open(folder / "launches.npz", "rb") as raw, np.load(raw, allow_pickle=False) as file:
                groups = tuple(str(name) for name in file["groups"])
                return cls(str(file["group"]) or None, groups, file["values"], file["mean"])
        except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise StoreError(f"expected launches.npz in {folder}; got: {error}. Run `shelfcast fit` again.") from error


def _launch_sums(panel: Panel, horizon: Horizon) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(N,) demand of a horizon counted from just before each launch, and whether it counts."""
    start = panel.start.astype(np.int64) + horizon.lead
    sums, whole = _sums_at(panel, start, horizon.span)
    whole &= launched(panel, WINDOWS[panel.frequency.unit][1])
    if whole.any():
        return sums, whole
    return _sums_at(panel, np.full(panel.n_series, panel.last - horizon.span + 1), horizon.span)


def _sums_at(
    panel: Panel, start: NDArray[np.int64], span: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:  # fmt: skip
    """(N,) demand of `span` periods from each series' own start, and whether all were observed."""
    offset = (start - panel.start)[:, None] + np.arange(span)
    inside = (offset >= 0) & (offset < panel.lengths[:, None])
    if not len(panel.demand):
        return np.zeros(panel.n_series), np.zeros(panel.n_series, dtype=bool)
    rows = np.where(inside, panel.indptr[:-1, None] + offset, 0)
    seen = inside & panel.observed[rows]
    units = np.where(seen, panel.demand[rows], 0.0).sum(axis=1, dtype=np.float64)
    return np.asarray(units), np.asarray(seen.all(axis=1))
