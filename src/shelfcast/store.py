"""The results of all runs in one folder: forecasts, scores, orders and reports, published whole or not at all.

    catalogue.sqlite            which runs are visible, and which is current for its kind: the only truth
    runs/<run id>/<n>/...       the files of a run, as described in `runs`; n grows when the same run is made again
    staging/                    what is being written; nobody reads it

A run is written in `staging`, made durable, moved below `runs` by one rename, and becomes visible by one transaction of
the catalogue. A process killed at any moment leaves the runs before it current and whole; what it left in `staging` is
removed by the next writer. A run made again (same kind, settings, input and code: same id) with the same bytes leaves
the files as they are; with other bytes it replaces them, and the former files stay until they are replaced once more,
so that whoever reads them can finish.

The files are plain Parquet: `store.path(run, "forecasts")` names the folder for any other tool. What a run is and how
its files are written is in `runs`; the catalogue in `catalogue`.
"""

import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import polars as pl

from shelfcast import __version__
from shelfcast.errors import StoreError, nearest, shorten
from shelfcast.runs import (
    Part,
    RunInfo,
    RunKind,
    RunState,
    RunWriter,
    check_parts,
    claim,
    problem,
    read_manifest,
    stamp,
    sync,
    writing,
)

if TYPE_CHECKING:  # sqlalchemy costs as much CPU to import as polars: only when a store is used
    from shelfcast.catalogue import Catalogue, Entry

__all__ = ["ForecastStore", "RunInfo", "RunKind", "RunState", "RunWriter"]

_VERSION_FOLDER = re.compile(r"[0-9a-f]{12}/\d+")
_STAGING = re.compile(r"[0-9a-f]{32}")
_RUNS = pl.Schema(
    {
        "id": pl.String(),
        "kind": pl.String(),
        "created": pl.Datetime("us"),
        "config_hash": pl.String(),
        "data_fingerprint": pl.String(),
        "code_version": pl.String(),
        "current": pl.Boolean(),
    }
)
_COMMANDS = {
    RunKind.BACKTEST: "shelfcast backtest",
    RunKind.FORECAST: "shelfcast forecast",
    RunKind.ORDERS: "shelfcast order",
    RunKind.SAVINGS: "shelfcast simulate",
    RunKind.ELASTICITIES: "shelfcast elasticities",
    RunKind.CYCLE: "shelfcast run",
    RunKind.LATENT: "shelfcast latent",
}


