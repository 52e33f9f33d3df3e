"""Where a cycle stands on disk, so that it can be stopped anywhere and go on.

    cycle/state.json       the generation that is in force: its key, origin and champion; replaced by one rename
    cycle/<key>/<step>/    what each step of a generation made; a step is there whole or not at all
    cycle/models/<id>/     fitted models, never changed once there

A generation's key follows from settings and data, so the same command on the same data finds what it made before. It
is built beside the one in force, from that and from nothing that a later step changes; the state moves last.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from shelfcast.errors import StoreError
from shelfcast.runs import claim, sync, writing

STATE = "state.json"


@dataclass(frozen=True)
class Version:
    """A fitted model: its recipe, the last period it learned from (`cut`), and what it was fitted from."""

    id: str
    name: str
    settings: str
    cut: int
    question: str
    parent: str | None = None

    @property
    def recipe(self) -> str:
        """What would be fitted anew."""
        return json.dumps([self.name, self.settings])


@dataclass(frozen=True)
class State:
    """The generation in force.

    Parameters
    ----------
    key, origin : of the generation; `origin` is its last period.
    content : digest of the settings and data that it was made from.
    source, terms : digests of the settings that say where the tables are, and what is forecast and how it is judged.
    champion : who forecasts.
    tried, fitted : periods at which a new model was last tried, and last fitted from scratch.
    published : generations whose forecasts are watched: origin and id of the run in the store.
    history : one record a promotion or refusal.
    """

    key: str
    content: str
    origin: int
    source: str
    terms: str
    champion: Version
    tried: int
    fitted: int
    published: tuple[tuple[int, str], ...] = ()
    history: tuple[dict[str, Any], ...] = field(default=())


class Ledger:
    """The folder of a cycle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> State | None:
        """The state in force; None before the first. StoreError where the file is damaged."""
        path = self.folder / STATE
        try:
            stored = json.loads(path.read_text())
            champion = Version(**stored.pop("champion"))
            published = tuple((int(origin), str(run)) for origin, run in stored.pop("published"))
            history = tuple(stored.pop("history"))
            return State(champion=champion, published=published, history=history, **stored)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StoreError(f"expected the state of a cycle in {path}; got: {error}. Restore it, or remove the folder "
                             "to begin anew.") from error  # fmt: skip

    def move(self, state: State) -> None:
        """Put a generation in force, and remove those before the one it replaces."""
        before = self.read()
        staging = self.folder / f".{STATE}.tmp"
        with writing(self.folder):
            staging.write_text(json.dumps(asdict(state), indent=1, sort_keys=True))
            sync(staging)
            staging.replace(self.folder / STATE)
            sync(self.folder)
        self._sweep(state, before)

    def _sweep(self, state: State, before: State | None) -> None:
        kept = {state.key, *(() if before is None else (before.key,)), "models"}
        for path in self.folder.iterdir():
            if path.is_dir() and path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)
        used = {state.champion.id, *(() if before is None else (before.champion.id,))}
        for path in (self.folder / "models").glob("*"):
            if path.name not in used:
                shutil.rmtree(path, ignore_errors=True)

    def step(self, key: str, name: str, make: Callable[[Path], None]) -> Path:
        """The folder that a step of a generation made; made now unless it is there."""
        return self._whole(self.folder / key / name, make)

    def model(self, version: Version, make: Callable[[Path], None]) -> Path:
        """The folder of a model; fitted now unless it is there."""
        return self._whole(self.folder / "models" / version.id, make)

    def _whole(self, target: Path, make: Callable[[Path], None]) -> Path:
        if target.exists():
            return target
        staging = target.with_name(f".{target.name}.tmp")
        with writing(self.folder):
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            make(staging)
            for path in sorted(staging.rglob("*")):
                sync(path)
            staging.rename(target)
            sync(target.parent)
        return target

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One cycle at a time in a folder; what a killed one left half-written is removed."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = claim(self.folder / "lock")
        if handle is None:
            raise StoreError(f"another cycle is running in {self.folder}. Wait for it, or end it.")
        try:
            for path in (*self.folder.rglob(".*.tmp"), *self.folder.parent.glob(".report.html.*.tmp")):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            yield
        finally:
            handle.close()


def put(folder: Path, name: str, value: pl.DataFrame | dict[str, Any] | list[Any] | str) -> None:
    """Write a table as Parquet, a text as it is, or a record as JSON into a step's folder."""
    if isinstance(value, pl.DataFrame):
        value.write_parquet(folder / f"{name}.parquet")
    elif isinstance(value, str):
        (folder / name).write_bytes(value.encode())
    else:
        (folder / f"{name}.json").write_text(json.dumps(value, sort_keys=True, default=str))


def table(folder: Path, name: str) -> pl.DataFrame | None:
    """A table of a step; None where it made none."""
    path = folder / f"{name}.parquet"
    return pl.read_parquet(path) if os.path.exists(path) else None


def record(folder: Path, name: str) -> Any:
    """A record of a step."""
    return json.loads((folder / f"{name}.json").read_text())
