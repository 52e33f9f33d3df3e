"""Manual changes of a forecast: a planner's table, applied after the model, audited, expiring, and scored.

One row is one change. Columns named as columns of the panel's series (`item`, `department`, ..) say which products it
is for; an empty cell fits all of them. Then

    first, last   dates of the first and last period it is for, both included
    action        multiply (by `amount`), add (`amount` units a period), set (to `amount` units a period)
    amount        a number >= 0 (`add` may be below)
    expires       from this day on it is ignored; empty for never
    id, reason, author   kept for the audit

Rows apply in their order. A horizon that a change covers in part takes it in part: of 7 summed days of which 3 are
doubled, the law is that of `1 + 3/7` times. Every quantile moves by the same rule, so laws stay ordered; they are cut
at zero. What the model said of the changed cells is kept, so that both can be scored when demand is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.cells import window_demand
from shelfcast.data.panel import Panel
from shelfcast.data.tables import infer_types, open_table
from shelfcast.errors import DataError, nearest
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon
from shelfcast.scoring import pinball, ratio

if TYPE_CHECKING:
    from shelfcast.data.tables import Query

Array = NDArray[np.float64]
_NEEDED = ("first", "last", "action", "amount")
_KEPT = ("id", "expires", "reason", "author")


class Action(StrEnum):
    """What a change does to a period's law."""

    MULTIPLY = "multiply"
    ADD = "add"
    SET = "set"


class Status(StrEnum):
    """What became of a change at an origin."""

    APPLIED = "applied"
    EXPIRED = "expired"
    PAST = "past"
    NOT_YET = "not yet"
    NO_PRODUCT = "no product"


@dataclass(frozen=True)
class Applied:
    """A changed forecast, and what was done.

    Parameters
    ----------
    forecast : after all changes.
    audit : one row a change: id, what it says, status, series, cells, units_before, units_after (of single periods).
    changed : (N, O, K) ids of the changes that touched each cell, joined by commas; empty text elsewhere.
    """

    forecast: Forecast
    audit: pl.DataFrame
    changed: NDArray[np.str_]


def read_overrides(source: "str | Path | Query", panel: Panel, root: Path | None = None) -> pl.DataFrame:
    """The table, checked: filters as text, `first` and `last` as periods, `action`, `amount`, `expires`, and the rest.

    Raises DataError with the rows shown where it is not as the module says.
    """
    table = open_table(source, "overrides", root)
    table.require(_NEEDED)
    filters = [name for name in panel.series.columns if name in table.columns]
    for name in table.columns:
        if name not in (*_NEEDED, *_KEPT, *filters):
            there = [*_NEEDED, *_KEPT, *panel.series.columns]
            raise DataError(f"columns of the products or {_NEEDED + _KEPT}", f"'{name}'", nearest(name, there),
                            table="overrides")  # fmt: skip
    parts = list(table.batches())
    if not parts:
        return _empty(filters)
    frame = pl.concat(parts, how="vertical_relaxed")
    frame = pl.DataFrame([column.cast(pl.String) if column.dtype == pl.Categorical else column for column in frame])
    days = {name: _dates(frame, name) for name in ("first", "last", "expires") if name in frame.columns}
    made = pl.DataFrame(
        {
            "id": _ids(frame),
            **{name: frame[name].cast(pl.String).replace("", None) for name in filters},
            "first": panel.frequency.to_period(days["first"].to_numpy()).astype(np.int64),
            "last": panel.frequency.to_period(days["last"].to_numpy()).astype(np.int64),
            "action": frame["action"].cast(pl.String).str.strip_chars().str.to_lowercase(),
            "amount": infer_types(frame.select("amount"))["amount"].cast(pl.Float64, strict=False),
            "expires": days.get("expires", pl.Series([None] * frame.height, dtype=pl.Date)),
            **{name: _text(frame, name) for name in ("reason", "author")},
        }
    )
    _check(made, frame)
    return made


def _empty(filters: Sequence[str]) -> pl.DataFrame:
    text = dict.fromkeys(("id", *filters, "action", "reason", "author"), pl.String)
    return pl.DataFrame(schema=text | {"first": pl.Int64, "last": pl.Int64, "amount": pl.Float64, "expires": pl.Date})


def _text(frame: pl.DataFrame, name: str) -> pl.Series:
    return frame[name].cast(pl.String) if name in frame.columns else pl.Series([""] * frame.height, dtype=pl.String)


def _ids(frame: pl.DataFrame) -> pl.Series:
    """Ids as given, else numbers from 1; commas would read as several."""
    numbers = pl.Series([str(i + 1) for i in range(frame.height)])
    if "id" not in frame.columns:
        return numbers
    given = frame["id"].cast(pl.String).str.replace_all(",", ";")
    return pl.select(pl.coalesce(given.replace("", None), numbers)).to_series()


