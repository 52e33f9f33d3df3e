"""Price elasticity and promotion lift of every group, item and series.

log(demand + 1/2) = series + group x period + b log(price / regular price) + promotion effects
                    + c log(regular price) + error

by least squares with both sets of effects (1/2 keeps zeros in; with small demand it pulls effects toward none). The
coefficients of series are shrunk to their item's, those of items to their group's, those of groups to everyone's, by
empirical Bayes (`shrinkage`); errors that the locations of an item share in a period weaken what they say together
(Moulton 1986). A series whose price never changes, or always with a promotion column, is *not identified*: it takes the
value above it. Group-period effects want `_LEAST_CELL` series; smaller groups share the effects of all. What a series
did after the panel's `last` is not seen; aggregates are left out. Lift = (price / regular price)^b x exp(promotion
effects).
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import NormalDist
from zipfile import BadZipFile

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.aggregates import is_single
from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError, DataError, StoreError, nearest
from shelfcast.models.promotions import Design, Rows
from shelfcast.models.shrinkage import Posterior
from shelfcast.models.shrunken_effects import Sample, Tree, fit_tree

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
KINDS = ("all", "group", "item", "series")
GROUP = "group"
_EVERYONE = "*"
_HALF = 0.5
_BLOCKS = 4  # of a year: errors within one (a quarter) may follow each other


@dataclass(frozen=True)
class Estimates:
    """Shrunken coefficients of the U units of one kind.

    Parameters
    ----------
    keys : U rows: what the units are called.
    mean, deviation : (U, J) posterior mean and standard deviation.
    identified : (U, J) whether the unit's own data tell the coefficient.
    n : (U,) observed periods used.
    """

    keys: pl.DataFrame
    mean: Array
    deviation: Array
    identified: NDArray[np.bool_]
    n: Ints


@dataclass(frozen=True)
class Elasticities:
    """Fitted price elasticities and promotion effects, and the lift that they give.

    Parameters
    ----------
    design : the J regressors.
    group : static column by which items are pooled; None for one group.
    cap : a lift stays between 1 / cap and cap.
    levels : estimates by kind: `all`, `group`, `item`, `series`.
    """

    design: Design
    group: str | None
    cap: float
    levels: dict[str, Estimates]

    @classmethod
    def learn(
        cls,
        panel: Panel,
        *,
        group: str | None = None,
        reference: str | None = None,
        window: int | None = None,
        cap: float = 10.0,
    ) -> "Elasticities":
        """From the observed demand of `panel` up to its `last`; for an earlier origin give `panel.as_of(origin)`.

        Parameters
        ----------
        group : static column, such as the category.
        reference : known column of regular prices; None for the highest price of the last `window` periods.
        window : None for 91 days, 13 weeks or 3 months.

        Raises
        ------
        DataError : neither price nor promotions, or a column that is not there. ConfigError : a cap not above 1.
        """
        if not cap > 1:
            raise ConfigError("cap", f"expected a lift above 1; got {cap}")
        design = Design.of(panel, reference, window)
        labels = _labels(panel, group)
        single = is_single(panel)
        groups, items, tree = _tree(labels.filter(pl.Series(single)))
        sample = _sample(panel, design, np.where(single, np.cumsum(single) - 1, -1))
        design, x = design.without_cut_flags(sample.x)
        sample = replace(sample, x=x)
        fitted = fit_tree(sample, tree, design.least, max(round(panel.frequency.year / _BLOCKS), 1))
        keys = {
            "all": pl.DataFrame({GROUP: [_EVERYONE]}), "group": groups, "item": items,
            "series": labels.filter(pl.Series(single)),
        }  # fmt: skip
        levels = {kind: _estimates(keys[kind], *fitted[kind]) for kind in KINDS}
        return cls(design, group, float(cap), levels)

    def table(self, kind: str, *, coverage: float = 0.9) -> pl.DataFrame:
        """Estimates of one kind (`all`, `group`, `item` or `series`), a row a unit.

        Returns
        -------
        The keys; `estimate`, `low`, `high` of the own-price elasticity (null without a price, or where no
        series tells it); `n` observed periods;
        `identified`; and for every promotion p `lift_p`, `lift_p_low`, `lift_p_high` and `identified_p`: demand with it
        over demand without, at the same price (a depth at its mean). Intervals hold the truth with probability
        `coverage`, given the model; where not identified they span what units of this kind may be.
        """
        if kind not in self.levels:
            raise ConfigError("kind", f"unknown kind '{kind}'; {nearest(kind, KINDS)}")
        if not 0 < coverage < 1:
            raise ConfigError("coverage", f"expected a share between 0 and 1; got {coverage}")
        level = self.levels[kind]
        reach = NormalDist().inv_cdf(0.5 + coverage / 2) * level.deviation
        told = np.where(self.levels["all"].identified, 1.0, np.nan)
        ends = {"": told * level.mean, "_low": told * (level.mean - reach), "_high": told * (level.mean + reach)}
        priced = int(self.design.has_price)
        nothing = np.full(level.keys.height, np.nan)
        made: dict[str, NDArray[np.generic]] = {
            name: values[:, 0] if priced else nothing
            for name, values in zip(("estimate", "low", "high"), ends.values(), strict=True)
        }
        made |= {"n": level.n, "identified": level.identified[:, 0] if priced else np.isfinite(nothing)}
        for j, effect in list(enumerate(self.design.effects))[self.design.promotions]:
            for end, values in ends.items():
                made[f"lift_{effect.name}{end}"] = np.exp(np.clip(values[:, j] * effect.typical, -20, 20))
            made[f"identified_{effect.name}"] = level.identified[:, j]
        return level.keys.hstack(pl.DataFrame(made).with_columns(pl.col(pl.Float64).fill_nan(None)))

    def coefficients(self, panel: Panel) -> Array:
        """(N, J) for every series of `panel`: its own, its item's, its group's or everyone's, the nearest there is."""
        labels = _labels(panel, self.group)
        found = np.repeat(self.levels["all"].mean, panel.n_series, axis=0)
        for kind in KINDS[1:]:
            level = self.levels[kind]
            by = [name for name in level.keys.columns if name in labels.columns]
            index = level.keys.select(by).with_row_index("_place").unique(by, keep="first", maintain_order=True)
            place = labels.join(index, on=by, how="left", maintain_order="left")["_place"]
            there = place.is_not_null().to_numpy()
            found[there] = level.mean[place.drop_nulls().to_numpy()]
        return found

    def lift(self, panel: Panel, first: int, last: int) -> Array:
        """(N, n) demand over demand at the regular price without promotion, of the periods `first` to `last`.

        Known columns are read after the origin too, as planned. 1 where there is no row; a missing price counts as the
        regular one.
        """
        rows, lift = self.row_lifts(panel, first, last)
        made = np.ones((panel.n_series, last - first + 1))
        made[rows.series, rows.period - first] = lift
        return made

    def row_lifts(self, panel: Panel, first: int, last: int) -> tuple[Rows, Array]:
        """The rows of the periods `first` to `last`, and the lift (R,) of each."""
        rows = self.design.rows(panel, first, last)
        coefficients = self.coefficients(panel) * self.design.lifting
        log_lift = np.einsum("rj,rj->r", np.nan_to_num(rows.x), coefficients[rows.series])
        return rows, np.exp(np.clip(log_lift, -np.log(self.cap), np.log(self.cap)))

    def save(self, folder: Path) -> None:
        """Write `elasticities.json` and `elasticities.npz` into a folder."""
        meta: dict[str, object] = {"design": asdict(self.design), "group": self.group, "cap": self.cap}
        meta["keys"] = {kind: level.keys.columns for kind, level in self.levels.items()}
        arrays: dict[str, NDArray[np.generic]] = {}
        for kind, level in self.levels.items():
            for name in ("mean", "deviation", "identified", "n"):
                arrays[f"{kind}.{name}"] = getattr(level, name)
            for column in level.keys.get_columns():
                arrays[f"{kind}.keys.{column.name}"] = np.asarray(column.to_list(), dtype=np.str_)
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            np.savez(Path(folder) / "elasticities.npz", **arrays)  # type: ignore[arg-type]
            (Path(folder) / "elasticities.json").write_text(json.dumps(meta, indent=1))
        except OSError as error:
            raise StoreError(f"cannot write elasticities to {folder}: {error}. Choose a writable folder.") from error

    @classmethod
    def load(cls, folder: Path) -> "Elasticities":
        """Inverse of `save`."""
        try:
            meta = json.loads((Path(folder) / "elasticities.json").read_text())
            with open(Path(folder) / "elasticities.npz", "rb") as raw, np.load(raw, allow_pickle=False) as file:
                levels = {}
                for kind in KINDS:
                    keys = {
                        name: pl.Series(file[f"{kind}.keys.{name}"], dtype=pl.String) for name in meta["keys"][kind]
                    }
                    arrays = [file[f"{kind}.{name}"] for name in ("mean", "deviation", "identified", "n")]
                    levels[kind] = Estimates(pl.DataFrame(keys), *arrays)
            return cls(Design.from_dict(meta["design"]), meta["group"], meta["cap"], levels)
        except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile, pl.exceptions.PolarsError) as error:
            raise StoreError(f"expected elasticities in {folder}; got: {error}. Learn them again.") from error


