"""The steps of a run as functions of a `RunConfig`: files in, files out. Each can be run, stored and compared alone.

    load_panel -> check, fit, backtest, forecast -> order -> report;  run = all of them

Every step that stores something publishes one run, whole or not at all, with the full config beside it. The cycle that
goes on from what an earlier one left is in `cycle`.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shelfcast.config import BacktestConfig, RunConfig, as_toml
from shelfcast.data.aggregates import AGGREGATE, SINGLE
from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError, nearest
from shelfcast.evaluation import calibration, compare, evaluate
from shelfcast.explaining import explanations
from shelfcast.forecast import Forecast, concat_origins
from shelfcast.horizons import Horizon, as_horizons
from shelfcast.lessons import LEARNED, file_of, stored_rule
from shelfcast.loading import Run, load_panel, products
from shelfcast.models.base import Ability, Estimating, Forecaster
from shelfcast.models.table import forecaster, load
from shelfcast.purchasing import Terms, buy, order_horizons
from shelfcast.reporting import report
from shelfcast.rolling import backtest as roll
from shelfcast.rolling import rolling_origins
from shelfcast.runs import unwritable, writing
from shelfcast.segments import FLAGS, SEGMENTS
from shelfcast.store import RunInfo, RunKind


def horizons_of(run: Run, panel: Panel) -> tuple[Horizon, ...]:
    """What the config asks for, and what its orders need."""
    orders, schema = run.config.orders, run.config.sales.schema_()
    needed = order_horizons(orders, schema, products(panel), run.tables) if orders else ()
    return run.config.forecast.horizons(needed)


def model_of(
    run: Run, name: str, horizons: tuple[Horizon, ...], given: dict[str, Any] | None = None
) -> Forecaster:  # fmt: skip
    """A forecaster with the given settings, or the config's if it is the chosen one; a path to rules starts where
    tables do."""
    config = run.config.forecast
    settings = dict(config.settings if given is None else given) if given or name == config.model else {}
    return forecaster(name, horizons=horizons, levels=config.levels, **_located(settings, run.tables))


def _located(settings: dict[str, Any], tables: Path) -> dict[str, Any]:
    """Settings whose paths to rules start at `tables`, those of members too."""
    made: dict[str, Any] = {}
    for key, value in settings.items():
        is_path = key == "rules" and isinstance(value, str)
        made[key] = str(tables / value) if is_path else _located(value, tables) if isinstance(value, dict) else value
    return made


def announce(run: Run, model: Forecaster, panel: Panel) -> None:
    """Say what fitting a model takes, where the model can tell."""
    if isinstance(model, Estimating):
        run.note(model.preflight(panel))


def trained(run: Run, model: Forecaster, panel: Panel) -> Forecaster:
    """Fit a model on all that a panel shows, having said what that takes."""
    announce(run, model, panel)
    return model.fit(panel, seed=run.config.forecast.seed)


def _origin(run: Run, panel: Panel) -> int:
    """Period of the configured origin; the last by default."""
    chosen = run.config.forecast.origin
    if chosen is None:
        return panel.last
    origin = int(panel.frequency.to_period(np.datetime64(chosen)))
    if not panel.first <= origin <= panel.last:
        first, last = panel.date(panel.first), panel.date(panel.last)
        raise ConfigError("forecast.origin", f"expected a date from {first} to {last}; got {chosen}")
    return origin


def fit(run: Run, panel: Panel) -> Path:
    """Fit the chosen model on all that is known at the origin, and save it; returns its folder."""
    model = model_of(run, run.config.forecast.model, horizons_of(run, panel))
    run.progress(f"fitting {model.name}", 0, 1)
    fitted = trained(run, model, panel.as_of(_origin(run, panel)))
    folder, staging = run.folder / "model", run.folder / f".model.{os.getpid()}.tmp"
    if folder.exists() and not (folder / "model.json").exists():
        raise unwritable(folder, "something that is no model")
    with writing(run.folder):
        try:
            fitted.save(staging)
            shutil.rmtree(folder, ignore_errors=True)
            staging.rename(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    run.progress(f"fitting {model.name}", 1, 1)
    return folder


def forecast(run: Run, panel: Panel, fitted: Path | None = None) -> tuple[Forecast, RunInfo]:
    """Forecast from the origin and publish; with a model that `fit` saved, or one fitted now."""
    origin = _origin(run, panel)
    seen = panel.as_of(origin)
    settings = run.config.forecast
    run.progress("forecasting", 0, 1)
    if fitted is None:
        model = trained(run, model_of(run, settings.model, horizons_of(run, panel)), seen)
    else:
        model = _saved_model(run, panel, fitted)
    made = model.predict(seen, [origin])
    made = made.rounded() if settings.whole_units else made
    with publishing(run, RunKind.FORECAST, panel) as writer:
        writer.write("forecasts", stored_table(panel, made), origin=day_of(panel, origin))
        for name, table in explanations(model, seen, origin).items():
            writer.write(name, table)
    run.progress("forecasting", 1, 1)
    return made, writer.info


def stored_table(panel: Panel, made: Forecast) -> pl.DataFrame:
    """The wide table of a forecast of all the panel's series, with its model and, if there are totals, `aggregate`."""
    table = made.table().with_columns(model=pl.lit(made.model))
    if AGGREGATE not in panel.series.columns:
        return table
    rows = np.repeat(np.arange(panel.n_series), table.height // max(panel.n_series, 1))
    return table.insert_column(len(panel.keys), panel.series[AGGREGATE][pl.Series(rows)])


def _saved_model(run: Run, panel: Panel, folder: Path) -> Forecaster:
    """The model in a folder; ConfigError where it is not the config's any more."""
    model, settings = load(folder), run.config.forecast
    wanted = (settings.model, horizons_of(run, panel), settings.levels)
    for what, own, asked in zip(
        ("model", "horizons", "levels"), (model.name, model.horizons, model.levels), wanted, strict=True
    ):
        if own != asked:
            raise ConfigError(
                "forecast", f"the model in {folder} was fitted with other {what} than the config asks for",
                "run `shelfcast fit` again, or take back the change",
            )  # fmt: skip
    return model


def publishing(run: Run, kind: RunKind, panel: Panel) -> Any:
    """A writer for a `with` block, at the end of which, or with the other steps of a cycle, its run is published."""
    config = as_toml(run.config) + run.edition
    begun = run.store.begin(kind, config=config, fingerprint=panel.fingerprint(), now=run.now)
    return begun if run.together is None else nullcontext(run.together.enter_context(begun))


def day_of(panel: Panel, origin: int) -> date:
    """Label of an origin: a date, or a datetime for hours."""
    label = panel.date(origin).item()
    assert isinstance(label, date)
    return label


@dataclass(frozen=True)
class BacktestResult:
    """What a backtest found.

    Parameters
    ----------
    forecasts : model -> its forecasts at all origins.
    scores : long table, overall and by lead, of single series (aggregates apart).
    segments : the same by segment: segment_kind, segment.
    calibration : model, level, below, at_most, n.
    comparison : each model against the baseline, with intervals.
    """

    forecasts: dict[str, Forecast]
    scores: pl.DataFrame
    segments: pl.DataFrame
    calibration: pl.DataFrame
    comparison: pl.DataFrame


def backtest(run: Run, panel: Panel) -> tuple[BacktestResult, RunInfo]:
    """Compare the configured models at rolling origins, and publish forecasts and scores."""
    settings = run.config.backtest
    horizons = horizons_of(run, panel)
    step = step_of(settings, panel)
    origins = rolling_origins(panel, settings.origins, step, max(h.end for h in horizons))
    names, kinds = _compared(run.config), _segment_kinds(settings, panel)
    forecasts: dict[str, Forecast] = {}
    done, total = 0, len(names) * (len(origins) + 2)
    for name in names:
        model = model_of(run, name, horizons)
        made = []
        announce(run, model, panel.as_of(origins[0]))
        for piece in roll(
            model, panel, origins, refit_every=settings.refit_every, seed=run.config.forecast.seed
        ):  # fmt: skip
            done += 1
            run.progress(f"backtest: {name}", done, total)
            made.append(piece.rounded() if run.config.forecast.whole_units else piece)
        forecasts[name] = concat_origins(made)
    return publish_backtest(run, panel, forecasts, _scores(run, panel, forecasts, kinds, done, total))


Scores = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]