class ForecastStore:
    """Reads and writes the runs in `folder`, which is created by the first run.

    Wherever a method takes a `run`, it takes a run id, a `RunInfo`, or a `RunKind` (or its name) for the current run of
    that kind. All methods raise StoreError for a folder or catalogue that cannot be used.

    Examples
    --------
    >>> store = ForecastStore(folder)
    >>> with store.begin(RunKind.FORECAST, config=toml, fingerprint=panel_hash, now=now) as run:
    ...     run.write("forecasts", frame, origin=date(2024, 1, 1))
    >>> store.scan("forecast", "forecasts", items=["A1"]).collect()
    """

    def __init__(self, folder: Path | str, *, code_version: str = __version__) -> None:
        self.folder = Path(folder).absolute()
        self.code_version = code_version

    # -- writing ------------------------------------------------------------------------------------------------------

    @contextmanager
    def begin(self, kind: RunKind | str, *, config: str, fingerprint: str, now: datetime) -> Iterator[RunWriter]:
        """Write a run in the `with` block; it is published and current when the block ends, and gone if it fails.

        Parameters
        ----------
        config : the full TOML text of the settings, kept beside the results; any change of it is another run.
        fingerprint : a hash of the input data.
        now : the time to be listed; UTC if it has no zone.
        """
        info = RunInfo.of(
            RunKind(kind), config=config, fingerprint=fingerprint, code_version=self.code_version, now=now
        )
        with self._staging() as folder:
            run = RunWriter(info, folder)
            yield run
            manifest = run.seal(config)
            self._publish(info, folder, manifest)
            run.info = replace(info, state=RunState.PUBLISHED)

    def sweep(self) -> list[Path]:
        """Remove all that no reader needs and no living process writes; the folders removed.

        That is: what killed writers left, and runs that were replaced. The catalogue decides: never sweep after losing
        it, since the runs it listed would count as left over (an empty one removes no runs).
        """
        if not self._catalogue.path.exists():
            return []
        with self._catalogue.transaction() as connection, writing(self.folder):
            kept = {entry.folder for entry in self._catalogue.read(connection)}
            return self._sweep_staging() + (self._sweep_versions("*", kept) if kept else [])

    # -- reading ------------------------------------------------------------------------------------------------------

    def runs(self) -> pl.DataFrame:
        """Published runs, latest first: id, kind, created (UTC), config_hash, data_fingerprint, code_version, current.

        `created` is the latest time that the run was made. No rows where nothing was published yet.
        """
        rows = [{**asdict(entry.info), "current": entry.is_current} for entry in self._catalogue.entries()]
        return pl.DataFrame(rows, schema=_RUNS)

    def current(self, kind: RunKind | str) -> RunInfo:
        """The latest published run of a kind; StoreError names the command that makes one."""
        return self._entry(RunKind(kind)).info

    def scan(
        self,
        run: str | RunInfo,
        table: str,
        *,
        items: Sequence[object] | None = None,
        origin: date | None = None,
    ) -> pl.LazyFrame:
        """A table of a run, lazily; only row groups that can hold `items` (by column `item`) and `origin` are read.

        Raises
        ------
        StoreError : unknown run, table, origin or column (the nearest are named), or a file that was cut or removed.
        """
        folder, parts = self._parts(run, table)
        chosen = [part for part in parts if origin is None or part.origin in (None, stamp(origin))]
        if not chosen:
            there = nearest(stamp(origin) if origin else "", sorted(part.origin or "" for part in parts))
            raise problem(f"an origin of '{table}'", f"{origin}", there)
        check_parts(folder, chosen)
        frame = pl.scan_parquet([folder / part.path for part in chosen], hive_partitioning=False, glob=False)
        schema = frame.collect_schema() if origin is not None or items is not None else pl.Schema()
        if origin is not None:
            frame = frame.filter(pl.col(_column("origin", table, schema)) == origin)
        if items is not None:
            wanted = pl.Series(list(items), dtype=schema[_column("item", table, schema)], strict=False)
            frame = frame.filter(pl.col("item").is_in(wanted.implode()))
        return frame

    def sql(self, query: str) -> pl.DataFrame:
        """Answer a DuckDB query in which each table is that of the latest current run that has it.

        Examples
        --------
        >>> store.sql("select item, sum(quantity) as units from orders group by item order by units desc limit 10")
        """
        import duckdb  # only this method needs it

        views = self._current_tables()
        # Without the setting, a name in the query may be taken for one of our own Python variables.
        with duckdb.connect(":memory:", config={"python_enable_replacements": "false"}) as connection:
            for table, paths in views.items():
                connection.execute(f'create view "{table}" as {_read_parquet(paths)}')
            try:
                answer: pl.DataFrame = connection.sql(query).pl()
                return answer
            except duckdb.Error as error:
                tables = f"there are: {', '.join(sorted(views))}" if views else "run `shelfcast run` first"
                raise problem("a DuckDB query over the current runs", f"{error}", tables) from error

    def text(self, run: str | RunInfo, name: str) -> str:
        """A text of a run, such as `report.html`, or the settings that it used: `config.toml`."""
        folder, parts = self._files(run)
        names = [part.path for part in parts if part.table is None]
        if name not in names:
            raise problem("a text of the run", f"'{name}'", nearest(name, names))
        check_parts(folder, [part for part in parts if part.path == name])
        return (folder / name).read_bytes().decode()

    def path(self, run: str | RunInfo, table: str | None = None) -> Path:
        """The folder of a run, or of one of its tables: `read_parquet('<path>/*.parquet')` in any tool."""
        return self._files(run)[0] if table is None else self._parts(run, table)[0] / table

    def tables(self, run: str | RunInfo) -> pl.DataFrame:
        """The Parquet files of a run: table, origin (as named on disk; null if without), rows, size in bytes."""
        parts = [part for part in self._files(run)[1] if part.table is not None]
        rows = [(part.table, part.origin, part.rows, part.size) for part in parts]
        schema = {"table": pl.String(), "origin": pl.String(), "rows": pl.Int64(), "size": pl.Int64()}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def verify(self, run: str | RunInfo) -> None:
        """Read every file of a run and compare it with its checksum; StoreError names the first that differs."""
        folder, parts = self._files(run)
        check_parts(folder, parts, deep=True)

    # -- within -------------------------------------------------------------------------------------------------------

    @cached_property
    def _catalogue(self) -> "Catalogue":
        from shelfcast.catalogue import Catalogue

        return Catalogue(self.folder / "catalogue.sqlite")

    @property
    def _runs(self) -> Path:
        return self.folder / "runs"

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """A folder of our own, locked for as long as we live; removed at the end unless it was moved away."""
        name = uuid.uuid4().hex
        folder, lock = self.folder / "staging" / name, self.folder / "staging" / f"{name}.lock"
        with writing(self.folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
        handle: BinaryIO | None = None
        try:
            with self._catalogue.transaction(), writing(self.folder):  # no sweep between making and locking it
                self._sweep_staging()
                handle = claim(lock)
                folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if handle is not None:
                handle.close()
                lock.unlink(missing_ok=True)

    def _publish(self, info: RunInfo, staged: Path, manifest: str) -> None:
        with self._catalogue.transaction() as connection, writing(self.folder):
            there = next((entry for entry in self._catalogue.read(connection) if entry.info.id == info.id), None)
            if there and there.manifest == manifest and self._is_whole(there):
                self._catalogue.publish(connection, info, there.folder, manifest)
                return  # the same bytes again: readers of the files are not disturbed
            home = self._runs / info.id
            home.mkdir(parents=True, exist_ok=True)
            number = 1 + max((int(path.name) for path in home.iterdir() if path.name.isdigit()), default=0)
            folder = f"{info.id}/{number}"
            staged.rename(self._runs / folder)
            try:
                for path in (home, self._runs, self.folder):
                    sync(path)
                self._catalogue.publish(connection, info, folder, manifest)
            except BaseException:  # not listed yet, so nobody reads it
                shutil.rmtree(self._runs / folder, ignore_errors=True)
                raise
            self._sweep_versions(info.id, {folder, there.folder if there else folder})

    def _is_whole(self, entry: "Entry") -> bool:
        try:
            folder = self._runs / entry.folder
            check_parts(folder, read_manifest(folder, entry.manifest), deep=True)
        except StoreError:
            return False
        return True

    def _sweep_staging(self) -> list[Path]:
        """Remove what dead writers left; only inside a transaction, since a new folder is not locked at once."""
        removed = []
        names = {path.stem for path in (self.folder / "staging").glob("*") if _STAGING.fullmatch(path.stem)}
        for name in sorted(names):
            folder, lock = self.folder / "staging" / name, self.folder / "staging" / f"{name}.lock"
            try:
                handle = claim(lock)
            except OSError:  # of another user
                continue
            if handle is None:
                continue
            shutil.rmtree(folder, ignore_errors=True)
            handle.close()
            lock.unlink(missing_ok=True)
            removed.append(folder)
        return removed

    def _sweep_versions(self, run_id: str, kept: set[str]) -> list[Path]:
        """Remove the folders of runs that are not in `kept`; only inside a transaction."""
        found = {path.relative_to(self._runs).as_posix(): path for path in self._runs.glob(f"{run_id}/*")}
        left = [path for name, path in sorted(found.items()) if _VERSION_FOLDER.fullmatch(name) and name not in kept]
        for path in left:
            shutil.rmtree(path, ignore_errors=True)
        return left

    def _entry(self, run: str | RunInfo) -> "Entry":
        entries = self._catalogue.entries()
        name = run.id if isinstance(run, RunInfo) else str(run)
        is_kind = name in set(RunKind)
        for entry in entries:
            if (entry.is_current and entry.info.kind == name) if is_kind else entry.info.id == name:
                return entry
        if is_kind:
            command = _COMMANDS[RunKind(name)]
            raise problem(f"a {name} run in {self.folder}", "none", f"run `{command}` first, or name another folder")
        known = [entry.info.id for entry in entries]
        raise problem(
            f"a run or kind of run in {self.folder}", f"'{shorten(name, 40)}'", nearest(name, [*RunKind, *known])
        )

    def _files(self, run: str | RunInfo) -> tuple[Path, list[Part]]:
        entry = self._entry(run)
        folder = self._runs / entry.folder
        return folder, read_manifest(folder, entry.manifest)

    def _parts(self, run: str | RunInfo, table: str) -> tuple[Path, list[Part]]:
        folder, files = self._files(run)
        parts = [part for part in files if part.table == table]
        if not parts:
            names = sorted({part.table for part in files if part.table})
            raise problem("a table of the run", f"'{table}'", nearest(table, names) if names else "it has no tables")
        return folder, parts

    def _current_tables(self) -> dict[str, list[Path]]:
        views: dict[str, list[Path]] = {}
        for entry in reversed([entry for entry in self._catalogue.entries() if entry.is_current]):
            folder = self._runs / entry.folder
            parts = [part for part in read_manifest(folder, entry.manifest) if part.table]
            check_parts(folder, parts)
            for name in sorted({part.table for part in parts if part.table}):
                views[name] = [folder / part.path for part in parts if part.table == name]
        return views


def _column(name: str, table: str, schema: pl.Schema) -> str:
    if name not in schema:
        raise problem(f"a column '{name}' in '{table}'", "none", nearest(name, schema.names()))
    return name


def _read_parquet(paths: Sequence[Path]) -> str:
    """The SQL that reads these files, with quotes doubled and the characters of a glob taken literally."""
    listed = ", ".join("'" + re.sub(r"([*?\[])", r"[\1]", path.as_posix()).replace("'", "''") + "'" for path in paths)
    return f"select * from read_parquet([{listed}], hive_partitioning = false)"
