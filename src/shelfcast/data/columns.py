"""How each kind of column is read, from what a table holds to canonical numbers, or a refusal that shows the rows.

Every reader takes the values of one batch and gives a series of the same length. Checks are whole-column reductions
first (a sum tells NaN, a minimum tells negatives), and only look for the rows when there is something to refuse.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import polars as pl

from shelfcast.data.schema import Negatives, PromotionKind
from shelfcast.data.sources import Table, cell
from shelfcast.errors import DataError

NONE = "none"  # category of code 0
_MOST_CATEGORIES = 1000
_NULL_WORDS = ("", "na", "n/a", "null", "none")
_YES = ("1", "y", "yes", "true", "t", "on", "1.0")
_NO = ("0", "n", "no", "false", "f", "off", "0.0")


class Kind(Enum):
    """How a column is read."""

    KEY = "text or whole numbers"
    DATE = "dates"
    DEMAND = "numbers (units)"
    FRACTION = "flags, or the fraction of the period in stock from 0 to 1"
    PRICE = "prices of 0 or more"
    PAID = "what was paid a unit, 0 or more"
    NUMBER = "finite numbers"
    PAST = "numbers"
    FLAG = "flags: 0 or 1, true or false, yes or no"
    DEPTH = "discount depths from 0 to 1"
    CATEGORY = "categories"
    STATIC = "anything"


@dataclass(frozen=True)
class Column:
    """One canonical column: its name, the column it is read from, and how."""

    name: str
    source: str
    kind: Kind


@dataclass(frozen=True)
class Rows:
    """A batch and where it stands in its table, for messages."""

    batch: pl.DataFrame
    offset: int
    table: str

    def refuse(self, wrong: pl.Series, role: Column, expected: str, came: str, advice: str) -> None:
        """Raise DataError with three of the rows where `wrong` is true; do nothing where there are none."""
        places = wrong.fill_null(False).arg_true()
        if not len(places):
            return
        shown = self.batch.columns[:6]
        shown = shown if role.source in shown else [*shown[:5], role.source]
        samples = [
            f"row {self.offset + int(i) + 1}: "
            + ", ".join(f"{name}={cell(self.batch[name][int(i)])}" for name in shown)
            for i in places.head(3)
        ]
        more = f"{came} in {len(places):,} rows"
        raise DataError(f"{expected} in '{role.source}'", more, advice, table=self.table, samples=samples)


# ---- readers of columns


def _is_text(dtype: pl.DataType) -> bool:
    return dtype in (pl.String, pl.Categorical) or isinstance(dtype, pl.Enum)


def read_key(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    """Categorical; DataError where null, or neither text nor whole numbers."""
    if values.null_count():
        rows.refuse(values.is_null(), role, "a key in every row", "null keys", "fill them in or drop the rows")
    if values.dtype == pl.Categorical:
        return values
    if not (_is_text(values.dtype) or values.dtype.is_integer()):
        advice = "cast the column to text or whole numbers"
        came = f"type {values.dtype}"
        rows.refuse(pl.repeat(True, len(values), eager=True), role, role.kind.value, came, advice)
    return values.cast(pl.String).cast(pl.Categorical)


def _numbers(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    """Float64; DataError with the rows where text is no number."""
    if values.dtype.is_numeric() or values.dtype == pl.Null:
        return values.cast(pl.Float64)
    if values.dtype == pl.Boolean and role.kind is not Kind.DEMAND:
        return values.cast(pl.Float64)
    if not _is_text(values.dtype):
        came = f"type {values.dtype}"
        rows.refuse(values.is_not_null(), role, role.kind.value, came, "cast the column to numbers")
        return pl.repeat(None, len(values), dtype=pl.Float64, eager=True)
    text = values.cast(pl.String).str.strip_chars()
    read = text.cast(pl.Float64, strict=False)
    if read.null_count() > text.null_count():
        wrong = read.is_null() & text.is_not_null() & ~text.str.to_lowercase().is_in(_NULL_WORDS)
        advice = (
            "write plain numbers with a decimal point and no thousands separators or units; leave unknown cells empty"
        )
        rows.refuse(wrong, role, role.kind.value, "text", advice)
    return read


_LARGEST = 1e30  # panels hold single precision, and sums must stay finite


def _finite(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    """The same values; DataError where NaN or infinite. The sum tells in one pass whether there is any."""
    if len(values) and not math.isfinite(values.sum()):
        advice = "leave the cell empty where the value is unknown"
        rows.refuse(~values.is_finite(), role, "finite numbers", "NaN or infinite values", advice)
    least, most = values.min(), values.max()
    if isinstance(least, float) and isinstance(most, float) and max(-least, most) > _LARGEST:
        came = f"numbers beyond {_LARGEST:g}"
        rows.refuse(values.abs() > _LARGEST, role, "numbers of a size that can be added up", came, "correct them")
    return values


def _within(values: pl.Series, low: float, high: float, rows: Rows, role: Column, advice: str) -> pl.Series:
    least, most = values.min(), values.max()
    if isinstance(least, float) and isinstance(most, float) and (least < low or most > high):
        wrong = (values < low) | (values > high)
        rows.refuse(wrong, role, role.kind.value, "values outside that range", advice)
    return values


def read_demand(values: pl.Series, rows: Rows, role: Column, negatives: Negatives, checked: bool) -> pl.Series:
    """Float64 units, null where unobserved; DataError where NaN, infinite, or negative and that is refused."""
    read = _numbers(values, rows, role)
    if checked:
        _finite(read, rows, role)
        least = read.min()
        if negatives is Negatives.REFUSE and isinstance(least, float) and least < 0:
            advice = (
                "set negatives = 'clip' to count returns as 0, or 'net' to net them against the sales of their period"
            )
            rows.refuse(read < 0, role, "demand of 0 or more", "negative demand", advice)
    return read.clip(lower_bound=0) if negatives is Negatives.CLIP else read


def _price(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    read = _finite(_numbers(values, rows, role), rows, role)
    return _within(read, 0, math.inf, rows, role, "correct the price, or leave it empty").cast(pl.Float32)


def _paid(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    """As a price; money over no units is NaN, which tells nothing."""
    return _price(_numbers(values, rows, role).fill_nan(None), rows, role)


def _number(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    return _finite(_numbers(values, rows, role), rows, role).cast(pl.Float32)


def _past(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    return _finite(_numbers(values, rows, role).fill_nan(None), rows, role).cast(pl.Float32)


def _words(values: pl.Series) -> pl.Series:
    """Text as flags where it says yes or no, otherwise as it is: 'Y' -> '1', '0.3' -> '0.3'."""
    text = values.cast(pl.String).str.strip_chars().str.to_lowercase()
    return text.replace([*_YES, *_NO], ["1"] * len(_YES) + ["0"] * len(_NO))


def _flag(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    if _is_text(values.dtype):
        words = _words(values)
        wrong = ~words.is_in(["0", "1", *_NULL_WORDS])
        rows.refuse(wrong, role, role.kind.value, "other values", "write 1 or 0")
        return (words == "1").fill_null(False).cast(pl.Float32)
    read = _finite(_numbers(values, rows, role), rows, role)
    least, most = read.min(), read.max()
    if least is not None and not (least in (0, 1) and most in (0, 1) and read.is_in([0.0, 1.0]).all()):
        advice = "write 1 or 0; a depth or a category is declared as such"
        rows.refuse(~read.is_in([0.0, 1.0]), role, role.kind.value, "other numbers", advice)
    return read.fill_null(0).cast(pl.Float32)


def _fraction(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    values = _words(values) if _is_text(values.dtype) else values
    read = _finite(_numbers(values, rows, role), rows, role).fill_null(1)
    return _within(read, 0, 1, rows, role, "write 1 for in stock, 0 for out, 0.25 for a quarter").cast(pl.Float32)


def _depth(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    read = _finite(_numbers(values, rows, role), rows, role).fill_null(0)
    return _within(read, 0, 1, rows, role, "write 0.3 for 30 %").cast(pl.Float32)


def _static(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    return values


READERS: dict[Kind, Callable[[pl.Series, Rows, Column], pl.Series]] = {
    Kind.KEY: read_key,
    Kind.FRACTION: _fraction,
    Kind.PRICE: _price,
    Kind.PAID: _paid,
    Kind.NUMBER: _number,
    Kind.PAST: _past,
    Kind.FLAG: _flag,
    Kind.DEPTH: _depth,
    Kind.STATIC: _static,
}
PROMOTIONS = {
    PromotionKind.FLAG: Kind.FLAG,
    PromotionKind.DEPTH: Kind.DEPTH,
    PromotionKind.CATEGORY: Kind.CATEGORY,
}


def coded(values: pl.Series, names: Sequence[str]) -> pl.Series:
    """Float32 code of each category."""
    codes = range(1, len(names))
    text = values.cast(pl.String).str.strip_chars()
    return text.replace_strict(list(names[1:]), list(codes), default=0, return_dtype=pl.Float32)


def read_categories(
    table: Table, columns: Sequence[str], before: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Names of the categories of each column: `none`, those known before, then the others in alphabetical order."""
    found: dict[str, set[str]] = {column: set() for column in columns}
    for batch in table.batches(columns) if columns else ():
        for column in columns:
            text = batch[column].unique().cast(pl.String).drop_nulls().str.strip_chars()
            found[column] |= {name for name in text.to_list() if name.lower() not in (NONE, "")}
            if len(found[column]) > _MOST_CATEGORIES:
                advice = "declare it as a flag or a depth, or join rare categories"
                came = f"more than {_MOST_CATEGORIES:,}"
                samples = sorted(found[column])[:3]
                expected = f"a handful of categories in '{column}'"
                raise DataError(expected, came, advice, table=table.name, samples=samples)
    first = {column: tuple(before.get(column, (NONE,))) for column in columns}
    return {column: (*first[column], *sorted(found[column] - set(first[column]))) for column in columns}


def infer_types(frame: pl.DataFrame) -> pl.DataFrame:
    """Text columns that hold whole or decimal numbers only, as numbers; codes with leading zeros stay text."""
    return pl.DataFrame([_inferred(column) for column in frame.get_columns()])


def _inferred(column: pl.Series) -> pl.Series:
    if not _is_text(column.dtype) or column.null_count() == len(column):
        return column
    text = column.cast(pl.String)
    if text.str.contains(r"^0\d").any():
        return column
    for dtype in (pl.Int64, pl.Float64):
        read = text.cast(dtype, strict=False)
        if read.null_count() == text.null_count():
            return read
    return column
