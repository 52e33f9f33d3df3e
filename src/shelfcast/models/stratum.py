"""What a forest has learned for the horizons of one span."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from shelfcast.models.boosting import Boosted, Mean
from shelfcast.models.leaves import Leaves
from shelfcast.models.level_map import WANTED, LevelMap
from shelfcast.models.trees import Trees

EXPECTED = "expected units"  # the feature that a mean adds


def log_units(expected: NDArray[Any]) -> NDArray[np.float32]:
    """(J,) expected units as a feature: counts scatter by how many are expected."""
    return np.asarray(np.log(np.maximum(expected, 1e-6)), dtype=np.float32)


@dataclass(frozen=True)
class Forest:
    """Trees of one span and their leaves; `by_mean` says that leaves keep targets over expected units."""

    trees: Trees
    leaves: Leaves
    by_mean: bool

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by name, to be stored."""
        return {**self.trees.arrays(), **self.leaves.arrays(), "by_mean": np.array(self.by_mean)}

    @classmethod
    def of(cls, file: dict[str, NDArray[Any]]) -> Self:
        """Inverse of `arrays`."""
        trees = Trees(**{name: file[name] for name in Trees.__dataclass_fields__})
        leaves = Leaves(**{name: file[name] for name in Leaves.__dataclass_fields__})
        return cls(trees, leaves, bool(file["by_mean"]))


def shares(forests: tuple[Forest, ...]) -> NDArray[np.float32]:
    """(K,) what each of K forests counts for: its share of all trees."""
    n_trees = np.array([forest.trees.n_trees for forest in forests], dtype=np.float32)
    return np.asarray(n_trees / n_trees.sum())


@dataclass(frozen=True)
class Stratum:
    """The forests of one span, whose quantiles are averaged level by level, and with two stages the expected mean.

    A forest counts for its share of the trees. `level_map` says which levels they are asked for; without it, those that
    are wanted. `launches` answer for products without history, in units; without them, the forests do.
    """

    span: int
    forests: tuple[Forest, ...]
    mean: Mean | None = None
    level_map: LevelMap | None = None
    launches: tuple[Forest, ...] = ()

    def quantiles(
        self, features: NDArray[np.float32], levels: tuple[float, ...], size: NDArray[np.float32],
        new: NDArray[np.bool_],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:  # fmt: skip
        """Quantiles (J, Q) and means (J,) of rows of features (J, F), with units of 1 (J,).

        Rows of products without history (`new`, (J,)) are asked for the levels wanted: those learned did not help.
        """
        values, mean = np.empty((len(features), len(levels)), dtype=np.float32), np.empty(len(features), np.float32)
        for is_new in np.unique(new):
            rows = np.flatnonzero(new == is_new)
            forests, seen, sizes = self.asked(features[rows], size[rows], bool(is_new))
            reached = [forest.trees.leaves(seen) for forest in forests]
            mean[rows] = _means(forests, reached, sizes)
            wanted = np.tile(np.asarray(levels, dtype=np.float32), (len(rows), 1))
            if self.level_map is not None and not is_new:
                wanted = self.level_map.levels(mean[rows], levels)
            values[rows] = _quantiles(forests, reached, sizes, wanted)
        return values, mean

    def asked(
        self, features: NDArray[np.float32], size: NDArray[Any], is_new: bool
    ) -> tuple[tuple[Forest, ...], NDArray[np.float32], list[NDArray[np.float32]]]:
        """The forests that rows (J, F) are answered by, what those read, and what 1 in a leaf of each is worth."""
        if is_new and self.launches:
            return self.launches, features, [np.ones(len(features), dtype=np.float32) for _ in self.launches]
        return (self.forests, *self.seen(features, size))

    def out_of_bag(
        self, features: NDArray[np.float32], size: NDArray[Any], unseen: list[NDArray[np.bool_]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Quantiles at `WANTED` (J, 41) and means (J,) by the trees of each forest that rows are `unseen` by (J, T)."""
        seen, sizes = self.seen(features, size)
        reached = [
            np.where(asked, forest.trees.leaves(seen), np.int32(-1))
            for forest, asked in zip(self.forests, unseen, strict=True)
        ]
        levels = np.tile(WANTED.astype(np.float32), (len(seen), 1))
        return _quantiles(self.forests, reached, sizes, levels), _means(self.forests, reached, sizes)

    def seen(
        self, features: NDArray[np.float32], size: NDArray[Any]
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """What the trees read (J, F), and what 1 in a leaf of each forest is worth in units (J,).

        With two stages the expected units are read too.
        """
        size = size.astype(np.float32)
        if self.mean is None:
            return features, [size for _ in self.forests]
        expected = (size * self.mean.of(features)).astype(np.float32)
        seen = np.column_stack([features, log_units(expected)])
        return seen, [expected if forest.by_mean else size for forest in self.forests]

    def save(self, path: Path) -> None:
        """Write one file of arrays."""
        members = self.mean.members if self.mean else ()
        arrays: dict[str, Any] = {
            f"{kind}{k}_{name}": each
            for kind, forests in (("forest", self.forests), ("launch", self.launches))
            for k, forest in enumerate(forests)
            for name, each in forest.arrays().items()
        }
        arrays |= {f"map_{name}": each for name, each in self.level_map.arrays().items()} if self.level_map else {}
        arrays |= {f"mean{k}_{name}": each for k, m in enumerate(members) for name, each in m.arrays().items()}
        np.savez(path, **arrays)

    @classmethod
    def load(cls, path: Path, span: int) -> Self:
        """Inverse of `save`; raises what reading raises where the file is not whole."""
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            parts: dict[str, dict[str, Any]] = {}
            for name in file.files:
                part, _, own = name.partition("_")
                parts.setdefault(part, {})[own] = file[name]
        forests = tuple(Forest.of(part) for name, part in parts.items() if name.startswith("forest"))
        members = tuple(Boosted(**part) for name, part in parts.items() if name.startswith("mean"))
        if not forests:
            raise ValueError("no forest in it")
        level_map = LevelMap(**parts["map"]) if "map" in parts else None
        launches = tuple(Forest.of(part) for name, part in parts.items() if name.startswith("launch"))
        return cls(span, forests, Mean(members) if members else None, level_map, launches)


def _means(
    forests: tuple[Forest, ...], reached: list[NDArray[np.int32]], sizes: list[NDArray[np.float32]]
) -> NDArray[np.float32]:  # fmt: skip
    """Means (J,) over forests of the leaves (J, T) reached in each, with units of 1 (J,) in each."""
    return _averaged(forests, [f.leaves.means(at, size) for f, at, size in zip(forests, reached, sizes, strict=True)])


def _quantiles(
    forests: tuple[Forest, ...], reached: list[NDArray[np.int32]], sizes: list[NDArray[np.float32]],
    levels: NDArray[np.float32],
) -> NDArray[np.float32]:  # fmt: skip
    """Quantiles (J, Q) at levels (J, Q), likewise."""
    said = zip(forests, reached, sizes, strict=True)
    return _averaged(forests, [f.leaves.quantiles(at, levels, size) for f, at, size in said])


def _averaged(forests: tuple[Forest, ...], found: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """What forests say, averaged by their trees."""
    if len(found) == 1:
        return found[0]
    return np.asarray(sum(share * said for share, said in zip(shares(forests), found, strict=True)), dtype=np.float32)
