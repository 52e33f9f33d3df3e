"""The step that gives a fitted network out as a file for other runtimes."""

from pathlib import Path
from typing import Any

from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError
from shelfcast.loading import Run
from shelfcast.models.mq import NetworkForecaster
from shelfcast.models.table import load


def export_onnx(run: Run, panel: Panel, path: Path, fitted: Path | None = None) -> dict[str, Any]:
    """Write the network that `fit` saved as ONNX, checked against torch on the panel's series.

    Raises ConfigError where the model is no network or the extra `export` is missing.
    """
    model = load(fitted or run.folder / "model")
    if not isinstance(model, NetworkForecaster):
        raise ConfigError("export", f"'{model.name}' is no network", "choose one of the networks, and fit it")
    return {"onnx": str(path), **model.export(panel, path)}
