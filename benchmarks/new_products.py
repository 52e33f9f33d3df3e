"""Products with no history: the forest against what launches of their department did, strict in time.

    python benchmarks/new_products.py [MODEL] [SETTING=VALUE ...] [--data m5|shop|frat] [--seeds N] [--others]

At some dates (M5: six, half a year apart, d_365 .. d_1275) everything is learned from what happened by then, without
any series of an item of which a series begins in the half year after. Each such series is forecast from the period
before its first sale, eight weeks, nine levels. WQL, and the pinball loss over the series' mean change from period to
period (of its whole history), mean of series; differences are to the profile of launches of a group, on M5 the
department. "with the department's" is the mean of both quantiles, what a `blend` with a `patchwork` of that group says
of a product without history.
`--others` (of `sqrf`): trees learn from the same rows, and what the item's other stores sold by that date is read as a
feature when it is forecast, as it would be by anyone who sells it elsewhere already.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import m5_data
import weekly_data
from shelfcast.data.features import Features
from shelfcast.data.panel import Panel
from shelfcast.horizons import per_period
from shelfcast.models.base import M5_LEVELS
from shelfcast.models.launches import LaunchProfile
from shelfcast.models.table import forecaster

Values = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Set:
    """A data set: its panel, dates as places in it, periods of half a year and of eight weeks, columns of launches.

    Differences are to the last of the columns; `needs` is a folder that has to be there.
    """

    panel: Callable[[], Panel]
    dates: tuple[int, ...]
    half_year: int
    ahead: int
    groups: tuple[str, ...]
    needs: Path | None = None


SETS = {
    "m5": Set(
        lambda: m5_data.with_events(m5_data.products()), (364, 546, 728, 910, 1092, 1274), 182, 56,
        ("category", "department"), m5_data.FOLDER,
    ),
    "shop": Set(weekly_data.web_shop, (274, 365, 456, 547), 91, 56, ("theme",)),
    "frat": Set(
        lambda: weekly_data.panel_of("frat", weekly_data.FRAT), (26, 52, 78, 104), 26, 8,
        ("category", "sub_category"), weekly_data.FRAT,
    ),
}  # fmt: skip


def launches(panel: Panel, date: int, data: Set) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of series that begin in the half year after a date, and of those whose item is none of theirs."""
    born = (panel.start > date) & (panel.start <= date + data.half_year) & (panel.start + data.ahead <= panel.last)
    items = panel.series["item"].to_numpy()
    return np.flatnonzero(born), np.flatnonzero(~np.isin(items, items[born]))


def changes(panel: Panel) -> NDArray[np.float64]:
    """(N,) mean absolute change of demand from period to period; NaN of what never changed."""
    ends = panel.indptr[1:]
    found = [np.abs(np.diff(panel.demand[a:b])).mean() for a, b in zip(panel.indptr[:-1], ends, strict=True)]
    return np.where(np.array(found) > 0, found, np.nan)


def sold(panel: Panel, ahead: int) -> NDArray[np.float64]:
    """(N, ahead) units of the first periods; NaN where they were not observed."""
    units = np.where(panel.observed, panel.demand, np.nan)
    return np.stack([units[begin : begin + ahead] for begin in panel.indptr[:-1]]).astype(np.float64)


def learned(panel: Panel, model: Any) -> Values:
    """(N, K, Q) of a fitted forecaster, asked in the period before each series begins."""
    out = np.empty((panel.n_series, len(model.horizons), len(M5_LEVELS)))
    for start in np.unique(panel.start):
        mine = np.flatnonzero(panel.start == start)
        out[mine] = model.predict(panel.take(mine), [int(start) - 1]).values[:, 0]
    return out


def scores(said: Values, units: Values, change: Values) -> tuple[float, float]:
    """WQL and scaled pinball loss."""
    levels, error = np.array(M5_LEVELS), units[..., None] - said
    loss = np.maximum(levels * error, (levels - 1) * error).mean(axis=2)
    return float(2 * np.nansum(loss) / np.nansum(units)), float(np.nanmean(np.nanmean(loss, axis=1) / change))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="sqrf")
    parser.add_argument("settings", nargs="*", default=[], help="as n_rows=100000; the defaults otherwise")
    parser.add_argument("--data", choices=SETS, default="m5")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="first of the dates, to choose settings on some")
    parser.add_argument("--dates", type=int, default=None, help="how many of them; all without it")
    parser.add_argument("--others", action="store_true", help="read the history of the item's other stores")
    asked = parser.parse_args()
    if asked.others and asked.model != "sqrf":
        parser.error(f"--others reads features of a forest; expected the model sqrf, got {asked.model}")
    data = SETS[asked.data]
    if data.needs is not None and not data.needs.is_dir():
        print(f"skipped: {asked.data} is not there; it is expected in ../shared/data beside the project")
        return 0
    settings = {key: json.loads(value) for key, value in (text.split("=", 1) for text in asked.settings)}
    compare(data, asked, settings)
    return 0


def compare(data: Set, asked: Any, settings: dict[str, Any]) -> None:
    """Learn, forecast and print."""
    panel, horizons, group = data.panel(), per_period(data.ahead), data.groups[-1]
    said: dict[str, list[Values]] = {}
    units, change = [], []
    begin = time.process_time()
    for day in data.dates[asked.first :][: asked.dates]:
        date = panel.first + day
        born, others = launches(panel, date, data)
        new, rest = panel.take(born), panel.take(others)
        units.append(sold(new, data.ahead))
        change.append(changes(new))
        for column in (None, *data.groups):
            profile = LaunchProfile.learn(rest.as_of(date), horizons, M5_LEVELS, column)
            said.setdefault(f"launches of the {column or 'chain'}", []).append(profile.values[profile.of(new)])
        for seed in range(asked.seeds):
            model: Any = forecaster(asked.model, horizons=data.ahead, levels=M5_LEVELS, **settings)
            model.fit(rest.as_of(date), seed=seed)
            if asked.others:
                model.features_ = Features.learn(panel.as_of(date))
            made = learned(new, model)
            said.setdefault(f"{asked.model}, seed {seed}", []).append(made)
            both = (made + said[f"launches of the {group}"][-1]) / 2
            said.setdefault(f"   seed {seed}, with the {group}'s", []).append(both)
        seconds = time.process_time() - begin
        print(f"d_{day + 1}: {len(born)} series begin, {len(others)} learned from, {seconds:.0f} CPU s", flush=True)
    truth, size = np.concatenate(units), np.concatenate(change)
    base = scores(np.concatenate(said[f"launches of the {group}"]), truth, size)
    print(f"{len(truth)} series\n{'':34}{'WQL':>8}{'scaled':>8}{'WQL':>9}{'scaled':>9}")
    for label, parts in {"zero": [np.zeros((*truth.shape, len(M5_LEVELS)))], **said}.items():
        wql, scaled = scores(np.concatenate(parts), truth, size)
        print(f"{label:34}{wql:8.4f}{scaled:8.4f}{wql / base[0] - 1:+9.1%}{scaled / base[1] - 1:+9.1%}")


if __name__ == "__main__":
    sys.exit(main())
