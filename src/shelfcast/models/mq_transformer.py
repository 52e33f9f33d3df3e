"""MQTransformer: the MQ family with attention to past dates and to its own earlier forecasts (Eisenach et al.,
arXiv 2009.14799). The network is in `shelfcast.networks.transformer`; importing this module needs no torch.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError
from shelfcast.models.base import refuse_unknown
from shelfcast.models.mq import NetworkForecaster
from shelfcast.networks.settings import Compute, NetworkConfig, TrainConfig, TransformerConfig


@dataclass(frozen=True)
class Attended:
    """What forecasts from one origin looked at.

    Parameters
    ----------
    periods : (S,) periods up to the origin: past dates, or with `align = "ahead"` past origins.
    weights : (n, K, S) share of the attention of each series and horizon that each period got; mean over heads.
    nothing : (n, K) what no period got: all of it where there is no history.
    """

    periods: NDArray[np.int64]
    weights: NDArray[np.float32]
    nothing: NDArray[np.float32]


@dataclass
class MQTransformer(NetworkForecaster):
    """Quantile network that attends to past dates like those ahead, and to its own earlier forecasts."""

    network: NetworkConfig = field(default_factory=TransformerConfig)

    name = "mqtransformer"
    defaults: ClassVar[dict[str, Any]] = {"consistency": 0.02}  # docs/log-attention.md
    records: ClassVar[dict[str, type]] = {
        "network": TransformerConfig, "training": TrainConfig, "compute": Compute,
    }  # fmt: skip

    @property
    def aligns(self) -> bool:
        """Whether it attends to past periods at all."""
        return isinstance(self.network, TransformerConfig) and self.network.align != "none"

    def attended(self, panel: Panel, origin: int, series: NDArray[np.int64]) -> Attended:
        """Which past periods the forecasts of the series at these places looked at.

        Raises NotFittedError before `fit`, ConfigError where alignment is left out.
        """
        from shelfcast.networks import fitting
        from shelfcast.networks.attended import attended
        from shelfcast.networks.transformer import TransformerNetwork

        fitted = self._fitted("call fit(panel) before asking what it looked at")
        if not self.aligns:
            raise ConfigError("model.align", "this model attends to no past periods", 'fit it with align = "dates"')
        refuse_unknown(panel, [origin])
        fitting.check_columns(fitted, panel)
        assert isinstance(fitted.network, TransformerNetwork)
        periods, weights = attended(fitted.network, fitted.layout, panel, origin, np.asarray(series, dtype=np.int64))
        return Attended(periods, weights[..., :-1], weights[..., -1])


MODELS = {MQTransformer.name: MQTransformer}
