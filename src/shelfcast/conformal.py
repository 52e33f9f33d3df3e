"""Calibration as a repair: levels are moved until recent outcomes stayed under each quantile as often as promised.

A forecast says `Q(a)`, and demand stayed at or under it a share `G(a)` of the time. The repaired forecast says
`Q(b)`, where `b` is the least level with `G(b) >= a (n + 1) / n`. That is conformal prediction with the probability
integral transform as its score (Chernozhukov, Wuthrich and Zhu 2021, "Distributional conformal prediction"): where the
past and the new outcome are exchangeable, demand stays under the repaired quantile with a chance from `a` to
`a + 1/(n + 1)`, whatever the law said. Since `b` does not fall in `a`, and `Q` is a quantile function of demand, the
result never crosses and is never negative.

`G` is learned for each span and band of leads, and shrunk to no change: few outcomes change little. What is left is
learned for each segment, shrunk alike. Series may be parted in several ways (by velocity and by class of demand): the
ways take turns, twice, each mending what the others left, as additive models are fitted, so that coverage holds in the
segments of every way, the aim of Jung, Noarov, Ramalingam and Roth 2022, "Batch multivalid conformal prediction".
Maps of 0..1 to itself are composed, so the result still never crosses and is never negative; the chance above is exact
for all outcomes of a span and band alone, without shrinkage.

Counts come in whole units, so an outcome `y` is the interval `y - 1/2 .. y + 1/2` of the transform (Czado, Gneiting and
Held 2009), which is what rounding quantiles to whole units does.

Beyond the outermost levels the law goes on: linear down to zero, and an exponential tail above, so that a level can be
moved beyond the grid. Only outcomes known at an origin are used at it (`learn`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.cells import window_demand
from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError, DataError
from shelfcast.forecast import Forecast, concat_origins
from shelfcast.horizons import Horizon
from shelfcast.laws import Grid, Tailed
from shelfcast.segments import Groups, series_labels

Array = NDArray[np.float64]
Labels = Callable[[Panel, int], pl.DataFrame]
"""(N, J) segments of each series of a panel as of an origin: a column for each way to part them."""
Key = tuple[int, int, tuple[str, ...]]  # span, band of leads, one segment of each way

_STEPS = 1 << 16  # levels are told apart to this fraction
_EVEN = np.arange(_STEPS + 1) / _STEPS
ALL = "all"
_AND = " & "  # between segments of several ways
_TURNS = 2  # of each way, where there are several


@dataclass(frozen=True)
class Settings:
    """How a repair is learned.

    Parameters
    ----------
    strength : outcomes that no change counts for in each group; 0 for the pure conformal map.
    bands : bands of leads of equal length, among horizons of one span.
    whole_units : outcomes are counts.
    """

    strength: float = 200.0
    bands: int = 2
    whole_units: bool = True


@dataclass(frozen=True)
class Repair:
    """Where each level was moved to.

    Parameters
    ----------
    levels : (Q,) of the forecasts.
    moved : (span, band, segments) -> (Q,) levels to read the forecast at; segments of several ways are joined by " & ",
        and `all` is for series whose segments were never seen together.
    counts : outcomes behind each: of the smallest of its segments.
    bands : highest lead of each band, by span.
    """

    levels: tuple[float, ...]
    moved: dict[tuple[int, int, str], Array]
    counts: dict[tuple[int, int, str], int]
    bands: dict[int, tuple[int, ...]]

    def apply(self, made: Forecast, segments: pl.DataFrame) -> Forecast:
        """The forecast with its quantiles read at the moved levels; its mean moves with its law.

        Horizons of a span that nothing was learned of stay as they are. DataError where the levels differ.
        """
        if made.levels != self.levels:
            raise DataError(f"a forecast of levels {self.levels}", f"levels {made.levels}", "learn the repair again")
        values = np.array(made.values)
        members = _members(segments)
        for k, horizon in enumerate(made.horizons):
            band = _band(self.bands.get(horizon.span, ()), horizon)
            for names, rows in members:
                all_of_them = self.moved.get((horizon.span, band, ALL))
                moved = self.moved.get((horizon.span, band, _AND.join(names)), all_of_them)
                if moved is None:
                    continue
                values[rows, :, k] = _read(made.levels, made.values[rows, :, k], moved)
        return replace(made, values=values, mean=_moved_mean(made, values))

    def table(self) -> pl.DataFrame:
        """One row for every group and level: span, last_lead, segment, level, moved, n."""
        rows = [
            (span, self.bands[span][band], segment, level, float(b), self.counts[span, band, segment])
            for (span, band, segment), moved in self.moved.items()
            for level, b in zip(self.levels, moved, strict=True)
        ]
        types: list[type[pl.DataType]] = [pl.Int32, pl.Int32, pl.String, pl.Float64, pl.Float64, pl.Int64]
        schema = dict(zip(("span", "last_lead", "segment", "level", "moved", "n"), types, strict=True))
        return pl.DataFrame(rows, schema=schema, orient="row")

    @classmethod
    def from_table(cls, table: pl.DataFrame) -> "Repair":
        """Inverse of `table`."""
        levels = tuple(table["level"].unique().sort())
        bands = {
            int(span): tuple(part["last_lead"].unique().sort())
            for (span,), part in table.partition_by("span", as_dict=True).items()
        }
        moved, counts = {}, {}
        parts = table.partition_by("span", "last_lead", "segment", as_dict=True, maintain_order=True)
        for (span, last, segment), part in parts.items():
            key = (int(span), bands[int(span)].index(last), str(segment))
            moved[key], counts[key] = part.sort("level")["moved"].to_numpy(), int(part["n"][0])
        return cls(levels, moved, counts, bands)


@dataclass(frozen=True)
class _Outcomes:
    """Transforms of one origin's outcomes by group: pairs (n, 2), and the periods by whose end each was known (n,)."""

    origin: int
    pairs: dict[Key, Array]
    known: dict[Key, NDArray[np.int64]]


