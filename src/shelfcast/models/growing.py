"""From training rows to what a forest knows of one span: its trees, their leaves, and the levels to ask for.

Products without history have trees of their own, where enough was launched: what decides about those (price, place,
kind) is drowned by what decides about the others, and few launches bear only large leaves.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.features import Features
from shelfcast.data.panel import Panel
from shelfcast.models.binning import Table
from shelfcast.models.boosting import held_out_mean
from shelfcast.models.drawing import Training, draw_openings, openings, training_table, watched
from shelfcast.models.leaves import Leaves
from shelfcast.models.level_map import SAMPLE, LevelMap
from shelfcast.models.stratum import Forest, Stratum, log_units
from shelfcast.models.trees import Growth, bags, grow_trees

Ints = NDArray[np.int64]
_BLOCK = 2048  # rows of features that are held at once
# a forecast by few of the trees scatters less than one by all: levels learned from it would be too far out
_FEWEST_TREES, _MOST_SEEN = 2, 0.9  # trees of each forest that have not seen an item; share of items that a tree sees
_OVER_MEAN = 3  # one tree in so many keeps targets over the boosted mean, which sometimes errs for all products at once
LAUNCHED_ITEMS = 100  # new ones that have to have been launched before launches have trees of their own
_LAUNCH_ROWS, _LAUNCH_LEAF, _LAUNCH_KEPT = 12_000, 0.015, 100  # rows at most, share of them in a leaf, rows it keeps


@dataclass(frozen=True)
class _Plan:
    """A forest to grow: what its trees read, the scaled targets that its leaves keep, and how."""

    table: Table
    scaled: NDArray[np.float64]
    growth: Growth
    seed: int
    by_mean: bool

    def grown(self, made: Training, item: Ints) -> Forest:
        """Trees on the root of scaled targets, and their leaves."""
        trees = grow_trees(self.table, np.sqrt(self.scaled), item, self.growth, self.seed)
        return Forest(trees, Leaves.of(trees, self.scaled, made.rows), self.by_mean)

    @property
    def n_unseen(self) -> int:
        """Trees that have not seen an item, on average."""
        return round(self.growth.n_trees * (1 - self.growth.item_share))

    def unseen(self, item: Ints) -> NDArray[np.bool_]:
        """(I, T) items that a tree has not seen."""
        seen = [chosen for chosen, _ in bags(item, self.table.bins.n_features, self.growth, self.seed)]
        return ~np.stack(seen, axis=1)


def grown_stratum(
    made: Training, span: int, item: Ints, growth: Growth, block: int | None, seed: int, rng: np.random.Generator
) -> Stratum:  # fmt: skip
    """The forests of one span: with `block` (periods held out together) a boosted mean comes first.

    Then a third of the trees keep targets over what it expects, the others over their size; all of them read it.
    Levels are those wanted where hardly a tree has not seen an item.
    """
    table, target = made.table, made.target / made.size
    plans, mean = [_Plan(table, target, growth, seed, False)], None
    if block is not None:
        mean, expected = held_out_mean(table, target, made.rows.origin + made.rows.lead + 1, block, rng)
        table = table.with_column(log_units(made.size * expected))
        some = replace(growth, n_trees=growth.n_trees // _OVER_MEAN)
        rest = replace(growth, n_trees=growth.n_trees - some.n_trees)
        plans = [_Plan(table, target / expected, some, seed, True), _Plan(table, target, rest, seed + 1, False)]
    plans = [plan for plan in plans if plan.growth.n_trees]
    stratum = Stratum(span, tuple(plan.grown(made, item) for plan in plans), mean)
    if growth.item_share > _MOST_SEEN or min(plan.n_unseen for plan in plans) < _FEWEST_TREES:
        return stratum
    return replace(stratum, level_map=_level_map(stratum, made, item, [plan.unseen(item) for plan in plans], rng))


def most_launch_rows(panel: Panel, item: Ints, n_leads: int, n_rows: int) -> int:
    """Rows that the trees of launches of one span learn from at most; `item` (N,) of each series."""
    places = np.flatnonzero(watched(panel))
    enough = _new_items(panel, item, places) >= LAUNCHED_ITEMS
    return min(n_rows, _LAUNCH_ROWS, len(places) * n_leads) if enough else 0


def _new_items(panel: Panel, item: Ints, places: Ints) -> int:
    """How many items some series are of that were not sold before the panel watched."""
    return len(np.setdiff1d(item[places], item[(panel.lengths > 0) & ~watched(panel)]))


def launch_forests(
    panel: Panel, features: Features, item: Ints, leads: Ints, span: int, n_rows: int, growth: Growth, seed: int
) -> tuple[Forest, ...]:  # fmt: skip
    """Trees for products without history; none where fewer than `LAUNCHED_ITEMS` items have rows to learn from.

    They split on the log of units, and keep units, of rows from just before watched launches; `item` (N,) of each.
    Half of them read only what does not change with dates: few launches fall on one date, and trees that tell dates
    apart learn what happened to be launched. An item sold before the panel watched is not counted: a new shop is not a
    hundred new products.
    """
    rng = np.random.default_rng([seed, span])
    drawn = draw_openings(panel, leads, span, min(n_rows, _LAUNCH_ROWS), rng)
    if _new_items(panel, item, drawn.series) < LAUNCHED_ITEMS:
        return ()
    series, first, rows = openings(panel, drawn)
    made = training_table(first, features, rows, rng)
    rows = replace(made.rows, series=series[made.rows.series])
    if _new_items(panel, item, rows.series) < LAUNCHED_ITEMS:  # whose targets were observed whole
        return ()
    leaf, half = max(round(_LAUNCH_LEAF * len(rows)), growth.min_leaf), growth.n_trees // 2
    growth = replace(growth, n_trees=growth.n_trees - half, min_leaf=leaf, n_kept=_LAUNCH_KEPT, row_share=1.0)
    plans = [(made.table, growth)]
    if half:
        plans.append((made.table.keeping(features.lasting), replace(growth, n_trees=half, feature_share=1.0)))
    bagged = np.unique(item[rows.series], return_inverse=True)[1]
    grown = [grow_trees(table, np.log1p(made.target), bagged, how, seed + k) for k, (table, how) in enumerate(plans)]
    return tuple(Forest(trees, Leaves.of(trees, made.target, rows), False) for trees in grown)


def _level_map(
    stratum: Stratum, made: Training, item: Ints, unseen: list[NDArray[np.bool_]], rng: np.random.Generator
) -> LevelMap | None:
    """Levels learned from rows of training, block by block; `unseen` (I, T) are the trees that an item is new to.

    Rows that every tree of a forest has seen tell nothing.
    """
    places = np.sort(rng.choice(len(made.target), min(SAMPLE, len(made.target)), replace=False))
    some = np.logical_and.reduce([trees.any(axis=1) for trees in unseen])
    places = places[some[item[places]]]
    blocks = [places[begin : begin + _BLOCK] for begin in range(0, len(places), _BLOCK)]
    found = [
        stratum.out_of_bag(made.table.values(rows), made.size[rows], [trees[item[rows]] for trees in unseen])
        for rows in blocks
    ]
    if not found:
        return None
    values, means = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return LevelMap.learn(means, values, made.target[places], rng)
