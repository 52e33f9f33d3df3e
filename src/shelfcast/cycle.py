"""The daily or weekly cycle: what `shelfcast run` does where the config has a `[cycle]` section.

    data -> watch -> trial -> forecast -> orders, publish, report -> the state moves

Each step keeps what it made in the folder of its generation (`ledger`), so that a cycle that was stopped goes on where
it was; a generation's key follows from settings, data and the generation before. Nothing that an earlier cycle
published is touched before everything new is there, and the state moves last: until then the same command does the
same.
"""

from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast import champions
from shelfcast.champions import Due, Question, in_units, repaired, terms_of
from shelfcast.conformal import by_segment
from shelfcast.data.aggregates import AGGREGATE, SINGLE
from shelfcast.data.panel import Panel
from shelfcast.drift import Alarm, alarms, input_alarms, score_published, week, weekly
from shelfcast.errors import StoreError
from shelfcast.explaining import EXPLANATIONS, explanations
from shelfcast.forecast import Forecast
from shelfcast.ledger import Ledger, State, Version, put, record, table
from shelfcast.loading import Run, products
from shelfcast.overrides import Applied, apply_overrides, join_scores, read_overrides, score_overrides
from shelfcast.pipelines import day_of, horizons_of, order, publish_backtest, publishing, stored_table
from shelfcast.planning import News, Plan, ledger_of, plan, question_of, source_of, stop_on_findings
from shelfcast.reporting import report
from shelfcast.segments import SEGMENTS, segments
from shelfcast.store import RunKind


@dataclass(frozen=True)
class Turn:
    """What a cycle made.

    Parameters
    ----------
    key : of its generation. origin : date of the last period.
    is_new : False where nothing was new.
    news : what happened, by topic.
    runs : kind -> id of what was published.
    report : the page.
    """

    key: str
    origin: str
    is_new: bool
    news: list[News]
    runs: dict[str, str]
    report: Path


def turn(run: Run) -> Turn:
    """One cycle; the same command on the same data does nothing new. Raises DataError where data would poison it."""
    ledger = ledger_of(run)
    with ledger.locked():
        made = plan(run, ledger)
        stop_on_findings(made)
        if made.is_done:
            assert made.state is not None
            path = report(run, made.panel)
            return Turn(made.state.key, made.origin, False, made.news(), _current(run), path)
        ledger.step(made.key, "panel", lambda folder: made.base.save(folder / "panel"))
        watched = ledger.step(made.key, "watch", lambda folder: _watch(run, made, folder))
        tried = ledger.step(made.key, "trial", lambda folder: _trial(run, made, ledger, folder))
        forecast = ledger.step(made.key, "forecast", lambda folder: _forecast(run, made, ledger, tried, folder))
        news, runs = _publish(run, made, watched, tried, forecast)
        path = report(run, made.panel)
        ledger.move(_next_state(run, made, tried, runs))
    return Turn(made.key, made.origin, True, news, runs, path)


def _current(run: Run) -> dict[str, str]:
    rows = run.store.runs().filter("current")
    return dict(zip(rows["kind"].to_list(), rows["id"].to_list(), strict=True))


# ---- published forecasts against what happened


def _watch(run: Run, made: Plan, folder: Path) -> None:
    """Score what became known; carry on the sums of earlier cycles; alarms."""
    settings, panel, state = run.config.cycle, products(made.panel), made.state
    assert settings is not None
    run.progress("watching", 0, 1)
    kinds = [kind for kind in settings.guard if kind in (*SEGMENTS, *panel.series.columns)]
    length, news = week(panel.frequency), list[str]()
    found: list[Alarm] = []
    scored, helped = None, None
    if state is not None:
        said, laws = _said(run, panel, state, news)
        scored = score_published(said, panel, state.origin, lambda p, o: _labels(p, o, kinds))
        helped = join_scores(laws)
        before = table(ledger_of(run).folder / state.key / "watch", "watch")
        if before is not None:
            kept = before.filter(pl.col("known") > panel.last - settings.tracked * length)
            scored = pl.concat([kept, scored])
        levels = run.config.forecast.levels
        if scored.height and scored["below"].list.len().n_unique() == 1:
            weeks = weekly(scored, levels, panel.last, length)
            put(folder, "weeks", weeks)
            found += alarms(weeks, panel.frequency.unit.value, length)
            news += _watched_news(weeks)
    found += input_alarms(panel, _labels(panel, panel.last, kinds))
    put(folder, "alarms", _alarm_table(found))
    put(folder, "news", news)
    for name, frame in (("watch", scored), ("overrides_scores", helped)):
        if frame is not None:
            put(folder, name, frame)
    run.progress("watching", 1, 1)


def _labels(panel: Panel, origin: int, kinds: list[str]) -> pl.DataFrame:
    """(N rows) a column for each kind."""
    return by_segment(kinds, segments)(panel, origin)


