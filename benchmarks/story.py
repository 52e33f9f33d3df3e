"""The story: every generation on three data sets, one window to choose on and one to test on.

    python benchmarks/story.py [--only NAME ...] [--sets NAME ...] [--seeds N] [--plan]

M5 (daily, 2,405 products, 28 days), Breakfast at the Frat (weekly, 3,909 store-products, 8 weeks) and the embedded
sample (daily, 3,009 products, 14 days). A model is fitted once, on what was known at `frozen`, and forecasts from the
origins of both windows; every outcome of the first is known at the first origin of the second. What was chosen on days
of the second windows, and how often they were looked at, docs/leaderboard.md tells.

Peers (`peers.py`) run where they are installed. Each (data set, model, seed) is one file under `runs/story`, so a
second call goes on where the first was stopped; a model whose settings changed is fitted again. `story_tables.py`
makes the tables and plots of them. One thread.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import m5_data
import peers
import weekly_data
from leaderboard import TWO_STAGE
from shelfcast.data.panel import Panel
from shelfcast.forecast import Forecast
from shelfcast.horizons import per_period
from shelfcast.models.blend import blended
from shelfcast.models.table import forecaster

FOLDER = Path(__file__).resolve().parents[1] / "runs" / "story"
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
SEEDS = 3


@dataclass(frozen=True)
class DataSet:
    """A panel, when models are frozen, and the origins of both windows (period numbers).

    `settings` are what a model is told on this set beside `Entry.settings`; `seconds` the CPU seconds expected of a fit
    with its forecasts.
    """

    title: str
    folder: Path | None
    panel: Callable[[], Panel]
    n_ahead: int
    frozen: int
    choose: tuple[int, ...]
    test: tuple[int, ...]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, int] = field(default_factory=dict)

    @property
    def origins(self) -> tuple[int, ...]:
        return (*self.choose, *self.test)


@dataclass(frozen=True)
class Entry:
    """A generation: its name in `shelfcast models`, whether it is drawn with seeds, and its settings."""

    name: str
    learned: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


GENERATIONS = (
    Entry("seasonal-naive"),
    Entry("season-profile"),
    Entry("patchwork"),
    Entry("forest-point", learned=True),
    Entry("sqrf", learned=True),
    Entry("rnn-point", learned=True, settings={"steps": 800}),
    Entry("rnn-distribution", learned=True, settings={"steps": 800}),
    Entry("mq-fnn", learned=True, settings={"steps": 1_500}),
    Entry("mq-rnn", learned=True, settings={"steps": 3_000}),
    Entry("mq-cnn", learned=True, settings={"features": True, "consistency": 0.03, "steps": 3_500}),
    Entry("mqtransformer", learned=True, settings={"features": True, "align": "none", "steps": 2_000}),
    Entry("blend", learned=True, settings={"members": ["mq-cnn", "mq-fnn", "sqrf"]}),
)
PEERS = (Entry("lightgbm", learned=True), Entry("statsforecast"))
WEEKLY_NET = {"dropout": 0.25, "weight_decay": 0.03, "average": 0.995, "weight_power": 0.25}
FREE = {"consistency": 0.0}  # forecasts may move: docs/log-attention.md


def _every(first: int, n: int, step: int) -> tuple[int, ...]:
    return tuple(range(first, first + n * step, step))


def _sets() -> dict[str, DataSet]:
    day, week = m5_data.DAY, 2036  # of 2009-01-14, the first week of Breakfast at the Frat
    shop = int(day.to_period("2011-03-25"))
    return {
        "m5": DataSet(
            "M5, daily", m5_data.FOLDER, lambda: m5_data.with_events(m5_data.products()), 28, m5_data.period(729),
            _every(m5_data.period(729), 4, 7), _every(m5_data.period(778), 8, 7),
            {"patchwork": {"group": "department"}},
            {"seasonal-naive": 2, "season-profile": 2, "patchwork": 45, "forest-point": 50, "sqrf": 25, "rnn-point": 20,
             "rnn-distribution": 25, "mq-fnn": 40, "mq-rnn": 60, "mq-cnn": 100, "mqtransformer": 75, "lightgbm": 60,
             "statsforecast": 190},
        ),
        "frat": DataSet(
            "Breakfast at the Frat, weekly", weekly_data.FRAT, lambda: weekly_data.panel_of("frat", weekly_data.FRAT),
            8, week + 42, _every(week + 42, 4, 1), _every(week + 53, 8, 1),
            {"patchwork": {"group": "category"}, "season-profile": {"window": 26}, "sqrf": TWO_STAGE,
             "mq-fnn": WEEKLY_NET, "mq-rnn": WEEKLY_NET, "mq-cnn": WEEKLY_NET | FREE | {"steps": 2_000},
             "mqtransformer": WEEKLY_NET | {"align": "dates", "steps": 900}},
            {"seasonal-naive": 1, "season-profile": 1, "patchwork": 10, "forest-point": 25, "sqrf": 20, "rnn-point": 12,
             "rnn-distribution": 12, "mq-fnn": 25, "mq-rnn": 25, "mq-cnn": 26, "mqtransformer": 27, "lightgbm": 40,
             "statsforecast": 35},
        ),
        "shop": DataSet(
            "Web shop (the embedded sample), daily", None, weekly_data.web_shop, 14, shop,
            _every(shop, 4, 7), _every(shop + 35, 3, 7),
            {"patchwork": {"group": "theme"}, "mq-cnn": {"steps": 1_000}, "mqtransformer": {"steps": 700},
             "mq-fnn": {"steps": 1_000}, "mq-rnn": {"steps": 1_300}},
            {"seasonal-naive": 2, "season-profile": 2, "patchwork": 30, "forest-point": 40, "sqrf": 25, "rnn-point": 20,
             "rnn-distribution": 20, "mq-fnn": 35, "mq-rnn": 35, "mq-cnn": 35, "mqtransformer": 40, "lightgbm": 50,
             "statsforecast": 240},
        ),
    }  # fmt: skip


SETS = _sets()


@cache
def panel_of(name: str) -> Panel:
    """The panel of a data set, read once."""
    return SETS[name].panel()


def settings_of(name: str, entry: Entry) -> dict[str, Any]:
    """What a model is told on a data set; a blend's members, what their own rows are."""
    own = entry.settings | SETS[name].settings.get(entry.name, {})
    if entry.name == "blend":
        own["member_settings"] = {member.name: settings_of(name, member) for member in members_of(entry)}
    return own