def step_of(settings: BacktestConfig, panel: Panel) -> int:
    """Periods between origins: as configured, or a season of hours and days, else one."""
    return settings.step or max(panel.frequency.season if panel.frequency.season in (7, 24) else 1, 1)


def publish_backtest(
    run: Run, panel: Panel, forecasts: dict[str, Forecast], scores: Scores | None = None
) -> tuple[BacktestResult, RunInfo]:
    """Score models' forecasts from the same origins, and publish both."""
    kinds = _segment_kinds(run.config.backtest, panel)
    total = 2 * len(forecasts)
    result = BacktestResult(forecasts, *(scores or _scores(run, panel, forecasts, kinds, 0, total)))
    origins = next(iter(forecasts.values())).origins
    with publishing(run, RunKind.BACKTEST, panel) as writer:
        for origin in origins:
            tables = [stored_table(panel, f.at([origin])) for f in forecasts.values()]
            writer.write("forecasts", pl.concat(tables), origin=day_of(panel, origin))
        for name in ("scores", "segments", "calibration", "comparison"):
            if (table := getattr(result, name)).width:  # DuckDB reads no Parquet file without columns
                writer.write(name, table)
    return result, writer.info


def _compared(config: RunConfig) -> list[str]:
    """The models of a backtest: those listed, the baseline and the one that forecasts, each once."""
    return list(dict.fromkeys((*config.backtest.models, config.backtest.baseline, config.forecast.model)))


