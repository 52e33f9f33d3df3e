"""Values of the hand-made features for rows (series, origin, horizon) of one panel."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfcast.data import feature_kernels, group_kernels
from shelfcast.data.dated import DateRows
from shelfcast.data.features import AHEAD, PRICE, STATE, VARIANCE, YEAR, Features
from shelfcast.data.groups import EVERYONE, MIN_LAUNCHES, planned_price
from shelfcast.data.panel import Panel

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


class FeatureRows:
    """Features of rows (series, origin, horizon) of one panel; `series` are places in it, all arrays (J,) int64.

    `dates` of the panel's calendar may be given, where many pieces of one panel are read.
    """

    def __init__(self, features: Features, panel: Panel, dates: DateRows | None = None) -> None:
        self.features, self.panel = features, panel
        self._dates_given = dates
        self.codes = [group.codes(panel) for group in features.groups]
        self.start = np.asarray(panel.start, dtype=np.int64)
        self.place = np.asarray(panel.place, dtype=np.int64)
        self.year = YEAR[panel.frequency.unit]
        self.step = int(features.windows[0])

    @cached_property
    def _dates(self) -> DateRows:
        return self._dates_given or DateRows(self.features.dates, self.panel)

    @cached_property
    def _price(self) -> Floats:
        return planned_price(self.panel)

    @cached_property
    def _running(self) -> tuple[Doubles, Doubles, Any, Ints]:
        panel = self.panel
        columns = [panel.names.known.index(name) for name in panel.names.promotions]
        promoted = (panel.known[:, columns] > 0).any(axis=1) if columns else np.zeros(len(panel.demand), dtype=bool)
        return feature_kernels.running(
            panel.demand, panel.observed, promoted, self._price, panel.indptr, panel.frequency.season
        )  # fmt: skip

    def scale(self, series: Ints, origin: Ints) -> Doubles:
        """(J,) units: level of demand at the origin, shrunk to that of similar products while there is little."""
        sums, _, _, first_sale = self._running
        out = np.empty(len(series))
        feature_kernels.scales(
            series, origin, self.start, self.panel.indptr, sums, first_sale, self.features.windows,
            self._fallback(series, origin), self.features.offset, out,
        )  # fmt: skip
        return out

    def targets(self, series: Ints, origin: Ints, lead: Ints, span: Ints) -> Doubles:
        """(J,) units sold in each target, NaN where it was not observed whole."""
        out = np.empty(len(series))
        panel = self.panel
        feature_kernels.targets(
            series, origin, lead, span, self.start, panel.indptr, self._running[0], panel.last, out
        )  # fmt: skip
        return out

    def never_sold(self, series: Ints, origin: Ints) -> NDArray[np.bool_]:
        """(J,) whether a series was observed up to the origin and sold nothing."""
        sums, panel = self._running[0], self.panel
        n = np.clip(origin + 1 - self.start[series], 0, panel.lengths[series])
        base = panel.indptr[series] + series
        total = sums[base + n]
        return np.asarray((total[:, feature_kernels.SEEN] > 0) & (total[:, feature_kernels.UNITS] == 0))

    def _steps(self, period: Ints) -> Ints:
        """Whole group steps from the first one up to a period, that included."""
        group = self.features.groups[0]
        return np.asarray(np.minimum((period + 1) // self.step - group.first_step, group.sums.shape[1] - 1))

    def _fallback(self, series: Ints, origin: Ints) -> Doubles:
        """(J,) level of similar products: the same item elsewhere, launches from small groups to large, everyone."""
        features, steps = self.features, self._steps(origin)
        n_level = int(features.windows[1]) // self.step
        level = np.full(len(series), np.nan)
        sizes = [-np.inf if group.column == "item" else -len(group.labels) for group in features.groups]
        found, launch = np.empty(len(series)), np.empty(len(series))
        for g in np.argsort(sizes, kind="stable"):
            group = features.groups[g]
            group_kernels.group_levels(
                self.codes[g][series], steps, group.sums, n_level, MIN_LAUNCHES, found, launch
            )  # fmt: skip
            level = np.where(np.isnan(level), found if group.column == "item" else launch, level)
            if group.column == EVERYONE:
                level = np.where(np.isnan(level), found, level)
        return np.asarray(np.nan_to_num(level))

    def state(self, series: Ints, origin: Ints, scale: Doubles) -> Floats:
        """(J, n_state) features of what was known at each origin, over the scale."""
        features, panel = self.features, self.panel
        out = np.full((len(series), features.n_state), np.nan, dtype=np.float32)
        sums, _, last_sale, first_sale = self._running
        feature_kernels.state_rows(
            series, origin, scale, self.start, panel.indptr, panel.demand, panel.observed, sums, last_sale, first_sale,
            features.windows, out,
        )  # fmt: skip
        at, steps, n_level = len(STATE), self._steps(origin), int(features.windows[1]) // self.step
        for code, group in zip(self.codes, features.groups, strict=True):
            group_kernels.group_state(code[series], steps, scale, group.sums, n_level, at, out)
            at += group_kernels.N_GROUP_STATE
        for code, group in zip(self.codes, features.groups, strict=True):
            if group.is_wide:
                out[:, at] = np.where(code >= 0, group.rank[code], np.nan)[series]
                at += 1
        for name in features.numbers:
            if name in panel.series.columns:
                out[:, at] = panel.series[name].cast(float).to_numpy()[series]
            at += 1
        return self._columns_lately(series, origin, out, at)

    def _columns_lately(self, series: Ints, origin: Ints, out: Floats, at: int) -> Floats:
        """Means of past columns over the first window, and over that of the third; of known ones over the first."""
        features, windows = self.features, self.features.windows
        past = _chosen(self.panel.past, self.panel.names.past, features.past)
        n = len(features.past)
        lately, usually = np.full((2, len(series), n), np.nan, dtype=np.float32)
        self._means(past, series, origin - windows[0] + 1, origin, lately)
        self._means(past, series, origin - windows[2] + 1, origin, usually)
        out[:, at : at + 2 * n : 2] = lately
        out[:, at + 1 : at + 2 * n : 2] = np.divide(
            lately, usually, out=np.full_like(lately, np.nan), where=np.abs(usually) > 0
        )
        self._means(self._known, series, origin - windows[0] + 1, origin, out[:, at + 2 * n :])
        return self._without_zeros(out, at + 2 * n)

    @cached_property
    def _known(self) -> Floats:
        return _chosen(self.panel.known, self.panel.names.known, self.features.known)

    def _means(self, values: Floats, series: Ints, first: Ints, last: Ints, out: Floats) -> None:
        if values.shape[1]:
            feature_kernels.column_means(series, first, last, self.start, self.panel.indptr, values, out)

    def _without_zeros(self, out: Floats, at: int) -> Floats:
        """Promotions that are not there are absent."""
        for k, name in enumerate(self.features.known):
            if name in self.features.promotions:
                column = out[:, at + k]
                column[column == 0] = np.nan
        return out

    def ahead(
        self, series: Ints, origin: Ints, lead: Ints, span: Ints, scale: Doubles
    ) -> tuple[Floats, Doubles]:  # fmt: skip
        """(J, n_ahead) features of the target, and (J,) its size in scales: span times season factor."""
        features, panel = self.features, self.panel
        out = np.full((len(series), len(features.ahead_names)), np.nan, dtype=np.float32)
        sums, phase, _, first_sale = self._running
        factor = np.empty(len(series))
        season = panel.frequency.season
        feature_kernels.ahead_rows(
            series, origin, lead, span, scale, self.start, panel.indptr, sums, phase, first_sale, features.windows,
            season, self.year, max(2 * self.year // season, 2), VARIANCE, out, factor,
        )  # fmt: skip
        at, first = len(AHEAD), origin + lead + 1
        log_price = np.full(len(series), np.nan)
        if features.has_price:
            feature_kernels.price_rows(
                series, origin, lead, span, self.start, panel.indptr, self._price, sums, features.windows,
                out[:, at : at + len(PRICE)], log_price,
            )  # fmt: skip
            at += len(PRICE)
        self._means(self._known, series, first, first + span - 1, out[:, at : at + len(features.known)])
        self._without_zeros(out, at)
        self._grouped(series, origin, first, span, scale, log_price, out, at + len(features.known))
        self._dates.fill(self.place[series], first, span, out[:, out.shape[1] - len(features.dates.features) :])
        return out, factor * span

    def _grouped(
        self, series: Ints, origin: Ints, first: Ints, span: Ints, scale: Doubles, log_price: Doubles, out: Floats,
        at: int,
    ) -> None:  # fmt: skip
        steps, n_level = self._steps(origin), int(self.features.windows[1]) // self.step
        base = self.features.groups[0].first_step
        year_now = (origin - self.year + 1) // self.step - base
        year_first = (first - self.year) // self.step - base
        year_last = (first + span - 1 - self.year) // self.step - base
        for code, group in zip(self.codes, self.features.groups, strict=True):
            group_kernels.group_ahead(
                code[series], steps, year_now, year_first, year_last, scale, log_price, group.sums, n_level, at, out
            )
            at += group_kernels.N_GROUP_AHEAD

    def rows(
        self, series: Ints, origin: Ints, lead: Ints, span: Ints
    ) -> tuple[Floats, Doubles, Doubles]:  # fmt: skip
        """(J, F) all features, (J,) scale in units and (J,) size of the target in scales."""
        scale = self.scale(series, origin)
        ahead, weight = self.ahead(series, origin, lead, span, scale)
        return np.concatenate([self.state(series, origin, scale), ahead], axis=1), scale, weight

    def grid(
        self, series: Ints, origin: Ints, lead: Ints, span: Ints
    ) -> tuple[Floats, Doubles, Doubles]:  # fmt: skip
        """As `rows`, for every pair (series, origin) (J,) with each horizon (K,): rows of one pair lie together."""
        k = len(lead)
        scale = self.scale(series, origin)
        repeated = np.repeat(scale, k)
        pairs = np.repeat(series, k), np.repeat(origin, k)
        ahead, weight = self.ahead(*pairs, np.tile(lead, len(series)), np.tile(span, len(series)), repeated)
        state = np.repeat(self.state(series, origin, scale), k, axis=0)
        return np.concatenate([state, ahead], axis=1), repeated, weight


def _chosen(values: Any, names: tuple[str, ...], wanted: tuple[str, ...]) -> Floats:
    """(R, F) columns by name; NaN for one that this panel lacks."""
    if names == wanted:
        return np.asarray(values, dtype=np.float32)
    made = np.full((len(values), len(wanted)), np.nan, dtype=np.float32)
    for j, name in enumerate(wanted):
        if name in names:
            made[:, j] = values[:, names.index(name)]
    return made
