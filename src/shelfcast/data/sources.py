"""Where tables come from: data frames, CSV and Parquet files, SQL. One door, one result: batches of polars frames.

`open_table` takes any of them and gives a `Table` that can be read more than once in bounded memory. Text columns of Parquet
files arrive as `pl.Categorical`, whose physical codes stay the same over all batches while the table is alive (an empty
series of that type is kept for it: polars forgets its categories when nothing holds them). Text files are read as text only,
so that an item `007` keeps its zeros; what a column means is settled in `tables`.

The result of a query is kept in a temporary Parquet file for as long as its table lives, so that two passes over a database
see the same rows. What the columns mean is in `tables`, what dates mean in `dates`.
"""

import csv
import glob
import io
import os
import re
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from shelfcast.errors import DataError, nearest, shorten

if TYPE_CHECKING:
    import sqlalchemy
    from narwhals.typing import IntoFrame

BATCH = 1_000_000  # rows; one column of it is 8 MB
_CSV_BLOCK = 1 << 25  # bytes of text parsed at once; a line must fit
_SUFFIXES = (".parquet", ".csv", ".csv.gz", ".tsv", ".txt")
_ARROW_ERRORS = (pa.ArrowException, pa.ArrowInvalid, OSError, ValueError)


@dataclass(frozen=True)
class Query:
    """SQL through a database URL.

    `duckdb:` runs DuckDB's SQL over files (paths in it start at the root folder), `duckdb:///file` in a DuckDB database that
    is opened for reading; any other URL (`sqlite:///file`, `postgresql://...`) goes through SQLAlchemy.
    """

    url: str
    sql: str


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
    read: Callable[[Sequence[str]], Iterator[pl.DataFrame]]
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
        files = _files(str(source), name, folder)
        is_parquet = files[0].suffix.lower() == ".parquet"
        return _parquet_table(files, name) if is_parquet else _csv_table(files, name)
    return _frame_table(source, name)


# ---- files


def _files(path: str, name: str, root: Path) -> list[Path]:
    """The files behind a path, sorted; all of one kind."""
    where = root / Path(path).expanduser()
    if where.is_dir():
        found = sorted(f for f in where.rglob("*") if f.is_file() and f.name.lower().endswith(_SUFFIXES))
        if not found:
            raise DataError("CSV or Parquet files", f"a folder without any: {shorten(where)}", table=name)
    elif glob.has_magic(path) and not where.exists():
        found = sorted(Path(f) for f in glob.glob(str(where), recursive=True) if Path(f).is_file())
        if not found:
            advice = "check the pattern, or give the folder instead"
            raise DataError(f"files that match {shorten(path)}", "none", advice, table=name)
    else:
        found = [where]
        _require_file(where, name)
    kinds = {f.suffix.lower() == ".parquet" for f in found}
    if len(kinds) > 1:
        raise DataError("files of one kind", "both CSV and Parquet", "give a glob like folder/*.parquet", table=name)
    wrong = [f for f in found if not f.name.lower().endswith(_SUFFIXES)]
    if wrong:
        came = f"{shorten(wrong[0].name)}"
        raise DataError(f"a file that ends in {', '.join(_SUFFIXES)}", came, "save it as CSV or Parquet", table=name)
    return found


def _require_file(path: Path, name: str) -> None:
    """Raise DataError, with the nearest file name, where a file is missing or empty."""
    try:
        size = path.stat().st_size
    except OSError:
        folder = path.parent
        there = sorted(f.name for f in folder.iterdir()) if folder.is_dir() else []
        came = f"none; {nearest(path.name, there)}" if there else f"no folder {shorten(folder)}, or an empty one"
        advice = "correct the path; relative paths start at the folder of the config"
        raise DataError(f"a file {shorten(path)}", shorten(came, 600), advice, table=name) from None
    if size == 0:
        raise DataError("a table with a header and rows", f"an empty file, {path.name}", "export it again", table=name)


@contextmanager
def _reading(path: Path, name: str, kind: str) -> Iterator[None]:
    """Turn what a reading library raises into one DataError."""
    try:
        yield
    except _ARROW_ERRORS as error:
        advice = "the file is damaged or cut off, or is not what its ending says: export or copy it again"
        came = f"{path.name}, which cannot be read: {shorten(error, 300)}"
        raise DataError(f"a whole {kind} file", came, advice, table=name) from None


