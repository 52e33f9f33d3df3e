"""The catalogue of runs: one small SQLite file that alone decides which run is visible and which is current.

Files may lie in the folder of results that no row names (a writer was killed, a run was replaced): they do not exist
for a reader. One write transaction, taken at its start (`BEGIN IMMEDIATE`), is also the lock between writers. SQLite
runs in WAL mode, so that readers never wait; it therefore needs a local disk, not a network share.

The files themselves are in `runs`, publishing in `store`.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    DateTime,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from shelfcast.errors import StoreError
from shelfcast.runs import RunInfo, RunKind, RunState, problem, reason, unwritable

SCHEMA_VERSION = 1
BUSY_SECONDS = 30.0  # how long a writer waits for another one

_metadata = MetaData()
_about = Table("about", _metadata, Column("schema_version", Integer, primary_key=True))
_runs = Table(
    "runs",
    _metadata,
    Column("id", String(12), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("created", DateTime, nullable=False),
    Column("config_hash", String(12), nullable=False),
    Column("data_fingerprint", String, nullable=False),
    Column("code_version", String, nullable=False),
    Column("state", String(20), nullable=False),
    Column("folder", String, nullable=False),
    Column("manifest", String(64), nullable=False),
    Column("turn", Integer, nullable=False),
)
_current = Table(
    "current", _metadata, Column("kind", String(20), primary_key=True), Column("run_id", String(12), nullable=False)
)


@dataclass(frozen=True)
class Entry:
    """A published run: its `folder` below `runs/` and the SHA-256 of its manifest."""

    info: RunInfo
    folder: str
    manifest: str
    is_current: bool


class Catalogue:
    """Reads and writes `catalogue.sqlite`; opens it only when asked something, and creates it on the first write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry]:
        """All published runs, the latest published first; none where there is no catalogue yet."""
        with self._guard():
            if not self.path.exists():
                return []
            with self._engine.connect() as connection:
                return self.read(connection) if self._is_ready(connection) else []

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All or nothing; only one at a time over all processes. Creates the catalogue if there is none."""
        with self._guard():
            self._use_wal()
            with self._engine.connect().execution_options(is_write=True) as connection, connection.begin():
                if not self._is_ready(connection):
                    _metadata.create_all(connection)
                    connection.execute(insert(_about).values(schema_version=SCHEMA_VERSION))
                yield connection

    def read(self, connection: Connection) -> list[Entry]:
        """As `entries`, inside a transaction."""
        is_current = _current.c.run_id.is_not(None).label("is_current")
        joined = _runs.outerjoin(_current, (_current.c.kind == _runs.c.kind) & (_current.c.run_id == _runs.c.id))
        query = select(_runs, is_current).select_from(joined).order_by(_runs.c.turn.desc())
        return [_entry(row) for row in connection.execute(query).mappings()]

    def publish(self, connection: Connection, info: RunInfo, folder: str, manifest: str) -> None:
        """List the run, in place of the one of the same id if there is one, and make it current for its kind."""
        turn = (connection.execute(select(func.max(_runs.c.turn))).scalar() or 0) + 1
        row = {
            "id": info.id,
            "kind": info.kind.value,
            "created": info.created,
            "config_hash": info.config_hash,
            "data_fingerprint": info.data_fingerprint,
            "code_version": info.code_version,
            "state": RunState.PUBLISHED.value,
            "folder": folder,
            "manifest": manifest,
            "turn": turn,
        }
        connection.execute(delete(_runs).where(_runs.c.id == info.id))
        connection.execute(insert(_runs).values(row))
        connection.execute(delete(_current).where(_current.c.kind == info.kind.value))
        connection.execute(insert(_current).values(kind=info.kind.value, run_id=info.id))

    @cached_property
    def _engine(self) -> Engine:
        # No pool: a connection kept open would hold the WAL file, and must not travel into a forked process.
        url = URL.create("sqlite", database=str(self.path))
        options = {"timeout": BUSY_SECONDS, "isolation_level": None}
        engine = create_engine(url, poolclass=NullPool, connect_args=options)
        event.listen(engine, "connect", _make_durable)
        event.listen(engine, "begin", _begin)
        return engine

    def _use_wal(self) -> None:
        """Switch a new file to WAL; the switch fails at once when two do it together, whatever the busy timeout."""
        if self.path.exists() and self.path.stat().st_size > 0:
            return
        deadline = time.monotonic() + BUSY_SECONDS
        with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS)) as connection:
            while True:
                try:
                    connection.execute("PRAGMA journal_mode=WAL")
                    return
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error) or time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)

    def _is_ready(self, connection: Connection) -> bool:
        """Whether the tables are there; StoreError if a newer shelfcast made them."""
        if not inspect(connection).has_table(_about.name):
            return False
        version = connection.execute(select(_about.c.schema_version)).scalar() or 0
        if version > SCHEMA_VERSION:
            advice = "update shelfcast, or choose another folder"
            raise problem(f"a catalogue of version {SCHEMA_VERSION} or older in {self.path}", f"{version}", advice)
        return True

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except (DatabaseError, sqlite3.DatabaseError) as error:
            raise self._problem(str(getattr(error, "orig", error))) from error
        except OSError as error:
            raise unwritable(self.path.parent, reason(error)) from error

    def _problem(self, why: str) -> StoreError:
        if "locked" in why:
            advice = "wait for the other run to end, then run again; nothing was published"
            return problem(f"to write to {self.path} within {BUSY_SECONDS:.0f} s", f"{why} by another process", advice)
        if "disk is full" in why:
            return unwritable(self.path.parent, why, is_full=True)
        if any(words in why for words in ("readonly", "unable to open", "disk I/O")):
            return unwritable(self.path.parent, why)
        advice = (
            f"restore {self.path.name} from a backup, or move it away and run again; the Parquet files stay readable"
        )
        return problem(f"the catalogue of results in {self.path}", f"a damaged file ({why})", advice)


def _make_durable(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: Connection) -> None:
    is_write = connection.get_execution_options().get("is_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")


def _entry(row: Any) -> Entry:
    info = RunInfo(
        id=row["id"],
        kind=RunKind(row["kind"]),
        created=row["created"],
        config_hash=row["config_hash"],
        data_fingerprint=row["data_fingerprint"],
        code_version=row["code_version"],
        state=RunState(row["state"]),
    )
    return Entry(info, row["folder"], row["manifest"], bool(row["is_current"]))
