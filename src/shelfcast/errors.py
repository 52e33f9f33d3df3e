"""Every error a user can meet.

ShelfcastError                 base; one clear message, exit code 2 at the command line
|-- DataError                  a table or file is not what its schema says
|-- ConfigError                a setting is wrong; carries the path to its key
|-- NotFittedError             predict before fit, or a horizon that was not fitted
`-- StoreError                 a folder, file or catalogue of results cannot be read or written

A message says what was expected, what came (with up to three samples), and what to do. Anything else that escapes
is our fault: exit code 1.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class ShelfcastError(Exception):
    """Base of every error that the user's input or machine can cause."""


class DataError(ShelfcastError):
    """A table or file is not what its schema says.

    Parameters
    ----------
    expected : what should have been there.
    came : what was there instead.
    advice : what the user can do.
    table : which table or file.
    samples : up to three of the rows or values concerned; more are cut.
    """

    def __init__(
        self, expected: str, came: str, advice: str = "", *, table: str = "", samples: Sequence[object] = ()
    ) -> None:
        self.table = table
        self.samples = tuple(samples)[:3]
        where = f"{table}: " if table else ""
        lines = [f"{where}expected {expected}; got {came}."]
        lines += [f"  e.g. {shorten(sample)}" for sample in self.samples]
        if advice:
            lines.append(f"  To do: {advice}")
        super().__init__("\n".join(lines))


class ConfigError(ShelfcastError):
    """A setting is wrong; `key` is the dotted path to it."""

    def __init__(self, key: str, problem: str, advice: str = "") -> None:
        self.key = key
        super().__init__(f"{key}: {problem}." + (f"\n  To do: {advice}" if advice else ""))


class NotFittedError(ShelfcastError):
    """`predict` was called before `fit`, or for something that was not fitted."""


class StoreError(ShelfcastError):
    """A folder, file or catalogue of results cannot be read or written."""


def nearest(name: str, names: Iterable[str]) -> str:
    """A sentence that names the closest of `names`, or lists them: for messages about misspelt words."""
    names = list(names)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    listed = ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
    return (f"did you mean '{close[0]}'? " if close else "") + f"there are: {listed}"


def shorten(value: object, width: int = 160) -> str:
    """`value` as text of at most `width` characters: a million-character cell must not fill the screen."""
    text = str(value)
    return text if len(text) <= width else f"{text[: width - 3]}..."
