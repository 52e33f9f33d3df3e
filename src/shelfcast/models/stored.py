"""How a saved forecaster's settings are read back from its `model.json`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shelfcast.errors import ConfigError, StoreError
from shelfcast.horizons import Horizon


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Whatever goes wrong inside is a StoreError that names the folder."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise StoreError(
            f"expected a model of this version in {folder}; got: {error}. Run `shelfcast fit` again."
        ) from error


def settings_in(folder: Path) -> dict[str, Any]:
    """The settings of `model.json`, its horizons and levels as a forecaster takes them; use within `reading`."""
    settings: dict[str, Any] = json.loads((Path(folder) / "model.json").read_text())["settings"]
    settings["horizons"] = tuple(Horizon(*pair) for pair in settings["horizons"])
    settings["levels"] = tuple(settings["levels"])
    return settings