def _alarm_table(found: list[Alarm]) -> pl.DataFrame:
    names = {"kind": pl.String, "segment": pl.String, "measure": pl.String, "sentence": pl.String, "size": pl.Float64}
    return pl.DataFrame([asdict(alarm) for alarm in found], schema=names)


def _watched_news(weeks: pl.DataFrame) -> list[str]:
    now = weeks.filter(pl.col("ago") == 0, pl.col("kind") == "all")
    return [
        f"span {row['span']}: {abs(row['bias']):.1%} too {'high' if row['bias'] > 0 else 'low'} in sum, error "
        f"{row['wql']:.3f} (WQL), over {row['n']:,.0f} cells"
        for row in now.iter_rows(named=True)
        if row["wql"] is not None
    ]


def _said(run: Run, panel: Panel, state: State, news: list[str]) -> tuple[list[Forecast], list[pl.DataFrame]]:
    """Forecasts of what became known, and scores of overrides in them."""
    made, scores = [], []
    for origin, run_id in state.published:
        try:
            held = run.store.scan(run_id, "forecasts")
            new = (pl.lit(origin) + pl.col("lead") + pl.col("span")).is_between(state.origin + 1, panel.last)
            rows = _of_products(held.filter(new)).collect()
            if rows.height:
                made.append(Forecast.from_table(rows.drop("model"), panel.frequency, str(rows["model"][0])))
            if "model_law" in run.store.tables(run_id)["table"]:
                scores.append(_overrides_scored(run, run_id, panel))
        except StoreError:
            news.append(f"the forecast of {panel.date(origin)} is no longer in the store, and was not scored")
    return made, scores


