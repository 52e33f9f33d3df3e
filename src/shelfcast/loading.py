"""From a config to a panel: tables read, checked and joined, calendar and totals added."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import polars as pl

from shelfcast.config import RunConfig
from shelfcast.data.aggregates import AGGREGATE, SINGLE, with_aggregates
from shelfcast.data.calendars import calendar_from
from shelfcast.data.intake import Intake, intake
from shelfcast.data.packing import pack, with_calendar
from shelfcast.data.panel import Panel
from shelfcast.data.profile import Profile, profile
from shelfcast.data.tables import DemandTable, demand_table, known_table, static_table
from shelfcast.data.updating import can_update, update
from shelfcast.store import ForecastStore

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and of how much."""


def silent(line: str) -> None:
    """Say nothing."""


def no_progress(doing: str, done: int, total: int) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Run:
    """A config, where it stands, the clock, and where relative paths to tables start (beside the config by default).

    With `together`, what the steps store is published when that stack closes: all of it, or nothing. An `edition` tells
    its runs from others of the same config and data: a line of comment at the end of the stored config. `note` is given
    a line before a training that says what it takes.
    """

    config: RunConfig
    root: Path
    now: datetime
    progress: Progress = no_progress
    data: Path | None = None
    together: ExitStack | None = None
    edition: str = ""
    note: Callable[[str], None] = silent

    @property
    def tables(self) -> Path:
        """Where relative paths to tables start."""
        return self.data or self.root

    @property
    def folder(self) -> Path:
        """Where results go."""
        return (self.root / self.config.folder).resolve()

    @property
    def store(self) -> ForecastStore:
        """The store of this run's folder."""
        return ForecastStore(self.folder)


def open_sales(run: Run) -> DemandTable:
    """The sales table, checked as it is read; columns of the items and known tables may be absent from it."""
    config = run.config
    schema = config.sales.schema_()
    elsewhere = {*(schema.known_columns if config.known else ()), *(schema.static if config.items else ())}
    return demand_table(config.sales.source, schema, today=run.now.date(), root=run.tables, optional=elsewhere)


def check(run: Run) -> tuple[Profile, Intake]:
    """What the panel looks like, and what became of the rows of the sales table."""
    panel, rows = products(load_panel(run)), intake(open_sales(run))
    if run.config.items is None or "location" not in panel.keys:
        return profile(panel), rows
    items = static_table(run.config.items.source, run.config.sales.schema_(), columns=(), root=run.tables)
    if items.columns != ["item"]:
        return profile(panel), rows
    placed = panel.series["item"].unique().to_list()
    return profile(panel), replace(rows, unplaced=int((~items["item"].cast(pl.String).is_in(placed)).sum()))


def load_panel(run: Run) -> Panel:
    """Read, check and join the tables; add totals.

    Raises DataError, with the rows shown, where a table is not what the config says.
    """
    return completed(run, read_products(run))


def read_products(run: Run, old: Panel | None = None, revised: int = 1) -> Panel:
    """The products' panel without calendar and totals; with an `old` one, only rows from late periods on are read.

    Parameters
    ----------
    old : what this function made earlier, of the same tables and meaning of columns.
    revised : how many of its latest periods are read again.
    """
    config, root = run.config, run.tables
    run.progress("reading tables", 0, 1)
    sales = open_sales(run)
    schema = sales.schema
    items = static_table(config.items.source, schema, root=root) if config.items else None
    known = None
    if config.known:
        known = known_table(
            config.known.source, schema, frequency=sales.frequency, categories=sales.categories, root=root
        )
    if old is None or not can_update(schema):
        panel = pack(sales, items=items, known=known)
    else:
        panel = update(old, sales, since=old.last - revised + 1, items=items, known=known)
    run.progress("reading tables", 1, 1)
    return panel


def completed(run: Run, panel: Panel) -> Panel:
    """The panel with the config's calendar and totals."""
    panel = _add_calendar(run, panel)
    return with_aggregates(panel, run.config.totals) if run.config.totals else panel


def _add_calendar(run: Run, panel: Panel) -> Panel:
    dates = run.config.calendar
    if dates is None:
        return panel
    reach = max((h.end for h in run.config.forecast.horizons()), default=0)
    rows_end = panel.start + panel.lengths - 1
    last = max(panel.last + reach, int(rows_end.max(initial=panel.last)))
    calendar, places = calendar_from(
        dates.source, frequency=panel.frequency, first=panel.first, last=last, date=dates.date, place=dates.place,
        columns=dates.columns, country=dates.country, subdivision=dates.subdivision, root=run.tables,
    )  # fmt: skip
    return with_calendar(panel, calendar, dates.place, places)


def products(panel: Panel) -> Panel:
    """The panel without aggregates."""
    if AGGREGATE not in panel.series.columns:
        return panel
    return panel.take((panel.series[AGGREGATE] == SINGLE).to_numpy())
