"""Rolling origins: what a forecaster would have said, with or without refitting on the way."""

from collections.abc import Iterator, Sequence

from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError
from shelfcast.forecast import Forecast
from shelfcast.models.base import Forecaster


def rolling_origins(panel: Panel, n_origins: int, step: int, reach: int) -> list[int]:
    """The last `n_origins` origins, `step` periods apart, whose farthest target (`reach` ahead) is known.

    Raises ConfigError where the history is too short for even one period before the first of them.
    """
    if min(n_origins, step, reach) < 1:
        came = f"{n_origins} origins, step {step}, reach {reach}"
        raise ConfigError("backtest", f"expected whole numbers >= 1; got {came}")
    newest = panel.last - reach
    origins = [newest - step * i for i in reversed(range(n_origins))]
    if origins[0] < panel.first:
        there_are = panel.last - panel.first + 1
        needed = reach + step * (n_origins - 1) + 1
        raise ConfigError(
            "backtest", f"{n_origins} origins need {needed} periods of history; there are {there_are}",
            "use fewer origins, a smaller step or nearer horizons",
        )  # fmt: skip
    return origins


def backtest(
    forecaster: Forecaster, panel: Panel, origins: Sequence[int], *, refit_every: int | None = None, seed: int = 0
) -> Iterator[Forecast]:
    """Forecast at each origin with a model that saw nothing after it; one `Forecast` an origin, in order.

    Parameters
    ----------
    refit_every : fit again at every n-th origin on what was known then; None to fit once, at the first.
    seed : handed to every fit.
    """
    if refit_every is not None and refit_every < 1:
        raise ConfigError("backtest.refit_every", f"expected a whole number of origins >= 1; got {refit_every}")
    for place, origin in enumerate(sorted(origins)):
        visible = panel.as_of(origin)
        if place == 0 or (refit_every is not None and place % refit_every == 0):
            forecaster = forecaster.fit(visible, seed=seed)
        yield forecaster.predict(visible, [origin])
