"""MQTransformer: the MQ family with attention to past dates and to its own earlier forecasts (Eisenach et al.,
arXiv 2009.14799). The network is in `shelfcast.networks.transformer`; importing this module needs no torch.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from shelfcast.models.mq import NetworkForecaster
from shelfcast.networks.settings import Compute, NetworkConfig, TrainConfig, TransformerConfig


@dataclass
class MQTransformer(NetworkForecaster):
    """Quantile network that attends to past dates like those ahead, and to its own earlier forecasts."""

    network: NetworkConfig = field(default_factory=TransformerConfig)

    name = "mqtransformer"
    records: ClassVar[dict[str, type]] = {
        "network": TransformerConfig, "training": TrainConfig, "compute": Compute,
    }  # fmt: skip


MODELS = {MQTransformer.name: MQTransformer}
