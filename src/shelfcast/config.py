"""One run as a TOML file: the only place where settings are checked.

Unknown keys are errors that name the nearest valid one. Relative paths start at the folder of the file. What a run used
is written beside what it made.
"""

import json
import math
import re
import tomllib
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)

from shelfcast.data.schema import Absent, Duplicates, Negatives, PromotionKind, Schema
from shelfcast.errors import ConfigError, DataError, nearest, shorten
from shelfcast.horizons import Horizon, as_horizons, as_levels, per_period

if TYPE_CHECKING:
    from shelfcast.data.tables import Query

DEFAULT_MODELS = ("seasonal-naive", "recent-quantiles", "season-quantiles", "season-profile")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


_ONE_SOURCE = "expected either path, or url together with sql"


class TableConfig(_Section):
    """Where a table is: a path (file, glob or folder), or a database URL with SQL. `duckdb:` queries files."""

    path: str | None = None
    url: str | None = None
    sql: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "TableConfig":
        if (self.path is None) == (self.url is None) or (self.url is None) != (self.sql is None):
            raise ValueError(_ONE_SOURCE)
        return self

    @property
    def source(self) -> "str | Query":
        """What the data layer opens: a path or a query."""
        from shelfcast.data.tables import Query

        return Query(self.url, self.sql) if self.url and self.sql else self.path or ""


class SalesConfig(TableConfig):
    """The sales table and what its columns mean (see `Schema`)."""

    item: str = "item"
    location: str | None = None
    date: str = "date"
    demand: str = "demand"
    in_stock: str | None = None
    in_stock_from: float = Field(0.5, ge=0, le=1)
    sold_out: str | None = None
    price: str | None = None
    paid: str | None = None
    promotions: dict[str, PromotionKind] = {}
    past: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    frequency: str | None = None
    absent: Absent = Absent.ZERO
    longest_gap: int | None = Field(None, ge=0)
    duplicates: Duplicates = Duplicates.REFUSE
    negatives: Negatives = Negatives.REFUSE
    from_first_sale: bool = False

    def schema_(self) -> Schema:
        """The columns' meaning as the data layer takes it."""
        return Schema(**self.model_dump(exclude={"path", "url", "sql"}))


class CalendarConfig(_Section):
    """Columns by date, from a table (path, or url and sql) and from the public holidays of a country."""

    path: str | None = None
    url: str | None = None
    sql: str | None = None
    date: str = "date"
    place: str | None = None
    columns: tuple[str, ...] = ()
    country: str | None = None
    subdivision: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "CalendarConfig":
        if (self.path is not None and self.url is not None) or (self.url is None) != (self.sql is None):
            raise ValueError(_ONE_SOURCE)
        if self.path is None and self.url is None and self.country is None:
            raise ValueError("expected a table (path, or url with sql), a country, or both")
        return self

    @property
    def source(self) -> "str | Query | None":
        """What the data layer opens; None where there are holidays only."""
        if self.path is None and self.url is None:
            return None
        return TableConfig(path=self.path, url=self.url, sql=self.sql).source


def _horizon(value: Any) -> Any:
    """A horizon from a pair or a text 'lead+span'."""
    try:
        return Horizon.parse(value) if isinstance(value, str) else Horizon(*value)
    except ConfigError as error:
        raise _without_key(error) from None
    except TypeError:
        raise ValueError(f"expected 'lead+span', as '0+7', or [lead, span]; got {value!r}") from None


def _without_key(error: ConfigError) -> ValueError:
    """The message alone: the key is known better where the config is read."""
    return ValueError(str(error).removeprefix(f"{error.key}: ").rstrip("."))


def _horizons(value: Any) -> Any:
    return tuple(map(_horizon, value)) if isinstance(value, list) else value


Spans = Annotated[
    tuple[Horizon, ...], BeforeValidator(_horizons), PlainSerializer(lambda hs: [[h.lead, h.span] for h in hs])
]  # fmt: skip


