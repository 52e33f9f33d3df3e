"""Window forecasters the slow way: one series, one horizon, loops over dates."""

import numpy as np


def slow_sum(demand, seen, start, span, weight=None, least=0.5):
    """Sum of `span` periods from `start`, scaled up when the share `least` was observed; None otherwise.

    Periods before the first row are unobserved like any other.
    """
    if start + span > len(demand):
        return None
    observed = [p for p in range(max(start, 0), start + span) if seen[p]]
    if not observed or len(observed) < least * span:
        return None
    units = sum(demand[p] for p in observed)
    if weight is None:
        return units * span / len(observed)
    return units / sum(weight[p] for p in observed)


def quantiles(samples, levels):
    """numpy's linear quantiles of the samples that count, and how many there are."""
    kept = [sample for sample in samples if sample is not None]
    return (np.quantile(kept, levels) if kept else None), len(kept)


def recent(demand, seen, horizon, levels, *, window, weight=None):
    """The latest `window` sums; the last period is the origin."""
    latest = len(demand) - horizon.span
    return quantiles([slow_sum(demand, seen, latest - i, horizon.span, weight) for i in range(window)], levels)


def sum_by_errors(demand, seen, horizon, levels, *, level_window, error_window, weight):
    """Latest level plus the quantiles of its past errors, in units of a mean period."""
    n = len(demand)
    pairs = []
    for i in range(error_window):
        origin = n - 1 - horizon.end - i
        before = slow_sum(demand, seen, origin - level_window + 1, level_window, weight, 0.25)
        came = slow_sum(demand, seen, origin + horizon.lead + 1, horizon.span, weight)
        if before is not None and came is not None:
            pairs.append((before, came))
    mean = np.mean([before for before, _ in pairs])
    level = slow_sum(demand, seen, n - level_window, level_window, weight, 0.25)

    def spread(size):
        return np.sqrt((size + 0.02 * mean) * mean)

    return quantiles([max(level + min(spread(level) / spread(b), 1) * (c - b), 0) for b, c in pairs], levels)


def same_season(demand, seen, horizon, levels, *, seasons, season, near=0):
    """Sums that began a whole number of seasons before the target, give or take `near`, and ended by the origin."""
    target = len(demand) + horizon.lead
    starts = [target - m * season for m in range(1, seasons + 60)]
    usable = [start for start in starts if start + horizon.span <= len(demand)][:seasons]
    begun = [start + shift for start in usable for shift in range(-near, near + 1)]
    return quantiles([slow_sum(demand, seen, start, horizon.span) for start in begun], levels)


def seasonal_naive(demand, seen, horizon, levels, *, seasons, season):
    """Last season's sum plus the quantiles of differences over as many seasons."""
    target, m = len(demand) + horizon.lead, 1
    while target - m * season + horizon.span > len(demand):
        m += 1
    point = next(
        (s for j in range(m, m + 4) if (s := slow_sum(demand, seen, target - j * season, horizon.span)) is not None),
        None,
    )
    differences = []
    for i in range(seasons * season):
        start = len(demand) - horizon.span - i
        later = slow_sum(demand, seen, start, horizon.span)
        earlier = slow_sum(demand, seen, start - m * season, horizon.span)
        differences.append(None if later is None or earlier is None else later - earlier)
    found, count = quantiles(differences, levels)
    return None if point is None or found is None else np.maximum(point + found, 0), point, count


def season_factors(demand, seen, places, *, window, season, variance):
    """Shrunken factor of each place in the season, from the latest `window` periods."""
    latest = [p for p in range(max(len(demand) - window, 0), len(demand)) if seen[p]]
    units = [demand[p] for p in latest]
    mean = float(np.mean(units)) if units else 0.0
    if mean == 0:
        return np.ones(season)
    noise = float(np.var(units)) / mean**2
    factors = []
    for place in range(season):
        here = [demand[p] for p in latest if places[p] == place]
        raw = np.mean(here) / mean if here else 1.0
        share = len(here) / (len(here) + noise / variance) if here else 0.0
        factors.append(1 + share * (raw - 1))
    return np.array(factors)