def _dates(frame: pl.DataFrame, name: str) -> pl.Series:
    """A column of dates; DataError where text is none."""
    column = frame[name]
    if column.dtype in (pl.Date, pl.Datetime):
        return column.cast(pl.Date)
    text = column.cast(pl.String).replace("", None)
    made = text.str.to_date("%Y-%m-%d", strict=False)
    wrong = made.is_null() & text.is_not_null()
    if wrong.any() or (name != "expires" and made.null_count()):
        bad = frame.filter(wrong | (made.is_null() if name != "expires" else wrong))
        raise DataError(f"dates as 2026-11-30 in '{name}'", f"{bad.height} rows without", "correct them",
                        table="overrides", samples=bad.head(3).rows(named=True))  # fmt: skip
    return made


def _check(made: pl.DataFrame, frame: pl.DataFrame) -> None:
    amount, add = pl.col("amount"), pl.col("action") == Action.ADD
    tests = {
        f"an action among {', '.join(Action)}": ~pl.col("action").is_in([a.value for a in Action]),
        "a finite amount, of 0 or more but for 'add'": amount.is_null() | ~amount.is_finite() | (~add & (amount < 0)),
        "a last date that is not before the first": pl.col("last") < pl.col("first"),
        "each id once": pl.col("id").is_duplicated(),
    }
    for expected, test in tests.items():
        wrong = made.select(test.fill_null(True))[:, 0]
        if wrong.any():
            raise DataError(expected, f"{wrong.sum()} rows without", "correct them", table="overrides",
                            samples=frame.filter(wrong).head(3).rows(named=True))  # fmt: skip


def apply_overrides(made: Forecast, panel: Panel, table: pl.DataFrame) -> Applied:
    """Apply a checked table to a forecast of the panel's series, in its order.

    A change counts at an origin if it has not expired on that day and covers a period ahead of it.
    """
    work = _Work(
        made.values.astype(np.float64), None if made.mean is None else made.mean.astype(np.float64),
        np.full(made.values.shape[:3], "", dtype=object),
    )  # fmt: skip
    filters = [name for name in panel.series.columns if name in table.columns]
    audit = []
    for row in table.iter_rows(named=True):
        where = _fits(panel, row, filters)
        found = [_coverage(made, o, row) for o in range(len(made.origins))]
        cells = [
            work.change(np.flatnonzero(where), o, count, made.horizons, row)
            for o, (count, status) in enumerate(found)
            if status is Status.APPLIED
        ]
        applied = Status.APPLIED if cells else found[-1][1]
        what = {name: row[name] for name in ("id", "action", "amount", "reason", "author")}
        dates = [str(made.frequency.to_date([row[name]])[0]) for name in ("first", "last")]
        who = ", ".join(f"{name} {row[name]}" for name in filters if row[name] is not None) or "all products"
        n, before, after = np.sum(cells, axis=0).tolist() if cells else (0, 0.0, 0.0)
        status = applied if where.any() else Status.NO_PRODUCT
        audit.append(
            what | {"products": who, "first": dates[0], "last": dates[1], "status": status.value, "cells": int(n),
                    "series": int(where.sum()), "units_before": before, "units_after": after}
        )  # fmt: skip
    mean = None if work.mean is None else work.mean.astype(np.float32)
    out = replace(made, values=work.values.astype(np.float32), mean=mean)
    return Applied(out, pl.DataFrame(audit, schema=_AUDIT), work.changed.astype(np.str_))


@dataclass
class _Work:
    """A forecast while it is changed: values (N, O, K, Q), mean (N, O, K) or None, ids of changes (N, O, K)."""

    values: Array
    mean: Array | None
    changed: NDArray[np.object_]

    def change(
        self, rows: NDArray[np.int64], o: int, count: Array, horizons: Sequence[Horizon], row: dict[str, Any]
    ) -> tuple[float, float, float]:
        """Apply one change to some series at one origin: cells changed, units of single periods before and after."""
        some = np.flatnonzero(count)
        at = np.ix_(rows, np.array([o]), some)
        spans = np.array([horizons[k].span for k in some.tolist()], dtype=np.float64)
        before = self._units(at, spans == 1)
        self.values[at] = _moved(self.values[at], count[some][:, None], spans[:, None], row)
        if self.mean is not None:
            self.mean[at] = _moved(self.mean[at], count[some], spans, row)
        self.changed[at] = np.where(self.changed[at] == "", row["id"], self.changed[at] + f",{row['id']}")
        return float(len(rows) * len(some)), before, self._units(at, spans == 1)

    def _units(self, at: Any, single: NDArray[np.bool_]) -> float:
        """Expected units of the single periods among some cells."""
        units = self.values[at].mean(axis=-1) if self.mean is None else self.mean[at]
        return float(units[..., single].sum())


_AUDIT = {
    "id": pl.String, "products": pl.String, "first": pl.String, "last": pl.String, "action": pl.String,
    "amount": pl.Float64, "status": pl.String, "series": pl.Int64, "cells": pl.Int64, "units_before": pl.Float64,
    "units_after": pl.Float64, "reason": pl.String, "author": pl.String,
}  # fmt: skip


def _fits(panel: Panel, row: dict[str, Any], filters: Sequence[str]) -> NDArray[np.bool_]:
    """(N,) series that a row is for."""
    where = np.ones(panel.n_series, dtype=bool)
    for name in filters:
        if row[name] is not None:
            where &= (panel.series[name].cast(pl.String) == row[name]).fill_null(False).to_numpy()
    return where


