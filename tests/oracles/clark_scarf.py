"""Serial systems with backlog, Clark and Scarf's recursion on a fine lattice; Snyder and Shen, section 6.2.

Stage 1 serves customers; costs are echelon costs, lead-time demand is Normal. Every function is the formula.
"""

from math import erf, sqrt

import numpy as np


def optimum(echelon_holding, lead, stockout, mean, sd, step=0.04):
    """Echelon base stocks from stage 1 up, and the cost per period."""
    x = np.arange(-6 * mean * sum(lead), 8 * mean * sum(lead), step)
    value = (stockout + sum(echelon_holding)) * np.maximum(-x, 0.0)
    levels = []
    for holding, periods in zip(echelon_holding, lead, strict=True):
        inner = holding * x + value
        curve = expected(inner, x, mean * periods, sd * sqrt(periods), step)
        best = int(np.argmin(curve))
        levels.append(float(x[best]))
        value = np.where(x < x[best], curve, curve[best])
    return levels, float(value[-1])


def expected(values, x, mean, sd, step):
    """E[values(x - D)], the lowest x extended linearly."""
    if sd == 0:
        return values
    d = np.arange(mean - 6 * sd, mean + 6 * sd, step)
    edges = np.concatenate((d - step / 2, [d[-1] + step / 2]))
    chance = np.diff([0.5 * (1 + erf((e - mean) / (sd * sqrt(2)))) for e in edges])
    slope = (values[1] - values[0]) / step
    out = np.zeros_like(values)
    for demand, p in zip(d, chance / chance.sum(), strict=True):
        at = x - demand
        out += p * np.where(at < x[0], values[0] + slope * (at - x[0]), np.interp(at, x, values))
    return out
