"""Features recomputed in SQL by DuckDB, from the table of sales alone."""

from datetime import date

import duckdb
import numpy as np
import polars as pl
import pytest

import shop as small_shop
from shelfcast.data.feature_rows import FeatureRows
from shelfcast.data.features import Features
from shelfcast.data.panel import Panel

ORIGINS = (19_723 + 30, 19_723 + 419, 19_723 + 430, 19_723 + 800)
LEAD, SPAN = 4, 3
HORIZON = f"between origin + {LEAD + 1} and origin + {LEAD + SPAN}"
STATE_SQL = """
with firsts as (
    select item, origin, coalesce(min(period) filter (where units > 0 and period <= origin), min(period)) as first,
           min(period) as start, department
    from sales, asked group by item, origin, department
), rows as (
    select f.*, s.period, s.units, s.seen, s.promo, s.price, s.views, origin - s.period as ago
    from firsts f join sales s using (item) where s.period <= origin
), h as (select * from rows where period >= first), typical as (
    select 0.1 * quantile_cont(mean, 0.05) as small
    from (select avg(units) as mean from sales where units > 0 group by item)
), everyone as (
    select origin, avg(units) filter (where seen and period // 7 >= (origin + 1) // 7 - 4) as level,
           avg(units) filter (
               where seen and period // 7 >= (origin + 1) // 7 - 8 and period // 7 < (origin + 1) // 7 - 4)
               as level_before
    from sales, asked where period // 7 < (origin + 1) // 7 group by origin
), sums as (
    select item, origin, first, start, department,
        count(*) filter (where seen and ago < 28) as seen28, sum(units) filter (where seen and ago < 28) as units28,
        count(*) filter (where seen and ago < 28 and promo = 0) as quiet28,
        sum(units) filter (where seen and ago < 28 and promo = 0) as quiet_units28,
        avg(units) filter (where seen and ago < 7) as m7, avg(units) filter (where seen and ago < 28) as m28,
        avg(units) filter (where seen and ago < 91) as m91, avg(units) filter (where seen and ago < 364) as m364,
        avg(units) filter (where seen and ago between 28 and 55) as before28,
        avg((units = 0)::int) filter (where seen and ago < 28) as zeros28,
        avg((units = 0)::int) filter (where seen and ago < 91) as zeros91,
        count(*) filter (where seen and ago < 364) / count(*) filter (where units > 0 and ago < 364) as interval,
        stddev_pop(units) filter (where seen and ago < 91) as sd91,
        avg(units) filter (where units > 0 and ago < 91) as sale,
        min(ago) filter (where units > 0) as since, max(units) filter (where seen and ago < 28) as peak,
        arg_max(units, period) filter (where seen and ago < 28) as latest,
        avg(units) filter (where seen and ago < 364 and promo = 0) as quiet364,
        avg(units) filter (where seen and ago < 364 and promo = 1) as lifted364,
        avg((promo = 1)::int) filter (where seen and ago < 7) as promoted
    from h group by all
), views as (
    select item, origin, avg(views) filter (where ago < 7) as views7, avg(views) filter (where ago < 91) as views91,
           nullif(avg(promo) filter (where ago < 7), 0) as promo7
    from rows group by item, origin
), scales as (
    select sums.*, 2 * greatest(1 - seen28 / 28, 0) as prior, level, level_before, small
    from sums join everyone using (origin), typical
), scaled as (
    select *, small + greatest(
        0.5 * ((units28 + prior * level) / (seen28 + prior) + (quiet_units28 + prior * level) / (quiet28 + prior)),
        0.3 * m91, 0.15 * m364) as s
    from scales
)
select item, origin, s as scale, ln(s) as "log scale", origin + 1 - first as age, m7 / s as "mean of 1st window",
    m28 / s as "mean of 2nd window", m91 / s as "mean of 3rd window", m364 / s as "mean of 4th window",
    latest / s as "last observed", (m28 + 0.1 * s) / (before28 + 0.1 * s) as "trend of 2nd window",
    zeros28 as "zeros of 2nd window", zeros91 as "zeros of 3rd window", interval as "interval between sales",
    sd91 / m91 as variation, sale / s as "size of a sale", since as "since last sale",
    seen28 / least(28, origin + 1 - first) as "observed share", peak / s as "peak of 2nd window",
    case when lifted364 is not null then quiet364 / s end as "mean without promotions",
    case when lifted364 is not null then (lifted364 + 0.1 * s) / (quiet364 + 0.1 * s) end as "past lift of promotions",
    case when lifted364 is not null then promoted end as "promoted lately",
    level / s as "everyone level", (level + 0.1 * s) / (level_before + 0.1 * s) as "everyone growth",
    views7 as "views lately", views7 / views91 as "views growth", promo7 as "promo lately"
from scaled join views using (item, origin)
"""
AHEAD_SQL = f"""
with prices as (
    select item, origin,
        avg(ln(price)) filter (where period {HORIZON}) as ahead,
        any_value(ln(price)) filter (where period = origin) as now,
        avg(ln(price)) filter (where period between origin - 181 and origin) as usual,
        max(price) filter (where period between origin - 90 and origin + {LEAD}) as top,
        nullif(avg(promo) filter (where period {HORIZON}), 0) as promo
    from sales, asked group by item, origin
), past as (
    select item, origin, coalesce(min(period) filter (where units > 0 and period <= origin), min(period)) as first
    from sales, asked group by item, origin
), year as (
    select item, origin, first,
        avg(units) filter (where seen and period + 364 {HORIZON}) as ago,
        avg(units) filter (
            where seen and period between origin + {LEAD + 1 - 364 - 3} and origin + {LEAD + SPAN - 364 + 3}) as near,
        avg(units) filter (where seen and period between origin - 364 - 27 and origin - 364) as earlier
    from past join sales using (item) where period >= first group by all
)
select item, origin, ahead - now as "price change from origin", ahead - usual as "price over usual",
    greatest(1 - exp(ahead) / greatest(top, exp(ahead)), 0) as "price cut", promo as "promo at target",
    case when first <= origin + {LEAD + 1 - 364} then ago end as "a year ago",
    case when first <= origin + {LEAD + 1 - 364 - 3} then near end as "around a year ago",
    case when first <= origin + {LEAD + 1 - 364 - 3} then earlier end as earlier
from prices join year using (item, origin)
"""
OVER_SCALE = ("a year ago", "around a year ago")


