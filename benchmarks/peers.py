"""Other libraries behind the story's contract: rows to compare with, where they are installed. Not dependencies.

    pip install lightgbm        # statsforecast comes with the extra `classical`

`lightgbm`: one gradient boosting for each level on the quantile loss, on the forest's own features and rows (demand
over its scale, span 1). `statsforecast`: exponential smoothing with additive errors, ETS(A,N,A) of days and ETS(A,N,N)
of weeks, for each series at each origin, with the intervals it states, clipped at zero; the latest 26 or 104 weeks.
Choosing the form by AICc costs ten times as much.
"""

import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shelfcast.data.feature_rows import FeatureRows
from shelfcast.data.features import Features
from shelfcast.data.panel import Panel
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon
from shelfcast.models.drawing import draw_rows

MODULES = {"lightgbm": "lightgbm", "statsforecast": "statsforecast"}
_BLOCK = 2_000


def absent(name: str) -> str | None:
    """Why a peer cannot run; None where it can."""
    there = importlib.util.find_spec(MODULES[name]) is not None
    return None if there else f"{MODULES[name]} is not installed"


def peer(name: str, horizons: tuple[Horizon, ...], levels: tuple[float, ...]) -> Any:
    """A peer by its name."""
    return {"lightgbm": Boosted, "statsforecast": Smoothed}[name](horizons, levels)


@dataclass
class Boosted:
    """LightGBM for each level."""

    horizons: tuple[Horizon, ...]
    levels: tuple[float, ...]
    n_rows: int = 150_000
    rounds: int = 150
    settings: dict[str, Any] = field(
        default_factory=lambda: {"learning_rate": 0.08, "num_leaves": 63, "min_data_in_leaf": 100, "num_threads": 1}
    )

    def fit(self, panel: Panel, *, seed: int = 0) -> "Boosted":
        """Draw rows as the forest does, and boost each level."""
        import lightgbm

        rng = np.random.default_rng(seed)
        self.features_ = Features.learn(panel)
        leads = np.array([h.lead for h in self.horizons])
        rows = draw_rows(panel, leads, 1, self.n_rows, rng)
        place = panel.indptr[rows.series] + rows.origin + rows.lead + 1 - panel.start[rows.series]
        rows, place = rows.at(panel.observed[place]), place[panel.observed[place]]
        values, scale, weight = FeatureRows(self.features_, panel).rows(rows.series, rows.origin, rows.lead, rows.span)
        target = panel.demand[place] / np.maximum(scale * weight, 1e-6)
        told = lightgbm.Dataset(values, target, free_raw_data=False)
        shared = {"objective": "quantile", "verbosity": -1, "seed": seed, "feature_fraction": 0.6, **self.settings}
        self.boosters_ = [lightgbm.train(shared | {"alpha": a}, told, self.rounds) for a in self.levels]
        return self

    def predict(self, panel: Panel, origins: Sequence[int]) -> Forecast:
        """Levels sorted, so that they do not cross; what was never sold is forecast as zero, as by the forest."""
        table, k = FeatureRows(self.features_, panel), len(self.horizons)
        leads, spans = np.array([h.lead for h in self.horizons]), np.ones(k, dtype=np.int64)
        values = np.zeros((panel.n_series, len(origins), k, len(self.levels)), dtype=np.float32)
        for o, origin in enumerate(origins):
            for begin in range(0, panel.n_series, _BLOCK):
                series = np.arange(begin, min(begin + _BLOCK, panel.n_series))
                at = np.full(len(series), origin)
                seen, scale, weight = table.grid(series, at, leads, spans)
                made = np.stack([booster.predict(seen) for booster in self.boosters_], axis=-1)
                made = np.sort(np.maximum(made, 0) * (scale * weight)[:, None], axis=-1).reshape(len(series), k, -1)
                made[table.never_sold(series, at)] = 0.0
                values[series, o] = made
        return _forecast(self, panel, origins, values, "lightgbm")


@dataclass
class Smoothed:
    """Exponential smoothing of statsforecast."""

    horizons: tuple[Horizon, ...]
    levels: tuple[float, ...]

    def fit(self, panel: Panel, *, seed: int = 0) -> "Smoothed":
        """Nothing is learned before an origin."""
        return self

    def predict(self, panel: Panel, origins: Sequence[int]) -> Forecast:
        """Fit every series at every origin; one that is too short or constant keeps its latest value."""
        from statsforecast.models import AutoETS

        weekly = panel.frequency.season > 24
        season, length = (1, 104) if weekly else (panel.frequency.season, 26 * panel.frequency.season)
        model = AutoETS(season_length=season, model="ANN" if weekly else "ANA")
        k = max(h.end for h in self.horizons)
        widths = sorted({round(200 * abs(level - 0.5)) for level in self.levels} - {0})
        values = np.zeros((panel.n_series, len(origins), len(self.horizons), len(self.levels)), dtype=np.float32)
        for o, origin in enumerate(origins):
            demand, seen = panel.history(origin, length)
            for i in range(panel.n_series):
                own = demand[i, np.argmax(seen[i]) :].astype(np.float64) if seen[i].any() else np.zeros(1)
                values[i, o] = self._one(model, own, k, widths)[[h.lead for h in self.horizons]]
        return _forecast(self, panel, origins, np.maximum(values, 0), "statsforecast")

    def _one(self, model: Any, own: np.ndarray, k: int, widths: list[int]) -> np.ndarray:
        """(k, Q) quantiles of one history."""
        flat = np.full((k, len(self.levels)), own[-1])
        if len(own) < 21 or np.ptp(own) == 0:
            return flat
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = model.forecast(own, h=k, level=widths)
        except Exception:
            return flat
        made = np.stack([self._level(found, level) for level in self.levels], axis=-1)
        return np.where(np.isfinite(made), made, flat)

    @staticmethod
    def _level(found: dict[str, np.ndarray], level: float) -> np.ndarray:
        width = round(200 * abs(level - 0.5))
        return found["mean"] if width == 0 else found[f"{'lo' if level < 0.5 else 'hi'}-{width}"]


def _forecast(model: Any, panel: Panel, origins: Sequence[int], values: np.ndarray, name: str) -> Forecast:
    series = panel.series.select(panel.keys)
    return Forecast(series, tuple(origins), panel.frequency, model.horizons, model.levels, values, None, name)
