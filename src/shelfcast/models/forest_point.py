"""The pooled forest as a point forecaster, with the quantiles of its own past errors: the generation before `sqrf`.

Its past errors must be those of a forest that had not seen them. So a first forest learns from what was known at the
oldest of the past origins and forecasts from all of them; the forest that is kept learns from everything.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.horizons import per_period
from shelfcast.models.base import Ability
from shelfcast.models.distribution_engine import PastErrorForecaster
from shelfcast.models.forest import QuantileForest

Array = NDArray[np.float64]


@dataclass
class ForestPoint(PastErrorForecaster):
    """The forecaster `forest-point`: means of a random forest on scaled demand, in the Distribution Engine.

    Parameters
    ----------
    n_rows, n_trees, min_leaf, item_share, feature_share : of the forest, as in `QuantileForest`.
    """

    n_rows: int = 300_000
    n_trees: int = 50
    min_leaf: int = 40
    item_share: float = 0.8
    feature_share: float = 0.5
    seed_: int = field(default=0, init=False, repr=False)
    forest_: QuantileForest | None = field(default=None, init=False, repr=False)

    name: ClassVar[str] = "forest-point"
    abilities: ClassVar[frozenset[Ability]] = frozenset(
        {Ability.STATIC, Ability.PAST, Ability.KNOWN, Ability.COLD_START, Ability.SPANS}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._forest()  # refuses wrong settings

    def _forest(self) -> QuantileForest:
        """A forest of single periods up to the farthest target, whose means are the points."""
        return QuantileForest(
            per_period(self._end), (0.5,), self.n_rows, self.n_trees, self.min_leaf,
            item_share=self.item_share, feature_share=self.feature_share, row_share=1.0,
        )  # fmt: skip

    def preflight(self, panel: Panel) -> str:
        """One line before training, as that of its forest."""
        return self._forest().preflight(panel).replace(QuantileForest.name, self.name, 1)

    def fit(self, panel: Panel, *, seed: int = 0) -> "ForestPoint":
        """Grow a forest for past errors and one to keep, and learn the launch profile."""
        self.seed_ = seed
        return super().fit(panel, seed=seed)

    def _learn(self, panel: Panel) -> None:
        origins = self._past_origins(panel)
        if origins:
            self.forest_ = self._forest().fit(panel.as_of(origins[0]), seed=self.seed_)
        super()._learn(panel)
        self.forest_ = self._forest().fit(panel, seed=self.seed_)

    def _path(self, panel: Panel, origin: int, n_periods: int) -> Array:
        assert self.forest_ is not None
        mean = self.forest_.predict(panel.as_of(origin), [origin]).mean
        assert mean is not None
        return mean[:, 0, :n_periods].astype(np.float64)

    def importance(self) -> dict[str, float]:
        """Feature -> share of the gain of all splits, largest first."""
        return (self.forest_ or self._forest()).importance()

    def _store(self, folder: Path) -> None:
        super()._store(folder)
        assert self.forest_ is not None
        self.forest_.save(folder / "forest")

    def _restore(self, folder: Path) -> None:
        super()._restore(folder)
        self.forest_ = QuantileForest.load(folder / "forest")
