"""Vincentization: the quantiles of a blend are weighted means of its members' quantiles, level by level.

    q(level) = sum_m w_m q_m(level) / sum_m w_m

Means of quantiles never cross and are as wide as the members are on average; a mixture of the members' laws would be
wider, by how far their means lie apart. The pinball loss is convex, so that of a blend is never above the weighted mean
of its members', and the more differently they err the lower it is: members should differ in kind.

Source: Genest (1992), Vincentization revisited, Annals of Statistics 20(2).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError, NotFittedError, StoreError
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon
from shelfcast.models.base import DEFAULT_LEVELS, Ability, Estimating, Forecaster, refuse_unknown
from shelfcast.models.stored import reading, settings_in


@dataclass
class Blend:
    """Mean of the quantiles of several models, level by level.

    Parameters
    ----------
    horizons, levels : what is forecast.
    members : names of at least two models; one may be there twice, and learns with another seed then.
    weights : above 0, one a member; equal without it.
    member_settings : name -> settings of the members of that name.
    """

    horizons: tuple[Horizon, ...]
    levels: tuple[float, ...] = DEFAULT_LEVELS
    members: Sequence[str] = ("season-profile", "sqrf")
    weights: Sequence[float] | None = None
    member_settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    members_: tuple[Forecaster, ...] | None = field(default=None, init=False, repr=False, compare=False)

    name: ClassVar[str] = "blend"
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.COLD_START, Ability.SPANS})

    def __post_init__(self) -> None:
        members, weights, settings = self.members, self.weights, self.member_settings
        names = isinstance(members, list | tuple) and all(isinstance(name, str) for name in members)
        if not names or len(members) < 2 or self.name in members:
            raise ConfigError("model.members", f"expected names of two or more other models; got {members!r}")
        listed = weights is None or (isinstance(weights, list | tuple) and len(weights) == len(members))
        if not listed or not all(_is_weight(weight) for weight in weights or ()):
            raise ConfigError("model.weights", f"expected {len(members)} numbers above 0; got {weights!r}")
        if not isinstance(settings, dict) or not all(isinstance(own, dict) for own in settings.values()):
            raise ConfigError("model.member_settings", f"expected settings by name of a member; got {settings!r}")
        for name, own in settings.items():
            if name not in members:
                raise ConfigError("model.member_settings", f"'{name}' is not among the members {list(members)}")
            if shared := {"horizons", "levels"} & set(own):
                raise ConfigError("model.member_settings", f"'{min(shared)}' of '{name}' are those of the blend")
        self.members, self.weights = tuple(members), None if weights is None else tuple(weights)
        self._made()

    def _made(self) -> list[Forecaster]:
        from shelfcast.models.table import forecaster

        settings = self.member_settings
        return [
            forecaster(name, horizons=self.horizons, levels=self.levels, **settings.get(name, {}))
            for name in self.members
        ]

    # ---- the contract

    def preflight(self, panel: Panel) -> str:
        """What the members that train say of it, one after another."""
        said = [made.preflight(panel) for made in self._made() if isinstance(made, Estimating)]
        return "; ".join(said) or f"{self.name}: {len(self.members)} members, none of which says what training takes"

    def fit(self, panel: Panel, *, seed: int = 0) -> Self:
        """Fit the members."""
        self.members_ = tuple(
            made.fit(panel, seed=seed + list(self.members[:place]).count(made.name))
            for place, made in enumerate(self._made())
        )
        return self

    def predict(self, panel: Panel, origins: Sequence[int]) -> Forecast:
        """Weighted means of what the members say."""
        members = self._fitted("call fit(panel) before predict")
        refuse_unknown(panel, origins)
        return blended([member.predict(panel, origins) for member in members], self.weights, self.name)

    def _fitted(self, advice: str) -> tuple[Forecaster, ...]:
        if self.members_ is None:
            raise NotFittedError(f"'{self.name}' has not been fitted; {advice}.")
        return self.members_

    # ---- keeping

    def save(self, folder: Path) -> None:
        """Write the settings to `model.json`, and every member into a folder of its own."""
        members = self._fitted("there is nothing to save")
        settings = {key: getattr(self, key) for key in ("members", "weights", "member_settings", "levels")}
        settings["horizons"] = [[h.lead, h.span] for h in self.horizons]
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            for place, member in enumerate(members):
                member.save(Path(folder) / f"member_{place}")
            (Path(folder) / "model.json").write_text(json.dumps({"name": self.name, "settings": settings}, indent=1))
        except (OSError, TypeError) as error:
            raise StoreError(f"cannot write the model to {folder}: {error}. Choose a writable folder.") from error

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Inverse of `save`."""
        from shelfcast.models.table import load

        with reading(folder):
            made = cls(**settings_in(folder))
        made.members_ = tuple(load(Path(folder) / f"member_{place}") for place in range(len(made.members)))
        return made


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < np.inf


def blended(said: Sequence[Forecast], weights: Sequence[float] | None, name: str) -> Forecast:
    """Weighted means of forecasts of the same series, origins, horizons and levels."""
    asked = {(f.origins, f.horizons, f.levels, f.values.shape) for f in said}
    assert len(asked) == 1, "forecasts to be blended must be of the same cells"
    shares = np.full(len(said), 1.0) if weights is None else np.asarray(weights, dtype=np.float64)
    shares = shares / shares.sum()
    first = said[0]
    values = np.zeros(first.values.shape)
    for share, forecast in zip(shares, said, strict=True):
        values += share * forecast.values
    means = [forecast.mean for forecast in said if forecast.mean is not None]
    mean = None
    if len(means) == len(said):
        mean = np.sum([share * m.astype(np.float64) for share, m in zip(shares, means, strict=True)], axis=0)
    return Forecast(
        first.series, first.origins, first.frequency, first.horizons, first.levels,
        np.maximum.accumulate(values.astype(np.float32), axis=-1),
        None if mean is None else mean.astype(np.float32), name,
    )  # fmt: skip