@pytest.fixture(scope="module")
def sales():
    """Three years of a shop."""
    return small_shop.draw(n_periods=1100, n_launches=2, seed=3)[0]


@pytest.fixture(scope="module")
def said(sales):
    """Our features of every series at each origin, as a table."""
    panel = Panel.from_frame(sales, small_shop.SCHEMA, today=date(2027, 12, 31))
    features = Features.learn(panel)
    tables = []
    for origin in ORIGINS:
        there = np.flatnonzero(panel.start + 28 <= origin)
        n = np.full(len(there), 1)
        values, scale, _ = FeatureRows(features, panel).rows(there, origin * n, LEAD * n, SPAN * n)
        table = pl.DataFrame(values, schema=list(features.names)).with_columns(scale=scale, origin=pl.lit(origin))
        tables.append(table.hstack(panel.series["item"][there].to_frame()))
    return pl.concat(tables).sort("item", "origin")


def recomputed(sales, query):
    """The oracle's table."""
    day = (pl.col("date") - pl.lit(date(1970, 1, 1))).dt.total_days()
    seen = (pl.col("in_stock") > 0) | (pl.col("demand") > 0)
    table = sales.with_columns(
        period=day, seen=seen, units=pl.when(seen).then("demand").otherwise(0).cast(float), promo=pl.col("promo")
    )
    with duckdb.connect() as memory:
        memory.register("sales", table)
        memory.register("asked", pl.DataFrame({"origin": ORIGINS}))
        return memory.sql(query).pl().sort("item", "origin")


def compare(said, found, names):
    """Equal up to single precision, absent where the oracle's is."""
    both = said.select("item", "origin", "scale", *names).join(found, on=["item", "origin"], suffix=" found")
    assert both.height == said.height
    for name in names:
        ours, theirs = both[name].to_numpy(), both[f"{name} found"].cast(float).fill_null(np.nan).to_numpy()
        if name in OVER_SCALE:
            theirs = theirs / both["scale"].to_numpy()
        assert np.isfinite(ours).any(), name
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5, err_msg=name)


def test_what_was_known_at_the_origin(sales, said):
    found = recomputed(sales, STATE_SQL)
    names = [name for name in found.columns if name not in ("item", "origin", "scale")]
    assert len(names) == 24
    np.testing.assert_allclose(
        said["scale"], said.join(found, on=["item", "origin"], suffix=" found")["scale found"], rtol=1e-5
    )
    compare(said, found, names)


def test_what_is_known_of_the_target(sales, said):
    found = recomputed(sales, AHEAD_SQL)
    compare(said, found, [name for name in found.columns if name not in ("item", "origin", "earlier")])
    both = said.join(found, on=["item", "origin"], suffix=" found").filter(pl.col("growth a year ago").is_not_nan())
    assert both.height
    near, earlier, small = both["around a year ago found"], both["earlier"], 0.1 * both["scale"]
    np.testing.assert_allclose(both["growth a year ago"], (near + small) / (earlier + small), rtol=2e-4)
