"""A fitted network as an ONNX file, checked against torch on real series before it is given out.

What goes in are the arrays of `batches.Batch`, which are made without torch, and `scale`, to be 0 for a series that was
silent for long. What comes out is `quantiles` (B, O, K, Q) in units; of heads of counts `parameters` (B, O, K, 2 or 3):
mean in units, dispersion and, with an excess of zeros, its log-odds. Beside the file goes a JSON that says so.
"""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError, StoreError
from shelfcast.networks.batches import Batch, Source
from shelfcast.networks.fitting import Fitted
from shelfcast.networks.heads import NegativeBinomial
from shelfcast.networks.network import Tensors
from shelfcast.networks.prediction import batches

Arrays = dict[str, NDArray[Any]]
TOLERANCE = 1e-4  # largest difference from torch, over the scale of the series
_SERIES = 64  # that the check is made on
_OPSET = 17
AXES = {
    "codes": "series, static columns",
    "numbers": "series, static numbers",
    "inputs": "series, periods, inputs",
    "table": "dates, date features",
    "calendar": "series, periods and leads: row of the table",
    "origins": "origins: place among the periods",
    "state": "series, origins, state features",
    "ahead": "series, origins, leads, features",
    "targets": "series, origins, horizons, hand-made features",
    "indicators": "series, periods and leads and some beyond, plans",
    "scale": "series, origins: units a period",
}
_GROWING = {  # input -> axes whose length is free, and their names
    "codes": {0: "series"},
    "numbers": {0: "series"},
    "inputs": {0: "series", 1: "periods"},
    "table": {0: "dates"},
    "calendar": {0: "series", 1: "days"},
    "origins": {0: "origins"},
    "state": {0: "series", 1: "origins"},
    "ahead": {0: "series", 1: "origins"},
    "targets": {0: "series", 1: "origins"},
    "indicators": {0: "series", 1: "planned days"},
    "scale": {0: "series", 1: "origins"},
}


class Deployed(nn.Module):
    """A network with its head and scale: arrays of a batch -> quantiles or parameters in units."""

    shifts: Tensor | None

    def __init__(self, fitted: Fitted, levels: Sequence[float]) -> None:
        super().__init__()
        self.network, self.head, self.levels = fitted.network, fitted.head, tuple(levels)
        shifts = None if fitted.shifts is None else torch.as_tensor(fitted.shifts, dtype=torch.float32)
        self.register_buffer("shifts", shifts)

    @property
    def says(self) -> str:
        """Name of what comes out."""
        return "parameters" if isinstance(self.head, NegativeBinomial) else "quantiles"

    def forward(self, given: dict[str, Tensor]) -> Tensor:
        """Inputs of no width may be left out."""
        scale = given["scale"][..., None] * self.network.spans
        n_series, n_origins = given["scale"].shape
        none: dict[str, Tensor | None] = {
            "indicators": None,
            "codes": scale.new_zeros(n_series, 0, dtype=torch.int64),
            "numbers": scale.new_zeros(n_series, 0),
            "targets": scale.new_zeros(n_series, n_origins, scale.shape[-1], 0),
        }
        made: dict[str, Any] = {name: given[name] if name in given else none[name] for name in Tensors._fields}
        raw = self.network(Tensors(**made))
        if isinstance(self.head, NegativeBinomial):
            mean, dispersion, odds = self.head.parts(raw, scale)
            return torch.stack((mean, dispersion, *(() if odds is None else (odds,))), dim=-1)
        scaled = self.head.quantiles(raw, self.levels, scale)
        scaled = scaled if self.shifts is None else scaled + self.shifts
        return scaled.clamp(min=0) * scale[..., None]


def inputs_of(batch: Batch, table: NDArray[Any]) -> Arrays:
    """The arrays of a batch by the names of the exported inputs; those of no width are left out."""
    made: dict[str, Any] = {name: getattr(batch, name) for name in Tensors._fields if name != "table"} | {
        "table": table
    }
    made["scale"] = np.where(batch.silent, np.float32(0), batch.scale)
    return {name: np.ascontiguousarray(made[name]) for name in AXES if made[name] is not None and made[name].size}


