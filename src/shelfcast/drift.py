"""Published forecasts against what happened, period by period, and what of it should alarm.

Each cell (series, origin, horizon) is scored once, when its last period becomes known. What is kept are sums by
segment, so that watching costs what is new and nothing grows with history:

    known     last period known when the cells were scored
    origin, span, kind, segment
    n, demand, loss, error      cells; units; 2 x mean pinball; point less demand
    moved, claimed              |new - old| (mean over levels) against the origin before, and demand of those cells
    below, at_most              lists by level: cells with demand under, and at most, the quantile

An alarm is one rule for all: the latest week (`week` periods) is worse than every earlier week that is watched, and by
more than a margin. So a shop that is always noisy is quiet, and a change is told in the week it happens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.cells import aligned, window_demand
from shelfcast.data.panel import Panel
from shelfcast.forecast import Forecast
from shelfcast.periods import Frequency
from shelfcast.scoring import pinball, ratio

Array = NDArray[np.float64]
Labels = Callable[[Panel, int], pl.DataFrame]
"""(N rows) a column of labels for each kind of segment, as of an origin."""

ALL = "all"
_SUMS = ("n", "demand", "loss", "error", "moved", "claimed")
_KEYS = ("known", "origin", "span", "kind", "segment")
_LEAST_CELLS = 100
_MARGIN = {"error": 0.1, "bias": 0.05, "coverage": 0.03, "volatility": 0.1}
_FIRST_MARGIN = {"bias": 0.25, "coverage": 0.1}  # where there is no earlier week to compare with


@dataclass(frozen=True)
class Alarm:
    """Something that changed; a larger `size` (in margins) comes first."""

    kind: str
    segment: str
    measure: str
    sentence: str
    size: float


def week(frequency: Frequency) -> int:
    """Periods watched together: a season of hours or days, four of longer periods."""
    return frequency.season if 1 < frequency.season <= 24 else 4


def score_published(said: Sequence[Forecast], panel: Panel, since: int, labels: Labels) -> pl.DataFrame:
    """Sums over the cells whose last period lies in `since` + 1 .. the panel's last.

    Parameters
    ----------
    said : one origin each; only horizons that become known in that time.
    panel : of at least their series, without aggregates.
    """
    parts, before = [], dict[tuple[int, int], tuple[pl.DataFrame, NDArray[np.float32]]]()
    for made in sorted(said, key=lambda f: f.origins):
        seen, origin = aligned(made, panel), made.origins[0]
        cells = _cells(made, seen, before)
        kinds = labels(seen, origin).insert_column(0, pl.lit(ALL).alias(ALL))
        for span, table in cells.items():
            for kind in kinds.columns:
                parts.append(
                    table.with_columns(kinds[kind].cast(pl.String).fill_null("(none)").alias("segment"))
                    .group_by("segment").agg(pl.col("^.*$").exclude("segment").sum()).sort("segment")
                    .with_columns(known=pl.lit(panel.last), origin=pl.lit(origin), span=pl.lit(span), kind=pl.lit(kind))
                )  # fmt: skip
        for k, horizon in enumerate(made.horizons):
            before[origin + horizon.end, horizon.span] = (made.series, made.values[:, 0, k])
    if not parts:
        return _nothing()
    table = pl.concat(parts, how="diagonal_relaxed").filter(pl.col("n") > 0)
    n_levels = sum(name.startswith("below") for name in table.columns)
    lists = [pl.concat_list([f"{side}{q}" for q in range(n_levels)]).alias(side) for side in ("below", "at_most")]
    return table.select(*(pl.col(c).cast(t) for c, t in _schema().items() if c not in _LISTS), *lists)


_LISTS = ("below", "at_most")


def _schema() -> dict[str, pl.DataType]:
    keys = dict.fromkeys(_KEYS[:3], pl.Int64()) | dict.fromkeys(_KEYS[3:], pl.String())
    return keys | dict.fromkeys(_SUMS, pl.Float64()) | dict.fromkeys(_LISTS, pl.List(pl.Float64()))


def _nothing() -> pl.DataFrame:
    return pl.DataFrame(schema=_schema())


def _cells(
    made: Forecast, panel: Panel, before: dict[tuple[int, int], tuple[pl.DataFrame, NDArray[np.float32]]]
) -> dict[int, pl.DataFrame]:
    """Sums over the horizons of each span, a row a series: the columns `_SUMS`, and cells under each level."""
    origin, levels = made.origins[0], np.asarray(made.levels)
    demand, scored = window_demand(panel, origin, made.horizons)
    values = made.values[:, 0].astype(np.float64)
    loss = np.where(scored, 2 * pinball(demand[..., None], values, levels).mean(axis=-1), 0)
    point = values.mean(axis=-1) if made.mean is None else made.mean[:, 0].astype(np.float64)
    error = np.where(scored, point - demand, 0)
    moved, compared = np.zeros(demand.shape), np.zeros(demand.shape, dtype=bool)
    for k, horizon in enumerate(made.horizons):
        series, earlier = before.get((origin + horizon.end, horizon.span), (None, None))
        if series is not None and earlier is not None and series.equals(made.series):
            moved[:, k], compared[:, k] = np.abs(values[:, k] - earlier).mean(axis=-1), scored[:, k]
    under, most = (scored[..., None] & test(demand[..., None], values) for test in (np.less, np.less_equal))
    tables = {}
    for span in sorted({h.span for h in made.horizons}):
        at = [k for k, h in enumerate(made.horizons) if h.span == span]
        sums = [x[:, at].sum(axis=1) for x in (scored, demand, loss, error, moved * compared, demand * compared)]
        columns = {name: x.astype(np.float64) for name, x in zip(_SUMS, sums, strict=True)}
        for side, counts in (("below", under), ("at_most", most)):
            columns |= {f"{side}{q}": counts[:, at, q].sum(axis=1).astype(np.float64) for q in range(len(levels))}
        tables[span] = pl.DataFrame(columns)
    return tables


def weekly(table: pl.DataFrame, levels: Sequence[float], last: int, length: int) -> pl.DataFrame:
    """Measures of each week before `last` (ago 0 is the latest): ago, span, kind, segment, n, wql, bias, coverage (the
    gap of the worst level, signed), at (that level), volatility."""
    keys = ["ago", "span", "kind", "segment"]
    rows = table.with_columns(ago=(last - pl.col("known")) // length)
    each = [pl.col(side).list.get(q).sum().alias(f"{side}{q}") for side in _LISTS for q in range(len(levels))]
    sums = rows.group_by(keys).agg(*(pl.col(name).sum() for name in _SUMS), *each).sort(keys)
    n = sums["n"].to_numpy()[:, None]
    below, most = (sums.select(f"{s}{q}" for q in range(len(levels))).to_numpy() / np.maximum(n, 1) for s in _LISTS)
    gap = np.maximum(below - levels, 0) - np.maximum(np.asarray(levels) - most, 0)
    worst = np.abs(gap).argmax(axis=1) if len(gap) else np.zeros(0, dtype=np.int64)
    demand, claimed = sums["demand"].to_numpy(), sums["claimed"].to_numpy()
    return sums.select(
        *keys, "n", wql=pl.Series(ratio(sums["loss"].to_numpy(), demand)).fill_nan(None),
        bias=pl.Series(ratio(sums["error"].to_numpy(), demand)).fill_nan(None),
        coverage=pl.Series(gap[np.arange(len(gap)), worst]), at=pl.Series(np.asarray(levels)[worst]),
        volatility=pl.Series(ratio(sums["moved"].to_numpy(), claimed)).fill_nan(None),
    )  # fmt: skip


def alarms(weeks: pl.DataFrame, unit: str, length: int) -> list[Alarm]:
    """What the latest of `weekly` alarms about, single periods only."""
    found = []
    single = weeks.filter(pl.col("span") == 1, pl.col("n") >= _LEAST_CELLS)
    for (kind, segment), part in single.group_by("kind", "segment", maintain_order=True):
        now, earlier = part.filter(pl.col("ago") == 0), part.filter(pl.col("ago") > 0)
        if now.height:
            row = now.row(0, named=True)
            found += [a for m in _MARGIN if (a := _alarm(str(kind), str(segment), m, row, earlier, unit, length))]
    return sorted(found, key=lambda alarm: -alarm.size)


def _alarm(
    kind: str, segment: str, measure: str, row: dict[str, float], earlier: pl.DataFrame, unit: str, length: int
) -> Alarm | None:
    name = "wql" if measure == "error" else measure
    value = row[name]
    known = earlier[name].drop_nulls().abs().to_numpy()
    if value is None or (len(known) < 2 and measure not in _FIRST_MARGIN):
        return None
    is_relative = measure in ("error", "volatility")
    top = float(known.max()) if len(known) >= 2 else 0.0
    margin = _MARGIN[measure] * (top if is_relative else 1.0) if len(known) >= 2 else _FIRST_MARGIN[measure]
    excess = abs(value) - (top if len(known) >= 2 else 0.0)
    if not excess > margin > 0:
        return None
    who = "all products" if kind == ALL else f"products of {kind} {segment}"
    than = f"; in the {len(known)} weeks before it was at most {top:.1%}" if len(known) >= 2 else ""
    than = than.replace("weeks", "weeks" if length == 7 or unit != "day" else f"spans of {length} {unit}s")
    said = {
        "error": f"the error of published forecasts for {who} was {value:.1%} of demand{than}",
        "bias": f"forecasts for {who} were too {'high' if value > 0 else 'low'} by {abs(value):.1%} of demand{than}",
        "coverage": f"the {row['at']:.4g} quantile for {who} was too {'high' if value > 0 else 'low'}: demand kept "
        f"to it {abs(value):.1%} {'more' if value > 0 else 'less'} often than promised{than}",
        "volatility": f"forecasts for {who} changed by {value:.1%} of demand from one to the next{than}",
    }[measure]  # fmt: skip
    return Alarm(kind, segment, measure, said, float(excess / margin))


def input_alarms(panel: Panel, kinds: pl.DataFrame, n_weeks: int = 8) -> list[Alarm]:
    """Segments whose latest week of units, of selling series or of median price lies outside every week before.

    Parameters
    ----------
    panel : without aggregates. kinds : N rows, a column of labels for each kind.
    """
    length = week(panel.frequency)
    n_weeks = min(n_weeks, (panel.last - panel.first + 1) // length - 1)
    if n_weeks < 3:
        return []
    first = panel.last - length * (n_weeks + 1) + 1
    demand, _ = panel.window(first, panel.last)
    blocks = demand.reshape(len(demand), n_weeks + 1, length).astype(np.float64)
    price = _weekly_price(panel, first, n_weeks + 1, length)
    found = []
    for kind, labels in {ALL: pl.Series([ALL] * len(demand)), **kinds.to_dict()}.items():
        names = labels.cast(pl.String).fill_null("(none)").to_numpy()
        for name in np.unique(names):
            mine = names == name
            who = "all products" if kind == ALL else f"products of {kind} {name}"
            measures = {
                "units": (f"{who} sold {{}} units", blocks[mine].sum(axis=(0, 2)), 0.2),
                "selling": (f"{{}} of {who} sold anything", (blocks[mine].sum(axis=2) > 0).sum(axis=0), 0.2),
            }
            if price is not None and np.isfinite(price[mine]).any(axis=0).all():
                measures["price"] = (f"the median price of {who} was {{}}", np.nanmedian(price[mine], axis=0), 0.1)
            found += [a for m, said in measures.items() if (a := _outside(kind, str(name), m, *said))]
    return sorted(found, key=lambda alarm: -alarm.size)


def _outside(kind: str, segment: str, measure: str, said: str, values: Array, margin: float) -> Alarm | None:
    """An alarm where the last value lies outside the others by more than a share of them."""
    *rest, now = (float(v) for v in values)
    low, high = min(rest), max(rest)
    excess = max(now - high, low - now) / max(high if now > high else low, 1e-9)
    if excess <= margin or high <= 0:
        return None
    text = said.format(f"{now:,.4g}" if measure == "price" else f"{now:,.0f}")
    than = f"{low:,.4g} to {high:,.4g}" if measure == "price" else f"{low:,.0f} to {high:,.0f}"
    return Alarm(kind, segment, measure, f"{text} in the latest week, against {than} in the {len(rest)} before",
                 excess / margin)  # fmt: skip


def _weekly_price(panel: Panel, first: int, n_weeks: int, length: int) -> Array | None:
    """(N, weeks) price of the last period of each week; NaN where unknown."""
    daily = panel.price_window(first, panel.last)
    if daily is None:
        return None
    prices = daily.astype(np.float64).reshape(len(daily), n_weeks, length)[..., -1]
    return np.where(prices > 0, prices, np.nan)