def _parquet_table(files: Sequence[Path], name: str) -> Table:
    """Parquet files that all have the columns of the first."""

    def read(columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        for path in files:
            _require_file(path, name)
            with _reading(path, name, "Parquet"):
                there = pq.read_schema(path)
                missing = [c for c in columns if c not in there.names]
                if missing:
                    came = f"{path.name} without '{missing[0]}'"
                    raise DataError(f"the columns of {files[0].name} in every file", came, table=name)
                texts = [
                    c for c in columns if pa.types.is_string(there.field(c).type) or _is_large(there.field(c).type)
                ]
                with pq.ParquetFile(path, read_dictionary=texts) as opened:
                    for batch in opened.iter_batches(BATCH, columns=list(columns)):
                        yield _polars(pa.Table.from_batches([batch])).select(columns)

    _require_file(files[0], name)
    with _reading(files[0], name, "Parquet"):
        dtypes = _polars(pq.read_schema(files[0]).empty_table()).schema
    return Table(name, dict(dtypes), read)


def _is_large(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_large_string(dtype))


def _polars(table: pa.Table) -> pl.DataFrame:
    return cast(pl.DataFrame, pl.from_arrow(table))


def _csv_table(files: Sequence[Path], name: str) -> Table:
    """Text files with a header; comma, semicolon or tab between columns; all columns as text, empty cells as null."""

    def read(columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        for path in files:
            header, separator = _header(path, name)
            missing = [c for c in columns if c not in header]
            if missing:
                came = f"{path.name} without '{shorten(missing[0])}'"
                raise DataError(f"the columns of {files[0].name} in every file", came, table=name)
            yield from _csv_batches(path, name, columns, separator)

    header, _ = _header(files[0], name)
    return Table(name, dict.fromkeys(header, pl.String()), read)


def _header(path: Path, name: str) -> tuple[list[str], str]:
    """Column names and separator of a text file."""
    _require_file(path, name)
    with _reading(path, name, "CSV"), pa.input_stream(path, compression="detect") as stream:
        head = stream.read(1 << 16)
    line = head.removeprefix(b"\xef\xbb\xbf").splitlines()[0] if head.strip() else b""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise _not_utf8(path, name) from None
    separator = max(",;\t", key=text.count)
    names = next(csv.reader(io.StringIO(text), delimiter=separator), [])
    if not any(names):
        raise DataError("a header with column names", f"a blank first line in {path.name}", table=name)
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise DataError("column names that differ", f"'{shorten(twice[0])}' twice", "rename one", table=name)
    return names, separator


def _csv_batches(path: Path, name: str, columns: Sequence[str], separator: str) -> Iterator[pl.DataFrame]:
    """Batches of text of one file; DataError for ragged lines and bytes that are not UTF-8."""
    convert = pa_csv.ConvertOptions(
        include_columns=list(columns), column_types=dict.fromkeys(columns, pa.string()),
        strings_can_be_null=True, null_values=[""],
    )  # fmt: skip
    options = {
        "read_options": pa_csv.ReadOptions(block_size=_CSV_BLOCK),
        "parse_options": pa_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        "convert_options": convert,
    }
    try:
        with pa.input_stream(path, compression="detect") as stream, pa_csv.open_csv(stream, **options) as reader:
            for batch in reader:
                yield _polars(pa.Table.from_batches([batch]))
    except _ARROW_ERRORS as error:
        text = str(error)
        if "UTF8" in text or "UTF-8" in text:
            raise _not_utf8(path, name) from None
        if "Expected" in text and "columns" in text:
            came = f"a line with another number in {path.name}"
            advice = f"put quotes around cells that contain '{separator}', and fill up short lines"
            raise DataError(
                "as many cells in every line as in the header", came, advice, table=name, samples=[text]
            ) from None
        came = f"{path.name}, which cannot be read: {shorten(text, 300)}"
        raise DataError("a whole CSV file", came, "export it again", table=name) from None


def _not_utf8(path: Path, name: str) -> DataError:
    """The error for bytes that are not UTF-8, with the first lines that have them."""
    samples: list[str] = []
    with pa.input_stream(path, compression="detect") as stream:
        for number, line in enumerate(io.BufferedReader(stream), start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                samples.append(f"line {number}: {shorten(line.rstrip(), 120)}")
            if len(samples) == 3:
                break
    return DataError(
        "text in UTF-8", f"other bytes in {path.name}", "save the file as CSV UTF-8", table=name, samples=samples
    )


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
        return _polars(piece.to_arrow())
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
    """Run a query once into a temporary Parquet file (or several) that goes when the table goes."""
    folder = Path(tempfile.mkdtemp(prefix="shelfcast-query-"))
    run = _run_duckdb if query.url.startswith("duckdb:") else _run_database
    try:
        run(query, name, root, folder)
        files = sorted(folder.iterdir())
        table = _parquet_table(files, name)
    except BaseException:
        _remove(folder)
        raise
    weakref.finalize(table._codes, _remove, folder)
    return table


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        os.unlink(path)
    folder.rmdir()


def _run_duckdb(query: Query, name: str, root: Path, folder: Path) -> None:
    """DuckDB writes the file itself, in parallel and in bounded memory."""
    import duckdb

    path = query.url.removeprefix("duckdb:").removeprefix("///")
    target = root / path
    if path:
        _require_file(target, name)
    sql = query.sql.strip().rstrip(";")
    try:
        with duckdb.connect(str(target) if path else ":memory:", read_only=bool(path)) as connection:
            connection.execute("SET file_search_path = $path", {"path": str(root.resolve())})
            connection.execute(f"COPY (\n{sql}\n) TO '{folder / 'rows.parquet'}' (FORMAT parquet)")
    except duckdb.Error as error:
        raise _refused(shorten(error, 600), name) from None


def _refused(message: str, name: str) -> DataError:
    advice = "run the query in a database tool first; check the names of tables, columns and files in it"
    return DataError("a query that the database can run", message.rstrip(". \n"), advice, table=name)


def _run_database(query: Query, name: str, root: Path, folder: Path) -> None:
    """Stream the rows of any database that SQLAlchemy reaches; each batch is a file with its own types."""
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    engine = _engine(query, name, root)
    try:
        connection = engine.connect()
    except Exception as error:
        advice = "check that the database is up, and its address, user and password"
        came = f"no connection: {_plain(error, engine.url)}"
        raise DataError(f"a database at {_address(engine.url)}", came, advice, table=name) from None
    try:
        with connection, connection.execution_options(stream_results=True, yield_per=BATCH // 5) as streaming:
            result = streaming.execute(sqlalchemy.text(query.sql))
            names = list(result.keys())
            for number, rows in enumerate(result.partitions(BATCH // 5)):
                _batch(rows, names).write_parquet(folder / f"{number:06d}.parquet")
            if not any(folder.iterdir()):
                pl.DataFrame(schema=dict.fromkeys(names, pl.String())).write_parquet(folder / "none.parquet")
    except SQLAlchemyError as error:
        raise _refused(_plain(error, engine.url), name) from None
    finally:
        engine.dispose()


def _engine(query: Query, name: str, root: Path) -> "sqlalchemy.Engine":
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    try:
        url = sqlalchemy.make_url(query.url)
        if url.get_backend_name() == "sqlite" and url.database:
            target = root / url.database
            _require_file(target, name)
            url = url.set(database=str(target))
        return sqlalchemy.create_engine(url)
    except SQLAlchemyError as error:
        came = f"one that cannot be read ({type(error).__name__})"
        raise DataError("a database URL such as postgresql://user@host/name", came, table=name) from None
    except ImportError as error:
        advice = "install the database's Python driver"
        raise DataError("a database driver", f"none: {shorten(error)}", advice, table=name) from None


def _address(url: "sqlalchemy.URL") -> str:
    """What a message may say of a database: nothing secret."""
    port = f":{url.port}" if url.port else ""
    return shorten(f"{url.drivername}://{url.host or ''}{port}/{url.database or ''}")


def _plain(error: Exception, url: "sqlalchemy.URL") -> str:
    """The first lines of a driver's message, without password and query values."""
    text = str(getattr(error, "orig", None) or error)
    secrets = [str(url.password)] if url.password else []
    for value in url.query.values():
        secrets += [value] if isinstance(value, str) else list(value)
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return shorten(re.sub(r"\s+", " ", text).strip(), 400)


def _batch(rows: Sequence[Any], names: Sequence[str]) -> pl.DataFrame:
    """Database rows as columns; a column of mixed types becomes text, for the checks to show."""
    columns = list(zip(*rows, strict=True))
    return pl.DataFrame([_series(name, values) for name, values in zip(names, columns, strict=True)])


def _series(name: str, values: Sequence[Any]) -> pl.Series:
    try:
        return pl.Series(name, values, strict=True)
    except (TypeError, pl.exceptions.PolarsError):
        kinds = {type(value) for value in values if value is not None}
        if kinds <= {int, float}:
            return pl.Series(name, values, dtype=pl.Float64, strict=False)
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
