"""The panel: every series of demand and what is known of it, as flat arrays.

Rows of series `i` are `indptr[i]:indptr[i + 1]`, one for each period from `start[i]`, without gaps. Rows may reach
past the last sale so that columns known ahead can; a series may have no rows at all (a new product). `as_of(origin)`
is the only place that hides the future, and everything a model may see goes through it.

Arrays may be memory-mapped; methods return new panels that share what they can. Packing a table into a panel is in
`packing`; adding totals is in `aggregates`.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from shelfcast.errors import DataError, StoreError, nearest
from shelfcast.horizons import Horizon, horizon_sums
from shelfcast.periods import Frequency

if TYPE_CHECKING:
    from narwhals.typing import IntoFrame

    from shelfcast.data.schema import Schema

KEYS = ("item", "location")
_ARRAYS = ("start", "indptr", "demand", "observed", "past", "known", "place")
_FORMAT = 1


@dataclass(frozen=True)
class FeatureNames:
    """Names of the columns of `past` and `known`, and the categories behind coded known columns.

    `promotions` names the known columns that mean a promotion where they are above zero; `price` the price column;
    `sold_out` the past column that is above zero where the period ended without stock; `paid` the past column of prices
    that were not known ahead.
    """

    past: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    price: str | None = None
    promotions: tuple[str, ...] = ()
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sold_out: str | None = None
    paid: str | None = None


@dataclass(frozen=True)
class Calendar:
    """Columns known by date, for all series or by place.

    Parameters
    ----------
    frequency : length of a period.
    start : period of the first column entry.
    values : (P, T, Fc) float32 for P places (one if shared).
    names : Fc column names.
    """

    frequency: Frequency
    start: int = 0
    values: NDArray[np.float32] = field(default_factory=lambda: np.zeros((1, 0, 0), dtype=np.float32))
    names: tuple[str, ...] = ()

    def at(self, place: ArrayLike, periods: ArrayLike) -> NDArray[np.float32]:
        """(*shape, Fc) columns at places and periods of one broadcast shape; NaN outside the table."""
        where, when = np.broadcast_arrays(np.asarray(place), np.asarray(periods) - self.start)
        inside = (when >= 0) & (when < self.values.shape[1])
        if not self.values.shape[1]:
            return np.full((*when.shape, len(self.names)), np.nan, dtype=np.float32)
        found = self.values[where, np.clip(when, 0, self.values.shape[1] - 1)]
        return np.where(inside[..., None], found, np.float32(np.nan))


@dataclass(frozen=True)
class Panel:
    """Demand of N series over R rows, with what is known of them.

    Parameters
    ----------
    calendar : frequency and columns known by date.
    series : N rows: `item`, maybe `location`, and static columns.
    start : (N,) first period of each series.
    indptr : (N + 1,) rows of series i are `indptr[i]:indptr[i + 1]`.
    demand : (R,) float32 units; 0 where not observed.
    observed : (R,) bool; false where out of stock, closed, missing, or after `last`.
    past : (R, Fp) float32, known up to the origin only; NaN where unknown.
    known : (R, Fk) float32, known ahead.
    names : names of the columns of `past` and `known`.
    place : (N,) index into the places of `calendar`.
    last : the last period whose demand may be known; the latest origin.
    """

    calendar: Calendar
    series: pl.DataFrame
    start: NDArray[np.int32]
    indptr: NDArray[np.int64]
    demand: NDArray[np.float32]
    observed: NDArray[np.bool_]
    past: NDArray[np.float32]
    known: NDArray[np.float32]
    names: FeatureNames
    place: NDArray[np.int32]
    last: int

    def __post_init__(self) -> None:
        n, rows = self.series.height, len(self.demand)
        shapes = {
            "start": (n,),
            "indptr": (n + 1,),
            "observed": (rows,),
            "past": (rows, len(self.names.past)),
            "known": (rows, len(self.names.known)),
            "place": (n,),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise DataError(f"{name} of shape {shape}", str(getattr(self, name).shape), table="panel")
        if rows != (self.indptr[-1] if n else 0):
            raise DataError(f"indptr that ends at {rows} rows", str(self.indptr[-1]), table="panel")

    @classmethod
    def from_frame(
        cls,
        frame: "IntoFrame",
        schema: "Schema",
        *,
        items: "IntoFrame | None" = None,
        known: "IntoFrame | None" = None,
        today: date | None = None,
    ) -> "Panel":
        """From a long table of any frame library.

        Parameters
        ----------
        frame : one row for a series and date; columns as `schema` says.
        items : static columns by item, location or both; a product only here becomes a series without rows.
        known : columns known ahead by item, location or both, and date; may reach past the last sale.
        today : demand dated later is refused; the machine's date by default.

        Raises
        ------
        DataError : anything in the tables that is not as declared.
        """
        from shelfcast.data.packing import pack
        from shelfcast.data.tables import demand_table, known_table, static_table

        elsewhere = set(schema.known_columns if known is not None else ()) | set(
            schema.static if items is not None else ()
        )
        sales = demand_table(frame, schema, today=today or date.today(), optional=elsewhere)
        statics = None if items is None else static_table(items, schema)
        ahead = None
        if known is not None:
            ahead = known_table(known, schema, frequency=sales.frequency, categories=sales.categories)
        return pack(sales, items=statics, known=ahead)

    @property
    def frequency(self) -> Frequency:
        """Length of a period."""
        return self.calendar.frequency

    @property
    def n_series(self) -> int:
        """Number of series N."""
        return self.series.height

    @property
    def keys(self) -> list[str]:
        """The key columns there are: `item`, maybe `location`."""
        return [name for name in KEYS if name in self.series.columns]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) rows of each series."""
        return np.diff(self.indptr)

    @property
    def first(self) -> int:
        """First period of any series (`last` where there are no rows)."""
        some = self.lengths > 0
        return int(self.start[some].min()) if some.any() else self.last

    def row_series(self) -> NDArray[np.int64]:
        """(R,) series of each row."""
        return np.repeat(np.arange(self.n_series), self.lengths)

    def row_periods(self) -> NDArray[np.int64]:
        """(R,) period of each row."""
        shift = np.repeat(self.start - self.indptr[:-1], self.lengths)
        return np.arange(len(self.demand)) + shift

    def date(self, period: int) -> np.datetime64:
        """Label of a period."""
        return np.datetime64(self.frequency.to_date([period])[0])

    def as_of(self, origin: int) -> "Panel":
        """The panel as it could be known at the end of period `origin`: demand, stock and past columns after it hidden.

        Known and calendar columns stay, since they are known ahead. Series that begin later keep their rows,
        unobserved.
        """
        if origin >= self.last:
            return self
        hidden = ragged_tails(self.indptr, origin + 1 - self.start.astype(np.int64))
        demand, observed, past = np.array(self.demand), np.array(self.observed), np.array(self.past)
        demand[hidden], observed[hidden], past[hidden] = 0, False, np.nan
        return replace(self, demand=demand, observed=observed, past=past, last=origin)

    def take(self, series: ArrayLike | slice) -> "Panel":
        """The series at the given places, in that order, or where a mask (N,) is true; a slice shares the arrays."""
        chosen = np.arange(self.n_series)[series if isinstance(series, slice) else _as_index(series)]
        lengths = self.lengths[chosen]
        rows: Any
        if isinstance(series, slice) and series.step in (None, 1):
            begin = int(self.indptr[chosen[0]]) if len(chosen) else 0
            rows = slice(begin, begin + int(lengths.sum()))
        else:
            ends = np.cumsum(lengths)
            rows = np.arange(int(ends[-1]) if len(ends) else 0)
            rows += np.repeat(self.indptr[chosen] - (ends - lengths), lengths)
        indptr = np.concatenate(([0], np.cumsum(lengths)))
        return replace(
            self,
            series=self.series[chosen],
            start=self.start[chosen],
            indptr=indptr,
            demand=self.demand[rows],
            observed=self.observed[rows],
            past=self.past[rows],
            known=self.known[rows],
            place=self.place[chosen],
        )

    def shards(self, n_cells: int = 50_000_000) -> Iterator["Panel"]:
        """Consecutive pieces of at most about `n_cells` rows each, for bounded memory."""
        begin = 0
        while begin < self.n_series:
            end = int(np.searchsorted(self.indptr, self.indptr[begin] + n_cells, side="right")) - 1
            end = min(max(end, begin + 1), self.n_series)
            yield self.take(slice(begin, end))
            begin = end

    def _rows(self, first: int, last: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(N, n) row of every series and period from `first` to `last`, and whether there is one."""
        offset = np.arange(first, last + 1)[None, :] - self.start[:, None].astype(np.int64)
        inside = (offset >= 0) & (offset < self.lengths[:, None])
        return np.where(inside, self.indptr[:-1, None] + offset, 0), inside

    def window(self, first: int, last: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Demand (N, n) and observed (N, n) over the periods `first` to `last`, both included."""
        rows, inside = self._rows(first, last)
        if not len(self.demand):
            return np.zeros(rows.shape, dtype=np.float32), inside
        observed = self.observed[rows] & inside
        return np.where(observed, self.demand[rows], np.float32(0)), observed

    def sold_out(self, first: int, last: int) -> NDArray[np.bool_]:
        """(N, n) observed periods that ended without stock, from `first` to `last`; none where that is not recorded."""
        rows, inside = self._rows(first, last)
        if self.names.sold_out is None or not len(self.demand):
            return np.zeros(rows.shape, dtype=bool)
        flags = self.past[:, self.names.past.index(self.names.sold_out)]
        return np.asarray((flags[rows] > 0) & self.observed[rows] & inside)

    @property
    def prices(self) -> NDArray[np.float32] | None:
        """(R,) what a unit costs in each row: as known ahead, or as paid; NaN where unknown, None where never told."""
        if self.names.price is not None:
            return self.known[:, self.names.known.index(self.names.price)]
        return None if self.names.paid is None else self.past[:, self.names.past.index(self.names.paid)]

    def price_window(self, first: int, last: int) -> NDArray[np.float32] | None:
        """(N, n) prices over the periods `first` to `last`, NaN where there is none; None without prices."""
        prices = self.prices
        if prices is None:
            return None
        rows, inside = self._rows(first, last)
        return np.where(inside, prices[rows], np.float32(np.nan)) if len(prices) else np.full(rows.shape, np.nan, "f4")

    def history(self, origin: int, n_periods: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Demand (N, n) and observed (N, n) of the `n_periods` up to `origin`, as `as_of(origin)` would show them.

        No period after the origin is read, so nothing needs to be hidden or copied.
        """
        return self.window(origin - n_periods + 1, origin)

    def known_window(self, first: int, last: int) -> NDArray[np.float32]:
        """Known columns (N, n, Fk) over the periods `first` to `last`; NaN where there is no row."""
        rows, inside = self._rows(first, last)
        if not len(self.demand):
            return np.full((*rows.shape, self.known.shape[1]), np.nan, dtype=np.float32)
        return np.where(inside[..., None], self.known[rows], np.float32(np.nan))

    def labels(
        self, origins: Sequence[int], horizons: Sequence[Horizon]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Demand (N, O, K) of every horizon from every origin in units, and whether all its periods were observed."""
        first, last = min(origins), max(origins) + max(h.end for h in horizons)
        sums, complete = horizon_sums(*self.window(first, last), horizons)
        at = np.asarray(origins) - first
        return sums[:, at], complete[:, at]

    def column(self, name: str) -> pl.Series:
        """A column of `series`, with an error that lists those there are."""
        if name not in self.series.columns:
            raise DataError(f"a column '{name}' of the series", nearest(name, self.series.columns), table="panel")
        return self.series[name]

    def find(self, item: str, location: str | None = None) -> int:
        """Place of a series by its keys."""
        match = self.series["item"].cast(pl.String) == item
        if location is not None and "location" in self.series.columns:
            match &= self.series["location"].cast(pl.String) == location
        places = match.arg_true()
        if len(places) == 0:
            names = self.series["item"].cast(pl.String).to_list()
            raise DataError(f"a series of item '{item}'", nearest(item, names), table="panel")
        return int(places[0])

    def fingerprint(self) -> str:
        """16 hex digits that change when anything in the panel does."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(json.dumps(self._meta(), sort_keys=True, default=str).encode())
        digest.update(self.series.write_csv().encode())
        for name in _ARRAYS:
            digest.update(np.ascontiguousarray(getattr(self, name)).data)
        digest.update(np.ascontiguousarray(self.calendar.values).data)
        return digest.hexdigest()

    def _meta(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "frequency": str(self.frequency),
            "last": self.last,
            "calendar": {"start": self.calendar.start, "names": self.calendar.names},
            "names": {**vars(self.names), "categories": dict(self.names.categories)},
        }

    def save(self, folder: Path | str) -> None:
        """Write to a folder, whole or not at all: into a temporary one beside it, then one rename.

        Raises StoreError where that cannot be written, or is there and is not a panel.
        """
        target = Path(folder)
        staging = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            if _is_foreign(target):
                raise StoreError(f"{target} is there and is not a saved panel. Choose another folder, or remove it.")
            staging.mkdir(parents=True)
            for name in _ARRAYS:
                np.save(staging / f"{name}.npy", getattr(self, name), allow_pickle=False)
            np.save(staging / "calendar.npy", self.calendar.values, allow_pickle=False)
            self.series.write_parquet(staging / "series.parquet")
            (staging / "panel.json").write_text(json.dumps(self._meta(), indent=1))
            _publish(staging, target)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StoreError(f"cannot write the panel to {target}: {error}. Choose a writable folder.") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    @classmethod
    def open(cls, folder: Path | str) -> "Panel":
        """Open a saved panel; arrays are memory-mapped and nothing is read until used."""
        source = Path(folder)
        try:
            meta = json.loads((source / "panel.json").read_text())
            if meta["format"] != _FORMAT:
                raise StoreError(
                    f"expected a panel of format {_FORMAT} in {source}; got {meta['format']}. Pack it again."
                )
            return cls._read(source, meta)
        except (OSError, EOFError, ValueError, KeyError, TypeError, DataError, pl.exceptions.PolarsError) as error:
            raise StoreError(f"expected a saved panel in {source}; got: {error}. Pack it again.") from error

    @classmethod
    def _read(cls, source: Path, meta: dict[str, Any]) -> "Panel":
        arrays = {name: _open_array(source / f"{name}.npy") for name in _ARRAYS}
        stored, dates = meta["names"], meta["calendar"]
        names = FeatureNames(
            past=tuple(stored["past"]),
            known=tuple(stored["known"]),
            price=stored["price"],
            paid=stored.get("paid"),
            promotions=tuple(stored["promotions"]),
            categories={key: tuple(value) for key, value in stored["categories"].items()},
            sold_out=stored.get("sold_out"),
        )
        frequency, values = Frequency.parse(meta["frequency"]), _open_array(source / "calendar.npy")
        calendar = Calendar(frequency, dates["start"], values, tuple(dates["names"]))
        return cls(calendar, pl.read_parquet(source / "series.parquet"), names=names, last=meta["last"], **arrays)


def ragged_tails(indptr: NDArray[np.int64], n_kept: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows beyond the first `n_kept` (N,) of each series, in order; cost follows their number."""
    lengths = np.diff(indptr)
    skipped = np.clip(n_kept, 0, lengths)
    tails = lengths - skipped
    ends = np.cumsum(tails)
    total = int(ends[-1]) if len(ends) else 0
    return np.asarray(np.arange(total) + np.repeat(indptr[:-1] + skipped - (ends - tails), tails))


def _open_array(path: Path) -> NDArray[Any]:
    """Memory-map an array; an empty one cannot be mapped and is read."""
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except ValueError:
        return np.asarray(np.load(path, allow_pickle=False))


def _as_index(places: ArrayLike) -> NDArray[Any]:
    """Places or a mask as numpy indexes by; an empty list is no places."""
    index = np.asarray(places)
    return index if index.size else index.astype(np.int64)


def _is_foreign(target: Path) -> bool:
    """Whether there is something at `target` that saving must not replace."""
    if not target.exists() or (target / "panel.json").exists():
        return False
    return not target.is_dir() or any(target.iterdir())


def _publish(staging: Path, target: Path) -> None:
    """Rename a finished folder into place; what was there before returns if that fails."""
    if not target.exists():
        staging.rename(target)
        return
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    target.rename(old)
    try:
        staging.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old)
