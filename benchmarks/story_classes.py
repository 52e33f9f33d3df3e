"""The leaderboard's comparison by routed class on other windows: one set, moved by some periods, seed 0.

    python benchmarks/story_classes.py SET --shift PERIODS [PERIODS ...] [--models MODEL ...]

Models have the settings of the leaderboard; nothing is chosen here. Several windows are told one by one, then put
together, by the class that a series had in each. The model `zero` says zeros: what there is to gain.
Results are kept beside the leaderboard's, whose names tell them apart.
"""

import argparse
import sys
from dataclasses import replace

import numpy as np

from shelfcast.data.panel import Panel
from story import GENERATIONS, SETS, keep, kept, made, panel_of, path_of
from story_scores import labelled, scores, series_losses
from story_tables import Found, classes

MODELS = ("sqrf", "mq-fnn", "mq-cnn", "blend")


def window(name: str, models: list[str]) -> tuple[Panel, Found]:
    """Labels and scores of all models on the window that `SETS` has now."""
    labelled.cache_clear()
    found: Found = {}
    for entry in (entry for entry in GENERATIONS if entry.name in {"patchwork", *models}):
        if kept(name, entry, 0) is None:
            keep(path_of(name, entry, 0), *made(name, entry, 0))
        one = scores(name, entry, 0)
        assert one is not None
        found[entry.name] = [one]
    if "zero" in models:
        stored = kept(name, next(entry for entry in GENERATIONS if entry.name == "patchwork"), 0)
        assert stored is not None
        made_there = stored[0].at(SETS[name].test)
        nothing = replace(made_there, values=np.zeros_like(made_there.values))
        found["zero"] = [{"losses": series_losses(nothing, labelled(name))}]
    return labelled(name), found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=list(SETS))
    parser.add_argument("--shift", type=int, nargs="+", required=True, help="periods by which all origins are moved")
    parser.add_argument("--models", nargs="*", default=list(MODELS), help="the patchwork comes with them")
    given = parser.parse_args()
    data, name = SETS[given.set], given.set
    if data.folder is not None and not data.folder.is_dir():
        print(f"skipped: {data.title} is not there; it is expected in ../shared/data beside the project")
        return 0
    windows, frequency = [], panel_of(name).frequency
    for shift in given.shift:
        choose, test = (tuple(origin + shift for origin in origins) for origins in (data.choose, data.test))
        SETS[name] = replace(data, frozen=data.frozen + shift, choose=choose, test=test)
        windows.append(window(name, given.models))
        print(f"{data.title}: fitted on what was known at {frequency.to_date(SETS[name].frozen)}, origins from "
              f"{frequency.to_date(test[0])} to {frequency.to_date(test[-1])}")  # fmt: skip
        for model, (row,) in windows[-1][1].items():
            if model != "zero":
                print(f"{model:20} WQL {row['test']['wql']:.4f}")
        print("\n".join(classes(windows[-1:], given.models)), flush=True)
    if len(windows) > 1:
        print(f"{len(windows)} windows together")
        print("\n".join(classes(windows, given.models)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