def export(fitted: Fitted, panel: Panel, levels: Sequence[float], path: Path) -> dict[str, Any]:
    """Write an ONNX file and its JSON; returns what the check found.

    Parameters
    ----------
    panel : series on which file and torch must agree at the last period, to 1e-4 of their scale.

    Raises ConfigError where the extra `export` is not installed, StoreError where the file cannot be written.
    """
    runtime = _runtime()
    whole = Deployed(fitted, levels).cpu().eval()
    checks = _examples(fitted, panel)
    _write(whole, checks[0], path)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    taken = {entry.name for entry in session.get_inputs()}
    worst = max(_difference(whole, session, taken, given) for given in checks)
    if not worst <= TOLERANCE:
        path.unlink()
        raise StoreError(f"the exported network differs from torch by {worst:.2g} of the scale; it was removed.")
    found = {"difference": worst, "series": sum(len(given["scale"]) for given in checks)}
    _describe(fitted, whole, sorted(taken), path)
    return found


def _runtime() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise ConfigError("export", f"needs the extra 'export' ({error})", "pip install 'shelfcast[export]'") from error
    return onnxruntime


def _examples(fitted: Fitted, panel: Panel) -> list[Arrays]:
    """Inputs of some series at the last period, of half of them at two origins, and of a single one."""
    if not panel.n_series:
        raise ConfigError("export", "expected a panel with series to check the exported network on; got none")
    some = panel.take(np.arange(panel.n_series)[:: max(1, -(-panel.n_series // _SERIES))])
    made, two = [], [panel.last, max(panel.last - 1, panel.first)]
    for n, origins in ((some.n_series, two[:1]), (max(some.n_series // 2, 1), two), (1, two[:1])):
        source = Source(some, fitted.layout, min(origins) - fitted.layout.forks, max(origins))
        for _, _, batch in batches(source, np.arange(n), origins, whole_blocks=fitted.config.encoder == "lstm"):
            made.append(inputs_of(batch, source.table))
    return made


class _Named(nn.Module):
    """The same with one argument for each input, in a given order."""

    def __init__(self, whole: Deployed, names: Sequence[str]) -> None:
        super().__init__()
        self.whole, self.names = whole, tuple(names)

    def forward(self, *values: Tensor) -> Tensor:
        made: Tensor = self.whole(dict(zip(self.names, values, strict=True)))
        return made


def _write(whole: Deployed, example: Arrays, path: Path) -> None:
    """By the tracing exporter, since the one of `torch.export` freezes the length of what an LSTM reads."""
    given = {name: torch.from_numpy(value) for name, value in example.items()}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that it traces; the check below is on other sizes than these
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.onnx.export(
                _Named(whole, list(given)), tuple(given.values()), str(path), input_names=list(given),
                output_names=[whole.says], dynamic_axes={name: _GROWING[name] for name in given},
                opset_version=_OPSET, dynamo=False,
            )  # fmt: skip
        except (OSError, RuntimeError) as error:
            raise StoreError(f"cannot write {path}: {error}. Choose a writable folder.") from error


def _difference(whole: Deployed, session: Any, taken: set[str], given: Arrays) -> float:
    """Largest difference of file and torch, over the scale."""
    with torch.no_grad():
        wanted = whole({name: torch.from_numpy(value) for name, value in given.items()}).numpy()
    got = session.run(None, {name: value for name, value in given.items() if name in taken})[0]
    size = np.maximum(given["scale"], 1.0) if whole.says == "parameters" else given["scale"]
    return float(np.max(np.abs(got - wanted) / np.maximum(size, 1e-6)[..., None, None]))


def _describe(fitted: Fitted, whole: Deployed, taken: list[str], path: Path) -> None:
    """The JSON beside the file: what goes in, what comes out."""
    text = {
        "inputs": {name: AXES[name] for name in taken},
        "output": whole.says,
        "axes": ["series", "origins", "horizons", "levels" if whole.says == "quantiles" else "parameters"],
        "horizons": [[h.lead, h.span] for h in fitted.layout.horizons],
        "levels": list(whole.levels),
        "frequency": str(fitted.frequency),
    }
    path.with_suffix(".json").write_text(json.dumps(text, indent=1))
