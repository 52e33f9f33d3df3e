"""The patchwork: generation 1 as one forecaster.

Expert rules (`routing`) send each series to a textbook model, the season and price add-ons go around it (`addons`),
and the Distribution Engine gives the quantiles. Where a series has enough history, its own quantiles
(`season-profile`) have a say of `own_share`: pooled errors know the shape of a law, a series its own width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError, StoreError
from shelfcast.horizons import Horizon
from shelfcast.models.addons import adjusted_path
from shelfcast.models.base import Ability
from shelfcast.models.baselines import SeasonProfile
from shelfcast.models.distribution_engine import DistributionEngine
from shelfcast.models.elasticity import Elasticities
from shelfcast.models.local import Laws
from shelfcast.models.routing import ValueCuts, check_rules, classify, default_rules, read_rules, route, summary
from shelfcast.models.seasonal import SeasonalAddon
from shelfcast.models.textbook import POINT_MODELS

Array = NDArray[np.float64]

_TRIALS = 3  # origins on which the price add-on is judged


@dataclass
class Patchwork(DistributionEngine):
    """Expert rules, textbook models, add-ons and the Distribution Engine as one.

    Parameters
    ----------
    group : static column over which the add-ons pool; everything without it.
    rules : a path to a rules table (TOML or Parquet), or the rules themselves, one mapping each; the defaults without.
    own_share : weight of a series' own quantiles, 0 .. 1.
    """

    group: str | None = None
    rules: str | Sequence[Mapping[str, Any]] | None = None
    own_share: float = 0.5
    seasonal_: SeasonalAddon | None = field(default=None, init=False, repr=False)
    elasticity_: Elasticities | None = field(default=None, init=False, repr=False)
    cuts_: ValueCuts | None = field(default=None, init=False, repr=False)
    rules_: pl.DataFrame | None = field(default=None, init=False, repr=False)

    name: ClassVar[str] = "patchwork"
    abilities: ClassVar[frozenset[Ability]] = frozenset(
        {Ability.COLD_START, Ability.SPANS, Ability.STATIC, Ability.KNOWN}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.own_share <= 1:
            raise ConfigError("model.own_share", f"expected a number from 0 to 1; got {self.own_share!r}")

    def _given(self, panel: Panel) -> pl.DataFrame:
        """The rules of the settings, or the defaults for the panel's season."""
        if self.rules is None:
            return default_rules(panel.frequency.season)
        return read_rules(Path(self.rules)) if isinstance(self.rules, str) else pl.DataFrame(list(self.rules))

    @cached_property
    def _own(self) -> SeasonProfile:
        return SeasonProfile(self.horizons, self.levels, min_history=self.min_history)

    def _learn(self, panel: Panel) -> None:
        self.rules_ = self._given(panel)
        self._table(panel)
        self.seasonal_ = SeasonalAddon.learn(panel, self.group)
        has_known = panel.names.price is not None or bool(panel.names.promotions)
        self.elasticity_ = Elasticities.learn(panel, group=self.group) if has_known else None
        _, self.cuts_ = classify(panel, panel.last)
        if self.elasticity_ is not None and not self._price_helps(panel):
            self.elasticity_ = None
        super()._learn(panel)

    def _price_helps(self, panel: Panel) -> bool:
        """Whether paths of the newest origins with known targets err less with the price add-on than without."""
        origins = [panel.last - self._end - i * self._end for i in range(_TRIALS)]
        origins = [origin for origin in origins if origin >= panel.first]
        with_price = self._error(panel, origins)
        kept, self.elasticity_ = self.elasticity_, None
        without = self._error(panel, origins)
        self.elasticity_ = kept
        return with_price < without or not origins

    def _error(self, panel: Panel, origins: Sequence[int]) -> float:
        """Sum of absolute errors of the single periods after the origins."""
        total = 0.0
        for origin in origins:
            demand, observed = panel.window(origin + 1, origin + self._end)
            total += float(np.abs((demand - self._path(panel, origin, self._end)) * observed).sum())
        return total

    def _table(self, panel: Panel) -> pl.DataFrame:
        return check_rules(
            self._given(panel) if self.rules_ is None else self.rules_, list(POINT_MODELS), panel.series.columns
        )

    def routes(self, panel: Panel, origin: int) -> pl.DataFrame:
        """How many series each rule routes as of an origin, and what they sold in a year."""
        return summary(panel, origin, self._table(panel))

    def _path(self, panel: Panel, origin: int, n_periods: int) -> Array:
        """Each series by the model and add-ons of its rule, as of the origin."""
        rules = self._table(panel)
        classes, _ = classify(panel, origin, self.cuts_)
        chosen = route(panel.series, classes, rules)
        path = np.zeros((panel.n_series, n_periods))
        for place in np.unique(chosen):
            rule, mine = rules.row(int(place), named=True), np.flatnonzero(chosen == place)
            path[mine] = adjusted_path(
                POINT_MODELS[rule["model"]](), panel.take(mine), origin, n_periods,
                self.seasonal_ if rule["season"] else None, self.elasticity_ if rule["price"] else None,
            )  # fmt: skip
        return path

    def _laws(self, panel: Panel, origin: int) -> Laws:
        pooled, own = super()._laws(panel, origin), self._own._laws(panel, origin)

        def law(horizon: Horizon) -> tuple[Array, Array, NDArray[np.int64]]:
            quantiles, mean, count = pooled(horizon)
            own_quantiles, own_mean, own_count = own(horizon)
            share = np.where(own_count >= self.min_history, self.own_share, 0.0)
            mixed = (1 - share)[:, None] * quantiles + share[:, None] * own_quantiles
            return mixed, (1 - share) * mean + share * own_mean, count

        return law

    def _store(self, folder: Path) -> None:
        super()._store(folder)
        assert self.seasonal_ is not None
        assert self.cuts_ is not None
        self.seasonal_.save(folder / "seasonal")
        if self.elasticity_ is not None:
            self.elasticity_.save(folder / "elasticity")
        assert self.rules_ is not None
        self.rules_.write_parquet(folder / "rules.parquet")  # those of the fit, whatever becomes of the user's file
        has_price = self.elasticity_ is not None  # the folder may hold elasticities of an older model
        np.savez(folder / "cuts.npz", a=self.cuts_.a, b=self.cuts_.b, has_price=has_price)

    def _restore(self, folder: Path) -> None:
        super()._restore(folder)
        self.seasonal_ = SeasonalAddon.load(folder / "seasonal")
        try:
            with open(folder / "cuts.npz", "rb") as raw, np.load(raw, allow_pickle=False) as file:
                self.cuts_ = ValueCuts(float(file["a"]), float(file["b"]))
                has_price = bool(file["has_price"])
            self.rules_ = pl.read_parquet(folder / "rules.parquet")
        except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile, pl.exceptions.PolarsError) as error:
            raise StoreError(
                f"expected cuts.npz and rules.parquet in {folder}; got: {error}. Run `shelfcast fit` again."
            ) from error
        if has_price:
            self.elasticity_ = Elasticities.load(folder / "elasticity")
