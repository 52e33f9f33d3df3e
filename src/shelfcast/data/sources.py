"""Where tables come from: data frames, CSV and Parquet files, SQL. One door, one result: batches of polars frames.

`open_table` takes any of them and gives a `Table` that can be read more than once in bounded memory. Text columns of
Parquet files arrive as `pl.Categorical`, whose physical codes stay the same over all batches while the table is alive
(an empty series of that type is kept for it: polars forgets its categories when nothing holds them). Text files are
read as text only, so that an item `007` keeps its zeros; what a column means is settled in `tables`.

The result of a query is kept in a temporary Parquet file for as long as its table lives, so that two passes over a
database see the same rows. What the columns mean is in `tables`, what dates mean in `dates`.
"""

import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import polars as pl
import pyarrow as pa

from shelfcast.data.files import BATCH, Read, as_polars, open_files, open_parquet
from shelfcast.data.queries import Query, run_query
from shelfcast.errors import DataError, StoreError, nearest, shorten

if TYPE_CHECKING:
    from narwhals.typing import IntoFrame

_CELL = 60  # characters of a cell shown in a message

Source: TypeAlias = "IntoFrame | str | Path | Query"


@dataclass(frozen=True)
class Table:
    """A named table that can be read again and again, batch by batch.

    Parameters
    ----------
    name : what messages call it.
    dtypes : column -> polars type of the first batch; text files have text only.
    read : columns -> batches of at most about a million rows.
    """

    name: str
    dtypes: Mapping[str, pl.DataType]
    read: Read
    _codes: pl.Series = field(default_factory=lambda: pl.Series([], dtype=pl.Categorical), repr=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.dtypes)

    def require(self, columns: Sequence[str]) -> None:
        """Raise DataError where a column is missing, with those there are and the nearest name."""
        for column in columns:
            if column not in self.dtypes:
                advice = "correct the column's name in the schema or in the table"
                found = nearest(shorten(column), [shorten(name, 40) for name in self.columns])
                raise DataError(f"a column '{shorten(column)}'", f"none of that name; {found}", advice, table=self.name)

    def no_rows(self) -> DataError:
        """The error to raise where the table turns out to have none."""
        advice = "check the export or the query"
        return DataError("a table with rows", "a header only", advice, table=self.name)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """The given columns, in that order, in batches; all of them if None. Empty batches are left out."""
        wanted = self.columns if columns is None else tuple(columns)
        self.require(wanted)
        return (batch for batch in self.read(wanted) if batch.height)


def open_table(source: Source, name: str, root: Path | str | None = None) -> Table:
    """A table from a data frame, a path (file, glob or folder of CSV or Parquet) or a query.

    Relative paths start at `root`, or at the working folder. Raises DataError with what to do.
    """
    folder = Path(root) if root is not None else Path()
    if isinstance(source, Query):
        return _query_table(source, name, folder)
    if isinstance(source, str | Path):
        return Table(name, *open_files(str(source), name, folder))
    return _frame_table(source, name)


def cell(value: object) -> str:
    """A cell as messages show it: on one line, and short."""
    return shorten(" ".join(str(value).split()), _CELL)


# ---- data frames


def _frame_table(source: Any, name: str) -> Table:
    """Any frame that narwhals takes; NaN of a pandas column is null, as pandas means it."""
    import narwhals as nw

    if isinstance(source, pl.LazyFrame):
        return _lazy_table(source, name)
    try:
        frame = nw.from_native(source)
    except TypeError:
        expected = "a data frame (pandas, polars, Arrow), a path or a Query"
        raise DataError(expected, f"a {type(source).__name__}", table=name) from None
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect("pyarrow")
    native = frame.to_native()
    odd = [c for c in cast(list[Any], frame.columns) if not isinstance(c, str)]
    if odd:
        raise DataError("text as column names", f"{odd[0]!r}", "rename the columns", table=name)

    def read(columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        chosen = frame.select(*columns)
        for begin in range(0, len(frame), BATCH):
            piece = chosen[begin : begin + BATCH]
            yield piece.to_native() if isinstance(native, pl.DataFrame) else _arrow_frame(piece, name)

    head = native.head(0) if isinstance(native, pl.DataFrame) else _arrow_frame(frame.head(1000), name)
    return Table(name, dict(head.schema), read)


def _arrow_frame(piece: Any, name: str) -> pl.DataFrame:
    """A frame of another library through Arrow; DataError where a column mixes types."""
    try:
        return as_polars(piece.to_arrow())
    except (pa.ArrowException, TypeError, ValueError) as error:
        came = f"values that mix types: {shorten(error, 300)}"
        raise DataError("one type in each column", came, "convert the column first", table=name) from None


def _lazy_table(source: pl.LazyFrame, name: str) -> Table:
    """A polars query, run again by every reading."""

    def read(columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        try:
            yield from source.select(columns).collect_batches(chunk_size=BATCH)
        except pl.exceptions.PolarsError as error:
            raise DataError("a lazy frame that can be collected", shorten(error, 300), table=name) from None

    try:
        return Table(name, dict(source.collect_schema()), read)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError("a lazy frame that can be collected", shorten(error, 300), table=name) from None


# ---- queries


def _query_table(query: Query, name: str, root: Path) -> Table:
    """Run a query once into temporary Parquet files that go when the table goes."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="shelfcast-query-"))
    except OSError as error:
        raise _no_room(error) from None
    try:
        run_query(query, name, root, folder)
        table = Table(name, *open_parquet(sorted(folder.iterdir()), name))
    except (OSError, pl.exceptions.PolarsError) as error:
        _remove(folder)
        raise _no_room(error) from None
    except BaseException:
        _remove(folder)
        raise
    weakref.finalize(table._codes, _remove, folder)
    return table


def _no_room(error: Exception) -> StoreError:
    advice = "Make room on the disk, or set TMPDIR to a folder that is writable and large enough."
    return StoreError(f"expected room for the rows of a query; got {shorten(error, 300)}. {advice}")


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
