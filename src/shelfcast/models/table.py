"""The table of names: every forecaster there is, made by its name or read back from its folder."""

import json
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from shelfcast.errors import ConfigError, StoreError, nearest
from shelfcast.horizons import Horizon, as_horizons, as_levels
from shelfcast.models.base import DEFAULT_LEVELS, Forecaster

Maker = Callable[..., Forecaster]


def makers() -> dict[str, Maker]:
    """Name -> class of every forecaster, imported when asked for."""
    from shelfcast.models import (
        baselines,
        blend,
        combined,
        distribution_engine,
        forest,
        forest_point,
        mq,
        mq_transformer,
        patchwork,
        recurrent,
    )

    single: dict[str, Maker] = {
        maker.name: maker
        for maker in (
            patchwork.Patchwork, forest_point.ForestPoint, forest.QuantileForest, combined.Combined, blend.Blend,
        )
    }  # fmt: skip
    return {
        **baselines.MODELS,
        **distribution_engine.MODELS,
        **single,
        **recurrent.MODELS,
        **mq.MODELS,
        **mq_transformer.MODELS,
    }


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
    own: Any = maker
    allowed = (
        [f.name for f in fields(own) if f.init and f.name not in ("horizons", "levels")] if is_dataclass(own) else []
    )
    if hasattr(maker, "setting_names"):  # networks sort their settings into records
        allowed = maker.setting_names()
    for setting in settings:
        if setting not in allowed:
            raise ConfigError(f"model.{setting}", f"'{name}' has no such setting; {nearest(setting, allowed)}")
    make: Maker = getattr(maker, "of", maker)
    return make(horizons=as_horizons(horizons), levels=as_levels(levels), **settings)


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