def elasticity_tables(panel: Panel, group: str | None = None, reference: str | None = None) -> dict[str, pl.DataFrame]:
    """Tables of elasticities and lifts by kind: `all`, `group`, `item`, `series` (see `Elasticities.table`)."""
    learned = Elasticities.learn(panel, group=group, reference=reference)
    return {kind: learned.table(kind) for kind in KINDS}


def _labels(panel: Panel, group: str | None) -> pl.DataFrame:
    """N rows of text: keys and `group`."""
    column = pl.Series([_EVERYONE] * panel.n_series, dtype=pl.String) if group is None else panel.column(group)
    keys = panel.series.select(pl.col(panel.keys).cast(pl.String))
    return keys.with_columns(column.cast(pl.String).fill_null("?").alias(GROUP))


def _tree(labels: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, Tree]:
    """Names of groups and of items within groups, and who belongs to whom."""
    items = labels.select("item", GROUP).unique().sort("item", GROUP)
    groups = items.select(GROUP).unique().sort(GROUP)
    of_item = labels.join(items.with_row_index("_at"), on=["item", GROUP], how="left", maintain_order="left")["_at"]
    of_group = items.join(groups.with_row_index("_at"), on=GROUP, how="left", maintain_order="left")["_at"]
    return groups, items, Tree(of_item.to_numpy().astype(np.int64), of_group.to_numpy().astype(np.int64), groups.height)


def _sample(panel: Panel, design: Design, place: Ints) -> Sample:
    """Rows to learn from: observed, with a price if there is one, of series (place >= 0) that sold anything."""
    rows = design.rows(panel, panel.first, panel.last)
    sold = np.bincount(rows.series, weights=panel.demand[rows.row], minlength=panel.n_series) > 0
    use = panel.observed[rows.row] & np.isfinite(rows.x).all(axis=1) & (sold & (place >= 0))[rows.series]
    z = np.log(panel.demand[rows.row[use]].astype(np.float64) + _HALF)
    return Sample(rows.x[use], z, place[rows.series[use]], rows.period[use])


def _estimates(keys: pl.DataFrame, posterior: Posterior, identified: NDArray[np.bool_], n: Ints) -> Estimates:
    if not np.isfinite(posterior.mean).all():
        raise DataError("prices and promotions of usual size", "coefficients that are not finite", table="panel")
    return Estimates(keys, posterior.mean, posterior.deviation, identified, n)
