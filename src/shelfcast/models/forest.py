"""The sparse quantile random forest (SQRF): one pooled forest whose leaves keep distributions.

Trees are grown on the square root of demand over its scale, for all products, origins and leads at once; each distinct
span has trees of its own, so that sums have their own laws. A leaf keeps a bounded sample of scaled targets; a forecast
merges the samples of the leaves that it reaches (Meinshausen 2006) and multiplies by its own scale. Any level can be
read after training, and levels never cross. Products without history are answered by trees of launches, or by all.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any, ClassVar, Self
from zipfile import BadZipFile

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.features import Features
from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError, NotFittedError, StoreError
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon
from shelfcast.models.base import DEFAULT_LEVELS, Ability, refuse_unknown
from shelfcast.models.cases import heaviest
from shelfcast.models.launches import LaunchProfile
from shelfcast.models.stratum import EXPECTED, Stratum, shares
from shelfcast.models.trees import MOST_ROWS, Growth

Ints = NDArray[np.int64]
_BLOCK = 2048  # rows that walk the trees together
_SHARD = 5_000_000  # rows of a panel whose running sums are held at once
_LEAST = {"n_rows": 1, "n_trees": 1, "min_leaf": 1, "n_kept": 1}
_UNREADABLE = (
    OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, ConfigError, BadZipFile,
    pl.exceptions.PolarsError,
)  # fmt: skip
_SHARES = ("item_share", "feature_share", "row_share")


@dataclass
class QuantileForest:
    """The forecaster `sqrf`.

    Parameters
    ----------
    n_rows : training rows drawn, at most; memory and time follow it, not the panel. Launches have 12,000 of their own.
    n_trees, min_leaf, n_kept : trees of each span, rows of the smallest leaf, rows that a leaf keeps (of launches 100).
    item_share, feature_share, row_share : of items, of features, and of the rows of its items (of launches all) that
        one tree sees. Levels are learned out of bag where it sees at most 0.9 of items, and two trees or more have not
        seen an item.
    two_stage : whether a boosted mean comes first: all trees read what it expects, and a third of them keep what
        scatters around it, the others what scatters around the scale.
    launch_group : static column; products without any history are answered half by what launches of their group sold
        (by everyone's latest demand where nothing was launched).
    """

    horizons: tuple[Horizon, ...]
    levels: tuple[float, ...] = DEFAULT_LEVELS
    n_rows: int = 450_000
    n_trees: int = 100
    min_leaf: int = 20
    n_kept: int = 12
    item_share: float = 0.8
    feature_share: float = 0.5
    row_share: float = 0.5
    two_stage: bool = False
    launch_group: str | None = None
    launches_: LaunchProfile | None = field(default=None, init=False, repr=False)
    features_: Features | None = field(default=None, init=False, repr=False)
    series_: pl.DataFrame | None = field(default=None, init=False, repr=False)
    strata_: dict[int, Stratum] = field(default_factory=dict, init=False, repr=False)

    name: ClassVar[str] = "sqrf"
    abilities: ClassVar[frozenset[Ability]] = frozenset(
        {Ability.STATIC, Ability.PAST, Ability.KNOWN, Ability.COLD_START, Ability.SPANS}
    )

    def __post_init__(self) -> None:
        for setting, least in _LEAST.items():
            value = getattr(self, setting)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"model.{setting}", f"expected a whole number >= {least}; got {value!r}")
        if self.n_rows > MOST_ROWS:
            raise ConfigError("model.n_rows", f"expected at most {MOST_ROWS:,} rows; got {self.n_rows:,}")
        for setting in _SHARES:
            value = getattr(self, setting)
            if not isinstance(value, int | float) or not 0 < value <= 1:
                raise ConfigError(f"model.{setting}", f"expected a share in (0, 1]; got {value!r}")
        if not isinstance(self.two_stage, bool):
            raise ConfigError("model.two_stage", f"expected true or false; got {self.two_stage!r}")
        if not isinstance(self.launch_group, str | None):
            raise ConfigError("model.launch_group", f"expected the name of a static column; got {self.launch_group!r}")

    @property
    def _growth(self) -> Growth:
        return Growth(self.n_trees, self.min_leaf, self.n_kept, self.item_share, self.feature_share, self.row_share)

    def _leads(self, horizons: Sequence[Horizon] | None = None) -> dict[int, Ints]:
        """Span -> leads asked for."""
        asked = self.horizons if horizons is None else horizons
        spans = sorted({h.span for h in asked})
        return {span: np.array([h.lead for h in asked if h.span == span], dtype=np.int64) for span in spans}

    def _budget(self) -> dict[int, int]:
        """Span -> rows drawn: by the root of the number of its horizons."""
        roots = {span: len(leads) ** 0.5 for span, leads in self._leads().items()}
        return {span: max(int(self.n_rows * root / sum(roots.values())), 1) for span, root in roots.items()}

    def preflight(self, panel: Panel) -> str:
        """One line before training: rows, features, bytes of the table, and the memory to expect."""
        from shelfcast.models.growing import most_launch_rows

        features, items = Features.learn(panel), _items(panel)
        rows = sum(min(n, int(panel.observed.sum()) * len(self._leads()[s])) for s, n in self._budget().items())
        most = max(self._budget().values())
        table, groups = 2 * most * len(features.names), sum(group.sums.nbytes for group in features.groups)
        launches = sum(most_launch_rows(panel, items, len(self._leads()[s]), n) for s, n in self._budget().items())
        more = f" and at most {launches:,} of launches" if launches else ""
        peak = 2 * table + 100 * min(len(panel.demand), _SHARD) + groups
        return (
            f"{self.name}: {rows:,} rows{more} x {len(features.names)} features, {self.n_trees} trees for each of "
            f"{len(self._leads())} spans; table at most {table / 1e6:,.0f} MB, about {peak / 1e6:,.0f} MB at the peak "
            "beside the panel"
        )

    def fit(self, panel: Panel, *, seed: int = 0) -> Self:
        """Draw rows, bin their features and grow the trees of each span."""
        from shelfcast.models.drawing import draw_rows, training_table
        from shelfcast.models.growing import grown_stratum, launch_forests

        if self.launch_group is not None:
            self.launches_ = LaunchProfile.learn(panel, self.horizons, self.levels, self.launch_group)
        rng = np.random.default_rng(seed)
        features = Features.learn(panel)
        items = _items(panel)
        strata: dict[int, Stratum] = {}
        for span, leads in self._leads().items():
            n_rows = self._budget()[span]
            drawn = draw_rows(panel, leads, span, n_rows, rng)
            made = training_table(panel, features, drawn, rng)
            if not len(made.rows):
                continue
            block = round(panel.frequency.year / 4) if self.two_stage else None
            grown = grown_stratum(made, span, items[made.rows.series], self._growth, block, seed, rng)
            launches = launch_forests(panel, features, items, leads, span, n_rows, self._growth, seed)
            strata[span] = replace(grown, launches=launches)
        self.features_, self.strata_, self.series_ = features, strata, panel.series.select(panel.keys)
        return self

    def predict(self, panel: Panel, origins: Sequence[int]) -> Forecast:
        """Forecast every series at every origin; memory is bounded by shards of series and blocks of rows."""
        if self.features_ is None:
            raise NotFittedError(f"'{self.name}' has not been fitted; call fit(panel) before predict.")
        refuse_unknown(panel, origins)
        shape = (panel.n_series, len(origins), len(self.horizons), len(self.levels))
        values, mean = np.zeros(shape, dtype=np.float32), np.zeros(shape[:-1], dtype=np.float32)
        begin = 0
        for piece in panel.shards(_SHARD):
            end = begin + piece.n_series
            self._predict_shard(piece, origins, values[begin:end], mean[begin:end])
            begin = end
        return Forecast(
            panel.series.select(panel.keys), tuple(origins), panel.frequency, self.horizons, self.levels, values, mean,
            self.name,
        )  # fmt: skip

    def _predict_shard(
        self, panel: Panel, origins: Sequence[int], values: NDArray[np.float32], mean: NDArray[np.float32]
    ) -> None:
        from shelfcast.data.feature_rows import FeatureRows

        assert self.features_ is not None
        table = FeatureRows(self.features_, panel)
        for span, leads in self._leads().items():
            places = np.array([k for k, h in enumerate(self.horizons) if h.span == span])
            size = max(_BLOCK // len(leads), 1)
            for o, origin in enumerate(origins):
                for begin in range(0, panel.n_series, size):
                    series = np.arange(begin, min(begin + size, panel.n_series))
                    found, centre = self._laws(table, series, np.full(len(series), origin), leads, span)
                    values[begin : begin + size, o, places] = found.reshape(len(series), len(leads), -1)
                    mean[begin : begin + size, o, places] = centre.reshape(len(series), len(leads))
        if self.launches_ is not None:
            group = self.launches_.of(panel)
            new, at = np.nonzero(panel.start[:, None] > np.asarray(origins))
            values[new, at] = (values[new, at] + self.launches_.values[group[new]]) / 2
            mean[new, at] = (mean[new, at] + self.launches_.mean[group[new]]) / 2

    def _laws(
        self, table: Any, series: Ints, origin: Ints, leads: Ints, span: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Quantiles (J x K, Q) and means (J x K,) of series at origins (J,) and leads (K,)."""
        features, scale, weight = table.grid(series, origin, leads, np.full(len(leads), span))
        size = (scale * weight).astype(np.float32)
        if span in self.strata_:
            stratum = self.strata_[span]
            new = np.repeat(table.start[series] > origin, len(leads))
            values, mean = stratum.quantiles(features, self.levels, size, new)
        else:  # no target of this span was ever seen: the scatter of counts around the scale
            spread = np.sqrt(np.maximum(size, 0))[:, None] * np.array(
                [NormalDist().inv_cdf(level) for level in self.levels]
            )
            values, mean = np.maximum(size[:, None] + spread, 0).astype(np.float32), size
        silent = np.repeat(table.never_sold(series, origin), len(leads))
        values[silent], mean[silent] = 0.0, 0.0
        return values, mean

    def cases(
        self,
        panel: Panel,
        origin: int,
        series: Sequence[int],
        horizons: Sequence[Horizon] | None = None,
        most: int = 5,
    ) -> pl.DataFrame:
        """The series that weigh most in the forecasts of some series from one origin, and their heaviest periods.

        Parameters
        ----------
        panel, origin : as in `predict`. series : places in the panel. horizons : all without it.
        most : series whose cases are kept for each forecast, the three heaviest of each.

        Returns
        -------
        The keys, `lead` and `span` of the forecast; `case_` keys, `first` and `last` period label of the case; its
        `weight` in the forecast, 0 .. 1, and the `series_weight` of all cases of its series; `units` of demand that it
        stands for, at the size of the product forecast (as it was, by trees of launches). With a `launch_group`, the
        weights of what has no history are those in the forest's half.
        """
        if self.features_ is None or self.series_ is None:
            raise NotFittedError(f"'{self.name}' has not been fitted; there is nothing to explain.")
        found = heaviest(self.features_, self.strata_, panel, origin, np.asarray(series), self._leads(horizons), most)
        own = panel.series.select(panel.keys)[np.asarray(series, dtype=np.int64)[found.series]]
        theirs = self.series_[found.place].rename({key: f"case_{key}" for key in self.series_.columns})
        return pl.concat([own, theirs], how="horizontal").with_columns(
            lead=pl.Series(found.lead, dtype=pl.Int32),
            span=pl.Series(found.span, dtype=pl.Int32),
            first=pl.Series(panel.frequency.to_date(found.first)),
            last=pl.Series(panel.frequency.to_date(found.first + found.span - 1)),
            weight=pl.Series(found.weight),
            series_weight=pl.Series(found.total),
            units=pl.Series(found.units),
        )

    def importance(self) -> dict[str, float]:
        """Feature -> share of the gain of all splits but those of trees of launches, largest first."""
        if self.features_ is None:
            raise NotFittedError(f"'{self.name}' has not been fitted; there is nothing to explain.")
        names = (*self.features_.names, *([EXPECTED] if self.two_stage else []))
        forests = [forest for stratum in self.strata_.values() for forest in stratum.forests]
        found = np.array([forest.trees.importance(len(names)) for forest in forests])
        total = shares(tuple(forests)) @ found if forests else np.zeros(len(names))
        return {names[f]: float(total[f]) for f in np.argsort(-total, kind="stable")}

    def save(self, folder: Path) -> None:
        """Write settings to `model.json`, features beside it, and the trees of each span to one file."""
        if self.features_ is None or self.series_ is None:
            raise NotFittedError(f"'{self.name}' has not been fitted; there is nothing to save.")
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        settings["horizons"] = [[h.lead, h.span] for h in self.horizons]
        text = json.dumps({"name": self.name, "settings": settings, "spans": list(self.strata_)}, indent=1)
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.features_.save(Path(folder))
            if self.launches_ is not None:
                self.launches_.save(Path(folder))
            self.series_.write_parquet(Path(folder) / "series.parquet")
            for span, stratum in self.strata_.items():
                stratum.save(Path(folder) / f"span-{span}.npz")
            (Path(folder) / "model.json").write_text(text)
        except OSError as error:
            raise StoreError(f"cannot write the model to {folder}: {error}. Choose a writable folder.") from error

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Inverse of `save`."""
        try:
            stored: dict[str, Any] = json.loads((folder / "model.json").read_text())
            settings = stored["settings"]
            horizons = tuple(Horizon(*pair) for pair in settings.pop("horizons"))
            model = cls(horizons=horizons, levels=tuple(settings.pop("levels")), **settings)
            model.launches_ = LaunchProfile.load(folder) if model.launch_group is not None else None
            model.features_, model.series_ = Features.load(folder), pl.read_parquet(folder / "series.parquet")
            model.strata_ = {
                int(span): Stratum.load(folder / f"span-{span}.npz", int(span)) for span in stored["spans"]
            }
        except _UNREADABLE as error:
            raise StoreError(
                f"expected a model of this version in {folder}; got: {error}. Run `shelfcast fit` again."
            ) from error
        return model


def _items(panel: Panel) -> Ints:
    """(N,) item of each series, numbered by first appearance, so that names do not matter."""
    names = panel.series["item"].to_physical() if panel.series["item"].dtype.is_numeric() else panel.series["item"]
    _, first, code = np.unique(names.cast(str).to_numpy().astype(np.str_), return_index=True, return_inverse=True)
    place = np.empty(len(first), dtype=np.int64)
    place[np.argsort(first, kind="stable")] = np.arange(len(first))
    return np.asarray(place[code])
