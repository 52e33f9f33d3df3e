"""CSV and Parquet files as batches of polars frames, in bounded memory.

Text columns of Parquet files arrive as `pl.Categorical`. Text files are read as text only, so that an item `007`
keeps its zeros; an empty cell is null, and lines with more or fewer cells than the header are refused.
"""

import csv
import glob
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, cast

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from shelfcast.errors import DataError, nearest, shorten

BATCH = 1_000_000  # rows; one column of it is 8 MB
_CSV_BLOCK = 1 << 25  # bytes of text parsed at once; a line must fit
_SUFFIXES = (".parquet", ".csv", ".csv.gz", ".tsv", ".txt")
_ARROW_ERRORS = (pa.ArrowException, pl.exceptions.PolarsError, OSError, ValueError)

Read: TypeAlias = Callable[[Sequence[str]], Iterator[pl.DataFrame]]
Opened: TypeAlias = tuple[Mapping[str, pl.DataType], Read]


def open_files(path: str, name: str, root: Path) -> Opened:
    """Types by column, and a reader of batches, of a file, glob or folder."""
    found = _files(path, name, root)
    return open_parquet(found, name) if found[0].suffix.lower() == ".parquet" else _open_csv(found, name)


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
        require_file(where, name)
    kinds = {f.suffix.lower() == ".parquet" for f in found}
    if len(kinds) > 1:
        raise DataError("files of one kind", "both CSV and Parquet", "give a glob like folder/*.parquet", table=name)
    wrong = [f for f in found if not f.name.lower().endswith(_SUFFIXES)]
    if wrong:
        came = f"{shorten(wrong[0].name)}"
        raise DataError(f"a file that ends in {', '.join(_SUFFIXES)}", came, "save it as CSV or Parquet", table=name)
    return found


def require_file(path: Path, name: str) -> None:
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


def open_parquet(files: Sequence[Path], name: str) -> Opened:
    """Parquet files that all have the columns of the first."""

    def read(columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        for path in files:
            require_file(path, name)
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
                        yield as_polars(pa.Table.from_batches([batch])).select(columns)

    require_file(files[0], name)
    with _reading(files[0], name, "Parquet"):
        dtypes = pl.read_parquet_schema(files[0])
    return dtypes, read


def _is_large(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_large_string(dtype))


def as_polars(table: pa.Table) -> pl.DataFrame:
    """An Arrow table as polars."""
    return cast(pl.DataFrame, pl.from_arrow(table))


def _open_csv(files: Sequence[Path], name: str) -> Opened:
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
    return dict.fromkeys(header, pl.String()), read


def _header(path: Path, name: str) -> tuple[list[str], str]:
    """Column names and separator of a text file."""
    require_file(path, name)
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
                yield as_polars(pa.Table.from_batches([batch]))
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
