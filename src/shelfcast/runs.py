"""One run on disk: who it is, the files it holds, and how they are written.

A run is a folder of Parquet tables and texts with a manifest, `run.json`, that lists every file with its rows, size and
SHA-256:

    config.toml                      the full text of the settings that the run used
    forecasts/2024-01-01.parquet     one file per origin ...
    scores/all.parquet               ... or one for a table that was written without
    report.html                      texts
    run.json                         the manifest, written last

The origin is the name of the file, not a hive folder `origin=...`: each file carries its own `origin` column, so that
it can be read alone, and a hive column of the same name would clash with it. In any tool,
`read_parquet('<run>/forecasts/*.parquet')` reads the table.

Nothing here depends on the clock, the machine or the order of writing: the same tables written twice give the same
bytes (with one version of polars; rows are stored in the order given). Publishing is in `store`, the list of runs in
`catalogue`.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import polars as pl
import polars.selectors as cs

from shelfcast.errors import StoreError, shorten

MANIFEST = "run.json"
CONFIG = "config.toml"
ROW_GROUP = 131_072  # rows: fixed, since the default depends on the frame's chunks and would change the bytes
_UNDATED = "all"
_TABLE = re.compile(r"[a-z][a-z0-9_]*")
_TEXT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


class RunKind(StrEnum):
    """What a run made; each kind has its own current run."""

    BACKTEST = "backtest"
    FORECAST = "forecast"
    ORDERS = "orders"
    SAVINGS = "savings"
    ELASTICITIES = "elasticities"
    CYCLE = "cycle"
    LATENT = "latent"


class RunState(StrEnum):
    """Whether others can see a run yet."""

    WRITING = "writing"
    PUBLISHED = "published"


@dataclass(frozen=True)
class RunInfo:
    """Who a run is. `id` follows from kind, settings, input and code; `created` (UTC, without zone) does not count."""

    id: str
    kind: RunKind
    created: datetime
    config_hash: str
    data_fingerprint: str
    code_version: str
    state: RunState = RunState.WRITING

    @classmethod
    def of(cls, kind: RunKind, *, config: str, fingerprint: str, code_version: str, now: datetime) -> "RunInfo":
        """The identity of a run of `config` (its TOML text) on input `fingerprint`. A `now` without zone is UTC."""
        created = now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now
        config_hash = hashlib.sha256(config.encode()).hexdigest()[:12]
        identity = json.dumps([kind.value, config_hash, fingerprint, code_version])
        number = hashlib.sha256(identity.encode()).hexdigest()[:12]
        return cls(number, kind, created, config_hash, fingerprint, code_version)


@dataclass(frozen=True)
class Part:
    """One file of a run: `path` from the run's folder, `size` in bytes; a text has no table and no rows."""

    path: str
    size: int
    sha256: str
    table: str | None = None
    origin: str | None = None
    rows: int | None = None


class RunWriter:
    """Writes the files of one run into a folder that nobody else sees yet.

    Made by `ForecastStore.begin`. After a failed write the run cannot be published any more, even if the caller
    swallows the error.
    """

    def __init__(self, info: RunInfo, folder: Path) -> None:
        self.info = info
        self._folder = folder
        self._parts: dict[str, Part] = {}
        self._schemas: dict[str, pl.Schema] = {}
        self._has_failed = False

    def write(self, table: str, frame: pl.DataFrame, *, origin: date | None = None) -> None:
        """Store `frame` (rows in the order given) as `table`, or as the part of it that belongs to `origin`.

        With an origin, a column `origin` is put first if the frame has none; if it has one it must hold that origin.
        Categorical columns are stored as text. All parts of a table have the same columns and types.

        Raises
        ------
        StoreError : bad name, written twice, other columns than the parts before, or the disk is full or refuses.
        """
        _check_name(table, _TABLE, "a table name of lower-case letters, digits and underscores")
        frame = _plain(table, frame, origin)
        self._check_schema(table, frame)
        name = stamp(origin) if origin is not None else None
        path = self._claim(f"{table}/{name or _UNDATED}.parquet")
        with self._writing(needed=int(frame.estimated_size())):
            path.parent.mkdir(exist_ok=True)
            frame.write_parquet(
                path, compression="zstd", compression_level=3, statistics=True, row_group_size=ROW_GROUP
            )
            sync(path)
        self._add(path, table, name, frame.height)

    def text(self, name: str, content: str) -> None:
        """Store `content` (UTF-8, line ends as they are) under a plain file name such as `report.html`."""
        _check_name(name, _TEXT, "a plain file name")
        if name in (MANIFEST, CONFIG):
            raise problem("another file name", f"'{name}', which the store writes itself", "choose another name")
        self._write_text(name, content)

    def seal(self, config: str) -> str:
        """Write the settings and the manifest and make all durable; the manifest's SHA-256."""
        if self._has_failed:
            raise problem("every write of the run to succeed", "one that failed before", "run the command again")
        self._write_text(CONFIG, config)
        run = {name: value for name, value in asdict(self.info).items() if name not in ("created", "state")}
        parts = [asdict(self._parts[path]) for path in sorted(self._parts)]
        self._write_text(MANIFEST, json.dumps({"run": run, "parts": parts}, indent=1) + "\n")
        with self._writing():
            for folder in [path for path in self._folder.iterdir() if path.is_dir()] + [self._folder]:
                sync(folder)
        return self._parts[MANIFEST].sha256

    def _write_text(self, name: str, content: str) -> None:
        path = self._claim(name)
        with self._writing(needed=len(content)):
            path.write_bytes(content.encode())
            sync(path)
        self._add(path)

    def _check_schema(self, table: str, frame: pl.DataFrame) -> None:
        first = self._schemas.setdefault(table, frame.schema)
        if frame.schema != first:
            changed = [f"{name}: {dtype}" for name, dtype in frame.schema.items() if first.get(name) != dtype]
            came = ", ".join(changed) or f"columns {', '.join(frame.columns)}"
            advice = "give all parts of a table the same columns, types and order"
            raise problem(f"'{table}' to have columns {dict(first)}", came, advice)

    def _claim(self, name: str) -> Path:
        if name in self._parts:
            advice = "write each table once, or once per origin"
            raise problem("each file to be written once", f"'{name}' a second time", advice)
        return self._folder / name

    def _add(self, path: Path, table: str | None = None, origin: str | None = None, rows: int | None = None) -> None:
        name = path.relative_to(self._folder).as_posix()
        with self._writing():
            self._parts[name] = Part(name, path.stat().st_size, digest(path), table, origin, rows)

    @contextmanager
    def _writing(self, *, needed: int = 0) -> Iterator[None]:
        try:
            with writing(self._folder, needed=needed):
                yield
        except BaseException:
            self._has_failed = True
            raise