def _coverage(made: Forecast, o: int, row: dict[str, Any]) -> tuple[Array, Status]:
    """(K,) periods of each horizon that a change covers, and what becomes of it at this origin."""
    origin, first, last = made.origins[o], int(str(row["first"])), int(str(row["last"]))
    begin = np.array([origin + h.lead + 1 for h in made.horizons])
    end = np.array([origin + h.end for h in made.horizons])
    count = np.maximum(np.minimum(end, last) - np.maximum(begin, first) + 1, 0).astype(np.float64)
    expires = row["expires"]
    if expires is not None and str(made.frequency.to_date([origin])[0])[:10] >= str(expires):
        return count, Status.EXPIRED
    if last <= origin:
        return count, Status.PAST
    return count, Status.APPLIED if count.any() else Status.NOT_YET


def _moved(law: Array, count: Array, span: Array, row: dict[str, Any]) -> Array:
    """Laws (.., K, Q) or means (.., K) after one change of `count` of `span` periods."""
    amount, share = float(str(row["amount"])), count / span
    if row["action"] == Action.MULTIPLY:
        return np.asarray(law * (1 + (amount - 1) * share))
    if row["action"] == Action.SET:
        return np.asarray(law * (1 - share) + amount * count)
    return np.asarray(np.maximum(law + amount * count, 0.0))


def score_overrides(model: Forecast, changed: Forecast, ids: NDArray[np.str_], panel: Panel) -> pl.DataFrame:
    """Did the changes help? One row an id: known cells, demand, WQL and bias without and with it, and a sentence.

    Parameters
    ----------
    model, changed : the same cells before and after the changes; series in the panel's order.
    ids : (N, O, K) as in `Applied.changed`.
    """
    rows: dict[str, Array] = {}
    for o, origin in enumerate(model.origins):
        touched = ids[:, o] != ""
        if not touched.any():
            continue
        demand, scored = window_demand(panel, origin, model.horizons)
        at = touched & scored
        parts = [_sums(f, o, at, demand) for f in (model, changed)]
        for id_ in {one for text in np.unique(ids[:, o][at]) for one in str(text).split(",")}:
            mine = np.array([id_ in str(text).split(",") for text in ids[:, o][at]])
            y = demand[at][mine]
            found = [float(mine.sum()), y.sum(), *(float(x[mine].sum()) for pair in parts for x in pair)]
            rows[id_] = rows.get(id_, np.zeros(6)) + np.array(found)
    return pl.DataFrame([_verdict(id_, sums) for id_, sums in sorted(rows.items())], schema=_SCORED)


def join_scores(tables: Sequence[pl.DataFrame]) -> pl.DataFrame | None:
    """Tables of `score_overrides` over other cells as one; None without any."""
    if not tables:
        return None
    units = pl.col("demand").clip(lower_bound=1e-9)
    sums = [
        pl.col("cells").sum(), pl.col("demand").sum(),
        *((pl.col(name) * units).sum() for name in ("wql_model", "bias_model", "wql_changed", "bias_changed")),
    ]  # fmt: skip
    joined = pl.concat(tables).group_by("id").agg(sums).sort("id")
    return pl.DataFrame([_verdict(str(id_), np.array(rest)) for id_, *rest in joined.iter_rows()], schema=_SCORED)


_SCORED = {
    "id": pl.String, "cells": pl.Int64, "demand": pl.Float64, "wql_model": pl.Float64, "wql_changed": pl.Float64,
    "bias_model": pl.Float64, "bias_changed": pl.Float64, "verdict": pl.String,
}  # fmt: skip


def _sums(made: Forecast, o: int, at: NDArray[np.bool_], demand: Array) -> tuple[Array, Array]:
    """Loss (2 x mean pinball) and error of the point of every chosen cell."""
    values, y = made.values[:, o][at].astype(np.float64), demand[at]
    loss = 2 * pinball(y[:, None], values, np.asarray(made.levels)).mean(axis=1)
    point = values.mean(axis=1) if made.mean is None else made.mean[:, o][at]
    return np.asarray(loss), np.asarray(point - y)


def _verdict(id_: str, sums: Array) -> dict[str, Any]:
    n, units, loss, error, loss_after, error_after = sums
    before, after = (float(ratio(x, max(units, 1e-9))) for x in (loss, loss_after))
    change = (loss_after - loss) / loss if loss > 0 else float(loss_after > 0)
    said = "made no difference" if abs(change) < 0.005 else f"{'helped' if change < 0 else 'hurt'}: the error was "
    rest = "" if abs(change) < 0.005 else f"{abs(change):.0%} {'smaller' if change < 0 else 'larger'} than the model's"
    return {
        "id": id_, "cells": int(n), "demand": units, "wql_model": before, "wql_changed": after,
        "bias_model": error / max(units, 1e-9), "bias_changed": error_after / max(units, 1e-9), "verdict": said + rest,
    }  # fmt: skip
