"""The contract of every forecaster, and what one may be able to do.

Local models (one set of parameters a series) estimate in `predict`, on `panel.as_of(origin)`; global models learn in
`fit`. Callers cannot tell and need not. There is no base class: the contract tests hold every name to the same laws.
"""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from shelfcast.data.panel import Panel
from shelfcast.errors import DataError
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon

M5_LEVELS = (0.005, 0.025, 0.165, 0.25, 0.5, 0.75, 0.835, 0.975, 0.995)
DEFAULT_LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99)


class Ability(Enum):
    """What a forecaster claims; the contract tests hold it to each claim."""

    STATIC = "uses static columns"
    PAST = "uses past columns"
    KNOWN = "uses known columns"
    COLD_START = "forecasts series without rows"
    SPANS = "forecasts sums over several periods from sums in history"
    SCALE_EQUIVARIANT = "demand times c gives quantiles times c"
    MONOTONE_SPAN = "a longer span from the same lead is never smaller"


@runtime_checkable
class Forecaster(Protocol):
    """Anything that turns a panel into quantile forecasts."""

    @property
    def name(self) -> str:
        """Its name in the table of forecasters."""
        ...

    @property
    def horizons(self) -> tuple[Horizon, ...]:
        """What it forecasts."""
        ...

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels of its quantiles."""
        ...

    @property
    def abilities(self) -> frozenset[Ability]:
        """What it claims to be able to do."""
        ...

    def fit(self, panel: Panel, *, seed: int = 0) -> Self:
        """Learn from all the panel shows; returns self."""
        ...

    def predict(self, panel: Panel, origins: Sequence[int]) -> Forecast:
        """Forecast every series at every origin, each from `panel.as_of(origin)` alone.

        Raises NotFittedError before `fit`.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write what `fit` learned; `load` is the inverse."""
        ...


@runtime_checkable
class Estimating(Protocol):
    """A forecaster that says what training will take before it begins."""

    def preflight(self, panel: Panel) -> str:
        """One line: what is learned from, and the memory (and time) to expect."""
        ...


@runtime_checkable
class Explaining(Protocol):
    """A forecaster that says what its forecasts rest on."""

    def importance(self) -> dict[str, float]:
        """Feature -> share of what was learned, largest first."""
        ...


def refuse_unknown(panel: Panel, origins: Sequence[int]) -> None:
    """Raise DataError where an origin lies after the last period with demand."""
    if max(origins) > panel.last:
        raise DataError(
            f"origins up to {panel.date(panel.last)}, the last period with demand",
            f"{panel.date(max(origins))}",
            "forecast from an origin that is known",
        )