def learn(
    made: Forecast, panel: Panel, origin: int, segments: Labels, settings: Settings = Settings()
) -> Repair | None:  # fmt: skip
    """A repair from earlier forecasts and the outcomes known at `origin`; None where there are none.

    Parameters
    ----------
    made : N series at past origins; those from `origin` on are ignored.
    panel : of the same series in the same order.
    segments : the segment of every series as of an origin.
    """
    earlier = [_outcomes(made, panel, o, segments, settings) for o, at in enumerate(made.origins) if at < origin]
    return _learn(made, earlier, origin, settings)


def walked(
    made: Forecast, panel: Panel, segments: Labels, settings: Settings = Settings()
) -> tuple[Forecast, Forecast] | None:
    """Past forecasts before and after the repair that each origin could have had: what it would have done.

    At every origin the repair is learned from the earlier ones whose outcomes were known then. Origins without any are
    left out; None where none is left.
    """
    before, after = [], []
    outcomes = [_outcomes(made, panel, o, segments, settings) for o in range(len(made.origins))]
    for origin in made.origins:
        repair = _learn(made, outcomes, origin, settings)
        if repair is not None:
            one = made.at([origin])
            before.append(one)
            after.append(repair.apply(one, segments(panel, origin)))
    return (concat_origins(before), concat_origins(after)) if before else None


def _outcomes(made: Forecast, panel: Panel, place: int, segments: Labels, settings: Settings) -> _Outcomes:
    """All observed outcomes of one origin, whenever they were known."""
    origin, bands = made.origins[place], _bands(made.horizons, settings.bands)
    demand, scored = window_demand(panel, origin, made.horizons)
    members = _members(segments(panel, origin))
    pairs: dict[Key, list[Array]] = {}
    known: dict[Key, list[NDArray[np.int64]]] = {}
    for k, horizon in enumerate(made.horizons):
        found = _transform(made.levels, made.values[:, place, k], demand[:, k], settings.whole_units)
        for names, places in members:
            inside = found[places][scored[places, k]]
            key = (horizon.span, _band(bands[horizon.span], horizon), names)
            pairs.setdefault(key, []).append(inside)
            known.setdefault(key, []).append(np.full(len(inside), origin + horizon.end))
    return _Outcomes(
        origin, {key: np.concatenate(part) for key, part in pairs.items()},
        {key: np.concatenate(part) for key, part in known.items()},
    )  # fmt: skip