def _scores(
    run: Run, panel: Panel, forecasts: dict[str, Forecast], kinds: Sequence[str], done: int, total: int
) -> Scores:
    """Scores, segments, calibration and comparison of every model."""
    single = products(panel)
    places = np.flatnonzero((panel.series[AGGREGATE] == SINGLE).to_numpy()) if single is not panel else None
    scores, segments, calibrated, compared = [], [], [], []
    own = {name: f if places is None else f.take(places) for name, f in forecasts.items()}
    for name, made in own.items():
        run.progress(f"scoring: {name}", done := done + 1, total)
        scores += [evaluate(made, single), evaluate(made, single, by=("lead",))]
        for kind in kinds:
            on, whole = (forecasts[name], panel) if kind == AGGREGATE else (made, single)
            segments.append(_by_segment(on, whole, kind))
        calibrated.append(calibration(made, single).select(pl.lit(name).alias("model"), pl.all()))
        if name != run.config.backtest.baseline:
            compared.append(compare(made, own[run.config.backtest.baseline], single))
        run.progress(f"scoring: {name}", done := done + 1, total)
    empty = pl.DataFrame()
    return (
        pl.concat(scores),
        pl.concat(segments) if segments else empty,
        pl.concat(calibrated),
        pl.concat(compared) if compared else empty,
    )


def _segment_kinds(config: BacktestConfig, panel: Panel) -> Sequence[str]:
    """Segments asked for, promotions and aggregates where the panel has them."""
    there = [*SEGMENTS, *FLAGS, *panel.series.columns]
    for name in config.segments:
        if name not in there:
            raise ConfigError("backtest.segments", f"unknown segment '{name}'; {nearest(name, there)}")
    further = ["promoted"] if panel.names.promotions else []
    further += ["repriced"] if panel.names.price else []
    further += [AGGREGATE] if AGGREGATE in panel.series.columns else []
    return list(dict.fromkeys((*config.segments, *further)))


_OF_SEGMENTS = ("wql", "pinball", "bias", "coverage_below", "coverage_at_most")  # pinball: what has ended sells nothing


def _by_segment(made: Forecast, panel: Panel, kind: str) -> pl.DataFrame:
    table = evaluate(made, panel, by=(kind,), metrics=_OF_SEGMENTS)
    return table.rename({kind: "segment"}).with_columns(
        pl.lit(kind).alias("segment_kind"), pl.col("segment").cast(pl.String)
    )  # fmt: skip


def order(run: Run, panel: Panel, made: Forecast | None = None) -> tuple[pl.DataFrame, RunInfo]:
    """Orders from the current forecast (or the one given), published as Parquet and CSV."""
    terms = _terms(run, panel, with_rule=True)
    if made is None:
        table = run.store.scan(RunKind.FORECAST, "forecasts").collect()
        made = Forecast.from_table(table.drop("model"), panel.frequency, table["model"][0])
        _refuse_stale(run, panel, made)
    run.progress("ordering", 0, 1)
    table = buy(terms, made)
    with publishing(run, RunKind.ORDERS, panel) as writer:
        writer.write("orders", table, origin=day_of(panel, made.origins[-1]))
        writer.text("orders.csv", table.write_csv())
    run.progress("ordering", 1, 1)
    return table, writer.info


