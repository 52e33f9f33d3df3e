"""What `check` says of a table's rows."""

from datetime import date

import polars as pl

from shelfcast.data.intake import Intake, intake
from shelfcast.data.schema import Duplicates, Negatives, Schema
from shelfcast.data.tables import demand_table

TODAY = date(2024, 2, 1)
ROWS = pl.DataFrame(
    {
        "item": ["a", "a", "a", "b", "b"],
        "date": [date(2024, 1, 1), date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 1), date(2024, 1, 3)],
        "demand": [5.0, -2.0, 1.0, None, 4.0],
        "in_stock": [1.0, 1.0, 0.2, 1.0, 1.0],
    }
)


def test_every_fate_of_a_row_is_counted() -> None:
    schema = Schema(in_stock="in_stock", duplicates=Duplicates.SUM, negatives=Negatives.NET)
    assert intake(demand_table(ROWS, schema, today=TODAY)) == Intake(5, empty=1, short=1, negative=1, added_up=1)


def test_clipped_rows_are_counted_as_they_came() -> None:
    rows = ROWS.filter(pl.col("demand").is_not_null()).unique(["item", "date"], keep="last")
    found = intake(demand_table(rows, Schema(negatives=Negatives.CLIP, duplicates=Duplicates.SUM), today=TODAY))
    assert (found.rows, found.negative, found.added_up) == (3, 1, 0)


def test_the_text_names_every_count() -> None:
    text = str(Intake(1234, 2, 3, 4, 5))
    assert "1,234" in text
    assert len(text.splitlines()) == 5
