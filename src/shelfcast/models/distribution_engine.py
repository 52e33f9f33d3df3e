"""The Distribution Engine: any point model becomes a forecaster of quantiles.

`fit` lets the point model forecast from past origins, each from what was known then, and pools its errors by demand
class, horizon and level band (`error_tables`). `predict` puts the quantiles of those errors around today's point
forecast. The point forecast of a span is the sum of its periods; its quantiles come from the errors of such sums. A
series that was observed and never sold anything is forecast to sell nothing.
"""

from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar
from zipfile import BadZipFile

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.data.profile import demand_classes
from shelfcast.errors import ConfigError, StoreError, nearest
from shelfcast.horizons import Horizon
from shelfcast.models.base import Ability
from shelfcast.models.error_tables import ErrorTables, Form, PastErrors, Shape, chosen_form
from shelfcast.models.local import Laws, LocalForecaster
from shelfcast.models.points import PointModel, Series, span_means
from shelfcast.models.routing import DEMAND_CLASSES
from shelfcast.models.textbook import POINT_MODELS

Array = NDArray[np.float64]
AUTO = "auto"
ENDED = "ended"  # sold before, but not in the last quarter of a year: errors of their own
ERROR_CLASSES = (*DEMAND_CLASSES, ENDED)


@dataclass
class PastErrorForecaster(LocalForecaster):
    """Point forecasts (`_path`, by subclasses) with the quantiles of their own past errors.

    Parameters
    ----------
    n_origins : past origins whose errors are pooled, at most.
    step : periods between them; without it one less than a season of hours or days (so that origins fall on every
        place in the season), else one period.
        Where all origins will fall on one weekday, 7 is better for a model without a season: its errors are those of
        that weekday (154 aggregate series of M5, weekly origins: `ses` 0.343 WSPL instead of 0.450).
    n_bands : level bands.
    form : `additive`, `root` or `multiplicative` errors; `auto` chooses on the newest origins.
    """

    n_origins: int = 16
    step: int | None = None
    n_bands: int = 24
    form: str = AUTO
    tables_: ErrorTables | None = field(default=None, init=False, repr=False)

    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.COLD_START, Ability.SPANS})

    def __post_init__(self) -> None:
        super().__post_init__()
        forms = [AUTO, *(form.name.lower() for form in Form)]
        if self.form not in forms:
            raise ConfigError("model.form", f"unknown form '{self.form}'", nearest(self.form, forms))

    @abstractmethod
    def _path(self, panel: Panel, origin: int, n_periods: int) -> Array:
        """(N, n_periods) point forecasts from an origin."""

    @property
    def _end(self) -> int:
        """Periods to the farthest target."""
        return max(h.end for h in self.horizons)

    def _learn(self, panel: Panel) -> None:
        past = self._past(panel)
        shape = self._shape()
        auto = self.form == AUTO
        form = chosen_form(past, shape, self.levels) if auto else Form[self.form.upper()]
        self.tables_ = ErrorTables.learn(past, shape, self.levels, form)

    def _shape(self) -> Shape:
        ended = (ERROR_CLASSES.index(ENDED),)
        return Shape(self.horizons, len(ERROR_CLASSES), self.n_bands, apart=ended)

    def _past_origins(self, panel: Panel) -> list[int]:
        """Past origins from which the farthest target has come, the oldest first."""
        season = panel.frequency.season
        step = self.step or (season - 1 if season in (7, 24) else 1)
        newest = panel.last - self._end
        return [newest - step * i for i in range(self.n_origins) if newest - step * i >= panel.first][::-1]

    def _past(self, panel: Panel) -> PastErrors:
        """Point forecasts of past origins and what came; no origin at all where the history is too short."""
        origins = self._past_origins(panel)
        if not origins:
            none = np.zeros((panel.n_series, 0, len(self.horizons)))
            return PastErrors(none, none, none.astype(bool), np.zeros(none.shape[:2], dtype=np.int64))
        means = [span_means(self._path(panel, origin, self._end), self.horizons) for origin in origins]
        demand, complete = panel.labels(origins, self.horizons)
        begun = panel.start[:, None] <= np.array(origins)
        classes = np.stack([_classes(panel.as_of(origin)) for origin in origins], axis=1)
        return PastErrors(np.stack(means, axis=1), demand, complete & begun[..., None], classes)

    def _laws(self, panel: Panel, origin: int) -> Laws:
        assert self.tables_ is not None
        means = span_means(self._path(panel, origin, self._end), self.horizons)
        classes = _classes(panel.as_of(origin))
        quantiles = self.tables_.apply(means, classes)
        quantiles[classes == DEMAND_CLASSES.index("none")] = 0.0
        count = Series.of(panel, origin).n_observed

        def law(horizon: Horizon) -> tuple[Array, Array, NDArray[np.int64]]:
            k = self.horizons.index(horizon)
            return quantiles[:, k], means[:, k], count

        return law

    def _store(self, folder: Path) -> None:
        assert self.tables_ is not None
        tables = self.tables_
        np.savez(
            folder / "errors.npz",
            edges=tables.edges, quantiles=tables.quantiles, n_errors=tables.n_errors, form=tables.form.value,
        )  # fmt: skip

    def _restore(self, folder: Path) -> None:
        shape = self._shape()
        try:
            with open(folder / "errors.npz", "rb") as raw, np.load(raw, allow_pickle=False) as file:
                form = Form(float(file["form"]))
                arrays = file["edges"], file["quantiles"], file["n_errors"]
        except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise StoreError(f"expected errors.npz in {folder}; got: {error}. Run `shelfcast fit` again.") from error
        self.tables_ = ErrorTables(shape, form, self.levels, *arrays)


@dataclass
class DistributionEngine(PastErrorForecaster):
    """A textbook model of points with the quantiles of its own past errors.

    Parameters
    ----------
    model : name of a point model in `textbook.POINT_MODELS`.
    window : periods of history a point model reads, at most; all without it.
    """

    model: str = "ses"
    window: int | None = None

    name: ClassVar[str] = "distribution-engine"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model not in POINT_MODELS:
            raise ConfigError("model.model", f"unknown point model '{self.model}'", nearest(self.model, POINT_MODELS))

    @cached_property
    def _base(self) -> PointModel:
        return POINT_MODELS[self.model]()

    def _path(self, panel: Panel, origin: int, n_periods: int) -> Array:
        return self._base.path(Series.of(panel, origin, self.window), n_periods)


def _classes(seen: Panel) -> NDArray[np.int64]:
    """(N,) place of each series' class in `ERROR_CLASSES`: its demand class, or that it sold nothing lately."""
    codes = {name: place for place, name in enumerate(DEMAND_CLASSES)}
    names = pl.Series(demand_classes(seen)).cast(pl.String)
    found = names.replace_strict(codes, default=codes["none"], return_dtype=pl.Int64).to_numpy()
    demand, observed = seen.history(seen.last, round(seen.frequency.year / 4))
    is_ended = (found != codes["none"]) & observed.any(axis=1) & ~(demand > 0).any(axis=1)
    return np.where(is_ended, ERROR_CLASSES.index(ENDED), found)


def textbook(point_model: str) -> type[DistributionEngine]:
    """The engine around one point model, as a forecaster of that model's name."""

    @dataclass
    class Textbook(DistributionEngine):
        model: str = field(default=point_model, init=False)

    Textbook.name = point_model
    Textbook.__doc__ = f"Point model '{point_model}' with the quantiles of its own past errors."
    return Textbook


MODELS: dict[str, type[DistributionEngine]] = {name: textbook(name) for name in POINT_MODELS}