def _learn(made: Forecast, outcomes: Sequence[_Outcomes], origin: int, settings: Settings) -> Repair | None:
    """A repair from the outcomes known at an origin."""
    found: dict[Key, list[Array]] = {}
    for one in outcomes:
        for key, pairs in one.pairs.items():
            inside = pairs[one.known[key] <= origin]
            if len(inside):
                found.setdefault(key, []).append(inside)
    if not found:
        return None
    joined = {key: np.concatenate(part) for key, part in found.items()}
    return _repair(made.levels, joined, _bands(made.horizons, settings.bands), settings)


def moved_levels(map_: Array, levels: Sequence[float], n: float) -> Array:
    """(Q,) least levels at which outcomes were covered as promised.

    Parameters
    ----------
    map_ : (steps + 1,) chance of staying at or under each level of an even grid, as `covered` has it.
    n : outcomes behind it.
    """
    wanted = np.asarray(levels) * (n + 1) / n  # above 1 where n is too small to promise the level: the end of the tail
    return np.searchsorted(map_, wanted - 1e-9, side="left").clip(0, _STEPS) / _STEPS


def covered(pairs: Array) -> Array:
    """(steps + 1,) mean chance that the transform is at most each level of an even grid.

    Parameters
    ----------
    pairs : (n, 2) transform just below and at each outcome, in 0..1: a pair is a uniform law.
    """
    low, high = np.rint(pairs * _STEPS).astype(np.int64).T
    wide = high > low
    slope = np.zeros(_STEPS + 2)
    each = 1.0 / np.where(wide, high - low, 1)
    np.add.at(slope, low[wide] + 1, each[wide])
    np.add.at(slope, high[wide] + 1, -each[wide])
    jumps = np.bincount(low[~wide], minlength=_STEPS + 1).astype(np.float64)
    total = np.cumsum(np.cumsum(slope)[: _STEPS + 1] + jumps)
    return np.asarray(total / max(len(pairs), 1))


def _repair(
    levels: tuple[float, ...], pairs: dict[Key, Array], bands: dict[int, tuple[int, ...]], settings: Settings
) -> Repair:  # fmt: skip
    """Levels moved as the maps of every span, band and group of series say."""
    moved: dict[tuple[int, int, str], Array] = {}
    counts: dict[tuple[int, int, str], int] = {}
    for span, band in sorted({key[:2] for key in pairs}):
        mine = {names: part for (*at, names), part in pairs.items() if at == [span, band]}
        for names, (map_, n) in _maps(mine, settings.strength).items():
            key = (span, band, _AND.join(names))
            moved[key], counts[key] = moved_levels(map_, levels, n + settings.strength), n
    return Repair(levels, moved, counts, bands)


def _maps(pairs: dict[tuple[str, ...], Array], strength: float) -> dict[tuple[str, ...], tuple[Array, int]]:
    """Map (steps + 1,) of every group, and the outcomes behind it: that of all first, then of its segments in turn."""
    whole = np.concatenate(list(pairs.values()))
    first, n_all = _shrunk(whole, strength), len(whole)
    made = dict.fromkeys(((ALL,), *pairs), (first, n_all))
    now = {names: _at(first, part) for names, part in pairs.items()}
    n_ways = len(next(iter(pairs)))
    for way in [*range(n_ways)] * (1 if n_ways == 1 else _TURNS):
        for segment in sorted({names[way] for names in pairs} - {ALL}):
            members = [names for names in pairs if names[way] == segment]
            inside = np.concatenate([now[names] for names in members])
            own = _shrunk(inside, strength)
            for names in members:
                map_, n = made[names]
                made[names], now[names] = (_at(own, map_), min(n, len(inside))), _at(own, now[names])
    return made


def _shrunk(pairs: Array, strength: float) -> Array:
    """(steps + 1,) map of some outcomes (n, 2), shrunk to no change as if by `strength` outcomes."""
    share = len(pairs) / (len(pairs) + strength)
    return np.asarray(share * covered(pairs) + (1 - share) * _EVEN)