def members_of(blend: Entry) -> list[Entry]:
    """The rows that a blend is of."""
    return [entry for entry in GENERATIONS if entry.name in blend.settings["members"]]


def path_of(name: str, entry: Entry, seed: int) -> Path:
    """Where one result lies; settings and protocol are in its name."""
    said = [settings_of(name, entry), SETS[name].frozen, SETS[name].origins, SETS[name].n_ahead, LEVELS]
    mark = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]
    return FOLDER / name / f"{entry.name}-{seed}-{mark}.npz"


def wanted(sets: list[str], only: list[str], seeds: int) -> Iterator[tuple[str, Entry, int]]:
    """Every result that is asked for: first seeds of all models come first, models in the order asked for."""
    entries = [entry for entry in (*GENERATIONS, *PEERS) if not only or entry.name in only]
    entries.sort(key=lambda entry: only.index(entry.name) if only else 0)
    for seed in range(seeds):
        for entry in entries:
            yield from ((name, entry, seed) for name in sets if entry.learned or seed == 0)


def made(name: str, entry: Entry, seed: int) -> tuple[Forecast, float, float]:
    """A frozen model's forecasts from all origins of a data set, and CPU seconds of `fit` and `predict`."""
    data, panel = SETS[name], panel_of(name)
    if entry.name == "blend":
        return _blend(name, entry, seed)
    if entry in PEERS:
        model = peers.peer(entry.name, per_period(data.n_ahead), LEVELS)
    else:
        model = forecaster(entry.name, horizons=data.n_ahead, levels=LEVELS, **settings_of(name, entry))
    begin = time.process_time()
    model.fit(panel.as_of(data.frozen), seed=seed)
    middle = time.process_time()
    forecast = model.predict(panel, data.origins)
    return forecast, middle - begin, time.process_time() - middle


def _blend(name: str, entry: Entry, seed: int) -> tuple[Forecast, float, float]:
    """A blend of its members' stored results, which are what it would fit: its settings and seed are theirs."""
    said = []
    for member in members_of(entry):
        if kept(name, member, seed) is None:
            keep(path_of(name, member, seed), *made(name, member, seed))
        said.append(kept(name, member, seed))
    forecasts, fits, predicts = zip(*(one for one in said if one is not None), strict=True)
    return blended(forecasts, None, entry.name), sum(fits), sum(predicts)


def keep(path: Path, forecast: Forecast, fit: float, predict: float) -> None:
    """Store a result whole or not at all; quantiles to three digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(f".{os.getpid()}.tmp")
    with staging.open("wb") as file:
        mean = forecast.mean if forecast.mean is not None else np.zeros(0)
        np.savez_compressed(
            file, values=forecast.values.astype(np.float16), mean=mean.astype(np.float16), seconds=[fit, predict]
        )
    staging.replace(path)


def kept(name: str, entry: Entry, seed: int) -> tuple[Forecast, float, float] | None:
    """A stored result, or None."""
    path = path_of(name, entry, seed)
    if not path.is_file():
        return None
    data, panel = SETS[name], panel_of(name)
    with np.load(path) as stored:
        values, mean = stored["values"].astype(np.float32), stored["mean"].astype(np.float32)
        fit, predict = map(float, stored["seconds"])
    forecast = Forecast(
        panel.series.select(panel.keys), data.origins, panel.frequency, per_period(data.n_ahead), LEVELS, values,
        mean if mean.size else None, entry.name,
    )  # fmt: skip
    return replace(forecast), fit, predict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="names of models")
    parser.add_argument("--sets", nargs="*", default=list(SETS), help="names of data sets")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of learned models")
    parser.add_argument("--plan", action="store_true", help="say what it would cost, and stop")
    given = parser.parse_args()
    absent = [name for name in given.sets if (folder := SETS[name].folder) is not None and not folder.is_dir()]
    for name in absent:
        print(f"skipped: {SETS[name].title} is not there; it is expected in ../shared/data beside the project")
    for entry in PEERS:
        if (why := peers.absent(entry.name)) is not None:
            print(f"skipped: {entry.name}: {why}")
    asked = list(wanted([name for name in given.sets if name not in absent], given.only, given.seeds))
    asked = [one for one in asked if one[1] not in PEERS or peers.absent(one[1].name) is None]
    todo = [one for one in asked if not path_of(*one).is_file()]
    seconds = sum(SETS[name].seconds.get(entry.name, 0) for name, entry, _ in todo)
    print(f"{len(asked)} results, {len(asked) - len(todo)} of them there; about {seconds / 60:.0f} CPU minutes to go")
    for name, entry, seed in [] if given.plan else todo:
        if path_of(name, entry, seed).is_file():  # made for a blend in the meantime
            continue
        forecast, fit, predict = made(name, entry, seed)
        keep(path_of(name, entry, seed), forecast, fit, predict)
        print(f"{name:6}{entry.name:20}{seed:3}  fit {fit:6.1f}  predict {predict:6.1f} CPU s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
