"""The contract of every forecaster, what one may be able to do, and the table of names.

Local models (one set of parameters a series) estimate in `predict`, on `panel.as_of(origin)`; global models learn in
`fit`. Callers cannot tell and need not. There is no base class: the contract tests hold every name to the same laws.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError, StoreError, nearest
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon, as_horizons, as_levels

M5_LEVELS = (0.005, 0.025, 0.165, 0.25, 0.5, 0.75, 0.835, 0.975, 0.995)
DEFAULT_LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


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


Maker = Callable[..., Forecaster]


def makers() -> dict[str, Maker]:
    """Name -> class of every forecaster, imported when asked for."""
    from shelfcast.models import baselines

    return {**baselines.MODELS}


def forecaster(
    name: str,
    *,
    horizons: int | Iterable[Horizon | tuple[int, int]],
    levels: Iterable[float] = DEFAULT_LEVELS,
    **settings: Any,
) -> Forecaster:
    """A forecaster by its name in the table `shelfcast models` prints.

    Parameters
    ----------
    name : as `seasonal-naive`.
    horizons : a count of single periods, or horizons `(lead, span)`.
    levels : quantile levels in (0, 1).
    settings : of that model; a wrong one is a ConfigError that lists those there are.

    Examples
    --------
    >>> forecaster("seasonal-naive", horizons=2, levels=[0.5]).horizons
    (Horizon(lead=0, span=1), Horizon(lead=1, span=1))
    """
    table = makers()
    if name not in table:
        raise ConfigError("model", f"unknown model '{name}'; {nearest(name, table)}")
    maker = table[name]
    allowed = [field for field in getattr(maker, "__dataclass_fields__", {}) if field not in ("horizons", "levels")]
    for setting in settings:
        if setting not in allowed:
            raise ConfigError(f"model.{setting}", f"'{name}' has no such setting; {nearest(setting, allowed)}")
    return maker(horizons=as_horizons(horizons), levels=as_levels(levels), **settings)


def load(folder: Path | str) -> Forecaster:
    """Read a fitted forecaster back from its folder."""
    path = Path(folder) / "model.json"
    try:
        name = json.loads(path.read_text())["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"expected a saved model in {folder}; got: {error}. Run `shelfcast fit` again.") from error
    maker = makers().get(name)
    if maker is None:
        raise StoreError(f"the model in {folder} is named '{name}'; {nearest(str(name), makers())}")
    reader: Callable[[Path], Forecaster] = maker.load  # type: ignore[attr-defined]
    return reader(Path(folder))