def _at(map_: Array, chance: Array) -> Array:
    """A map (steps + 1,) read at chances of any shape, linear between its steps."""
    return np.asarray(np.interp(chance, _EVEN, map_))


def _members(segments: pl.DataFrame) -> list[tuple[tuple[str, ...], NDArray[np.int64]]]:
    """Every combination of segments (N, J) that there is, and its series."""
    groups = Groups.of(segments.select(pl.all().cast(pl.String).fill_null(ALL)), segments.height)
    return [(names, np.flatnonzero(groups.place == g)) for g, names in enumerate(groups.table.rows())]


def _bands(horizons: Sequence[Horizon], n: int) -> dict[int, tuple[int, ...]]:
    """Highest lead of each band of leads, by span."""
    made: dict[int, tuple[int, ...]] = {}
    for span in {h.span for h in horizons}:
        leads = np.unique([h.lead for h in horizons if h.span == span])
        made[span] = tuple(int(part[-1]) for part in np.array_split(leads, min(n, len(leads))))
    return made


def _band(ends: Sequence[int], horizon: Horizon) -> int:
    """Band of a horizon; the last for leads beyond."""
    return min(int(np.searchsorted(ends, horizon.lead)), max(len(ends) - 1, 0))


def _transform(levels: Sequence[float], values: NDArray[np.float32], demand: Array, whole_units: bool) -> Array:
    """(N, 2) chance of demand below, and of at most, each outcome (N,), by its own law (N, Q)."""
    half = 0.5 if whole_units else 0.0
    low = _chance(levels, values, demand - half, strict=not whole_units)
    low = np.where(demand - half < 0, 0.0, low)
    return np.stack((low, _chance(levels, values, demand + half, strict=False)), axis=-1)


def _chance(levels: Sequence[float], values: NDArray[np.floating], at: Array, *, strict: bool) -> Array:
    """(N,) chance of demand at most `at` (N,), or below it where `strict`."""
    return 1 - Tailed.of(levels, values).above(at, strict=not strict)


def _read(levels: Sequence[float], values: NDArray[np.floating], wanted: Array) -> NDArray[np.float32]:
    """(*b, Q') quantiles of the laws (*b, Q) at other levels, beyond the grid too."""
    made = Tailed.of(levels, values).exceeded(np.maximum(1 - wanted, 0.25 / _STEPS))
    return np.maximum.accumulate(made, axis=-1).astype(np.float32)


def _moved_mean(made: Forecast, values: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The mean, moved by as much as the mean of the grid."""
    if made.mean is None:
        return None
    levels = np.asarray(made.levels)
    change = Grid(levels, values).mean() - Grid(levels, made.values).mean()
    return np.maximum(made.mean + change, 0).astype(np.float32)


def gaps(coverage: pl.DataFrame) -> pl.DataFrame:
    """Coverage (level, below, at_most, ..) with `gap`: points by which a level lies outside below..at_most, signed.

    Above zero: demand stays under the quantile too often (it is too high).
    """
    high = (pl.col("below") - pl.col("level")).clip(lower_bound=0)
    low = (pl.col("level") - pl.col("at_most")).clip(lower_bound=0)
    return coverage.with_columns(gap=high - low)


def by_segment(names: str | Sequence[str], derive: Callable[[Panel, int], pl.DataFrame]) -> Labels:
    """Labels from static columns of those names, or from derived segments; kept by origin.

    Raises ConfigError for a name that is neither.
    """
    wanted = (names,) if isinstance(names, str) else tuple(names)
    kept: dict[tuple[int, int], pl.DataFrame] = {}

    def labels(panel: Panel, origin: int) -> pl.DataFrame:
        key = (origin, panel.n_series)
        if key not in kept:
            found = series_labels(panel.series, wanted, None, lambda: derive(panel, origin)).cast(pl.String)
            if found.width < len(wanted):
                raise ConfigError("by", f"expected segments of series; got {', '.join(wanted)}")
            kept[key] = found
        return kept[key]

    return labels
