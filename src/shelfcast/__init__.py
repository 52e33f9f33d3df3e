"""shelfcast: calibrated quantile forecasts of retail demand for every product, and the orders that follow.

The public names, loaded when first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from shelfcast.data.aggregates import with_aggregates
    from shelfcast.data.panel import Panel
    from shelfcast.data.samples import sample
    from shelfcast.data.schema import Absent, Duplicates, Negatives, PromotionKind, Schema
    from shelfcast.errors import ConfigError, DataError, NotFittedError, ShelfcastError, StoreError
    from shelfcast.evaluation import compare, evaluate
    from shelfcast.forecast import Forecast
    from shelfcast.horizons import Horizon
    from shelfcast.inventory.economics import Economics, Supply
    from shelfcast.inventory.orders import GridLaws, Inventory, Limits, orders
    from shelfcast.inventory.policies import CappedBaseStock, Cover, QuantileOfSum, SafetyStock
    from shelfcast.models.table import forecaster
    from shelfcast.rolling import backtest, rolling_origins
    from shelfcast.store import ForecastStore

_HOMES = {
    "shelfcast.rolling": ("backtest", "rolling_origins"),
    "shelfcast.data.aggregates": ("with_aggregates",),
    "shelfcast.data.panel": ("Panel",),
    "shelfcast.data.samples": ("sample",),
    "shelfcast.data.schema": ("Absent", "Duplicates", "Negatives", "PromotionKind", "Schema"),
    "shelfcast.errors": ("ConfigError", "DataError", "NotFittedError", "ShelfcastError", "StoreError"),
    "shelfcast.evaluation": ("compare", "evaluate"),
    "shelfcast.forecast": ("Forecast",),
    "shelfcast.horizons": ("Horizon",),
    "shelfcast.inventory.economics": ("Economics", "Supply"),
    "shelfcast.inventory.orders": ("GridLaws", "Inventory", "Limits", "orders"),
    "shelfcast.inventory.policies": ("CappedBaseStock", "Cover", "QuantileOfSum", "SafetyStock"),
    "shelfcast.models.table": ("forecaster",),
    "shelfcast.store": ("ForecastStore",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = [
    "Absent", "CappedBaseStock", "ConfigError", "Cover", "DataError", "Duplicates", "Economics", "Forecast",
    "ForecastStore", "GridLaws", "Horizon", "Inventory", "Limits", "Negatives", "NotFittedError", "Panel",
    "PromotionKind", "QuantileOfSum", "SafetyStock", "Schema", "ShelfcastError", "StoreError", "Supply", "__version__",
    "backtest", "compare", "evaluate", "forecaster", "orders", "rolling_origins", "sample", "with_aggregates",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Load a public name from where it lives."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'shelfcast' has no attribute '{name}'")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
