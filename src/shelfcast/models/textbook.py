"""The table of point models with their default settings.

A model of the table is made when asked for: `POINT_MODELS["sba"]()`. Those of `classical` need the extra of that name,
and say so when their first path is asked for.
"""

from collections.abc import Callable

from shelfcast.models.classical import AutoARIMA, AutoETS, AutoTheta
from shelfcast.models.intermittent import ADIDA, IMAPA, SBA, TSB, Croston
from shelfcast.models.points import PointModel
from shelfcast.models.smoothing import (
    SES,
    DampedSES,
    HoltWinters,
    SeasonalES,
    SeasonalNaivePoint,
    SeasonalWindowAverage,
    WindowAverage,
)

POINT_MODELS: dict[str, Callable[[], PointModel]] = {
    "ses": SES,
    "damped": DampedSES,
    "seasonal-es": SeasonalES,
    "holt-winters": HoltWinters,
    "window-average": WindowAverage,
    "seasonal-window-average": SeasonalWindowAverage,
    "seasonal-naive-point": SeasonalNaivePoint,
    "croston": Croston,
    "sba": SBA,
    "tsb": TSB,
    "adida": ADIDA,
    "imapa": IMAPA,
    "ets": AutoETS,
    "theta": AutoTheta,
    "arima": AutoARIMA,
}
