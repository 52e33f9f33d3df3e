"""Products with no history: the forest against what launches of their department did, strict in time.

    python benchmarks/new_products.py [MODEL] [SETTING=VALUE ...] [--seeds N] [--others]

M5 sample. At six dates half a year apart (d_365 .. d_1275) everything is learned from what happened by then, without
any series of an item of which a series begins in the half year after. Each such series is forecast from the day before
its first sale, 56 days, nine levels. WQL, and the pinball loss over the series' mean change from day to day (of its
whole history), mean of series; differences are to the profile of launches of the department. "with the department's" is
the mean of both quantiles, what a `blend` with a `patchwork` of that group says of a product without history.
`--others` (of `sqrf`): trees learn from the same rows, and what the item's other stores sold by that date is read as a
feature when it is forecast, as it would be by anyone who sells it elsewhere already.
"""

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

import m5_data
from shelfcast.data.features import Features
from shelfcast.data.panel import Panel
from shelfcast.horizons import per_period
from shelfcast.models.base import M5_LEVELS
from shelfcast.models.launches import LaunchProfile
from shelfcast.models.table import forecaster

DATES = (365, 547, 729, 911, 1093, 1275)
HALF_YEAR, DAYS = 182, 56
HORIZONS = per_period(DAYS)
Values = NDArray[np.floating[Any]]


def launches(panel: Panel, date: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of series that begin in the half year after a date, and of those whose item is none of theirs."""
    born = (panel.start > date) & (panel.start <= date + HALF_YEAR) & (panel.start + DAYS <= panel.last)
    items = panel.series["item"].to_numpy()
    return np.flatnonzero(born), np.flatnonzero(~np.isin(items, items[born]))


def changes(panel: Panel) -> NDArray[np.float64]:
    """(N,) mean absolute change of demand from day to day."""
    ends = panel.indptr[1:]
    return np.array([np.abs(np.diff(panel.demand[a:b])).mean() for a, b in zip(panel.indptr[:-1], ends, strict=True)])


def sold(panel: Panel) -> NDArray[np.float64]:
    """(N, 56) units of the first days."""
    return np.stack([panel.demand[begin : begin + DAYS] for begin in panel.indptr[:-1]]).astype(np.float64)


def learned(panel: Panel, model: Any) -> Values:
    """(N, 56, Q) of a fitted forecaster, asked on the day before each series begins."""
    out = np.empty((panel.n_series, DAYS, len(M5_LEVELS)))
    for start in np.unique(panel.start):
        mine = np.flatnonzero(panel.start == start)
        out[mine] = model.predict(panel.take(mine), [int(start) - 1]).values[:, 0]
    return out


def scores(said: Values, units: Values, change: Values) -> tuple[float, float]:
    """WQL and scaled pinball loss."""
    levels, error = np.array(M5_LEVELS), units[..., None] - said
    loss = np.maximum(levels * error, (levels - 1) * error).mean(axis=2)
    return float(2 * loss.sum() / units.sum()), float((loss.mean(axis=1) / change).mean())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="sqrf")
    parser.add_argument("settings", nargs="*", default=[], help="as n_rows=100000; the defaults otherwise")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="first of the six dates, to choose settings on some")
    parser.add_argument("--dates", type=int, default=len(DATES), help="how many of them")
    parser.add_argument("--others", action="store_true", help="read the history of the item's other stores")
    asked = parser.parse_args()
    if asked.others and asked.model != "sqrf":
        parser.error(f"--others reads features of a forest; expected the model sqrf, got {asked.model}")
    if not m5_data.FOLDER.is_dir():
        print("skipped: the M5 sample is not there; it is expected in ../shared/data/m5 beside the project")
        return 0
    settings = {key: json.loads(value) for key, value in (text.split("=", 1) for text in asked.settings)}
    panel = m5_data.with_events(m5_data.products())
    said: dict[str, list[Values]] = {}
    units, change = [], []
    begin = time.process_time()
    for day in DATES[asked.first : asked.first + asked.dates]:
        date = m5_data.period(day)
        born, others = launches(panel, date)
        new, rest = panel.take(born), panel.take(others)
        units.append(sold(new))
        change.append(changes(new))
        for group in (None, "category", "department"):
            profile = LaunchProfile.learn(rest.as_of(date), HORIZONS, M5_LEVELS, group)
            said.setdefault(f"launches of the {group or 'chain'}", []).append(profile.values[profile.of(new)])
        for seed in range(asked.seeds):
            model: Any = forecaster(asked.model, horizons=DAYS, levels=M5_LEVELS, **settings)
            model.fit(rest.as_of(date), seed=seed)
            if asked.others:
                model.features_ = Features.learn(panel.as_of(date))
            made = learned(new, model)
            said.setdefault(f"{asked.model}, seed {seed}", []).append(made)
            both = (made + said["launches of the department"][-1]) / 2
            said.setdefault(f"   seed {seed}, with the department's", []).append(both)
        seconds = time.process_time() - begin
        print(f"d_{day}: {len(born)} series begin, {len(others)} learned from, {seconds:.0f} CPU s", flush=True)
    truth, size = np.concatenate(units), np.concatenate(change)
    base = scores(np.concatenate(said["launches of the department"]), truth, size)
    print(f"{len(truth)} series\n{'':28}{'WQL':>8}{'scaled':>8}{'WQL':>9}{'scaled':>9}")
    for label, parts in {"zero": [np.zeros((*truth.shape, len(M5_LEVELS)))], **said}.items():
        wql, scaled = scores(np.concatenate(parts), truth, size)
        print(f"{label:28}{wql:8.4f}{scaled:8.4f}{wql / base[0] - 1:+9.1%}{scaled / base[1] - 1:+9.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
