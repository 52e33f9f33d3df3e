"""Causal ensembling: the quantiles of a window are means over what the latest few origins said of it, for any model.

At origin t, with earlier origins `step` periods apart and weights `decay^j`,

    q(t, window) = sum_j w_j q_j(window) / sum_j w_j

over the origins t - j x step that forecast that very window and at which the series had begun. Earlier origins are
forecast as they would have been then, so nothing after any of them is used, and nothing must have been stored. The
longest horizons have no earlier forecast of their window and stay as they are.

Means of quantiles keep the shape of a law (unlike mixtures) and never cross. Forecasts change less from origin to
origin; whether they are also better depends on the model (docs/models.md).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError, NotFittedError, StoreError
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon, same_window
from shelfcast.models.base import DEFAULT_LEVELS, Ability, Forecaster, refuse_unknown
from shelfcast.models.stored import reading, settings_in


@dataclass
class Combined:
    """Mean of what a model said of each window at the latest few origins: forecasts that move less.

    Parameters
    ----------
    horizons, levels : what is forecast.
    member : name of the model whose forecasts are combined.
    member_settings : its settings.
    n_origins : origins combined, the newest included.
    step : periods between them; the season of days and hours, else one.
    decay : weight of an origin over that of the next newer one, in (0, 1].
    """

    horizons: tuple[Horizon, ...]
    levels: tuple[float, ...] = DEFAULT_LEVELS
    member: str = "season-profile"
    member_settings: dict[str, Any] = field(default_factory=dict)
    n_origins: int = 3
    step: int | None = None
    decay: float = 0.5
    member_: Forecaster | None = field(default=None, init=False, repr=False, compare=False)

    name: ClassVar[str] = "combined"
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.COLD_START, Ability.SPANS})

    def __post_init__(self) -> None:
        for key, value in (("n_origins", self.n_origins), ("step", self.step or 1)):
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"model.{key}", f"expected a whole number >= 1; got {value!r}")
        if not 0 < self.decay <= 1:
            raise ConfigError("model.decay", f"expected a number above 0 and at most 1; got {self.decay!r}")
        if self.member == self.name:
            raise ConfigError("model.member", "expected another model than 'combined'")
        self._made()

    def _made(self) -> Forecaster:
        from shelfcast.models.table import forecaster

        return forecaster(self.member, horizons=self.horizons, levels=self.levels, **self.member_settings)

    # ---- the contract

    def fit(self, panel: Panel, *, seed: int = 0) -> Self:
        """Fit the member."""
        self.member_ = self._made().fit(panel, seed=seed)
        return self

    def around(self, member: Forecaster) -> Self:
        """The same around a member that is fitted already."""
        self.member_ = member
        return self

    def predict(self, panel: Panel, origins: Sequence[int]) -> Forecast:
        """Combine the member's forecasts of every origin and of those before it."""
        member = self._member("call fit(panel) before predict")
        refuse_unknown(panel, origins)
        step = self.step or (panel.frequency.season if panel.frequency.season in (7, 24) else 1)
        gaps = [step * j for j in range(self.n_origins) if same_window(self.horizons, step * j)[1].any() or j == 0]
        needed = sorted({origin - gap for origin in origins for gap in gaps})
        said = member.predict(panel, needed)
        return combine(said, panel, origins, gaps, [self.decay**j for j in range(len(gaps))], self.name)

    def _member(self, advice: str) -> Forecaster:
        if self.member_ is None:
            raise NotFittedError(f"'{self.name}' has not been fitted; {advice}.")
        return self.member_

    # ---- keeping

    def save(self, folder: Path) -> None:
        """Write the settings to `model.json`, and the member into a folder of its own."""
        member = self._member("there is nothing to save")
        kept = ("member", "member_settings", "n_origins", "step", "decay", "levels")
        settings = {key: getattr(self, key) for key in kept}
        settings["horizons"] = [[h.lead, h.span] for h in self.horizons]
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            member.save(Path(folder) / "member")
            (Path(folder) / "model.json").write_text(json.dumps({"name": self.name, "settings": settings}, indent=1))
        except (OSError, TypeError) as error:
            raise StoreError(f"cannot write the model to {folder}: {error}. Choose a writable folder.") from error

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Inverse of `save`."""
        from shelfcast.models.table import load

        with reading(folder):
            made = cls(**settings_in(folder))
        return made.around(load(Path(folder) / "member"))


def combine(
    said: Forecast, panel: Panel, origins: Sequence[int], gaps: Sequence[int], weights: Sequence[float], name: str
) -> Forecast:
    """Weighted means of the forecasts of the same window, where the series had begun.

    Parameters
    ----------
    said : forecasts at every origin less every gap.
    gaps, weights : periods before each origin, the first 0, and what forecasts from there count.
    """
    newest = said.at(origins)
    values, total = np.zeros(newest.values.shape), np.zeros(newest.values.shape[:-1])
    mean = None if newest.mean is None else np.zeros(newest.mean.shape)
    for gap, weight in zip(gaps, weights, strict=True):
        earlier = said.at([origin - gap for origin in origins])
        place, there = same_window(said.horizons, gap)
        own, other = np.flatnonzero(there), place[there]
        begun = (panel.start[:, None] <= np.asarray(origins) - gap) & (panel.lengths > 0)[:, None] | (gap == 0)
        share = weight * begun[..., None].astype(np.float64)
        total[:, :, own] += share
        values[:, :, own] += share[..., None] * earlier.values[:, :, other]
        if mean is not None and earlier.mean is not None:
            mean[:, :, own] += share * earlier.mean[:, :, other]
    values /= total[..., None]
    made = np.maximum.accumulate(values.astype(np.float32), axis=-1)
    return replace(newest, values=made, mean=None if mean is None else (mean / total).astype(np.float32), model=name)
