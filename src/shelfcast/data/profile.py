"""What a panel looks like: demand classes of its series."""

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.scoring import ratio

ADI_CUT = 1.32
CV2_CUT = 0.49


def demand_classes(panel: Panel) -> NDArray[np.str_]:
    """(N,) class of each series: smooth, intermittent, erratic, lumpy, or none where nothing was sold.

    ADI = observed periods from the first sale / periods with demand, at least 1.32 for intermittent and lumpy;
    CV2 = (sd / mean of the positive demands)^2, at least 0.49 for erratic and lumpy (Syntetos, Boylan, Croston, 2005).
    """
    n, series = panel.n_series, panel.row_series()
    positive = panel.observed & (panel.demand > 0)
    before = np.concatenate(([0], np.cumsum(positive)))
    on_sale = panel.observed & (before[1:] > before[panel.indptr[:-1]][series])
    count = np.bincount(series[positive], minlength=n)
    units = panel.demand[positive].astype(np.float64)
    mean = np.bincount(series[positive], units, n) / np.maximum(count, 1)
    square = np.bincount(series[positive], (units - mean[series[positive]]) ** 2, n) / np.maximum(count, 1)
    adi = np.nan_to_num(ratio(np.bincount(series[on_sale], minlength=n), count))
    cv2 = np.nan_to_num(ratio(square, mean**2))
    rare, wild = adi >= ADI_CUT, cv2 >= CV2_CUT
    return np.select([count == 0, rare & wild, rare, wild], ["none", "lumpy", "intermittent", "erratic"], "smooth")
