"""Price elasticities and promotion lifts of Breakfast at the Frat, and what they do for promoted weeks.

    python benchmarks/elasticities.py FOLDER_WITH_THE_FILES [--config examples/frat.toml]

The estimates on all 156 weeks; how well those of the first half of the weeks foretell those of the second; and the
point forecast of weeks 134 to 156 (origins 133 .. 148, horizons 1 to 8; add-ons learned once, on the first 133 weeks)
of a 13-week mean, with and without the add-ons. Promoted: feature, display or price reduction in the target week.
"""

import argparse
import datetime as dt
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from shelfcast.config import read_config
from shelfcast.data.panel import Panel
from shelfcast.models.addons import adjusted_path
from shelfcast.models.elasticity import Elasticities
from shelfcast.models.points import Array, PointModel, Series
from shelfcast.models.seasonal import SeasonalAddon
from shelfcast.pipelines import Run, load_panel, products

ORIGINS, N_PERIODS, TRAINED = range(133, 149), 8, 133
Addons = tuple[SeasonalAddon | None, Elasticities | None]


@dataclass(frozen=True)
class RecentMean:
    """Mean of the observed among the last `window` periods."""

    window: int = 13
    name: str = "recent-mean"

    def path(self, series: Series, n_periods: int) -> Array:
        """(N, n_periods) the mean, repeated."""
        begin = np.maximum(series.indptr[1:] - self.window, series.indptr[:-1])
        units, seen = (np.concatenate(([0.0], np.cumsum(v))) for v in (series.demand, series.observed))
        mean = (units[series.indptr[1:]] - units[begin]) / np.maximum(seen[series.indptr[1:]] - seen[begin], 1)
        return np.repeat(mean[:, None], n_periods, axis=1)


def estimates(learned: Elasticities, seconds: float) -> None:
    """Signs, categories and lifts."""
    item, series = learned.table("item"), learned.table("series")
    told = item.filter("identified")
    print(f"learned in {seconds:.2f} CPU s; regressors: {', '.join(learned.design.names)}")
    print(f"products: {item.height}, identified {told.height}, of them negative {(told['estimate'] < 0).mean():.1%}")
    silent = item.filter(~pl.col("identified"))["item"].to_list()
    print(f"not identified: {', '.join(silent) or 'no product'}")
    negative, every = (series.filter("identified")["estimate"] < 0).mean(), (series["estimate"] < 0).mean()
    n_told = int(series["identified"].sum())
    print(f"store x product, shrunk: {series.height}, negative {every:.1%}; the {n_told} identified {negative:.1%}")
    medians = told.group_by("group").agg(pl.col("^estimate|lift_[a-z]+$").median(), pl.len().alias("products"))
    print(medians.sort("group"))
    print(learned.table("group"))
    both = item["lift_feature"] * item["lift_display"]
    print(f"median lifts beyond price: feature {item['lift_feature'].median():.2f}, "
          f"display {item['lift_display'].median():.2f}, both {both.median():.2f}")  # fmt: skip


def halves(panel: Panel) -> None:
    """Estimates of the two halves against each other."""
    middle = panel.first + (panel.last - panel.first) // 2
    later = panel.row_periods() > middle
    second = Panel(**{**vars(panel), "observed": panel.observed & later, "demand": np.where(later, panel.demand, 0)})
    learned = [Elasticities.learn(p, group="category", reference="base_price") for p in (panel.as_of(middle), second)]
    for kind in ("item", "series"):
        one, two = (e.levels[kind] for e in learned)
        both = one.identified[:, 0] & two.identified[:, 0]
        distance = (one.mean - two.mean)[both, 0]
        z = distance / np.sqrt(one.deviation**2 + two.deviation**2)[both, 0]
        agree = np.corrcoef(one.mean[both, 0], two.mean[both, 0])[0, 1]
        print(f"halves, {kind}: correlation {agree:.2f}; |difference| within 1.645 joint deviations "
              f"{(np.abs(z) < 1.645).mean():.0%} (.90 if nothing changed)")  # fmt: skip


def promoted_weeks(panel: Panel, base: PointModel, addons: Addons) -> tuple[float, float, float, float]:
    """WAPE on promoted, other and all weeks, and bias on promoted weeks."""
    errors, units, bias = np.zeros(2), np.zeros(2), 0.0
    flags = [panel.names.known.index(name) for name in panel.names.promotions]
    for origin in panel.first - 1 + np.array(ORIGINS):
        last = min(origin + N_PERIODS, panel.last)
        demand, seen = panel.window(origin + 1, last)
        promoted = (np.nan_to_num(panel.known_window(origin + 1, last)[:, :, flags]) > 0).any(axis=2)
        path = adjusted_path(base, panel, int(origin), N_PERIODS, *addons)[:, : last - origin]
        for at, rows in enumerate((seen & promoted, seen & ~promoted)):
            errors[at] += np.abs(path - demand)[rows].sum()
            units[at] += demand[rows].sum(dtype=np.float64)
        bias += (path - demand)[seen & promoted].sum()
    return errors[0] / units[0], errors[1] / units[1], errors.sum() / units.sum(), bias / units[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--config", type=Path, default=Path("examples/frat.toml"))
    settings = parser.parse_args()
    config, root = read_config(settings.config)
    panel = products(load_panel(Run(config, root, dt.datetime(2026, 1, 1), data=settings.folder)))
    pl.Config(tbl_cols=20, tbl_width_chars=160, float_precision=2, tbl_hide_dataframe_shape=True)
    begin = time.process_time()
    learned = Elasticities.learn(panel, group="category", reference="base_price")
    estimates(learned, time.process_time() - begin)
    halves(panel)
    alone = Elasticities.learn(panel, group="category").table("item").filter("identified")
    print(f"with the 13-week maximum as regular price: negative {(alone['estimate'] < 0).mean():.1%} of {alone.height}")
    seen = panel.as_of(panel.first - 1 + TRAINED)
    price = Elasticities.learn(seen, group="category", reference="base_price")
    recent = Elasticities.learn(seen, group="category")
    arms: dict[str, Addons] = {
        "no add-on": (None, None),
        "price and promotion": (None, price),
        "the same, regular price = 13-week maximum": (None, recent),
        "season": (SeasonalAddon.learn(seen, "category"), None),
        "season, price and promotion": (SeasonalAddon.learn(seen, "category", price), price),
    }
    print(f"\n13-week mean with{'':27}{'promoted':>10}{'other':>8}{'all':>8}{'bias promoted':>15}   (WAPE)")
    for name, addons in arms.items():
        scores = promoted_weeks(panel, RecentMean(), addons)
        print(f"{name:44}" + "".join(f"{s:{w}.3f}" for s, w in zip(scores, (10, 8, 8, 15), strict=True)))


if __name__ == "__main__":
    main()
