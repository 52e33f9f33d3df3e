"""The leaderboard's comparison by routed class on other windows: one set, moved by some periods, seed 0.

    python benchmarks/story_classes.py SET --shift PERIODS [PERIODS ...] [--models MODEL ...] [--coverage]

Models have the settings of the leaderboard; nothing is chosen here. Several windows are told one by one, then put
together, by the class that a series had in each. The model `zero` says zeros: what there is to gain.
Results are kept beside the leaderboard's, whose names tell them apart. `--coverage` tells instead how often demand
stayed under each level before and after the conformal repair, over all windows and in the slices that each had.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from shelfcast.conformal import by_segment, gaps, walked
from shelfcast.data.panel import Panel
from shelfcast.evaluation import calibration
from shelfcast.forecast import Forecast
from shelfcast.segments import segments
from story import GENERATIONS, SETS, Entry, keep, kept, made, panel_of, path_of
from story_scores import N_LARGE, REPAIR_BY, labelled, parts_of, scores, series_losses
from story_tables import Found, classes, table

MODELS = ("sqrf", "mq-fnn", "mq-cnn", "blend")


def window(name: str, models: list[str]) -> tuple[Panel, Found]:
    """Labels and scores of all models on the window that `SETS` has now."""
    found: Found = {}
    for entry in (entry for entry in GENERATIONS if entry.name in {"patchwork", *models}):
        make_if_absent(name, entry)
        one = scores(name, entry, 0)
        assert one is not None
        found[entry.name] = [one]
    if "zero" in models:
        made_there = stored(name, next(entry for entry in GENERATIONS if entry.name == "patchwork")).at(SETS[name].test)
        nothing = replace(made_there, values=np.zeros_like(made_there.values))
        found["zero"] = [{"losses": series_losses(nothing, labelled(name))}]
    return labelled(name), found


def make_if_absent(name: str, entry: Entry) -> None:
    """Fit and forecast on the window that `SETS` has now, unless that was done."""
    if not path_of(name, entry, 0).is_file():
        keep(path_of(name, entry, 0), *made(name, entry, 0))


def stored(name: str, entry: Entry) -> Forecast:
    """Forecasts of a model on the window that `SETS` has now, made if need be."""
    make_if_absent(name, entry)
    found = kept(name, entry, 0)
    assert found is not None
    return found[0]


def covered(name: str, models: list[str]) -> pl.DataFrame:
    """One row for each model, repair (0 before, 1 after), slice and level of the window that `SETS` has now."""
    panel, parts = labelled(name), []
    for entry in (entry for entry in GENERATIONS if entry.name in {"patchwork", *models}):
        pair = walked(stored(name, entry), panel, by_segment(REPAIR_BY, segments))
        assert pair is not None
        for after, one in enumerate(pair):
            test = one.at(SETS[name].test).rounded()
            for kind in (None, *parts_of(panel)):
                found = calibration(test, panel, (kind,) if kind else ())
                label = pl.format("{} {}", pl.lit(kind), pl.col(kind).cast(pl.String)) if kind else pl.lit("all")
                found = found.select("level", "below", "at_most", "n", slice=label)
                parts.append(found.with_columns(model=pl.lit(entry.name), after=after))
    return pl.concat(parts)


def members(name: str) -> pl.DataFrame:
    """Slice and series of the window that `SETS` has now."""
    panel = labelled(name)
    return pl.concat(
        pl.DataFrame({"slice": kind + " " + panel.series[kind].cast(pl.String), "series": np.arange(panel.n_series)})
        for kind in parts_of(panel)
    )


def coverage(windows: list[pl.DataFrame], inside: list[pl.DataFrame]) -> Iterator[str]:
    """Points by which levels are off over all windows together, and in slices of `N_LARGE` different series or more."""
    n = pl.col("n")
    found = pl.concat(windows).group_by("model", "after", "slice", "level", maintain_order=True).agg(
        (pl.col("below") * n).sum() / n.sum(), (pl.col("at_most") * n).sum() / n.sum()
    )  # fmt: skip
    sizes = pl.concat(inside).group_by("slice").agg(pl.col("series").n_unique())
    large = sizes.filter(pl.col("series") >= N_LARGE)["slice"].implode()
    worst = gaps(found).group_by("model", "after", "slice", maintain_order=True).agg(
        pl.col("gap").get(pl.col("gap").abs().arg_max()) * 100
    )  # fmt: skip
    rows = []
    for (model,), part in worst.group_by("model", maintain_order=True):
        row = [f"`{model}`"]
        for after in (0, 1):
            now = part.filter(pl.col("after") == after)
            every = now.filter(pl.col("slice") == "all")["gap"][0]
            slices = now.filter(pl.col("slice").is_in(large)).sort(pl.col("gap").abs(), descending=True)
            n_off = slices.filter(pl.col("gap").abs() > 3).height
            row += [f"{every:+.1f}", f"{slices['gap'][0]:+.1f} ({slices['slice'][0]})", f"{n_off} of {slices.height}"]
        rows.append(row)
    heads = ("off {}, points", "worst slice {}", "slices off by more than 3 {}")
    yield from table(["model", *(head.format(when) for when in ("before", "after") for head in heads)], rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=list(SETS))
    parser.add_argument("--shift", type=int, nargs="+", required=True, help="periods by which all origins are moved")
    parser.add_argument("--models", nargs="*", default=list(MODELS), help="the patchwork comes with them")
    parser.add_argument("--coverage", action="store_true", help="tell coverage before and after the repair instead")
    given = parser.parse_args()
    data, name = SETS[given.set], given.set
    if data.folder is not None and not data.folder.is_dir():
        print(f"skipped: {data.title} is not there; it is expected in ../shared/data beside the project")
        return 0
    windows, counted, inside, frequency = [], [], [], panel_of(name).frequency
    for shift in given.shift:
        choose, test = (tuple(origin + shift for origin in origins) for origins in (data.choose, data.test))
        SETS[name] = replace(data, frozen=data.frozen + shift, choose=choose, test=test)
        labelled.cache_clear()
        print(f"{data.title}: fitted on what was known at {frequency.to_date(SETS[name].frozen)}, origins from "
              f"{frequency.to_date(test[0])} to {frequency.to_date(test[-1])}", flush=True)  # fmt: skip
        if given.coverage:
            counted.append(covered(name, given.models))
            inside.append(members(name))
            continue
        windows.append(window(name, given.models))
        for model, (row,) in windows[-1][1].items():
            if model != "zero":
                print(f"{model:20} WQL {row['test']['wql']:.4f}")
        print("\n".join(classes(windows[-1:], given.models)), flush=True)
    if given.coverage:
        print("\n".join(coverage(counted, inside)))
    if len(windows) > 1:
        print(f"{len(windows)} windows together")
        print("\n".join(classes(windows, given.models)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