def _of_products(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of products alone."""
    if AGGREGATE not in frame.collect_schema().names():
        return frame
    return frame.filter(pl.col(AGGREGATE) == SINGLE).drop(AGGREGATE)


def _overrides_scored(run: Run, run_id: str, panel: Panel) -> pl.DataFrame:
    """Whether the overrides of one published forecast helped, on what is known by now."""
    law = _of_products(run.store.scan(run_id, "model_law")).collect()
    keys, cell = panel.keys, [*panel.keys, "lead", "span"]
    held = _of_products(run.store.scan(run_id, "forecasts")).collect()
    rows = held.join(law.select(keys).unique(), on=keys, how="semi", maintain_order="left").drop("model")
    own = rows.update(law.drop("overrides", "origin", "first_date", "last_date"), on=cell)
    changed, model = (Forecast.from_table(t, panel.frequency) for t in (rows, own))
    places = changed.series.join(panel.series.select(keys).with_row_index("_at"), on=keys, maintain_order="left")
    ids = rows.join(law.select(*cell, "overrides"), on=cell, how="left", maintain_order="left").sort(cell)
    shape = (changed.series.height, 1, len(changed.horizons))
    named = ids["overrides"].fill_null("").to_numpy().astype(np.str_).reshape(shape)
    return score_overrides(model, changed, named, panel.take(places["_at"].to_numpy()))


# ---- who forecasts


def _trial(run: Run, made: Plan, ledger: Ledger, folder: Path) -> None:
    """Try new models if they are due; else what the last trial found goes on."""
    state = made.state
    if made.due is Due.NO:
        assert state is not None
        before = ledger.folder / state.key / "trial"
        for name in ("repair", "coverage", "verdict"):
            if (frame := table(before, name)) is not None:
                put(folder, name, frame)
        put(folder, "trial", {"champion": asdict(state.champion), "news": [], "records": [], "past": []})
        return
    trial = champions.hold(question_of(run, made), ledger, state, made.due)
    for name in ("repair", "coverage", "verdict"):
        if (frame := getattr(trial, name)) is not None:
            put(folder, name, frame)
    for n, past in enumerate(trial.forecasts.values()):
        _put_forecast(folder, f"past{n}", past)
    put(folder, "trial", {"champion": asdict(trial.champion), "news": trial.sentences, "records": trial.records,
                          "past": list(trial.forecasts)})  # fmt: skip


def _put_forecast(folder: Path, name: str, made: Forecast) -> None:
    """Values and mean; the axes follow from panel and settings."""
    arrays: dict[str, NDArray[Any]] = {"values": made.values, "origins": np.asarray(made.origins)}
    arrays |= {} if made.mean is None else {"mean": made.mean}
    np.savez(folder / f"{name}.npz", allow_pickle=False, **arrays)


def _get_forecast(folder: Path, name: str, question: Question, model: str) -> Forecast:
    """Inverse of `_put_forecast`."""
    panel = question.panel
    with np.load(folder / f"{name}.npz", allow_pickle=False) as held:
        origins, values, mean = tuple(int(o) for o in held["origins"]), held["values"], held.get("mean")
    keys, levels = panel.series.select(panel.keys), question.run.config.forecast.levels
    return Forecast(keys, origins, panel.frequency, question.horizons, levels, values, mean, model)


def _forecast(run: Run, made: Plan, ledger: Ledger, tried: Path, folder: Path) -> None:
    """The champion's forecast: repaired, in whole units, with the planner's changes."""
    question, panel = question_of(run, made), made.panel
    version = Version(**record(tried, "trial")["champion"])
    run.progress("forecasting", 0, 1)
    model = champions.model(question, ledger, version)
    labels = question.labels(run.config.calibration.by)
    said = repaired(model.predict(panel, [panel.last]), panel, table(tried, "repair"), labels)
    said = replace(in_units(run, said), model=version.name)
    changes = _changed(run, panel, said)
    _put_forecast(folder, "forecast", said if changes is None else changes.forecast)
    if changes is not None:
        put(folder, "audit", changes.audit)
        touched = changes.changed.reshape(-1) != ""
        if touched.any():
            law = stored_table(panel, said).drop("model").with_columns(overrides=pl.Series(changes.changed.reshape(-1)))
            put(folder, "model_law", law.filter(pl.Series(touched)))
    for name, found in explanations(model, panel, panel.last).items():
        put(folder, name, found)
    run.progress("forecasting", 1, 1)


def _changed(run: Run, panel: Panel, said: Forecast) -> Applied | None:
    """The forecast after the planner's table, products only; None without one."""
    if run.config.overrides is None:
        return None
    single = products(panel)
    changes = read_overrides(run.config.overrides.source, single, run.tables)
    if single is panel:
        return apply_overrides(said, panel, changes)
    places = np.flatnonzero((panel.series[AGGREGATE] == SINGLE).to_numpy())
    done = apply_overrides(said.take(places), single, changes)
    values, mean = said.values.copy(), None if said.mean is None else said.mean.copy()
    ids = np.full(said.values.shape[:3], "", dtype=done.changed.dtype)
    values[places], ids[places] = done.forecast.values, done.changed
    if mean is not None and done.forecast.mean is not None:
        mean[places] = done.forecast.mean
    return Applied(replace(said, values=values, mean=mean), done.audit, ids)


# ---- publishing


def _publish(run: Run, made: Plan, watched: Path, tried: Path, folder: Path) -> tuple[list[News], dict[str, str]]:
    """Everything at once: backtest where there was a trial, forecast, orders, and what the cycle has to say."""
    question, trial = question_of(run, made), record(tried, "trial")
    panel, name = made.panel, trial["champion"]["name"]
    forecast = _get_forecast(folder, "forecast", question, name)
    past = {label: _get_forecast(tried, f"past{n}", question, label) for n, label in enumerate(trial["past"])}
    news = [*made.news(), *(("model", text) for text in trial["news"])]
    news += [("published forecasts", text) for text in record(watched, "news")]
    with ExitStack() as together:
        joint = replace(run, together=together, edition=f"# generation {made.key} of a cycle\n")
        runs = {"backtest": publish_backtest(joint, panel, past)[1].id} if past else {}
        with publishing(joint, RunKind.FORECAST, panel) as writer:
            writer.write("forecasts", stored_table(panel, forecast), origin=day_of(panel, panel.last))
            for kind in ("model_law", *EXPLANATIONS):
                if (frame := table(folder, kind)) is not None:
                    writer.write(kind, frame)
            runs["forecast"] = writer.info.id
        if run.config.orders is not None:
            runs["orders"] = order(joint, panel, forecast)[1].id
        with publishing(joint, RunKind.CYCLE, panel) as writer:
            for kind, frame in _cycle_tables(watched, tried, folder, news).items():
                writer.write(kind, frame)
            runs["cycle"] = writer.info.id
    return news, runs


def _cycle_tables(watched: Path, tried: Path, folder: Path, news: list[News]) -> dict[str, pl.DataFrame]:
    """Tables of the cycle's own run."""
    made = {"news": pl.DataFrame(news, schema=["topic", "sentence"], orient="row")}
    for place, names in (
        (watched, ("watch", "weeks", "alarms", "overrides_scores")), (tried, ("verdict", "repair", "coverage")),
        (folder, ("audit",)),
    ):  # fmt: skip
        made |= {name: frame for name in names if (frame := table(place, name)) is not None}
    return made


def _next_state(run: Run, made: Plan, tried: Path, runs: dict[str, str]) -> State:
    """What is in force once all is published."""
    state, origin, trial = made.state, made.panel.last, record(tried, "trial")
    reach = max(h.end for h in horizons_of(run, made.panel))
    before = () if state is None else state.published
    kept = tuple((at, run_id) for at, run_id in before if at != origin and at + reach > origin)
    is_fit = made.due in (Due.FIRST, Due.CHANGED, Due.RETRAIN)
    return State(
        key=made.key, content=made.content, origin=origin, source=source_of(run.config), terms=terms_of(run.config),
        champion=Version(**trial["champion"]),
        tried=origin if made.due is not Due.NO or state is None else state.tried,
        fitted=origin if is_fit or state is None else state.fitted,
        published=(*kept, (origin, runs["forecast"])),
        history=(*(() if state is None else state.history), *trial["records"]),
    )  # fmt: skip
