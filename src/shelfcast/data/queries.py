"""Tables out of SQL: a query runs once, into a temporary Parquet file, so that every reading sees the same rows.

Messages about databases never show a password.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from shelfcast.data.files import BATCH, require_file
from shelfcast.errors import DataError, shorten

if TYPE_CHECKING:
    import sqlalchemy


@dataclass(frozen=True)
class Query:
    """SQL through a database URL.

    `duckdb:` runs DuckDB's SQL over files (paths in it start at the root folder), `duckdb:///file` in a DuckDB
    database that is opened for reading; any other URL (`sqlite:///file`, `postgresql://...`) goes through SQLAlchemy.
    """

    url: str
    sql: str


def run_query(query: Query, name: str, root: Path, folder: Path) -> None:
    """Run a query and leave its rows as Parquet files in an empty folder. Relative paths start at `root`."""
    run = _run_duckdb if query.url.startswith("duckdb:") else _run_database
    run(query, name, root, folder)


def _run_duckdb(query: Query, name: str, root: Path, folder: Path) -> None:
    """DuckDB writes the file itself, in parallel and in bounded memory."""
    import duckdb

    path = query.url.removeprefix("duckdb:").removeprefix("///")
    target = root / path
    if path:
        require_file(target, name)
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
            require_file(target, name)
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
