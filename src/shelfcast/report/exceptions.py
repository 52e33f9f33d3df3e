"""A planner's list: products ranked by the money at risk, whatever the reason.

Money is units at risk times the latest price: units short where stock may run out, units of error beyond the typical
where the forecast missed. A product with several reasons is one line, and their money is added.
"""

import numpy as np
import polars as pl

from shelfcast.data.panel import Panel
from shelfcast.report.aligned import Array, places_of
from shelfcast.report.inputs import Attention, Kind, ReportInputs
from shelfcast.report.numbers import spoken

_MOST = 50
_COUNTED = (Kind.RISK, Kind.MISS)


def exceptions(inputs: ReportInputs, found: list[Attention]) -> list[Attention]:
    """The most money first; none where no price is known."""
    counted = [one for one in found if one.kind in _COUNTED and one.score > 0]
    price = latest_price(inputs.panel)
    if price is None or not counted:
        return []
    keys = {"item": [a.item for a in counted], "location": [a.location for a in counted]}
    place = places_of(inputs.panel, pl.DataFrame(keys).select(inputs.panel.keys))
    money = np.array([a.score for a in counted]) * np.where(place >= 0, price[place], np.nan)
    total: dict[int, float] = {}
    said: dict[int, list[Attention]] = {}
    for one, at, value in zip(counted, place.tolist(), money.tolist(), strict=True):
        if np.isfinite(value) and value > 0:
            total[at] = total.get(at, 0.0) + value
            said.setdefault(at, []).append(one)
    order = sorted(total, key=lambda at: (-total[at], at))[:_MOST]
    return [
        Attention(
            Kind.MONEY, said[at][0].item, said[at][0].location,
            f"{inputs.currency}{spoken(total[at])} at risk. " + " ".join(a.sentence for a in said[at]), total[at],
        )
        for at in order
    ]  # fmt: skip


def latest_price(panel: Panel) -> Array | None:
    """(N,) latest known price up to the last period with demand; NaN where there is none, None without prices."""
    prices = panel.price_window(panel.last, panel.last)
    return None if prices is None else np.where(prices[:, 0] > 0, prices[:, 0], np.nan).astype(np.float64)
