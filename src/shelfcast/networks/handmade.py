"""The forest's hand-made features as a network reads them: centred numbers of (series, origin) and of each horizon.

They are computed for the series of a batch alone, so memory does not grow with the number of series. What is absent
is 0 before centring. What is known of dates is left to the network's own calendar.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.dated import DateRows
from shelfcast.data.features import Features
from shelfcast.data.panel import Panel
from shelfcast.horizons import Horizon

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
_CLIP = 6.0
_SERIES, _ORIGINS = 256, 16  # whose features tell centres and spreads
# what is there only after this share of the history, in few of the rows, is too new to have been learned
_EARLY, _FEW = 0.85, 0.15


@dataclass(frozen=True)
class HandMade:
    """Features, and what centres them.

    Parameters
    ----------
    features : what they need beside a panel.
    horizons : K horizons.
    centre, spread : (F,) mean and standard deviation of signed logs, those of the state first; a spread is infinite
        where nothing was to be learned, so that the feature is 0 whatever comes later.
    """

    features: Features
    horizons: tuple[Horizon, ...]
    centre: Floats
    spread: Floats

    @classmethod
    def learn(cls, panel: Panel, horizons: tuple[Horizon, ...]) -> Self:
        """From a panel; centres and spreads from evenly spaced series and origins."""
        features = Features.learn(panel)
        n = len(_kept(features)) + 1
        made = cls(features, horizons, np.zeros(n, dtype=np.float32), np.ones(n, dtype=np.float32))
        some = np.nonzero(panel.lengths > 0)[0]
        if not len(some):
            return made
        piece = panel.take(some[:: max(1, -(-len(some) // _SERIES))])
        share = np.arange(_ORIGINS) / _ORIGINS
        origins = piece.start.astype(np.int64)[:, None] + (piece.lengths[:, None] * share).astype(np.int64)
        state, ahead = made.read(piece, made.dates(panel), origins, None)
        seen, ends = origins.reshape(-1), panel.first + _EARLY * (panel.last - panel.first)
        centre, spread = (
            np.concatenate(parts)
            for parts in zip(*(_spread(x, seen <= panel.last, seen <= ends) for x in (state, ahead)), strict=True)
        )
        return cls(features, horizons, centre.astype(np.float32), spread.astype(np.float32))

    @property
    def n_state(self) -> int:
        """Features of (series, origin)."""
        return self.features.n_state

    @property
    def n_ahead(self) -> int:
        """Features of each horizon."""
        return len(self.centre) - self.features.n_state

    def dates(self, panel: Panel) -> DateRows:
        """Date features of a panel's calendar, to be made once for many batches."""
        return DateRows(self.features.dates, panel)

    def read(
        self, panel: Panel, dates: DateRows, origins: Ints, scale: NDArray[np.float64] | None
    ) -> tuple[Floats, Floats]:
        """(N, O, Fs) state and (N, O, K, Ft) horizon features of every series at origins (N, O).

        Parameters
        ----------
        scale : (N, O) units that demand is measured in; the features' own scale by default.
        """
        from shelfcast.data.feature_rows import FeatureRows  # compiles, which no other network needs

        table = FeatureRows(self.features, panel, dates)
        n, n_origins = origins.shape
        series, origin = np.repeat(np.arange(n), n_origins), origins.reshape(-1).astype(np.int64)
        units = table.scale(series, origin) if scale is None else scale.reshape(-1)
        k, lead, span = self._horizons(len(series))
        pairs = np.repeat(series, k), np.repeat(origin, k)
        ahead, size = table.ahead(*pairs, lead, span, np.repeat(units, k))
        kept = _kept(self.features)[self.n_state :] - self.n_state
        ahead = np.concatenate([ahead[:, kept], np.log(np.maximum(size / span, 1e-3))[:, None]], axis=1)
        state = self._centred(table.state(series, origin, units), slice(0, self.n_state))
        ahead = self._centred(ahead, slice(self.n_state, None))
        return state.reshape(n, n_origins, -1), ahead.reshape(n, n_origins, k, -1)

    def _horizons(self, n: int) -> tuple[int, Ints, Ints]:
        lead = np.array([h.lead for h in self.horizons], dtype=np.int64)
        span = np.array([h.span for h in self.horizons], dtype=np.int64)
        return len(lead), np.tile(lead, n), np.tile(span, n)

    def _centred(self, values: NDArray[Any], part: slice) -> Floats:
        there = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        logs = np.sign(there) * np.log1p(np.abs(there))
        made = (logs - self.centre[part]) / self.spread[part]
        return np.asarray(np.clip(made, -_CLIP, _CLIP), dtype=np.float32)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the features' files; returns what a model's JSON must hold."""
        self.features.save(folder)
        spread = [float(x) if np.isfinite(x) else None for x in self.spread]  # JSON knows no infinity
        return {"centre": self.centre.tolist(), "spread": spread}

    @classmethod
    def load(cls, folder: Path, horizons: tuple[Horizon, ...], stored: dict[str, Any]) -> Self:
        """Inverse of `save`; raises what reading raises where the files are not whole."""
        centre = np.array(stored["centre"], dtype=np.float32)
        spread = np.array([np.inf if x is None else x for x in stored["spread"]], dtype=np.float32)
        made = cls(Features.load(folder), horizons, centre, spread)
        if len(centre) != len(_kept(made.features)) + 1:
            raise ValueError("centres of other features")
        return made


def _spread(
    values: Floats, known: NDArray[np.bool_], early: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation (F,) of rows (N, O, .., F); infinite deviations of what few rows have, and none of `early`.

    What was absent (0) for a year, as demand a year ago is, would meet weights that no training has moved when it
    comes. `known` and `early` (N * O,): rows up to the panel's last period, and those in the first part of it.
    """
    rows = values.astype(np.float64).reshape(len(early), -1, values.shape[-1])
    centre, spread = rows.mean(axis=(0, 1)), rows.std(axis=(0, 1))
    spread = np.where(spread > 1e-4 * (np.abs(centre) + 1), spread, 1.0)
    there = rows != 0
    share = there[known].mean(axis=(0, 1)) if known.any() else there.mean(axis=(0, 1))
    return centre, np.where(there[early].any(axis=(0, 1)) | (share > _FEW), spread, np.inf)


def _kept(features: Features) -> Ints:
    """Places of the features that are read: those of dates are not."""
    dates = features.dates.features
    return np.array([j for j, name in enumerate(features.names) if name not in dates], dtype=np.int64)
