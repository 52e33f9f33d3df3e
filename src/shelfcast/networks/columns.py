"""What a network reads of a panel, learned once and kept with its weights: categories, centres and spreads of columns.

A category that was rare or absent at training is code 0, which training also shows at random (dropout of embeddings),
so that an unseen category is forecast as an average one. A number is centred and divided by its spread; a missing one
is 0, the centre. Dates become one calendar table, by place: the season's position, harmonics of year and month, the
panel's calendar columns, and for rare indicators (events) also the days around.
"""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.aggregates import AGGREGATE
from shelfcast.data.panel import KEYS, Panel
from shelfcast.periods import Frequency, Unit

Floats = NDArray[np.float32]
RARE = 3  # a category seen less often has no code of its own
_RARE_EVENTS = 0.12  # share of periods below which an indicator also speaks for the periods around
_AROUND = (-1, 1, 2)  # the day after, the eve, two days before
_CLIP = 6.0


@dataclass(frozen=True)
class Columns:
    """Columns of a panel as a network reads them.

    Parameters
    ----------
    static : names of static columns read as categories, and their categories in order of code (from 1).
    numbers : static columns read as numbers: name, centre, spread.
    known : columns known ahead: name, centre, spread; a positive level (a price) is read by its logarithm.
    levels : which of `known` are levels.
    flags : which of `known` are promotions.
    price : place of the price among `known`, or -1.
    past : past columns: name, centre, spread of log1p|x|, sign kept.
    calendar : names of the panel's calendar columns: name, centre, spread.
    events : which of them are rare indicators.
    launch : units a period that a series without history is taken to sell: the scale's start.
    offset : units added to every scale.
    """

    static: tuple[tuple[str, tuple[str, ...]], ...]
    numbers: tuple[tuple[str, float, float], ...]
    known: tuple[tuple[str, float, float], ...]
    levels: tuple[bool, ...]
    flags: tuple[bool, ...]
    price: int
    past: tuple[tuple[str, float, float], ...]
    calendar: tuple[tuple[str, float, float], ...]
    events: tuple[bool, ...]
    launch: float
    offset: float

    @classmethod
    def learn(cls, panel: Panel, static: tuple[str, ...] | None = None, *, rows: int = 2_000_000) -> Self:
        """From a panel; centres and spreads from at most `rows` evenly spaced rows.

        Parameters
        ----------
        static : columns of the series to read; all but the item's key by default. Columns of more than 50 distinct
            numbers are read as numbers, others as categories.
        """
        names = panel.names
        chosen = [c for c in panel.series.columns if c != KEYS[0]] if static is None else list(static)
        wide = [c for c in chosen if panel.column(c).dtype.is_numeric() and panel.column(c).n_unique() > 50]
        step = max(1, -(-len(panel.demand) // rows))
        known, past = panel.known[::step], panel.past[::step]
        levels = tuple(
            name not in names.promotions and name not in names.categories and _is_level(known[:, j])
            for j, name in enumerate(names.known)
        )
        spread = [_moments(np.log(known[:, j]) if lv else known[:, j]) for j, lv in enumerate(levels)]
        dates = panel.calendar.values.reshape(int(np.prod(panel.calendar.values.shape[:2])), len(panel.calendar.names))
        launch, offset = _scales(panel, step)
        return cls(
            static=tuple(
                (c, _categories(panel.column(c), 1 if c == AGGREGATE else RARE)) for c in chosen if c not in wide
            ),
            numbers=tuple((c, *_moments(panel.column(c).cast(pl.Float64).to_numpy())) for c in wide),
            known=tuple((name, *pair) for name, pair in zip(names.known, spread, strict=True)),
            levels=levels,
            flags=tuple(name in names.promotions for name in names.known),
            price=names.known.index(names.price) if names.price in names.known else -1,
            past=tuple((name, *_moments(_signed_log(past[:, j]))) for j, name in enumerate(names.past)),
            calendar=tuple((name, *_moments(dates[:, j])) for j, name in enumerate(panel.calendar.names)),
            events=tuple(_is_event(dates[:, j]) for j in range(dates.shape[1])),
            launch=launch,
            offset=offset,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Inverse of `to_json`; KeyError or TypeError where that is not one."""
        stored = dict(stored)
        stored["static"] = tuple((name, tuple(found)) for name, found in stored["static"])
        for key in ("numbers", "known", "past", "calendar"):
            stored[key] = tuple(tuple(entry) for entry in stored[key])
        for key in ("levels", "flags", "events"):
            stored[key] = tuple(stored[key])
        return cls(**stored)

    def codes(self, panel: Panel) -> NDArray[np.int64]:
        """(N, S) code of every category; 0 where unseen."""
        made = [_codes(panel.column(name), found) for name, found in self.static]
        return np.stack(made, axis=1) if made else np.zeros((panel.n_series, 0), dtype=np.int64)

    def static_numbers(self, panel: Panel) -> Floats:
        """(N, Sn) centred static numbers."""
        made = [
            _centred(panel.column(n).cast(pl.Float64).to_numpy().astype(np.float64), c, s) for n, c, s in self.numbers
        ]
        return np.stack(made, axis=1) if made else np.zeros((panel.n_series, 0), dtype=np.float32)

    def known_values(self, raw: Floats) -> tuple[Floats, Floats]:
        """Known columns (*b, Fk) as centred numbers, and logs of the levels (*b, L), NaN where unknown."""
        if not self.known:
            empty = np.zeros((*raw.shape[:-1], 0), dtype=np.float32)
            return empty, empty
        logs = np.log(np.where(raw > 0, raw, np.float32(np.nan)))
        made = []
        for j, (_, centre, spread) in enumerate(self.known):
            column = logs[..., j] if self.levels[j] else raw[..., j]
            made.append(np.nan_to_num(column) if self.flags[j] else _centred(column, centre, spread))
        return np.stack(made, axis=-1).astype(np.float32), logs[..., list(self.levels)]

    def past_values(self, raw: Floats) -> Floats:
        """Past columns (*b, Fp) as centred numbers."""
        made = [_centred(_signed_log(raw[..., j]), c, s) for j, (_, c, s) in enumerate(self.past)]
        return np.stack(made, axis=-1) if made else np.zeros((*raw.shape[:-1], 0), dtype=np.float32)

    def calendar_width(self, frequency: Frequency) -> int:
        """Columns of `calendar_table`."""
        own = int(_date_features(frequency, np.arange(1)).shape[1])
        return own + len(self.calendar) + len(_AROUND) * sum(self.events)

    def calendar_table(self, panel: Panel, first: int, last: int) -> Floats:
        """(P, last - first + 1, Fc): what is known of every date, at every place of the calendar."""
        when = np.arange(first, last + 1)
        dates = _date_features(panel.frequency, when)
        places = np.arange(len(panel.calendar.values))[:, None]
        parts = [np.broadcast_to(dates, (len(places), *dates.shape))]
        own = panel.calendar.at(places, when)
        for j, (_, centre, spread) in enumerate(self.calendar):
            event = self.events[j]
            parts.append((np.nan_to_num(own[..., j]) if event else _centred(own[..., j], centre, spread))[..., None])
            if event:
                around = [panel.calendar.at(places, when + shift)[..., j] for shift in _AROUND]
                parts.append(np.nan_to_num(np.stack(around, axis=-1)))
        return np.concatenate(parts, axis=-1).astype(np.float32)


def _date_features(frequency: Frequency, when: NDArray[np.int64]) -> Floats:
    """(T, F): the season's position one-hot (hours, weekdays, months), and harmonics of month and year."""
    days = frequency.first_day(when)
    year = days.astype("datetime64[Y]").astype("datetime64[D]")
    month = days.astype("datetime64[M]").astype("datetime64[D]")
    in_year = (days - year).astype(np.int64) / 365.25
    in_month = (days - month).astype(np.int64) / 30.44
    parts = [f(2 * np.pi * n * in_year)[:, None] for n in (1, 2, 3) for f in (np.sin, np.cos)]
    if frequency.unit in (Unit.HOUR, Unit.DAY):
        parts += [f(2 * np.pi * n * in_month)[:, None] for n in (1, 2) for f in (np.sin, np.cos)]
        weekday = (days.astype(np.int64) + 3) % 7
        parts.append(np.eye(7)[weekday])
    if frequency.unit is not Unit.WEEK and frequency.season != 7:
        parts.append(np.eye(frequency.season)[frequency.season_position(when)])
    return np.concatenate(parts, axis=1).astype(np.float32)


def _is_level(column: Floats) -> bool:
    """Whether a column is a positive quantity that varies: a price, not a flag."""
    there = column[np.isfinite(column)]
    return bool(len(there)) and bool((there > 0).all()) and len(np.unique(there[:10_000])) > 2


def _is_event(column: Floats) -> bool:
    """Whether a calendar column is 0 nearly always and 1 else."""
    there = column[np.isfinite(column)]
    return bool(len(there)) and bool(np.isin(there, (0.0, 1.0)).all()) and float(there.mean()) < _RARE_EVENTS


def _moments(values: NDArray[Any]) -> tuple[float, float]:
    """Mean and standard deviation (1 where there is none) of what is there."""
    there = values[np.isfinite(values)].astype(np.float64)
    if not len(there):
        return 0.0, 1.0
    spread = float(there.std())
    return float(there.mean()), spread if spread > 1e-6 * (abs(float(there.mean())) + 1e-6) else 1.0


def _centred(values: NDArray[Any], centre: float, spread: float) -> Floats:
    made = np.clip((values - centre) / spread, -_CLIP, _CLIP)
    return np.nan_to_num(made).astype(np.float32)


def _signed_log(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(np.sign(values) * np.log1p(np.abs(values.astype(np.float64))))


def _categories(column: pl.Series, least: int) -> tuple[str, ...]:
    """Texts that occur at least so often, in order."""
    counts = column.cast(pl.String).value_counts().drop_nulls()
    return tuple(sorted(text for text, n in counts.iter_rows() if n >= least))


def _codes(column: pl.Series, categories: tuple[str, ...]) -> NDArray[np.int64]:
    if not categories:
        return np.zeros(len(column), dtype=np.int64)
    places = {text: place for place, text in enumerate(categories, start=1)}
    text = column.cast(pl.String)
    return np.asarray(text.replace_strict(places, default=0, return_dtype=pl.Int64).to_numpy())


def _scales(panel: Panel, step: int) -> tuple[float, float]:
    """Units a period that a typical series sells, and the offset of scales: a tenth of a unit, less where units are."""
    demand, seen = panel.demand[::step], panel.observed[::step]
    sold = demand[seen & (demand > 0)].astype(np.float64)
    if not len(sold):
        return 1.0, 0.1
    typical = float(np.exp(np.log(sold).mean()) * len(sold) / max(int(seen.sum()), 1))
    return typical, 0.1 * min(1.0, float(np.median(sold)))
