"""Effects of calendar events on demand: ridge regression of log(demand / expected) on offsets from event dates.

A calendar column counts as an event column where it holds whole numbers from 0 and is not 0 throughout. Rare columns
act at offsets of -2 to 2 days (0 for hours, weeks and months), frequent ones (over a tenth of the periods, such as pay
days) on their own period only. Columns may repeat each other (`holiday` and `holiday=Easter`): the ridge shares the
effect out. Its strength is empirical Bayes: effects of one distance from the event are normal around none, with the
variance that their mean squares have above the noise. Group 0 is everyone.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.panel import Calendar, Panel
from shelfcast.periods import Unit

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Column = tuple[str, bool, tuple[int, ...]]  # name, whether rare, offsets

_RARE = 0.1
_LIMIT = 3.0  # of a log ratio, so that one closed day cannot rule
_DAYS = (-2, -1, 0, 1, 2)


def event_columns(panel: Panel) -> tuple[Column, ...]:
    """The event columns of a panel's calendar, judged up to `panel.last`."""
    calendar = panel.calendar
    found: list[Column] = []
    for j, name in enumerate(calendar.names):
        values = calendar.values[:, : max(panel.last + 1 - calendar.start, 0), j]
        if values.size and np.isfinite(values).all() and (values >= 0).all() and (values == np.round(values)).all():
            rare = float((values > 0).mean()) <= _RARE
            near = _DAYS if rare and panel.frequency.unit is Unit.DAY else (0,)
            if values.any():
                found.append((name, rare, near))
    return tuple(found)


@dataclass(frozen=True)
class EventEffects:
    """Logarithmic effects (G, M) of M pairs of column and offset, in order of `columns`."""

    columns: tuple[Column, ...]
    effects: Array

    @classmethod
    def none(cls, columns: tuple[Column, ...], n_groups: int) -> "EventEffects":
        """No effect of any of the columns."""
        return cls(columns, np.zeros((n_groups, sum(len(offsets) for _, _, offsets in columns))))

    @property
    def _distance(self) -> Ints:
        """(M,) periods from the event."""
        return np.array([abs(o) for _, _, offsets in self.columns for o in offsets], dtype=np.int64)

    def _design(self, calendar: Calendar, first: int, last: int) -> Array:
        """(P, T, M) count of each event at each offset; 0 outside the calendar, and for a column that it lost."""
        places, t = np.arange(len(calendar.values))[:, None], np.arange(first, last + 1)
        near = {o: np.nan_to_num(calendar.at(places, (t - o)[None])) for _, _, offsets in self.columns for o in offsets}
        made = np.zeros((len(places), len(t), self.effects.shape[1]))
        m = 0
        for name, _, offsets in self.columns:
            for offset in offsets:
                if name in calendar.names:
                    made[:, :, m] = near[offset][:, :, calendar.names.index(name)]
                m += 1
        return made

    def table(self, calendar: Calendar, first: int, last: int) -> Array:
        """(G, P, T) factors of the periods `first` to `last`."""
        return np.asarray(np.exp(np.moveaxis(self._design(calendar, first, last) @ self.effects.T, 2, 0)))

    def near(self, calendar: Calendar, first: int, last: int) -> NDArray[np.bool_]:
        """(P, T) whether a rare event acts on the period."""
        rare = np.array([rare for _, rare, offsets in self.columns for _ in offsets], dtype=bool)
        return np.asarray((self._design(calendar, first, last)[:, :, rare] > 0).any(axis=2))

    def fitted(self, demand: Array, expected: Array, calendar: Calendar, first: int) -> "EventEffects":
        """Effects from demand and expected demand without events (G, P, T) of periods from `first`."""
        if not self.effects.shape[1]:
            return self
        x = self._design(calendar, first, first + demand.shape[2] - 1)
        there = (expected > 0) & (demand.sum(axis=(1, 2)) > 0)[:, None, None]
        quotient = np.divide(demand, expected, out=np.ones_like(demand), where=there)
        z = np.clip(np.log(np.maximum(quotient, 1e-9)), -_LIMIT, _LIMIT)
        z = np.where(there, z, 0.0)
        flat, n_groups = x.reshape(-1, x.shape[2]), len(z)
        z, weight = z.reshape(n_groups, -1), there.reshape(n_groups, -1).astype(np.float64)
        quiet = weight * ~(flat > 0).any(axis=1)
        n_quiet = np.maximum(quiet.sum(axis=1), 1)
        centre = (quiet * z).sum(axis=1) / n_quiet
        noise = (quiet * (z - centre[:, None]) ** 2).sum(axis=1) / n_quiet + 1e-4
        z = z - np.where(quiet.any(axis=1), centre, 0.0)[:, None]
        acting = flat[(flat > 0).any(axis=1)]
        on = weight[:, (flat > 0).any(axis=1)]
        seen, which = np.unique(on, axis=0, return_inverse=True)  # groups are mostly seen in the same periods
        gram = np.stack([(acting * w[:, None]).T @ acting for w in seen])[which]
        score = (weight * z) @ flat
        spread = self._spread(score, np.diagonal(gram, axis1=1, axis2=2), noise)
        ridge = noise[:, None, None] * np.diag(1.0 / spread)
        return replace(self, effects=np.linalg.solve(gram + ridge, score[:, :, None])[:, :, 0])

    def _spread(self, score: Array, count: Array, noise: Array) -> Array:
        """(M,) variance of true effects at each distance, from effects taken one at a time."""
        there = count > 0
        single = score / np.where(there, count, 1.0)
        above = np.where(there, single**2 - noise[:, None] / np.where(there, count, 1.0), 0.0)
        distance = self._distance
        size = np.bincount(distance, weights=there.sum(axis=0))
        return np.maximum(np.bincount(distance, weights=above.sum(axis=0)) / np.maximum(size, 1), 1e-4)[distance]