def read_manifest(folder: Path, sha256: str) -> list[Part]:
    """The files of the run in `folder`; StoreError if its manifest is missing or not the one with this SHA-256."""
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise _damaged(folder / MANIFEST, f"none that can be read ({reason(error)})") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _damaged(folder / MANIFEST, "another content than was published")
    return [Part(**part) for part in json.loads(content)["parts"]]


def check_parts(folder: Path, parts: list[Part], *, deep: bool = False) -> None:
    """StoreError unless every file is there in its published size and, if `deep`, with its published SHA-256."""
    for part in parts:
        path = folder / part.path
        try:
            size = path.stat().st_size
            is_other = deep and size == part.size and digest(path) != part.sha256
        except OSError as error:
            raise _damaged(path, f"none that can be read ({reason(error)})") from error
        if size != part.size:
            raise _damaged(path, f"{size:,} bytes instead of {part.size:,}: the file was cut or changed")
        if is_other:
            raise _damaged(path, "another content than was published")


def stamp(origin: date) -> str:
    """An origin as a file name: 2024-01-01, or 2024-01-01T0600 for an hour of a day."""
    if isinstance(origin, datetime) and (origin.hour, origin.minute) != (0, 0):
        return origin.strftime("%Y-%m-%dT%H%M")
    return origin.strftime("%Y-%m-%d")


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Make a file or folder durable before anything points at it."""
    if sys.platform == "win32" and path.is_dir():
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def claim(path: Path) -> BinaryIO | None:
    """A lock on `path` for as long as this process lives, or None where another living writer holds it.

    The system frees the lock of a killed process: no age and no process number has to be guessed at.
    """
    handle = path.open("ab")
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        handle.close()
        return None
    return handle


@contextmanager
def writing(folder: Path, *, needed: int = 0) -> Iterator[None]:
    """Turn a full disk or a folder that refuses into one StoreError; `needed` is in bytes, before compression."""
    try:
        yield
    except OSError as error:
        raise unwritable(folder, reason(error), needed, is_full=error.errno in _FULL) from error
    except pl.exceptions.ComputeError as error:
        if "os error" not in str(error):
            raise
        raise unwritable(folder, str(error), needed, is_full="No space left" in str(error)) from error


_FULL = {errno.ENOSPC, errno.EDQUOT}


def unwritable(folder: Path, why: str, needed: int = 0, *, is_full: bool = False) -> StoreError:
    """The error for a folder that cannot be written, with the room there is if the disk is full."""
    if not is_full:
        advice = "choose a folder that you may write to, or change its permissions"
        return problem(f"a results folder that can be written at {folder}", why, advice)
    room = f"up to {_megabytes(needed)} of room" if needed else "room"
    advice = "free space or choose a folder on another disk, then run again; nothing was published"
    return problem(f"{room} for the results in {folder}", f"a full disk ({_free(folder)} free)", advice)


def problem(expected: str, came: str, advice: str) -> StoreError:
    """A StoreError in the form of every message: expected, came, to do."""
    return StoreError(f"expected {expected}; got {came}.\n  To do: {advice}")


def reason(error: OSError) -> str:
    """What the system said, without the path that the message names anyway."""
    return error.strerror or str(error)


def _damaged(path: Path, came: str) -> StoreError:
    advice = "run the command that made it again, or restore the folder from a backup"
    return problem(f"the file {path} as it was published", came, advice)


def _plain(table: str, frame: pl.DataFrame, origin: date | None) -> pl.DataFrame:
    # The codes of a categorical depend on what the process did before: text has the same bytes every time.
    frame = frame.with_columns(cs.categorical().cast(pl.String)).rechunk()
    if origin is None:
        return frame
    if "origin" not in frame.columns:
        return frame.select(pl.lit(origin).alias("origin"), pl.all())
    others = [value for value in frame["origin"].unique().to_list() if not _is_at(value, origin)]
    if others:
        came = ", ".join(shorten(value, 40) for value in others[:3])
        raise problem(f"'{table}' of origin {stamp(origin)} only", came, "filter the frame by origin, then write it")
    return frame


def _is_at(value: object, origin: date) -> bool:
    return isinstance(value, date) and stamp(value) == stamp(origin)


def _check_name(name: str, pattern: re.Pattern[str], expected: str) -> None:
    if len(name) > 100 or not pattern.fullmatch(name):
        raise problem(expected, f"'{shorten(name, 40)}'", "choose a name such as forecasts or report.html")


def _free(folder: Path) -> str:
    there = next((path for path in (folder, *folder.parents) if path.exists()), Path())
    return _megabytes(shutil.disk_usage(there).free)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
