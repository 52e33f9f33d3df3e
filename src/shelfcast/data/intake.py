"""What was done to the rows of a sales table on their way into a panel: the other half of `shelfcast check`."""

from dataclasses import asdict, dataclass

import polars as pl

from shelfcast.data.panel import KEYS
from shelfcast.data.schema import Duplicates, Negatives
from shelfcast.data.tables import DemandTable


@dataclass(frozen=True)
class Intake:
    """Rows of a table by what became of them.

    Parameters
    ----------
    rows : rows read.
    empty : rows without demand: unobserved, or planned ahead.
    short : rows whose period was mostly out of stock, and is not counted as demand.
    negative : rows with negative demand, clipped or netted as the schema says.
    added_up : rows added to another row of their key and date.
    unplaced : products of an items table without locations that no row of sales places anywhere: they get no series.
    """

    rows: int
    empty: int
    short: int
    negative: int
    added_up: int
    unplaced: int = 0

    def to_dict(self) -> dict[str, int]:
        """Plain values, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = {
            "rows read": self.rows,
            "rows without demand": self.empty,
            "rows out of stock": self.short,
            "rows of negative demand": self.negative,
            "rows added to another": self.added_up,
        }
        if self.unplaced:
            lines["products without place"] = self.unplaced
        return "\n".join(f"{what:<24}{count:,}" for what, count in lines.items())


def intake(sales: DemandTable) -> Intake:
    """Count the rows of a table by what packing does with them, in one pass."""
    schema = sales.schema
    keys = [key for key in KEYS if key in sales.columns]
    columns = {*keys, "period", "demand", *(("in_stock",) if schema.in_stock else ())}
    rows = empty = short = 0
    seen: list[pl.DataFrame] = []
    for batch in sales.batches(columns):
        rows += batch.height
        empty += batch["demand"].null_count()
        if schema.in_stock:
            short += int((batch["in_stock"] < schema.in_stock_from).sum())
        if schema.duplicates is Duplicates.SUM:
            seen.append(batch.select(*keys, "period").unique())
    cells = pl.concat(seen).unique().height if seen else rows
    return Intake(rows, empty, short, _negative(sales), rows - cells)


def _negative(sales: DemandTable) -> int:
    """Rows with negative demand as they came; refused ones never get here."""
    if sales.schema.negatives is Negatives.REFUSE:
        return 0
    return sum(int((batch["demand"] < 0).sum()) for batch in sales.raw_demand())