def simulate(run: Run, panel: Panel) -> tuple[dict[str, pl.DataFrame], RunInfo]:
    """Replay the test period for models and policies, and publish tables of savings."""
    from shelfcast import simulating
    from shelfcast.report.savings import scope_sentence

    settings, own = run.config.simulate, products(panel)
    terms = _terms(run, panel)
    limits = terms.limits
    planned = simulating.plan(own, settings, limits.supply, terms.economics, limits.scarce)
    names = settings.models or tuple(dict.fromkeys((run.config.backtest.baseline, run.config.forecast.model)))
    run.note(f"simulate: {', '.join(names)} x {', '.join(settings.policies)}; {scope_sentence(planned.scope)}")
    found = simulating.simulate(
        planned, lambda name, horizons: model_of(run, name, horizons), names,
        seed=run.config.forecast.seed, progress=run.progress,
    )  # fmt: skip
    tables = found.tables()
    if "grid" in tables:
        tables["equal_fill"] = simulating.equal_fill(tables["grid"], tables["savings"])
    with publishing(run, RunKind.SAVINGS, panel) as writer:
        for name, table in tables.items():
            writer.write(name, table)
        for name, rule in found.learned.items():
            writer.text(file_of(name), rule.text())
    return tables, writer.info


def _refuse_stale(run: Run, panel: Panel, made: Forecast) -> None:
    """ConfigError where the sales have moved on since the forecast: its horizons would protect other days."""
    newest = _origin(run, panel)
    if made.origins[-1] != newest:
        came = (
            f"the stored forecast is from {day_of(panel, made.origins[-1])}, the sales are at {day_of(panel, newest)}"
        )
        raise ConfigError("orders", came, "run `shelfcast forecast` first")


def _terms(run: Run, panel: Panel, *, with_rule: bool = False) -> Terms:
    """What orders go by; ConfigError without an `[orders]` section. A learned rule is fetched if `with_rule`."""
    settings = run.config.orders
    if settings is None:
        raise ConfigError("orders", "the config has no [orders] section", "add one; `shelfcast init` shows how")
    is_learned = settings.policy == LEARNED
    rule = stored_rule(run.store, run.config.forecast.model) if is_learned and with_rule else None
    return Terms.of(settings, run.config.sales.schema_(), products(panel), run.tables, rule)


@dataclass(frozen=True)
class CycleResult:
    """What the whole cycle made."""

    panel: Panel
    backtest: BacktestResult
    forecast: Forecast
    orders: pl.DataFrame | None
    report: Path
    runs: dict[str, RunInfo]


def cycle(run: Run) -> CycleResult:
    """Check, panel, backtest, forecast, orders and report; nothing is published before all but the report is made."""
    panel = load_panel(run)
    _check_ahead(run, panel)
    orders = None
    with ExitStack() as together:
        joint = replace(run, together=together)
        tested, backtest_run = backtest(joint, panel)
        made, forecast_run = forecast(joint, panel)
        runs = {"backtest": backtest_run, "forecast": forecast_run}
        if run.config.orders is not None:
            orders, runs["orders"] = order(joint, panel, made)
    return CycleResult(panel, tested, made, orders, report(run, panel), runs)


def _check_ahead(run: Run, panel: Panel) -> None:
    """Find what is wrong with later steps before the first of them has taken its minutes."""
    horizons = horizons_of(run, panel)
    for name in _compared(run.config):
        model_of(run, name, horizons)
    _origin(run, panel)
    if run.config.orders is not None:
        _terms(run, panel, with_rule=True)
    there = next(path for path in (run.folder, *run.folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise unwritable(run.folder, f"{there} is no folder that you may write to")


def classes(run: Run, panel: Panel) -> pl.DataFrame:
    """How many series go to which model by the patchwork's rules, and why; one row a rule."""
    from shelfcast.models.patchwork import Patchwork

    made = model_of(run, Patchwork.name, as_horizons(1))
    assert isinstance(made, Patchwork)
    return made.routes(products(panel), _origin(run, panel))


def elasticities(
    run: Run, panel: Panel, group: str | None = None, reference: str | None = None
) -> tuple[dict[str, pl.DataFrame], RunInfo]:
    """Price elasticity and promotion lift of all, groups, items and series, published."""
    from shelfcast.models.elasticity import elasticity_tables

    run.progress("elasticities", 0, 1)
    tables = elasticity_tables(products(panel).as_of(_origin(run, panel)), group, reference)
    with publishing(run, RunKind.ELASTICITIES, panel) as writer:
        for kind, table in tables.items():
            writer.write(f"elasticities_{kind}", table)
    run.progress("elasticities", 1, 1)
    return tables, writer.info


def model_table() -> pl.DataFrame:
    """Names of all forecasters, what they do and what they claim to be able to do."""
    from shelfcast.models.table import makers

    rows = []
    for name, maker in makers().items():
        able: frozenset[Ability] = maker.abilities  # type: ignore[attr-defined]
        summary = (maker.__doc__ or "").strip().splitlines()[0]
        rows.append({"name": name, "summary": summary, **{a.name.lower(): a in able for a in Ability}})
    return pl.DataFrame(rows)
