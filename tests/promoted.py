"""Weekly sales with planned prices and promotions, drawn from known elasticities, lifts and seasons."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from shelfcast.data.panel import Calendar, FeatureNames, Panel
from shelfcast.periods import Frequency

WEEK = Frequency.parse("week")
FLAG = 0.4  # log lift of the flag


@dataclass(frozen=True)
class Truth:
    """Log coefficients of price: groups (G,), items (P,), series (N,); item of each series, group of each item."""

    groups: np.ndarray
    items: np.ndarray
    series: np.ndarray
    item: np.ndarray
    group: np.ndarray


def draw(n_items=12, n_locations=6, n_weeks=104, *, seed=0, noise=0.2, between=0.5, within=0.2, level=50.0, cut=0.15):
    """A panel and its truth: two groups of items, every series with its own price cuts and flags.

    log demand = level + week + b log(price / base price) + `FLAG` flag + normal noise.
    """
    rng = np.random.default_rng(seed)
    n = n_items * n_locations
    group = np.arange(n_items) % 2
    item = np.repeat(np.arange(n_items), n_locations)
    groups = np.array([-1.0, -2.5])
    items = groups[group] + between * rng.normal(size=n_items)
    series = items[item] + within * rng.normal(size=n)
    on = rng.random((n, n_weeks)) < cut
    ratio = np.where(on, 1 - rng.choice([0.1, 0.2, 0.3, 0.4], (n, n_weeks)), 1.0)
    flag = np.where(on, rng.random((n, n_weeks)) < 0.5, rng.random((n, n_weeks)) < 0.05).astype(float)
    base = np.repeat(rng.uniform(1, 5, n)[:, None], n_weeks, axis=1)
    week = 0.2 * np.sin(2 * np.pi * np.arange(n_weeks) / 52 + group[item][:, None])
    own = np.log(level) + rng.normal(0, 0.5, (n, 1))
    z = own + week + series[:, None] * np.log(ratio) + FLAG * flag + noise * rng.normal(size=(n, n_weeks))
    known = np.stack((base * ratio, flag, base), axis=2).reshape(-1, 3)
    names = pl.DataFrame(
        {
            "item": [f"item-{i:02d}" for i in item],
            "location": [f"store-{i:02d}" for i in np.tile(np.arange(n_locations), n_items)],
            "category": np.array(["food", "toys"])[group[item]],
        }
    )
    return made(np.exp(z), known, names), Truth(groups, items, series, item, group)


def made(demand, known, series, *, start=2000, frequency=WEEK, columns=("price", "flag", "base"), calendar=None):
    """A panel from complete demand (N, T) and known columns (N x T, F), the first the price, the second a promotion."""
    n, t = demand.shape
    return Panel(
        calendar=calendar or Calendar(frequency),
        series=series,
        start=np.full(n, start, dtype=np.int32),
        indptr=np.arange(n + 1, dtype=np.int64) * t,
        demand=demand.astype(np.float32).ravel(),
        observed=np.ones(n * t, dtype=bool),
        past=np.zeros((n * t, 0), dtype=np.float32),
        known=np.asarray(known, dtype=np.float32).reshape(n * t, len(columns)),
        names=FeatureNames(
            known=columns,
            price="price" if "price" in columns else None,
            promotions=tuple(c for c in columns if c not in ("price", "base")),
        ),
        place=np.zeros(n, dtype=np.int32),
        last=start + t - 1,
    )
