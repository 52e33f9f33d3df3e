"""What is forecast, as a value: `Horizon(lead, span)`.

With origin `t` (the last known period) a horizon is the sum of demand over periods `t + lead + 1 .. t + lead + span`,
both ends included. Labels, scores, stored columns and buying rules all speak it. Quantiles are never added: where a
sum over periods is needed, that sum is itself a horizon.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shelfcast.errors import ConfigError


@dataclass(frozen=True, slots=True, order=True)
class Horizon:
    """Demand in `span` periods, after skipping `lead` periods beyond the origin.

    For an order placed at the origin that arrives `L` periods later and is reviewed every `P` periods, the time to
    protect is `Horizon(0, L + P)` and the arrival window is `Horizon(L, P)`.

    Parameters
    ----------
    lead : periods skipped, >= 0. `Horizon(0, 1)` is the next period.
    span : periods summed, >= 1.
    """

    lead: int
    span: int = 1

    def __post_init__(self) -> None:
        whole = all(isinstance(number, int | np.integer) for number in (self.lead, self.span))
        if not whole or self.lead < 0 or self.span < 1:
            came = f"lead {self.lead!r}, span {self.span!r}"
            raise ConfigError("horizon", f"expected whole numbers, lead >= 0 and span >= 1; got {came}")

    @property
    def end(self) -> int:
        """Periods from the origin to the last one summed: `lead + span`."""
        return self.lead + self.span

    def __str__(self) -> str:
        return f"{self.lead}+{self.span}"

    @classmethod
    def parse(cls, text: str) -> "Horizon":
        """From `"lead+span"`, as `"7+14"`; a single number `"3"` is `Horizon(3, 1)`."""
        lead, plus, span = text.partition("+")
        try:
            return cls(int(lead), int(span) if plus else 1)
        except ValueError:
            raise ConfigError("horizon", f"expected 'lead+span', as '0+7'; got '{text}'") from None


def per_period(n: int) -> tuple[Horizon, ...]:
    """The next `n` periods one by one: `Horizon(0, 1) .. Horizon(n - 1, 1)`."""
    return tuple(Horizon(lead, 1) for lead in range(n))


def as_horizons(horizons: int | Iterable[Horizon | tuple[int, int]]) -> tuple[Horizon, ...]:
    """A tuple of distinct horizons from a count of periods, horizons or `(lead, span)` pairs; order is kept."""
    if isinstance(horizons, int):
        horizons = per_period(horizons)
    made = tuple(_as_horizon(horizon) for horizon in horizons)
    if not made or len(set(made)) < len(made):
        raise ConfigError("horizons", f"expected one or more distinct horizons; got {[str(h) for h in made]}")
    return made


def _as_horizon(pair: Horizon | tuple[int, int]) -> Horizon:
    if isinstance(pair, Horizon):
        return pair
    try:
        return Horizon(*pair)
    except TypeError:
        raise ConfigError("horizons", f"expected pairs (lead, span), as (0, 7); got {pair!r}") from None


def as_levels(levels: Iterable[float]) -> tuple[float, ...]:
    """Levels as a strictly increasing tuple inside (0, 1)."""
    made = tuple(float(level) for level in levels)
    if not made or not all(0 < level < 1 for level in made) or list(made) != sorted(set(made)):
        raise ConfigError(
            "levels", f"expected increasing numbers between 0 and 1; got {list(made)}", "write 0.9, not 90"
        )
    return made


def horizon_sums(
    demand: ArrayLike, observed: ArrayLike, horizons: Sequence[Horizon]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Label at every origin, and whether all its periods were observed.

    Cumulative sums, so the cost does not grow with the span.

    Parameters
    ----------
    demand : (*b, T) units; counted as 0 where not observed.
    observed : (*b, T) bool.
    horizons : K horizons.

    Returns
    -------
    sums : (*b, T, K) units; entry `t` is the demand of each horizon from origin `t`, 0 where it is not complete.
    complete : (*b, T, K) bool; false where a period was not observed or lies beyond T.

    Examples
    --------
    >>> sums, complete = horizon_sums([1., 2., 3., 4.], [True] * 4, [Horizon(0, 2), Horizon(1, 1)])
    >>> sums[0].tolist(), complete[:, 0].tolist()
    ([5.0, 3.0], [True, True, False, False])
    """
    seen = np.asarray(observed, dtype=bool)
    units = np.where(seen, np.asarray(demand, dtype=np.float64), 0.0)
    n_periods = units.shape[-1]
    total = _cumulative(units)
    count = _cumulative(seen.astype(np.int64))
    shape = (*units.shape, len(horizons))
    sums, complete = np.zeros(shape), np.zeros(shape, dtype=bool)
    for k, horizon in enumerate(horizons):
        n_origins = max(n_periods - horizon.end, 0)
        first = slice(horizon.lead + 1, horizon.lead + 1 + n_origins)
        last = slice(horizon.end + 1, horizon.end + 1 + n_origins)
        whole = count[..., last] - count[..., first] == horizon.span
        sums[..., :n_origins, k] = np.where(whole, total[..., last] - total[..., first], 0.0)
        complete[..., :n_origins, k] = whole
    return sums, complete


def window_sums(
    demand: ArrayLike, observed: ArrayLike, horizons: Sequence[Horizon]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """`horizon_sums` from the first period alone: (*b, T) to (*b, K)."""
    seen = np.asarray(observed, dtype=bool)
    total = _cumulative(np.where(seen, np.asarray(demand, dtype=np.float64), 0.0))
    count = _cumulative(seen.astype(np.int64))
    first = 1 + np.array([h.lead for h in horizons], dtype=np.int64)
    last = 1 + np.array([h.end for h in horizons], dtype=np.int64)
    inside = last <= seen.shape[-1]
    first, last = np.where(inside, first, 0), np.where(inside, last, 0)
    complete = inside & (count[..., last] - count[..., first] == last - first)
    return np.where(complete, total[..., last] - total[..., first], 0.0), complete


def same_window(horizons: Sequence[Horizon], gap: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For each horizon (K,) from an origin: the place of the one that, `gap` periods before, covered the same window.

    And whether there is one; the place is 0 where not.
    """
    places = {horizon: place for place, horizon in enumerate(horizons)}
    found = [places.get(Horizon(h.lead + gap, h.span), -1) for h in horizons]
    place = np.array(found, dtype=np.int64)
    return np.maximum(place, 0), place >= 0


def _cumulative(values: NDArray[Any]) -> NDArray[Any]:
    """Running sum along the last axis with a leading zero: entry `j` sums the first `j` values."""
    out = np.zeros((*values.shape[:-1], values.shape[-1] + 1), dtype=values.dtype)
    np.cumsum(values, axis=-1, out=out[..., 1:])
    return out
