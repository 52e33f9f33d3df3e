"""The recurrent trials that came before the MQ family: its parts with other heads.

rnn-point          one number by absolute error; its law is that number and the errors made in training windows
rnn-distribution   a negative binomial law by likelihood (Salinas et al., arXiv 1704.04110, but direct: every
                   horizon has a law of its own, so nothing is fed back and no paths need to be drawn)
"""

from typing import Any, ClassVar

from shelfcast.models.mq import NetworkForecaster


class RecurrentPoint(NetworkForecaster):
    """Recurrent point forecaster, its law from pooled errors of the training windows."""

    name = "rnn-point"
    defaults: ClassVar[dict[str, Any]] = {"encoder": "lstm", "head": "point"}


class RecurrentDistribution(NetworkForecaster):
    """Recurrent forecaster of negative binomial laws, fitted by likelihood."""

    name = "rnn-distribution"
    defaults: ClassVar[dict[str, Any]] = {"encoder": "lstm", "head": "negative-binomial"}


MODELS = {model.name: model for model in (RecurrentPoint, RecurrentDistribution)}
