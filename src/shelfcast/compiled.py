"""One way to compile loops over numbers; importing it imports numba, so callers import it late."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """The function compiled at its first call, kept on disk where the machine allows it.

    Division by zero gives infinities and NaN as in numpy; the interpreter lock is released while it runs.
    """
    options: Any = {"error_model": "numpy", "nogil": True, "fastmath": {"contract"}}
    try:
        done: Any = njit(cache=True, **options)(function)
    except RuntimeError:  # numba finds no folder that it may write to
        done = njit(**options)(function)
    return cast(Function, done)