class ForecastConfig(_Section):
    """What is forecast, and by which model."""

    model: str = "season-profile"
    settings: dict[str, Any] = {}
    periods: int = Field(28, ge=0)
    spans: Spans = ()
    levels: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99)
    whole_units: bool = False
    origin: date | None = None
    seed: int = 0

    @field_validator("levels")
    @classmethod
    def _levels(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        try:
            return as_levels(levels)
        except ConfigError as error:
            raise _without_key(error) from None

    @model_validator(mode="after")
    def _something(self) -> "ForecastConfig":
        if not self.periods and not self.spans:
            raise ValueError("expected periods or spans to forecast; got neither")
        return self

    def horizons(self, further: Iterable[Horizon] = ()) -> tuple[Horizon, ...]:
        """Single periods, then spans, then `further` ones that are needed; each once."""
        return as_horizons(dict.fromkeys((*per_period(self.periods), *self.spans, *further)))


class BacktestConfig(_Section):
    """Which models are compared, and at how many origins."""

    models: tuple[str, ...] = DEFAULT_MODELS
    origins: int = Field(6, ge=1)
    step: int | None = Field(None, ge=1)
    refit_every: int | None = Field(None, ge=1)
    segments: tuple[str, ...] = ("velocity", "demand_class", "age", "life", "stock", "season")
    baseline: str = "seasonal-naive"


class StockConfig(TableConfig):
    """On-hand stock by key, and what a series without a row means."""

    missing: Literal["refuse", "zero"] = "refuse"


class OrdersConfig(_Section):
    """Terms of supply, money and the buying rule. Columns of the items table override the numbers here."""

    policy: str = "projected"
    settings: dict[str, float] = {}
    lead_time: int = Field(1, ge=0)
    review_period: int = Field(1, ge=1)
    pack_size: float = Field(1, ge=0)
    minimum_order: float = Field(0, ge=0)
    shelf_life: int = Field(0, ge=0)
    order_cost: float = Field(0, ge=0)
    budget: float | None = Field(None, ge=0)
    capacity: float | None = Field(None, ge=0)
    price: float | None = Field(None, ge=0)
    cost: float | None = Field(None, ge=0)
    cost_share: float | None = Field(None, gt=0, le=1)
    goodwill: float = 0.0
    storage_share: float = Field(0.01, gt=0)
    holding_cost: float | None = Field(None, gt=0)
    stockout_cost: float | None = Field(None, ge=0)
    on_hand: StockConfig | None = None
    on_order: TableConfig | None = None
    lead_times: TableConfig | None = None


class SimulateConfig(_Section):
    """Which forecasters and buying rules are replayed, on what, under which terms."""

    models: tuple[str, ...] = ()
    policies: tuple[str, ...] = ("cover", "safety-stock", "quantile", "capped", "projected")
    settings: dict[str, dict[str, float]] = {}
    periods: int | None = Field(None, ge=1)
    tuning_periods: int | None = Field(None, ge=1)
    block: int | None = Field(None, ge=1)
    censored: Literal["excluded", "imputed"] = "excluded"
    segment: Literal["velocity", "demand_class", "age"] = "velocity"
    critical_ratios: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
    lead_times: tuple[Annotated[int, Field(ge=0)], ...] = ()
    packs: tuple[Annotated[float, Field(ge=0)], ...] = (1, 6, 12)
    random_lead: bool = True
    every_cell: bool = False

    @model_validator(mode="after")
    def _something(self) -> "SimulateConfig":
        if not self.policies:
            raise ValueError("expected at least one policy; got none")
        return self


class CalibrationConfig(_Section):
    """How recent coverage repairs the quantiles of a cycle."""

    on: bool = True
    origins: int = Field(6, ge=1)
    by: tuple[str, ...] = Field(("velocity", "demand_class"), min_length=1)
    bands: int = Field(2, ge=1)
    strength: float = Field(200.0, ge=0)

    @field_validator("by", mode="before")
    @classmethod
    def _by(cls, by: object) -> object:
        return (by,) if isinstance(by, str) else by


class CycleConfig(_Section):
    """The daily or weekly cycle: how far back rows may change, when models are refreshed, what guards a promotion."""

    revised: int = Field(7, ge=1)
    refresh_every: int = Field(7, ge=1)
    retrain_every: int = Field(28, ge=1)
    refresh_settings: dict[str, Any] = {}
    challengers: tuple[str, ...] = ()
    guard: tuple[str, ...] = ("velocity",)
    tolerance: float = Field(0.01, ge=0)
    segment_tolerance: float = Field(0.03, ge=0)
    tracked: int = Field(8, ge=2)
    fewest_series: float = Field(0.5, ge=0, le=1)
    most_change: float = Field(4.0, gt=1)
    accept: tuple[str, ...] = ()


class ReportConfig(_Section):
    """What the report says of itself."""

    title: str = "Forecasts and orders"
    attribution: tuple[str, ...] = ()
    currency: str = ""
    max_products: int = Field(1200, ge=1)


class RunConfig(_Section):
    """A whole run."""

    folder: str = "shelfcast-out"
    sales: SalesConfig
    items: TableConfig | None = None
    known: TableConfig | None = None
    calendar: CalendarConfig | None = None
    totals: tuple[tuple[str, ...], ...] = ()
    forecast: ForecastConfig = ForecastConfig()  # type: ignore[call-arg]
    backtest: BacktestConfig = BacktestConfig()  # type: ignore[call-arg]
    orders: OrdersConfig | None = None
    simulate: SimulateConfig = SimulateConfig()  # type: ignore[call-arg]
    calibration: CalibrationConfig = CalibrationConfig()  # type: ignore[call-arg]
    overrides: TableConfig | None = None
    cycle: CycleConfig | None = None
    report: ReportConfig = ReportConfig()  # type: ignore[call-arg]


def read_config(path: Path | str) -> tuple[RunConfig, Path]:
    """A run's settings, and the folder relative paths start at.

    Raises ConfigError with the dotted path to the key, what was expected and the nearest valid name; DataError where
    there is no such file.
    """
    file = Path(path)
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(
            f"a config file {file}", "none", "write one with `shelfcast init YOUR_TABLE`"
        ) from None  # fmt: skip
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"a readable config file {file}", str(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(file), f"not valid TOML: {error}", "quote texts and close brackets") from None
    return check_config(settings), file.resolve().parent


def check_config(settings: dict[str, Any]) -> RunConfig:
    """Settings as a `RunConfig`; the first thing wrong is a ConfigError."""
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        raise _as_config_error(error, settings) from None


def _as_config_error(error: ValidationError, settings: dict[str, Any]) -> ConfigError:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    key = ".".join(place) or "config"
    if first["type"] == "extra_forbidden":
        return ConfigError(key, "unknown key", nearest(place[-1], _fields(place[:-1])))
    if first["type"] == "missing":
        return ConfigError(key, "missing", f"add it; {'.'.join(place[:-1]) or 'the top level'} needs it")
    if first["type"] == "value_error":
        return ConfigError(key, shorten(first["ctx"]["error"], 500))
    message = first["msg"][:1].lower() + first["msg"][1:]
    return ConfigError(key, f"{message}; got {shorten(repr(first['input']), 300)}")


def _fields(place: list[str]) -> list[str]:
    """Names of the keys of a section."""
    model: Any = RunConfig
    for part in place:
        annotation = model.model_fields[part].annotation
        model = next(
            (a for a in (annotation, *getattr(annotation, "__args__", ())) if hasattr(a, "model_fields")), None
        )
        if model is None:
            return []
    return list(model.model_fields)


def as_toml(config: RunConfig) -> str:
    """The whole config, defaults included, as TOML; what is None is left out. The same config gives the same text."""
    return "\n".join(_table(config.model_dump(mode="json", exclude_none=True), ())) + "\n"


def _table(values: dict[str, Any], path: tuple[str, ...]) -> list[str]:
    """Lines of one table: plain keys first, then the tables in it."""
    lines = [f"\n[{'.'.join(path)}]"] if path else []
    inner: list[str] = []
    for key, value in values.items():
        name = _key(key)
        if isinstance(value, dict):
            inner += _table(value, (*path, name))
        else:
            lines.append(f"{name} = {_value(value)}")
    return lines + inner


def toml_text(text: str) -> str:
    """A text in TOML's quotes. JSON's are the same, but for the delete character, which TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    """A TOML value; JSON's numbers and booleans are TOML's too, but for those that are not finite."""
    if isinstance(value, str):
        return toml_text(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + "}"
    return json.dumps(value) if not isinstance(value, float) or math.isfinite(value) else str(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_text(key)
