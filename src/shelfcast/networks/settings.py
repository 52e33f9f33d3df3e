"""What a network is and how it is fitted: frozen records, checked when made. Needs no torch.

A setting is written once, here; forecasters take them by name (`shelfcast.models.mq`).
"""

from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from shelfcast.errors import ConfigError, nearest

ENCODERS = ("cnn", "lstm", "mlp")
HEADS = ("grid", "spline", "negative-binomial", "zero-inflated", "point", "point-squared")
PARTS = ("static", "known", "calendar", "lags", "state", "past")


@dataclass(frozen=True)
class NetworkConfig:
    """What a network is.

    Parameters
    ----------
    encoder : `cnn`, `lstm` or `mlp`.
    head : `grid`, `spline`, `negative-binomial`, `zero-inflated`, `point` or `point-squared`.
    width : channels of the encoder, and of the contexts.
    hidden : width of the global decoder's hidden layer.
    dates : numbers that the calendar of a period is pressed into.
    embedding : numbers that the static columns of a series are pressed into.
    specific : channels of each horizon's own context; 0 leaves the agnostic one and a learned vector a horizon.
    glimpse : numbers that each horizon's known future is pressed into for the global decoder; 0 for none.
    pieces : linear pieces of the spline head.
    reach, forks : periods the encoder looks back on, and possible origins of a training window; by the frequency if
        None.
    static : columns of the series to read; all but the item's key if None.
    left_out : parts of the inputs to leave out: `static`, `known`, `calendar`, `lags`, `state`, `past`.
    sold : past column with what was sold in periods that were not observed or ended sold out: a lower bound on demand.
    features : whether the forest's hand-made features are read, too.
    """

    encoder: str = "cnn"
    head: str = "grid"
    width: int = 32
    hidden: int = 64
    dates: int = 12
    embedding: int = 16
    specific: int = 4
    glimpse: int = 0
    pieces: int = 10
    reach: int | None = None
    forks: int | None = None
    static: tuple[str, ...] | None = None
    left_out: tuple[str, ...] = ()
    sold: str | None = None
    features: bool = False

    def __post_init__(self) -> None:
        _check(self, {"specific": 0, "glimpse": 0, "reach": 0, "position": 0, "feedback": 0})
        for name, listed in (("encoder", ENCODERS), ("head", HEADS)):
            if getattr(self, name) not in listed:
                raise ConfigError(f"model.{name}", f"unknown {name} {getattr(self, name)!r}", f"there are: {listed}")
        for part in self.left_out:
            if part not in PARTS:
                raise ConfigError("model.left_out", f"unknown part '{part}'", nearest(part, PARTS))


ALIGN = ("dates", "ahead", "none")


@dataclass(frozen=True)
class TransformerConfig(NetworkConfig):
    """What an MQTransformer is: an MQ network, and what it attends to. Its memory is bounded by `keys` and `feedback`.

    Parameters
    ----------
    heads : of each attention; `width` is split among them.
    align : past periods to attend to by their `dates`, by what lay `ahead` of them as in the paper, or `none`.
    keys : periods up to an origin that it may attend to; by the frequency if None.
    position : width of the vector of a period's place in the calendar; 0 leaves positions out.
    position_layers : convolutions that make it; it depends on 2^n - 1 periods each way.
    feedback : earlier origins whose forecasts of the same window are attended to; 0 for none.
    feedback_step : periods between them; the short season if None.
    """

    heads: int = 2
    align: str = "dates"
    keys: int | None = None
    position: int = 0
    position_layers: int = 2
    feedback: int = 1
    feedback_step: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.align not in ALIGN:
            raise ConfigError("model.align", f"unknown alignment {self.align!r}", f"there are: {ALIGN}")
        if self.width % self.heads:
            raise ConfigError("model.heads", f"expected a divisor of width {self.width}; got {self.heads}")


@dataclass(frozen=True)
class TrainConfig:
    """How a network is fitted.

    Parameters
    ----------
    steps, series, origins : steps, and series and decoded origins of each.
    learning_rate, warm_up, weight_decay, clip : of AdamW; `warm_up` is a share of the steps.
    average : decay of the average of the weights.
    draw_power, weight_power : exponents of a series' share of sales in drawing it and in its loss.
    level_power : 1 draws series of every level of aggregation alike, 0 every level as often as any other.
    embedding_dropout : chance that a category is hidden in a batch.
    dropout : of the local decoder's first layer.
    consistency : price of a revision: times the mean absolute change of quantiles of the same window from one decoded
        origin to the next, added to the loss; the heads of counts do without.
    validation_origins : latest origins that are kept out of training and scored; 0 for none.
    validate_every, patience : steps between scores, and scores without a better one before the loop stops.
    checkpoint_every : steps between checkpoints, where there is a folder for them.
    """

    steps: int = 4_500
    series: int = 32
    origins: int = 8
    learning_rate: float = 4e-3
    warm_up: float = 0.15
    weight_decay: float = 1e-4
    clip: float = 1.0
    average: float = 0.99
    draw_power: float = 0.5
    weight_power: float = 0.5
    level_power: float = 0.75
    embedding_dropout: float = 0.05
    dropout: float = 0.0
    consistency: float = 0.0
    validation_origins: int = 0
    validate_every: int = 200
    patience: int = 5
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        _check(self, {"steps": 0, "validation_origins": 0})


@dataclass(frozen=True)
class Compute:
    """Where and how a network computes, and the folders a run reads and writes.

    Parameters
    ----------
    device : `cpu`, `cuda`, or `auto`: a GPU where there is one.
    precision : `float32`, or `bfloat16` for the network (loss and head stay float32).
    checkpoint : folder of the run's checkpoints; a run that was stopped goes on from there.
    warm_start : folder of a model to begin from: its weights, and its categories and spreads.
    """

    device: str = "auto"
    precision: str = "float32"
    checkpoint: str | None = None
    warm_start: str | None = None

    def __post_init__(self) -> None:
        _check(self, {})
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigError("model.precision", f"expected float32 or bfloat16; got {self.precision!r}")


_SHARES = ("warm_up", "average", "embedding_dropout", "dropout")


def _check(record: Any, least: dict[str, int]) -> None:
    """Types and ranges of a record's fields; lists become tuples."""
    hints = get_type_hints(type(record))
    for field in fields(record):
        key, value, hint = field.name, getattr(record, field.name), hints[field.name]
        if isinstance(value, list):
            value = tuple(value)
            object.__setattr__(record, key, value)
        if value is None and hint in (int | None, str | None, tuple[str, ...] | None):
            continue
        if hint is bool:
            if not isinstance(value, bool):
                raise ConfigError(f"model.{key}", f"expected true or false; got {value!r}")
        elif hint in (int, int | None):
            floor = least.get(key, 1)
            if not isinstance(value, int) or isinstance(value, bool) or value < floor:
                raise ConfigError(f"model.{key}", f"expected a whole number >= {floor}; got {value!r}")
        elif hint is float:
            top = 1.0 if key in _SHARES else float("inf")
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= top:
                raise ConfigError(f"model.{key}", f"expected a number from 0 to {top}; got {value!r}")
        elif hint in (str, str | None) and not isinstance(value, str):
            raise ConfigError(f"model.{key}", f"expected a text; got {value!r}")
        elif hint in (tuple[str, ...], tuple[str, ...] | None) and not (
            isinstance(value, tuple) and all(isinstance(v, str) for v in value)
        ):
            raise ConfigError(f"model.{key}", f"expected a list of texts; got {value!r}")
