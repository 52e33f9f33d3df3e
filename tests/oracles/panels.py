"""Packing the slow way: a dict of rows, series by series; and the same cells by SQL."""

import datetime as dt

import duckdb
import numpy as np

from shelfcast.data.schema import Absent, Negatives


def dict_cells(rows, schema, *, known=(), items=()):
    """{key: {period: (demand, observed)}} and the last period, from (key, day number, demand or None, in stock) rows.

    `known` are (key, day number) planned ahead, `items` keys that must be there even without rows.
    """
    table = {}
    for key, day, demand, in_stock in rows:
        table.setdefault(key, {}).setdefault(day, []).append((demand, in_stock))
    last = max(day for _, day, demand, _ in rows if demand is not None)
    made = {}
    for key in sorted({*table, *items}):
        days = table.get(key, {})
        start, end = _extent(days, last, schema, [day for k, day in known if k == key])
        cells = {day: _cell(days.get(day), day, last, schema) for day in range(start, end + 1)}
        if schema.absent is Absent.ZERO and schema.longest_gap is not None:
            _hide_gaps(cells, days, last, schema.longest_gap)
        made[key] = cells
    return made, last


def _extent(days, last, schema, planned):
    if not days:
        return last + 1, max(planned, default=last)
    start = min(days)
    if schema.from_first_sale:
        sold = [day for day, rows in days.items() if any(demand is not None and demand > 0 for demand, _ in rows)]
        start = min(sold, default=start)
    end = max(days)
    if schema.absent is Absent.ZERO:
        end = max(end, last)
    return start, max([end, *planned])


def _cell(rows, day, last, schema):
    if day > last:
        return 0.0, False
    if rows is None:
        return 0.0, schema.absent is Absent.ZERO
    if any(demand is None or in_stock < schema.in_stock_from for demand, in_stock in rows):
        return 0.0, False
    units = [max(demand, 0.0) if schema.negatives is Negatives.CLIP else demand for demand, _ in rows]
    return max(sum(units), 0.0), True


def _hide_gaps(cells, days, last, longest):
    run = []
    for day in [*sorted(cells), None]:
        if day is not None and day not in days and day <= last:
            run.append(day)
            continue
        if len(run) > longest:
            cells.update(dict.fromkeys(run, (0.0, False)))
        run = []


def duckdb_cells(frame):
    """Demand by item and day of a plain table (item, date, demand), absent days as zeros up to the last date."""
    sql = """
        with ends as (select item, min(date) as first from frame group by item),
             days as (select item, unnest(generate_series(first, (select max(date) from frame), interval 1 day)) as day
                      from ends),
             sold as (select item, date, sum(demand) as units from frame group by all)
        select days.item, days.day::date as date, coalesce(units, 0) as units
        from days left join sold on sold.item = days.item and sold.date = days.day
        order by days.item, days.day
    """
    with duckdb.connect() as connection:
        connection.register("frame", frame.to_arrow())
        return connection.sql(sql).fetchnumpy()


def cells_of(panel, key_columns=("item",)):
    """{key: {period: (demand, observed)}} of a panel, row by row."""
    made = {}
    for i in range(panel.n_series):
        row = panel.series.row(i, named=True)
        key = tuple(row[name] for name in key_columns) if len(key_columns) > 1 else row[key_columns[0]]
        span = range(int(panel.indptr[i]), int(panel.indptr[i + 1]))
        made[key] = {
            int(panel.start[i]) + r - span.start: (float(panel.demand[r]), bool(panel.observed[r])) for r in span
        }
    return made


def slow_window(cells, first, last):
    """Demand and observed of the periods `first` to `last` of one series' cells."""
    found = [cells.get(period, (0.0, False)) for period in range(first, last + 1)]
    return [d if seen else 0.0 for d, seen in found], [seen for _, seen in found]


def day(number):
    """Date of a day number."""
    return dt.date(1970, 1, 1) + dt.timedelta(days=int(number))


def same_cells(one, other):
    """Whether two dicts of cells are equal, demand up to float32."""
    if {k: list(v) for k, v in one.items()} != {k: list(v) for k, v in other.items()}:
        return False
    return all(
        a[1] == b[1] and np.isclose(a[0], b[0], rtol=1e-6, atol=1e-6)
        for key in one
        for a, b in zip(one[key].values(), other[key].values(), strict=True)
    )
