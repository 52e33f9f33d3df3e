"""Lengths in periods that suit each frequency: what a network's inputs look back on.

Measured for days and weeks (docs/log.md); those of hours and months follow the same proportions.
"""

from dataclasses import dataclass

from shelfcast.periods import Frequency, Unit


@dataclass(frozen=True)
class Rhythm:
    """Windows and lags of one frequency, in periods.

    Parameters
    ----------
    means : trailing windows of the state features, short to long; the second is the scale's.
    season : the short season whose positions are averaged; 1 for none.
    counts : how many of its latest positions are averaged, short to long.
    year : lag of the long season, a multiple of `season`.
    price : trailing window of the regular price.
    reach : periods an encoder looks back on.
    forks : origins of a training window.
    keys : periods up to an origin that attention looks back on.
    """

    means: tuple[int, int, int, int]
    season: int
    counts: tuple[int, ...]
    year: int
    price: int
    reach: int
    forks: int
    keys: int

    @property
    def scale(self) -> int:
        """Window of the scale."""
        return self.means[1]

    @property
    def history(self) -> int:
        """Periods before an encoder's first that its inputs may read."""
        return max(*self.means, self.price, self.season * (max(self.counts, default=0) + 1), self.year + self.scale)


RHYTHMS = {
    Unit.HOUR: Rhythm((24, 168, 672, 2016), 24, (4, 14), 168, 672, 168, 96, 168),
    Unit.DAY: Rhythm((7, 28, 91, 365), 7, (4, 13), 364, 182, 128, 64, 91),
    Unit.WEEK: Rhythm((4, 13, 26, 52), 1, (), 52, 26, 32, 32, 52),
    Unit.MONTH: Rhythm((3, 6, 12, 24), 1, (), 12, 12, 16, 16, 24),
}


def rhythm_of(frequency: Frequency) -> Rhythm:
    """The windows of a frequency."""
    return RHYTHMS[frequency.unit]
