"""Numbers as the page carries and says them: short, finite, and whole where they are whole."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def clean(value: Any, digits: int = 3) -> float | None:
    """A number to `digits` decimals, or None where it is missing or not finite."""
    return None if value is None or not np.isfinite(value) else round(float(value), digits)


def short(values: ArrayLike, digits: int = 3) -> Any:
    """Nested lists of numbers to so many significant digits (never coarser than units), None where not finite.

    Whole numbers become integers, which halves the page.
    """
    x = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(x)
    safe = np.where(finite, x, 0.0)
    size = np.floor(np.log10(np.maximum(np.abs(safe), 1e-3)))
    scale = 10.0 ** np.clip(digits - 1 - size, 0, 2)
    rounded = np.rint(safe * scale) / scale
    out = rounded.astype(object)
    whole = rounded == np.rint(rounded)
    out[whole] = rounded[whole].astype(np.int64)
    out[~finite] = None
    return out.tolist()


def folded(fans: list[list[list[Any]]]) -> list[list[Any]]:
    """Fans (P, Q, K) with every constant line as its one number, which the page unfolds: slow items are mostly flat."""
    return [[line[0] if line and line.count(line[0]) == len(line) else line for line in fan] for fan in fans]


def spoken(value: float) -> str:
    """A number in a sentence: `1,234`, `56`, `3.4`, `0.05`."""
    size = abs(value)
    if size >= 10 or value == round(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 1 else f"{value:.2g}"


def plural(n: float, word: str) -> str:
    """`1 day`, `3 days`."""
    return f"{n:,.0f} {word}" + ("" if n == 1 else "s")
