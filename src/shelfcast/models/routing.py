"""Demand classes and expert rules: which series goes to which model, and why.

Rules are data, a table a user can read and replace. Its columns are classes (`demand_class`, `abc`, `life`,
`seasonal`) or static columns of the panel, each holding a value or `*`; then `model`, a point model's name, and
`season` and `price`, whether the add-ons go with it. The first rule that fits a series routes it. Classes, as of an
origin:

    demand_class   smooth, intermittent, erratic, lumpy (ADI 1.32, CV2 0.49), none without demand
    abc            A: the series that together make 80 % of a year's value, B: the next 15 %, C: the rest
    life           new: first sold within a quarter of a year; ended: sold nothing in that time; unsold; else current
    seasonal       yes where places of the season differ by more than chance (F test at 1 %, normal approximation)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.lives import lives, season_spread
from shelfcast.data.panel import Panel
from shelfcast.data.profile import demand_classes, pareto_classes
from shelfcast.errors import ConfigError, DataError, nearest

CLASSES = ("demand_class", "abc", "life", "seasonal")
ACTIONS = ("model", "season", "price")
ANY = "*"
DEMAND_CLASSES = ("smooth", "erratic", "intermittent", "lumpy", "none")
VALUES = {
    "demand_class": DEMAND_CLASSES,
    "abc": ("A", "B", "C"),
    "life": ("current", "new", "ended", "unsold"),
    "seasonal": ("yes", "no"),
}
_SHARD_ROWS = 10_000_000


def default_rules(season: int) -> pl.DataFrame:
    """The rules used where none are given: found on M5's products and levels, and on weekly store sales.

    Holt-Winters where one series can learn the season; a plain level where it is a year of weeks.
    """
    level = "holt-winters" if season <= 24 else "ses"
    rules = [
        ("*", "ended", "window-average", False, False),
        ("*", "new", "window-average", True, True),
        ("lumpy", "*", "tsb", True, True),
        ("*", "*", level, True, True),
    ]
    text = dict.fromkeys(("demand_class", "life", "model"), pl.String)
    return pl.DataFrame(rules, schema={**text, "season": pl.Boolean, "price": pl.Boolean}, orient="row")


@dataclass(frozen=True)
class ValueCuts:
    """The least value of a year, in money, of classes A and B; kept from a fit, so that other series do not matter."""

    a: float
    b: float

    @classmethod
    def of(cls, value: NDArray[np.float64]) -> "ValueCuts":
        """Cuts that make A the series of the first 80 % of all value (N,), B those of the next 15 %."""
        names = pareto_classes(value, ("A", "B", "C"))
        least = [float(value[names == name].min(initial=np.inf)) for name in ("A", "B")]
        return cls(least[0], min(least))


def classify(panel: Panel, origin: int, cuts: ValueCuts | None = None) -> tuple[pl.DataFrame, ValueCuts]:
    """The classes (N rows) of every series as of an origin, and the cuts of `abc`; found here where not given.

    Nothing after the origin is read.
    """
    parts = [_classified(piece.as_of(origin)) for piece in panel.shards(_SHARD_ROWS)]
    if not parts:
        return pl.DataFrame(schema=dict.fromkeys(CLASSES, pl.String)), cuts or ValueCuts(np.inf, np.inf)
    table = pl.concat(parts)
    value = table["abc"].to_numpy()
    cuts = cuts or ValueCuts.of(value)
    abc = np.select([value >= cuts.a, value >= cuts.b], ["A", "B"], "C")
    return table.with_columns(abc=abc).select(CLASSES), cuts


def _classified(seen: Panel) -> pl.DataFrame:
    """Classes of a piece, with the year's value in place of `abc`."""
    demand, _ = seen.history(seen.last, round(seen.frequency.year))
    units = demand.sum(axis=1, dtype=np.float64)
    value = units * _price(seen)
    return pl.DataFrame(
        {
            "demand_class": pl.Series(demand_classes(seen)).cast(pl.String),
            "abc": value,
            "life": lives(seen),
            "seasonal": np.where(_is_seasonal(seen), "yes", "no"),
        }
    )


def _price(seen: Panel) -> NDArray[np.float64]:
    """(N,) price at the origin; 1 where there is none."""
    prices = seen.price_window(seen.last, seen.last)
    return np.ones(seen.n_series) if prices is None else np.nan_to_num(prices[:, 0], nan=1.0).astype(np.float64)


