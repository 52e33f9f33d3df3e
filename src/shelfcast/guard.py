"""Champion against challenger on the same origins: who may forecast next.

A challenger is promoted unless it is worse: overall or in a guarded segment, for any span. Worse means that the paired
interval of the relative difference lies above zero, or that the difference exceeds a tolerance even if noise could
explain it. So a refresh that changes nothing passes, and one that would hurt a segment does not, however good it is
elsewhere. Segments of fewer than ten series are listed and do not decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from shelfcast.data.panel import Panel
from shelfcast.evaluation import compare
from shelfcast.forecast import Forecast

_FEWEST = 10
_TOLD = 3  # regressions that are told in words


@dataclass(frozen=True)
class Verdict:
    """What the comparison says.

    Parameters
    ----------
    promoted : whether the challenger may replace the champion.
    difference : relative difference of WQL overall at the shortest span; below 0 the challenger is better.
    table : segment_kind, segment, span, difference, low, high, n_series, worse, decides.
    """

    promoted: bool
    difference: float
    table: pl.DataFrame

    def sentences(self) -> list[str]:
        """The worst regressions, one a sentence, and how many more the table has."""
        found = self.table.filter("worse", "decides").sort("segment_kind", "difference", descending=[False, True])
        rows = found.head(_TOLD).iter_rows(named=True)
        more = found.height - _TOLD
        return [
            f"{_who(row['segment_kind'], row['segment'])}, span {row['span']}: error {row['difference']:+.1%}"
            + ("" if row["low"] is None else f" ({row['low']:+.1%} to {row['high']:+.1%})")
            for row in rows
        ] + ([f"{more} more segments and spans; table `verdict`"] if more > 0 else [])


def _who(kind: str, segment: str) -> str:
    return "overall" if kind == "all" else f"{kind} {segment}"


def judge(
    challenger: Forecast, champion: Forecast, panel: Panel, kinds: Sequence[str], *, tolerance: float = 0.01,
    segment_tolerance: float = 0.03,
) -> Verdict:  # fmt: skip
    """Compare two forecasts of the same cells; `kinds` names guarded segments or static columns."""
    overall = compare(challenger, champion, panel).with_columns(segment_kind=pl.lit("all"), segment=pl.lit("all"))
    parts = [overall]
    for kind in kinds:
        part = compare(challenger, champion, panel, (kind,)).rename({kind: "segment"})
        parts.append(part.with_columns(pl.col("segment").cast(pl.String), segment_kind=pl.lit(kind)))
    columns = ["segment_kind", "segment", "span", "difference", "low", "high", "n_series"]
    table = pl.concat([part.select(columns) for part in parts])
    is_all = pl.col("segment_kind") == "all"
    allowed = pl.when(is_all).then(tolerance).otherwise(segment_tolerance)
    worse = (pl.col("low") > 0).fill_null(False) | (pl.col("difference") > allowed).fill_null(False)
    table = table.with_columns(worse=worse, decides=is_all | (pl.col("n_series") >= _FEWEST))
    return Verdict(table.filter("worse", "decides").is_empty(), float(overall["difference"][0] or 0.0), table)
