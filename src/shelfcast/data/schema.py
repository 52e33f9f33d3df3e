"""What the columns of a demand table mean. Names are mapped once, here, and never travel further.

Roles: *keys* (item, optional location), date, demand, in_stock, *known* columns (price, promotions, other things
planned ahead), *past* columns (page views: known up to the origin only) and *static* columns of a series.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from shelfcast.errors import ConfigError


class Absent(Enum):
    """What it means that a table has no row for a series and date, between the first row and the last date."""

    ZERO = "zero"
    UNOBSERVED = "unobserved"


class Duplicates(Enum):
    """What to do with two rows of one key and date."""

    REFUSE = "refuse"
    SUM = "sum"


class Negatives(Enum):
    """What to do with negative demand: refuse it, count it as zero, or net it against the sales of its period."""

    REFUSE = "refuse"
    CLIP = "clip"
    NET = "net"


class PromotionKind(Enum):
    """A promotion column is a flag (0/1, true/false), a depth (share off, 0..1) or a category (names)."""

    FLAG = "flag"
    DEPTH = "depth"
    CATEGORY = "category"


@dataclass(frozen=True)
class Schema:
    """Which column plays which role, and what silence in the table means.

    A table of `unique_id, ds, y` is `Schema(item="unique_id", date="ds", demand="y")`.

    Parameters
    ----------
    item, location : key columns; `location` may be None.
    date : date or timestamp; the label of its period.
    demand : units sold or wanted. Null means unobserved, or in the future.
    in_stock : flag or fraction of the period in stock; under `in_stock_from` the period counts as unobserved.
    sold_out : flag of periods that began with stock and ended without: what was sold is a lower bound on demand, and
        is completed to what is to be expected above it (`censoring`); kept as a past column too.
    price : unit price, known ahead.
    paid : unit price known only afterwards: what was paid. It tells what units are worth, and of the past.
    promotions : column name -> kind.
    past : numeric columns known up to the origin only.
    known : further numeric columns known ahead.
    static : columns of a series, numeric or categorical.
    frequency : as `Frequency.parse` takes; None to infer it.
    absent, duplicates, negatives : declared meaning of absent rows, repeated rows and negative demand.
    longest_gap : with absent rows as zeros, gaps of more periods than this are unobserved; None for no limit.
    from_first_sale : whether a series begins at its first row with positive demand (zeros before it are dropped).
    """

    item: str = "item"
    date: str = "date"
    demand: str = "demand"
    location: str | None = None
    in_stock: str | None = None
    sold_out: str | None = None
    price: str | None = None
    paid: str | None = None
    promotions: Mapping[str, PromotionKind] = field(default_factory=dict)
    past: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    frequency: str | None = None
    absent: Absent = Absent.ZERO
    duplicates: Duplicates = Duplicates.REFUSE
    negatives: Negatives = Negatives.REFUSE
    longest_gap: int | None = None
    from_first_sale: bool = False
    in_stock_from: float = 0.5

    def __post_init__(self) -> None:
        if self.price is not None and self.paid is not None:
            advice = "name the one that tells what units are worth; the other can be a known or a past column"
            raise ConfigError("schema", f"two columns of prices: '{self.price}' ahead, '{self.paid}' paid", advice)
        if self.paid is not None and self.paid == self.sold_out:
            raise ConfigError("schema", f"one column has two roles: ['{self.paid}']", "give each column one role")
        for name in (self.paid, self.sold_out):
            if name is not None and name not in self.past:
                object.__setattr__(self, "past", (*self.past, name))
        columns = self.columns
        repeated = sorted({name for name in columns if columns.count(name) > 1})
        if repeated:
            raise ConfigError("schema", f"one column has two roles: {repeated}", "give each column one role")
        taken = sorted(set(columns) & {"origin", "lead", "span", "level", "value", "mean", "series"})
        if taken:
            raise ConfigError("schema", f"column names kept for forecasts: {taken}", "rename them in your table")

    @property
    def keys(self) -> tuple[str, ...]:
        """The key columns: item, or item and location."""
        return (self.item,) if self.location is None else (self.item, self.location)

    @property
    def known_columns(self) -> tuple[str, ...]:
        """Columns known ahead: price first, then promotions, then the others."""
        return (*((self.price,) if self.price else ()), *self.promotions, *self.known)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column named, in the order keys, date, demand, in_stock, known, past, static."""
        stock = (self.in_stock,) if self.in_stock else ()
        return (*self.keys, self.date, self.demand, *stock, *self.known_columns, *self.past, *self.static)
