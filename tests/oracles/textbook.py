"""The textbook methods the slow way: one series at a time, plain loops, unobserved periods taken out or None."""


def seen_only(demand, seen):
    return [d for d, s in zip(demand, seen, strict=True) if s]


def ses(values, alpha):
    """Level after all values."""
    level = values[0]
    for value in values[1:]:
        level = alpha * value + (1 - alpha) * level
    return level


def ses_squares(values, alpha):
    """Sum of squared one-step errors."""
    level, total = values[0], 0.0
    for value in values[1:]:
        total += (value - level) ** 2
        level = alpha * value + (1 - alpha) * level
    return total


def best_alpha(values, low, high):
    """The best of 801 alphas."""
    alphas = [low + (high - low) * i / 800 for i in range(801)]
    return min(alphas, key=lambda alpha: ses_squares(values, alpha))


def places(demand, seen, season, *, whole_seasons):
    """Observed values of each place of the next season, oldest first."""
    skip = len(demand) % season if whole_seasons else 0
    found = [[] for _ in range(season)]
    for i in range(skip, len(demand)):
        if seen[i]:
            found[(i - len(demand)) % season].append(demand[i])
    return found


def seasonal_es(demand, seen, season, alpha):
    """One level for each place; the mean of all observed where a place has none."""
    everything = seen_only(demand, seen)
    mean = sum(everything) / len(everything)
    return [ses(values, alpha) if values else mean for values in places(demand, seen, season, whole_seasons=True)]


def seasonal_window(demand, seen, season, window):
    """Mean of the latest values of each place; the mean of the other places where one has none."""
    own = [values[-window:] for values in places(demand, seen, season, whole_seasons=False)]
    means = [sum(values) / len(values) if values else None for values in own]
    known = [mean for mean in means if mean is not None]
    return [sum(known) / len(known) if mean is None else mean for mean in means]


def croston(values, alpha):
    """Smoothed size over smoothed interval."""
    at = [i for i, value in enumerate(values) if value > 0]
    if not at:
        return 0.0
    intervals = [b - a for a, b in zip([-1, *at], at, strict=False)]
    return ses([values[i] for i in at], alpha) / ses(intervals, alpha)


def tsb(values, alpha_d, alpha_p):
    """Smoothed size times smoothed chance."""
    sizes = [value for value in values if value > 0]
    return ses(sizes, alpha_d) * ses([float(value > 0) for value in values], alpha_p) if sizes else 0.0


def mean_interval(values):
    """Periods up to the last demand by number of demands."""
    at = [i for i, value in enumerate(values) if value > 0]
    return (at[-1] + 1) / len(at)


def block_rate(values, width):
    """Smoothed sums of blocks counted from the end, by their width."""
    blocks = [sum(values[end - width : end]) for end in range(len(values), width - 1, -width)][::-1]
    return ses(blocks, best_alpha(blocks, 0.1, 0.3)) / width


def adida(values):
    return block_rate(values, round(mean_interval(values))) if any(values) else 0.0


def imapa(values):
    if not any(values):
        return 0.0
    widths = range(1, round(mean_interval(values)) + 1)
    return sum(block_rate(values, width) for width in widths) / len(widths)


def holt_winters(demand, seen, season, sets, *, product, n_periods):
    """Squared error and path of one set (alpha, alpha x beta, gamma, phi); see `shelfcast.models.trends`."""
    alpha, slope, gamma, phi = sets
    values = seen_only(demand, seen)
    first = values[: max(2 * season, 10)]
    level, trend, total = sum(first) / len(first), 0.0, 0.0
    begun = {i: demand[i] for i in range(min(len(demand), 4 * season)) if seen[i]}
    mean = sum(begun.values()) / len(begun)
    factors = {}
    for place in range(season):
        own = [value for i, value in begun.items() if (i - len(demand)) % season == place]
        neutral = not own or season == 1 or len(demand) < 2 * season or mean == 0
        level_here = mean if neutral else sum(own) / len(own)
        factors[place] = level_here - mean
        if product:
            factors[place] = 1.0 if neutral else max(level_here / mean, 0.2)
    floor = 0.02 * level
    for i, value in enumerate(demand):
        if not seen[i]:
            continue
        factor, ahead = factors[(i - len(demand)) % season], phi * trend
        if product:
            base = max(level + ahead, floor)
            error = value - base * factor
            level, trend = max(base + alpha * error / factor, floor), ahead + slope * error / factor
            factors[(i - len(demand)) % season] = max(factor + gamma * error / base, 0.2)
        else:
            error = value - (level + ahead) - factor
            level, trend = level + ahead + alpha * error, ahead + slope * error
            factors[(i - len(demand)) % season] = factor + gamma * error
        total += error**2
    path = []
    for h in range(n_periods):
        base = level + trend * sum(phi**j for j in range(1, h + 2))
        factor = factors[h % season]
        path.append(max(base * factor if product else base + factor, 0.0))
    return total, path
