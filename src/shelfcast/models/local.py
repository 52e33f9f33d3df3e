"""Forecasters that estimate at each origin: what they share.

`fit` learns what is pooled over products (the launch profile, and what `_learn` adds); everything else is estimated in
`predict`, at each origin and in shards of series, so memory is bounded. A series with fewer than `min_history` usable
samples gets the launch profile of similar products (`launches`).
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError, NotFittedError, StoreError
from shelfcast.forecast import Forecast, concat_series
from shelfcast.horizons import Horizon
from shelfcast.models.base import DEFAULT_LEVELS, Ability, refuse_unknown
from shelfcast.models.launches import LaunchProfile
from shelfcast.models.stored import reading, settings_in

Array = NDArray[np.float64]
_SHARD_CELLS = 5_000_000  # series x periods of history estimated at once
_LEAST = {
    "min_history": 1,
    "window": 1,
    "seasons": 1,
    "factor_window": 1,
    "neighbours": 0,
    "level_window": 1,
    "error_window": 1,
    "n_origins": 1,
    "n_bands": 1,
}
_ABILITIES = frozenset({Ability.COLD_START, Ability.SPANS, Ability.SCALE_EQUIVARIANT})


class Laws(Protocol):
    """Quantiles (N, Q), mean (N,) and usable samples (N,) of one horizon."""

    def __call__(self, horizon: Horizon) -> tuple[Array, Array, NDArray[np.int64]]: ...


@dataclass
class LocalForecaster(ABC):
    """Settings, fit, prediction in shards, save and load.

    Parameters
    ----------
    launch_group : static column by which launches are pooled; all together without it.
    min_history : usable samples a series needs for a law of its own.
    """

    horizons: tuple[Horizon, ...]
    levels: tuple[float, ...] = DEFAULT_LEVELS
    launch_group: str | None = None
    min_history: int = 4
    launches_: LaunchProfile | None = field(default=None, init=False, repr=False)

    name: ClassVar[str]
    abilities: ClassVar[frozenset[Ability]] = _ABILITIES

    def __post_init__(self) -> None:
        for setting, least in _LEAST.items():
            value = getattr(self, setting, None)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                raise ConfigError(f"model.{setting}", f"expected a whole number >= {least}; got {value!r}")
        if not isinstance(self.launch_group, str | None):
            raise ConfigError("model.launch_group", f"expected the name of a static column; got {self.launch_group!r}")

    def fit(self, panel: Panel, *, seed: int = 0) -> Self:
        """Learn the launch profile; the rest is estimated at each origin."""
        if self.launch_group is not None:
            panel.column(self.launch_group)
        self._learn(panel)
        self.launches_ = LaunchProfile.learn(panel, self.horizons, self.levels, self.launch_group)
        return self

    def _learn(self, panel: Panel) -> None:  # noqa: B027 (a hook that may stay empty)
        """What a forecaster learns besides launches; nothing by default."""

    def _store(self, folder: Path) -> None:  # noqa: B027
        """Write what `_learn` learned."""

    def _restore(self, folder: Path) -> None:  # noqa: B027
        """Inverse of `_store`."""

    def predict(self, panel: Panel, origins: Sequence[int]) -> Forecast:
        """Forecast every series at every origin; memory is bounded by shards of series."""
        if self.launches_ is None:
            raise NotFittedError(f"'{self.name}' has not been fitted; call fit(panel) before predict.")
        refuse_unknown(panel, origins)
        periods = max(panel.last - panel.first + 1, 1)
        parts = [self._predict_shard(piece, origins) for piece in shards(panel, _SHARD_CELLS // max(periods, 1000))]
        return concat_series(parts)

    def _predict_shard(self, panel: Panel, origins: Sequence[int]) -> Forecast:
        assert self.launches_ is not None
        shape = (panel.n_series, len(origins), len(self.horizons), len(self.levels))
        values, mean = np.zeros(shape, dtype=np.float32), np.zeros(shape[:-1], dtype=np.float32)
        group = self.launches_.of(panel)
        for o, origin in enumerate(origins):
            laws = self._laws(panel, origin)
            for k, horizon in enumerate(self.horizons):
                quantiles, centre, count = laws(horizon)
                own = count >= self.min_history
                chosen = np.where(own[:, None], quantiles, self.launches_.values[group, k])
                values[:, o, k] = np.maximum.accumulate(np.maximum(chosen, 0.0), axis=1)
                mean[:, o, k] = np.maximum(np.where(own, centre, self.launches_.mean[group, k]), 0.0)
        series = panel.series.select(panel.keys)
        return Forecast(
            series, tuple(origins), panel.frequency, self.horizons, self.levels, values, mean, self.name
        )  # fmt: skip

    @abstractmethod
    def _laws(self, panel: Panel, origin: int) -> Laws:
        """The law of each horizon at one origin."""

    @property
    def _reach(self) -> int:
        """Longest span forecast."""
        return max(h.span for h in self.horizons)

    def save(self, folder: Path) -> None:
        """Write settings to `model.json` and the launch profile to `launches.npz`."""
        if self.launches_ is None:
            raise NotFittedError(f"'{self.name}' has not been fitted; there is nothing to save.")
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        settings["horizons"] = [[h.lead, h.span] for h in self.horizons]
        text = json.dumps({"name": self.name, "settings": settings}, indent=1)
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.launches_.save(Path(folder))
            self._store(Path(folder))
            (Path(folder) / "model.json").write_text(text)
        except OSError as error:
            raise StoreError(f"cannot write the model to {folder}: {error}. Choose a writable folder.") from error

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Inverse of `save`."""
        with reading(folder):
            model = cls(**settings_in(folder))
        model.launches_ = LaunchProfile.load(folder)
        model._restore(folder)
        return model


def shards(panel: Panel, n_series: int) -> list[Panel]:
    """Consecutive slices of at most `n_series` series; one empty slice for an empty panel."""
    size = max(n_series, 1)
    return [panel.take(slice(i, min(i + size, panel.n_series))) for i in range(0, max(panel.n_series, 1), size)]