def _is_seasonal(seen: Panel) -> NDArray[np.bool_]:
    """(N,) whether the variance between places of the season exceeds what chance gives."""
    spread = season_spread(seen)
    free = spread.free_between, spread.free_within
    rounding = 1e-9 * spread.mean**2 + 1e-300  # a constant series has no variance but that of its sums' last digits
    ratio = (spread.between / free[0]) / np.maximum(spread.within / free[1], rounding)
    limit = 1.0 + 2.33 * np.sqrt(2.0 / free[0] + 2.0 / free[1])
    return np.asarray((spread.seasons >= 3) & (spread.mean > 0) & (ratio > limit))


def check_rules(rules: pl.DataFrame, models: Sequence[str], static: Sequence[str]) -> pl.DataFrame:
    """Rules with every class column as text and both add-ons as booleans.

    Raises ConfigError for an unknown column, model or value, with those there are.
    """
    for column in rules.columns:
        if column not in (*CLASSES, *ACTIONS, *static):
            raise ConfigError("rules", f"unknown column '{column}'", nearest(column, (*CLASSES, *ACTIONS, *static)))
    if "model" not in rules.columns or not rules.height:
        raise ConfigError("rules", "expected a column 'model' and at least one rule", "see `shelfcast classes`")
    for name in rules["model"].unique().to_list():
        if name not in models:
            raise ConfigError("rules.model", f"unknown model '{name}'", nearest(str(name), models))
    _check_values(rules)
    keys = [c for c in rules.columns if c not in ACTIONS]
    flags = [(pl.col(c).fill_null(True) if c in rules.columns else pl.lit(True)).alias(c) for c in ("season", "price")]
    return rules.select(pl.col(keys).cast(pl.String).fill_null(ANY), "model", *flags)


def _check_values(rules: pl.DataFrame) -> None:
    """Raise ConfigError for a class that no series can have, and an add-on neither true nor false."""
    for column in set(CLASSES) & set(rules.columns):
        for value in rules[column].cast(pl.String).drop_nulls().unique().to_list():
            if value not in (ANY, *VALUES[column]):
                raise ConfigError(f"rules.{column}", f"unknown value '{value}'", nearest(value, (*VALUES[column], ANY)))
    for column in {"season", "price"} & set(rules.columns):
        if rules[column].dtype not in (pl.Boolean, pl.Null):
            raise ConfigError(f"rules.{column}", f"expected true or false; got {rules[column][0]!r}")


def route(series: pl.DataFrame, classes: pl.DataFrame, rules: pl.DataFrame) -> NDArray[np.int64]:
    """(N,) the first rule that fits each series.

    Raises ConfigError where no rule fits some, with three of them.
    """
    keys = [c for c in rules.columns if c not in ACTIONS]
    table = classes.hstack([series[c].cast(pl.String).fill_null("?") for c in keys if c not in classes.columns])
    chosen = np.full(series.height, -1, dtype=np.int64)
    for place, rule in enumerate(rules.iter_rows(named=True)):
        fits = np.ones(series.height, dtype=bool)
        for column in keys:
            if rule[column] != ANY:
                fits &= (table[column] == rule[column]).to_numpy()
        chosen[(chosen < 0) & fits] = place
    lost = np.flatnonzero(chosen < 0)
    if len(lost):
        shown = table.with_columns(series["item"])[pl.Series(lost[:3])].rows(named=True)
        raise ConfigError("rules", f"no rule fits {len(lost):,} series, as {shown}", "end with a rule of '*' only")
    return chosen


def read_rules(path: Path) -> pl.DataFrame:
    """Rules from TOML (`[[rules]]` tables) or Parquet; checked by `check_rules` when used."""
    import tomllib

    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path)
        return pl.DataFrame(tomllib.loads(path.read_text(encoding="utf-8"))["rules"])
    except (OSError, KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(
            "a rules table: TOML with [[rules]], or Parquet", f"{path}: {error}", "see docs/patchwork.md"
        ) from None  # fmt: skip


def summary(panel: Panel, origin: int, rules: pl.DataFrame) -> pl.DataFrame:
    """How many series go where, and why: one row a rule that is used, with its classes, model, series and units."""
    classes, _ = classify(panel, origin)
    chosen = route(panel.series, classes, rules)
    units = panel.history(origin, round(panel.frequency.year))[0].sum(axis=1, dtype=np.float64)
    table = (
        pl.DataFrame({"rule": chosen, "units": units}).group_by("rule").agg(pl.len().alias("series"), pl.sum("units"))
    )
    return rules.with_row_index("rule").with_columns(pl.col("rule").cast(pl.Int64)).join(table, on="rule").sort("rule")
