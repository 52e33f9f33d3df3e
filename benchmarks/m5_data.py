"""The M5 sample as panels: 2,405 products (level 12) with prices, and the 154 series of levels 1 to 9.

Read from `../shared/data/m5` beside the project. A series begins at its first sale. Competition data: to evaluate with,
never to ship.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.aggregates import concat
from shelfcast.data.calendars import calendar_from
from shelfcast.data.packing import with_calendar
from shelfcast.data.panel import Calendar, FeatureNames, Panel
from shelfcast.periods import Frequency

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "m5"
DAY = Frequency.parse("day")
FIRST = int(DAY.to_period("2011-01-29"))
N_DAYS = 1941
COLUMNS = [f"d_{day}" for day in range(1, N_DAYS + 1)]
ORIGIN_DAYS = tuple(range(1857, 1914, 7))


def period(day: int) -> int:
    """Period number of `d_<day>`."""
    return FIRST + day - 1


def products() -> Panel:
    """The 2,405 item-store series, with price known ahead and static department, category and state."""
    table = pl.read_parquet(FOLDER / "sales_daily_full_sample.parquet")
    series = table.select(
        item="item_id", location="store_id", department="dept_id", category="cat_id", state="state_id"
    )  # fmt: skip
    names = FeatureNames(known=("price",), price="price")
    return _panel(series, table.select(COLUMNS).to_numpy(), names, _prices(series)[..., None])


def aggregates() -> tuple[Panel, NDArray[np.float64]]:
    """The 154 series of levels 1 to 9 (column `aggregate`), and their weights, which sum to 1 in each level."""
    table = pl.read_parquet(FOLDER / "sales_daily_levels1_9.parquet")
    weights = pl.read_parquet(FOLDER / "weights_levels1_9.parquet")
    joined = table.select("level", "series").join(weights, on=["level", "series"], how="left", maintain_order="left")
    name = pl.concat_str("level", "series", separator=" ")
    sales = table.select(COLUMNS).to_numpy()
    known = np.zeros((*sales.shape, 0), dtype=np.float32)
    series = table.select(item=name, aggregate="level")
    return _panel(series, sales, FeatureNames(), known), joined["weight"].to_numpy()


def everything() -> tuple[Panel, int, NDArray[np.float64]]:
    """Products and aggregates in one panel, the number of products (they come first), and the aggregates' weights.

    Aggregates have the static columns that their name tells, no price, and the SNAP days of their state, or the share
    of states on SNAP.
    """
    single, (high, weights) = products(), aggregates()
    single = replace(single, series=single.series.with_columns(aggregate=pl.lit("item")))
    part = pl.col("item").str.split(" ").list.last()
    code = part.str.split("/").list
    place = pl.when(part.str.contains("^(CA|TX|WI)")).then(code.first())
    goods = pl.when(~part.str.contains("^(CA|TX|WI)") | part.str.contains("/")).then(code.last())
    goods = pl.when(goods != "Total").then(goods)
    named = high.series.select(
        "item",
        location=pl.when(place.str.contains("_")).then(place),
        department=pl.when(goods.str.contains("_")).then(goods),
        category=goods.str.split("_").list.first(),
        state=place.str.split("_").list.first(),
        aggregate=pl.col("aggregate").cast(pl.String),
    )
    known = np.full((len(high.demand), 1), np.nan, dtype=np.float32)
    high = replace(high, series=named, known=known, names=single.names)
    table = pl.read_parquet(FOLDER / "calendar.parquet")
    states = sorted(single.series["state"].unique().to_list())
    snap = {state: pl.col(f"snap_{state}") for state in states}
    snap["all"] = pl.mean_horizontal(snap.values())
    events = ("event_name_1", "event_name_2")
    rows = [table.select("date", *events, place=pl.lit(name), snap=value) for name, value in snap.items()]
    calendar, places = calendar_from(
        pl.concat(rows, how="vertical_relaxed"), place="place", columns=(*events, "snap"),
        frequency=DAY, first=FIRST, last=FIRST + table.height - 1,
    )  # fmt: skip
    panel = concat([single, high])
    at = panel.series["state"].fill_null("all").replace_strict(list(places), list(range(len(places)))).to_numpy()
    return replace(panel, calendar=calendar, place=at.astype(np.int32)), single.n_series, weights


def _prices(series: pl.DataFrame) -> NDArray[np.float32]:
    """(N, 1941) price of every product and day; NaN before it was on sale."""
    places = series.select(item_id="item", store_id="location").with_row_index("place")
    weeks = pl.read_parquet(FOLDER / "calendar.parquet").select("wm_yr_wk", "d").head(N_DAYS).with_row_index("day")
    prices = pl.read_parquet(FOLDER / "sell_prices.parquet").join(places, on=["item_id", "store_id"])
    week_of = weeks.select("wm_yr_wk").unique().sort("wm_yr_wk").with_row_index("week")
    found = prices.join(week_of, on="wm_yr_wk")
    by_week = np.full((series.height, week_of.height), np.nan, dtype=np.float32)
    by_week[found["place"].to_numpy(), found["week"].to_numpy()] = found["sell_price"].to_numpy()
    day_week = weeks.join(week_of, on="wm_yr_wk", maintain_order="left")["week"].to_numpy()
    return by_week[:, day_week]


def _panel(series: pl.DataFrame, sales: NDArray[np.generic], names: FeatureNames, known: NDArray[np.float32]) -> Panel:
    """Wide sales (N, 1941) as a panel whose series begin at their first sale."""
    begin = (np.asarray(sales) > 0).argmax(axis=1)
    kept = np.arange(N_DAYS) >= begin[:, None]
    demand = np.asarray(sales)[kept].astype(np.float32)
    return Panel(
        calendar=Calendar(DAY),
        series=series,
        start=(FIRST + begin).astype(np.int32),
        indptr=np.concatenate(([0], np.cumsum(N_DAYS - begin))).astype(np.int64),
        demand=demand,
        observed=np.ones(len(demand), dtype=bool),
        past=np.zeros((len(demand), 0), dtype=np.float32),
        known=known[kept],
        names=names,
        place=np.zeros(series.height, dtype=np.int32),
        last=period(N_DAYS),
    )


def with_events(panel: Panel) -> Panel:
    """The panel with the competition's events and, for products, the SNAP days of their state, as calendar columns."""
    table = pl.read_parquet(FOLDER / "calendar.parquet")
    names = ("event_name_1", "event_name_2")
    window = {"frequency": panel.frequency, "first": FIRST, "last": FIRST + table.height - 1}
    if "state" not in panel.series.columns:
        calendar, _ = calendar_from(table.select("date", *names), columns=names, **window)
        return with_calendar(panel, calendar)
    states = [
        table.select("date", *names, state=pl.lit(s), snap=f"snap_{s}") for s in panel.series["state"].unique().sort()
    ]
    calendar, places = calendar_from(pl.concat(states), place="state", columns=(*names, "snap"), **window)
    return with_calendar(panel, calendar, "state", places)
