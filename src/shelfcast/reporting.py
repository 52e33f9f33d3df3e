"""The report of what the store holds: the tables of the current runs, as one page."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from shelfcast.data.panel import Panel
from shelfcast.loading import Run
from shelfcast.store import ForecastStore, RunInfo, RunKind


def stored(store: ForecastStore, kind: RunKind, table: str) -> pl.DataFrame | None:
    """A table of the current run of a kind, or None where there is none; StoreError where it is damaged."""
    if _current(store, kind) is None or table not in store.tables(kind)["table"]:
        return None
    return store.scan(kind, table).collect()


def report(run: Run, panel: Panel) -> Path:
    """One HTML page from what the store holds; returns its path."""
    from shelfcast.report import ReportInputs, write_report

    run.progress("report", 0, 1)
    store, settings = run.store, run.config.report
    past = stored(store, RunKind.BACKTEST, "forecasts")
    models = dict(_by_model(past)) if past is not None else {}
    runs = [info.id for kind in _SHOWN if (info := _current(store, kind))]
    forecasts, orders = stored(store, RunKind.FORECAST, "forecasts"), stored(store, RunKind.ORDERS, "orders")
    inputs = ReportInputs(
        title=settings.title,
        panel=panel,
        created=run.now,
        attribution=settings.attribution,
        run_ids=runs,
        model=run.config.forecast.model if forecasts is None else str(forecasts["model"][0]),
        baseline=run.config.backtest.baseline,
        forecast=forecasts,
        backtest=models,
        scores=stored(store, RunKind.BACKTEST, "scores"),
        segments=stored(store, RunKind.BACKTEST, "segments"),
        calibration=stored(store, RunKind.BACKTEST, "calibration"),
        orders=_of_the_forecast(orders, forecasts),
        alignment=stored(store, RunKind.FORECAST, "alignment"),
        cases=stored(store, RunKind.FORECAST, "cases"),
        importance=stored(store, RunKind.FORECAST, "importance"),
        cycle=_of_the_origin(_stored_tables(store, RunKind.CYCLE), store),
        savings=_stored_tables(store, RunKind.SAVINGS),
        max_products=settings.max_products,
        currency=settings.currency,
    )
    path = write_report(inputs, run.folder / "report.html")
    run.progress("report", 1, 1)
    return path


_SHOWN = (RunKind.BACKTEST, RunKind.FORECAST, RunKind.ORDERS, RunKind.SAVINGS)


def _stored_tables(store: ForecastStore, kind: RunKind) -> dict[str, pl.DataFrame]:
    """Every table of the current run of a kind; none where there is no such run."""
    if _current(store, kind) is None:
        return {}
    return {name: store.scan(kind, name).collect() for name in store.tables(kind)["table"].unique()}


def _of_the_origin(tables: dict[str, pl.DataFrame], store: ForecastStore) -> dict[str, pl.DataFrame]:
    """The cycle's tables, unless another command has forecast since."""
    cycle, forecast = _current(store, RunKind.CYCLE), _current(store, RunKind.FORECAST)
    is_same = cycle and forecast and cycle.data_fingerprint == forecast.data_fingerprint
    return tables if is_same and cycle and forecast and cycle.config_hash == forecast.config_hash else {}


def _of_the_forecast(orders: pl.DataFrame | None, forecasts: pl.DataFrame | None) -> pl.DataFrame | None:
    """The orders, unless they were made from a forecast of another origin than the one shown."""
    if orders is None or forecasts is None or not orders.height or not forecasts.height:
        return orders
    return orders if orders["origin"].max() == forecasts["origin"].max() else None


def _by_model(table: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    for (name,), part in table.partition_by("model", as_dict=True, include_key=False, maintain_order=True).items():
        yield str(name), part


def _current(store: ForecastStore, kind: RunKind) -> RunInfo | None:
    runs = store.runs()
    return store.current(kind) if runs.filter(runs["current"])["kind"].is_in([kind.value]).any() else None
