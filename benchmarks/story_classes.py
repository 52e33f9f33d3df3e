"""The leaderboard's comparison by routed class on another window: one set, moved by some periods, seed 0.

    python benchmarks/story_classes.py SET --shift PERIODS [MODEL ...]

Models have the settings of the leaderboard; nothing is chosen here. Results are kept beside the
leaderboard's, whose names tell the windows apart.
"""

import argparse
import sys
from dataclasses import replace

from story import GENERATIONS, SETS, keep, kept, made, panel_of, path_of
from story_scores import scores
from story_tables import classes

MODELS = ("sqrf", "mq-fnn", "mq-cnn", "blend")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=list(SETS))
    parser.add_argument("models", nargs="*", default=list(MODELS), help="the patchwork comes with them")
    parser.add_argument("--shift", type=int, required=True, help="periods by which all origins are moved")
    given = parser.parse_args()
    data, name = SETS[given.set], given.set
    if data.folder is not None and not data.folder.is_dir():
        print(f"skipped: {data.title} is not there; it is expected in ../shared/data beside the project")
        return 0
    choose, test = (tuple(origin + given.shift for origin in origins) for origins in (data.choose, data.test))
    SETS[name] = replace(data, frozen=data.frozen + given.shift, choose=choose, test=test)
    found = {}
    for entry in (entry for entry in GENERATIONS if entry.name in {"patchwork", *given.models}):
        if kept(name, entry, 0) is None:
            keep(path_of(name, entry, 0), *made(name, entry, 0))
        found[entry.name] = [scores(name, entry, 0)]
    frequency = panel_of(name).frequency
    print(f"{data.title}: fitted on what was known at {frequency.to_date(SETS[name].frozen)}, origins from "
          f"{frequency.to_date(test[0])} to {frequency.to_date(test[-1])}")  # fmt: skip
    for model, (row,) in found.items():
        print(f"{model:20} WQL {row['test']['wql']:.4f}")
    print("\n".join(classes(name, found, [model for model in found if model != "patchwork"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
