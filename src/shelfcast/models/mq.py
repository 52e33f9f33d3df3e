"""The MQ family: one network that forecasts all horizons and levels at once, from raw history (Wen et al.,
arXiv 1711.11053).

    mq-fnn   dense layers on the forest's features    mq-rnn   an LSTM with lagged inputs
    mq-cnn   dilated causal convolutions

Trained on the quantile loss itself, at every origin of a window in one pass (forking sequences). The parts are in
`shelfcast.networks`; what differs between these models is the encoder. Importing this module needs no torch: networks
are imported when one is fitted, read or asked to forecast.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from shelfcast.data.panel import Panel
from shelfcast.errors import NotFittedError, StoreError
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon
from shelfcast.models.base import DEFAULT_LEVELS, Ability, refuse_unknown
from shelfcast.models.stored import reading, settings_in
from shelfcast.networks.settings import Compute, NetworkConfig, TrainConfig

if TYPE_CHECKING:
    from shelfcast.networks.fitting import Fitted
    from shelfcast.networks.training import Progress

_RECORDS: dict[str, type] = {"network": NetworkConfig, "training": TrainConfig, "compute": Compute}
_ABILITIES = frozenset({Ability.STATIC, Ability.PAST, Ability.KNOWN, Ability.COLD_START, Ability.SPANS})


@dataclass
class NetworkForecaster:
    """A network behind the contract of forecasters.

    Parameters
    ----------
    horizons, levels : what is forecast.
    network : what the network is.
    training : how it is fitted.
    compute : where, and the folders of checkpoints and of a model to begin from.
    report : called with the progress of training.
    """

    horizons: tuple[Horizon, ...]
    levels: tuple[float, ...] = DEFAULT_LEVELS
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainConfig = field(default_factory=TrainConfig)
    compute: Compute = field(default_factory=Compute)
    report: "Callable[[Progress], None] | None" = field(default=None, repr=False, compare=False)
    fitted_: "Fitted | None" = field(default=None, init=False, repr=False, compare=False)

    name: ClassVar[str]
    records: ClassVar[dict[str, type]] = _RECORDS
    defaults: ClassVar[dict[str, Any]] = {}
    abilities: ClassVar[frozenset[Ability]] = _ABILITIES

    @classmethod
    def setting_names(cls) -> list[str]:
        """Names of the settings there are."""
        return [entry.name for record in cls.records.values() for entry in fields(record)]

    @classmethod
    def of(cls, horizons: Iterable[Horizon], levels: Iterable[float] = DEFAULT_LEVELS, **settings: Any) -> Self:
        """From settings by name, each sorted into its record; `defaults` of the model for the others."""
        given = cls.defaults | settings
        made = {
            part: record(**{e.name: given[e.name] for e in fields(record) if e.name in given})
            for part, record in cls.records.items()
        }
        return cls(horizons=tuple(horizons), levels=tuple(levels), **made)

    # ---- the contract

    def fit(self, panel: Panel, *, seed: int = 0) -> Self:
        """Train on all the panel shows."""
        from shelfcast.networks import fitting

        trainer = fitting.prepare(
            panel, self.horizons, self.levels, self.network, self.training, self.compute, seed
        )  # fmt: skip
        self.fitted_ = fitting.fit(trainer, self.network, report=self.report, settings=json.dumps(self._settings()))
        return self

    def predict(self, panel: Panel, origins: Sequence[int]) -> Forecast:
        """Forecast every series at every origin."""
        shape = (panel.n_series, len(origins), len(self.horizons), len(self.levels))
        values, mean = np.zeros(shape, dtype=np.float32), np.zeros(shape[:-1], dtype=np.float32)
        begin = 0
        for piece in self.stream(panel, origins):
            end = begin + piece.series.height
            assert piece.mean is not None
            values[begin:end], mean[begin:end] = piece.values, piece.mean
            begin = end
        return self._forecast(panel, origins, slice(0, panel.n_series), values, mean)

    def stream(self, panel: Panel, origins: Sequence[int]) -> Iterator[Forecast]:
        """The same in pieces of consecutive series, so that memory does not grow with their number."""
        from shelfcast.networks import fitting, prediction

        fitted = self._fitted("call fit(panel) before predict")
        refuse_unknown(panel, origins)
        fitting.check_columns(fitted, panel)
        fitting.check_horizons(fitted, self.horizons)
        fitted = fitting.on_device(fitted, self.compute)
        whole_blocks = self.network.encoder == "lstm"
        for said in prediction.predict(
            fitted.network, fitted.head, fitted.layout, panel, origins, self.levels, shifts=fitted.shifts,
            whole_blocks=whole_blocks,
        ):  # fmt: skip
            rows = slice(said.begin, said.begin + len(said.values))
            yield self._forecast(panel, origins, rows, said.values, said.mean)

    def _forecast(self, panel: Panel, origins: Sequence[int], rows: slice, values: Any, mean: Any) -> Forecast:
        series = panel.series[rows].select(panel.keys)
        return Forecast(series, tuple(origins), panel.frequency, self.horizons, self.levels, values, mean, self.name)

    def preflight(self, panel: Panel) -> str:
        """What fitting will take: parameters, steps, memory, time."""
        from shelfcast.networks.preflight import preflight

        return preflight(panel, self.horizons, self.levels, self.network, self.training, self.compute)

    def export(self, panel: Panel, path: Path) -> dict[str, Any]:
        """Write the network as ONNX, checked against torch on a panel's series; returns what the check found."""
        from shelfcast.networks import fitting
        from shelfcast.networks.export import export

        fitted = self._fitted("there is nothing to export")
        fitting.check_columns(fitted, panel)
        return export(fitted, panel, self.levels, Path(path))

    def _fitted(self, advice: str) -> "Fitted":
        if self.fitted_ is None:
            raise NotFittedError(f"'{self.name}' has not been fitted; {advice}.")
        return self.fitted_

    # ---- keeping

    def _settings(self) -> dict[str, Any]:
        return {
            "horizons": [[h.lead, h.span] for h in self.horizons],
            "levels": list(self.levels),
            **{part: asdict(getattr(self, part)) for part in self.records},
        }

    def save(self, folder: Path) -> None:
        """Write settings and columns to `model.json`, weights to `weights.npz`."""
        from shelfcast.networks import fitting

        fitted = self._fitted("there is nothing to save")
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            stored = fitting.save(fitted, Path(folder))
            text = json.dumps({"name": self.name, "settings": self._settings(), "network": stored}, indent=1)
            (Path(folder) / "model.json").write_text(text)
        except OSError as error:
            raise StoreError(f"cannot write the model to {folder}: {error}. Choose a writable folder.") from error

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Inverse of `save`."""
        from shelfcast.networks import fitting

        with reading(folder):
            settings = settings_in(folder)
            records = {part: record(**settings.pop(part)) for part, record in cls.records.items()}
            model = cls(**records, **settings)
        model.fitted_ = fitting.load(Path(folder), model.horizons, model.levels, model.network)
        return model


class MQFNN(NetworkForecaster):
    """Quantile network on the forest's hand-made features: dense layers on each origin by itself."""

    name = "mq-fnn"
    defaults: ClassVar[dict[str, Any]] = {"encoder": "mlp", "features": True}


class MQCNN(NetworkForecaster):
    """Quantile network on raw history: dilated causal convolutions, all horizons and levels at once."""

    name = "mq-cnn"


class MQRNN(NetworkForecaster):
    """Quantile network on raw history: an LSTM with lagged inputs, all horizons and levels at once."""

    name = "mq-rnn"
    defaults: ClassVar[dict[str, Any]] = {"encoder": "lstm"}


MODELS = {model.name: model for model in (MQFNN, MQRNN, MQCNN)}
