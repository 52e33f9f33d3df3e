"""What a command puts on the terminal: progress and notes on stderr, tables, facts and JSON on stdout."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


@contextmanager
def progress_bar() -> Iterator[Any]:
    """A callable `(doing, done, total)`, silent unless stderr is a terminal, and one that puts a line to stderr."""
    from shelfcast.loading import no_progress

    if not sys.stderr.isatty():
        yield no_progress, lambda line: print(line, file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<32}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("starting", total=1)
        yield (
            lambda doing, done, total: bars.update(task, description=doing, completed=done, total=total),
            lambda line: bars.console.print(line, highlight=False),
        )


def print_table(table: "pl.DataFrame", title: str) -> None:
    """A polars frame as a plain text table."""
    sides = {name: "right" if dtype.is_numeric() else "left" for name, dtype in table.schema.items()}
    print_rows(title, sides, [[cell(value) for value in row] for row in table.iter_rows()])


def print_rows(title: str, columns: Mapping[str, str], rows: Sequence[Sequence[str]]) -> None:
    """Texts as a table; `columns` says to which side each leans. Only the first is never folded."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for place, (name, side) in enumerate(columns.items()):
        shown.add_column(name, justify="right" if side == "right" else "left", no_wrap=place == 0)
    for row in rows:
        shown.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(shown)


def cell(value: object) -> str:
    """One value as text."""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def say(values: Mapping[str, object], as_json: bool) -> None:
    """Names and values, one a line or as JSON."""
    if as_json:
        print_json(values)
        return
    width = max(map(len, values), default=0)
    for name, value in values.items():
        print(f"{name.replace('_', ' '):<{width}}  {value}")


def print_json(values: object) -> None:
    """Values as one JSON object."""
    print(json.dumps(values, indent=2, default=str))
