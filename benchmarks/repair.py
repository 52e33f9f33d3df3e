"""Coverage before and after the conformal repair: M5, 28 days, or Breakfast at the Frat, 8 weeks; later origins only.

    python benchmarks/repair.py [MODEL] [SETTING=VALUE ...] [--data m5|frat] [--seed N] [--learn N] [--judge N]
        [--by WAY ...] [--spans N ...]

`--spans` adds sums of N periods from the first on. The model is frozen at the first origin. At each of the last
`--judge` origins, a week apart, the repair is learned from all origins before it, eight (`--learn`) and more, from
outcomes known by then. Nominal levels lie inside P(y < q) .. P(y <= q) where calibrated; "gap" is by how many points a
level lies outside. Slices with 200 series or more are listed, by span.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl

import m5_data
import weekly_data
from shelfcast.config import CalibrationConfig
from shelfcast.conformal import Settings, by_segment, gaps, walked
from shelfcast.data.panel import Panel
from shelfcast.evaluation import calibration, evaluate
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon, per_period
from shelfcast.models.table import forecaster
from shelfcast.segments import segments

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


class Set(NamedTuple):
    """A data set: where its files are, its panel, periods of a week, periods to forecast, static columns of slices."""

    folder: Path
    panel: Callable[[], Panel]
    week: int
    ahead: int
    columns: tuple[str, ...]


SETS = {
    "m5": Set(m5_data.FOLDER, lambda: m5_data.with_events(m5_data.products()), 7, 28, ("department", "state")),
    "frat": Set(weekly_data.FRAT, lambda: weekly_data.panel_of("frat", weekly_data.FRAT), 1, 8, ("category",)),
}


def worst(made: Forecast, panel, by: tuple[str, ...], span: int) -> pl.DataFrame:
    """The widest gap of every slice, of horizons of one span."""
    table = gaps(calibration(made, panel, by)).filter(pl.col("span") == span)
    return table.group_by(*by, maintain_order=True).agg(pl.col("gap").get(pl.col("gap").abs().arg_max()), pl.len())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="season-profile")
    parser.add_argument("settings", nargs="*", default=[])
    parser.add_argument("--data", choices=SETS, default="m5")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learn", type=int, default=8)
    parser.add_argument("--judge", type=int, default=16)
    parser.add_argument("--by", nargs="+", default=CalibrationConfig().by, help="ways to part products")
    parser.add_argument("--strength", type=float, default=200.0)
    parser.add_argument("--spans", type=int, nargs="*", default=[], help="sums of periods to repair as well")
    given = parser.parse_args()
    data = SETS[given.data]
    if not data.folder.is_dir():
        print(f"skipped: {given.data} is not there; it is expected in ../shared/data beside the project")
        return 0
    settings = {k: json.loads(v) for k, v in (text.split("=", 1) for text in given.settings)}
    panel = data.panel()
    newest = panel.last - data.ahead
    origins = [newest - data.week * i for i in reversed(range(given.learn + data.ahead // data.week + given.judge))]
    horizons = (*per_period(data.ahead), *(Horizon(0, span) for span in given.spans))
    model = forecaster(given.model, horizons=horizons, levels=LEVELS, **settings).fit(
        panel.as_of(origins[0]), seed=given.seed
    )
    made = model.predict(panel, origins)
    begin = time.process_time()
    pairs = walked(made, panel, by_segment(given.by, segments), Settings(strength=given.strength))
    seconds = time.process_time() - begin
    assert pairs is not None
    before, after = (f.at(origins[-given.judge :]).rounded() for f in pairs)
    print(f"{given.model}, {panel.n_series} series, {given.learn}+ origins to learn from; {seconds:.1f} CPU s for all")
    for when, one in (("before", before), ("after", after)):
        whole = gaps(calibration(one, panel))
        table = whole.filter(pl.col("span") == 1).sort("level")
        wql = evaluate(one, panel, metrics=["wql"]).filter(pl.col("span") == 1)["value"][0]
        shown = "  ".join(f"{a:g}: {b:.3f}-{c:.3f}" for a, b, c in table.select("level", "below", "at_most").rows())
        print(f"{when:7} WQL {wql:.4f}, widest gap {100 * np.abs(table['gap'].to_numpy()).max():.1f} points; {shown}")
        for span in given.spans:
            part = whole.filter(pl.col("span") == span)["gap"].to_numpy()
            print(f"        sums of {span} periods: widest gap {100 * np.abs(part).max():.1f} points")
    labels = segments(panel, origins[-given.judge])
    for kind in ("velocity", "demand_class", "age", *data.columns):
        source = labels if kind in labels.columns else panel.series
        sizes = dict(source[kind].cast(pl.String).value_counts().iter_rows())
        for span in (1, *given.spans):
            one, other = (worst(made, panel, (kind,), span) for made in (before, after))
            for label, gap, _, repaired, _ in one.join(other, on=kind, suffix="_after").iter_rows():
                if (n := sizes.get(str(label), 0)) >= 200:
                    print(f"  {kind} {label} ({n}), span {span}: {100 * gap:+.1f} -> {100 * repaired:+.1f} points")
    return 0


if __name__ == "__main__":
    sys.exit(main())
