"""What a forest has learned for the horizons of one span."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfcast.models.boosting import Boosted, Mean
from shelfcast.models.leaves import Leaves
from shelfcast.models.trees import Trees

EXPECTED = "expected units"  # the feature that a mean adds


def log_units(expected: NDArray[Any]) -> NDArray[np.float32]:
    """(J,) expected units as a feature: counts scatter by how many are expected."""
    return np.asarray(np.log(np.maximum(expected, 1e-6)), dtype=np.float32)


@dataclass(frozen=True)
class Stratum:
    """The trees of one span, their leaves, and with two stages the mean that scales them."""

    span: int
    trees: Trees
    leaves: Leaves
    mean: Mean | None = None

    def quantiles(
        self, features: NDArray[np.float32], levels: tuple[float, ...], size: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Quantiles (J, Q) and means (J,) of rows of features (J, F), with units of 1 (J,)."""
        seen, size = self.seen(features, size)
        return self.leaves.quantiles(self.trees.leaves(seen), levels, size)

    def seen(
        self, features: NDArray[np.float32], size: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the trees read, and what 1 in a leaf is worth in units (J,); the expected units are read too."""
        if self.mean is None:
            return features, size.astype(np.float32)
        expected = (size * self.mean.of(features)).astype(np.float32)
        return np.column_stack([features, log_units(expected)]), expected

    def save(self, path: Path) -> None:
        """Write one file of arrays."""
        arrays: dict[str, Any] = {**self.trees.arrays(), **self.leaves.arrays()}
        for k, member in enumerate(self.mean.members if self.mean else ()):
            arrays |= {f"mean{k}_{name}": array for name, array in member.arrays().items()}
        np.savez(path, **arrays)

    @classmethod
    def load(cls, path: Path, span: int) -> "Stratum":
        """Inverse of `save`; raises what reading raises where the file is not whole."""
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            trees = Trees(**{name: file[name] for name in Trees.__dataclass_fields__})
            leaves = Leaves(**{name: file[name] for name in Leaves.__dataclass_fields__})
            n_members = sum(name.endswith("_roots") for name in file.files)
            members = tuple(
                Boosted(**{name: file[f"mean{k}_{name}"] for name in Boosted.__dataclass_fields__})
                for k in range(n_members)
            )
        return cls(span, trees, leaves, Mean(members) if members else None)
