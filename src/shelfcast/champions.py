"""Who forecasts next: new models are fitted when due, judged against the present one, and promoted or refused.

Models are fitted on what was known some weeks ago, and judged on all that came since, which none of them saw. The one
that was judged is the one that forecasts: its weights are some weeks old, what it reads is not.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.config import RunConfig
from shelfcast.conformal import Labels, Repair, Settings, by_segment, gaps, learn, walked
from shelfcast.data.aggregates import AGGREGATE, SINGLE
from shelfcast.data.panel import Panel
from shelfcast.evaluation import calibration
from shelfcast.forecast import Forecast, concat_origins
from shelfcast.guard import Verdict, judge
from shelfcast.horizons import Horizon
from shelfcast.ledger import Ledger, State, Version
from shelfcast.loading import Run, products
from shelfcast.models.base import Forecaster
from shelfcast.models.table import load
from shelfcast.pipelines import model_of, trained
from shelfcast.rolling import rolling_origins
from shelfcast.segments import segments


class Due(StrEnum):
    """Why new models are tried."""

    FIRST = "the first cycle: models are fitted"
    CHANGED = "settings have changed: models are fitted anew"
    RETRAIN = "a fit from scratch is due"
    REFRESH = "a refresh is due"
    NO = "no model is due"


@dataclass(frozen=True)
class Trial:
    """What a trial came to.

    Parameters
    ----------
    champion : who forecasts from now on.
    due : why it was held.
    sentences : what happened.
    records : one for every model tried.
    forecasts : name -> past forecasts from the same origins: the champion's under its own name, the baseline's.
    verdict : table of all comparisons, `Verdict.table` with the challenger's name; None without any.
    repair : what recent outcomes say of the champion's quantiles; None where off.
    coverage : coverage of the champion before and after: when, by, segment, span, level, below, at_most, n, gap.
    """

    champion: Version
    due: Due
    sentences: tuple[str, ...]
    records: tuple[dict[str, Any], ...]
    forecasts: dict[str, Forecast]
    verdict: pl.DataFrame | None
    repair: pl.DataFrame | None
    coverage: pl.DataFrame | None


@dataclass(frozen=True)
class Question:
    """What is forecast and how models are judged, at one moment of a cycle."""

    run: Run
    panel: Panel
    horizons: tuple[Horizon, ...]
    key: str

    @property
    def text(self) -> str:
        """What a model must have been fitted for."""
        return json.dumps([[(h.lead, h.span) for h in self.horizons], self.run.config.forecast.levels])

    @property
    def step(self) -> int:
        """Periods between two judged origins."""
        season = self.panel.frequency.season
        return self.run.config.backtest.step or (season if season in (7, 24) else 1)

    @property
    def origins(self) -> list[int]:
        """Judged origins; models see nothing after the first."""
        config, reach = self.run.config, max(h.end for h in self.horizons)
        n = max(config.backtest.origins, config.calibration.origins if config.calibration.on else 1)
        return rolling_origins(self.panel, n, self.step, reach)

    def labels(self, by: Sequence[str]) -> Labels:
        """Segments for the repair: totals are of their own."""
        return totals_apart(by_segment(by, segments))


def totals_apart(own: Labels) -> Labels:
    """Labels of products alone; totals are called by the columns that they add up."""

    def labels(panel: Panel, origin: int) -> pl.DataFrame:
        if AGGREGATE not in panel.series.columns:
            return own(panel, origin)
        kind = panel.series[AGGREGATE].cast(pl.String)
        single = np.flatnonzero((kind == SINGLE).to_numpy())
        found = own(products(panel), origin)
        return found.select(kind.clone().scatter(single, column).alias(column.name) for column in found)

    return labels


def terms_of(config: RunConfig) -> str:
    """Digest of the settings that decide what is fitted and how it is judged."""
    parts = ("forecast", "backtest", "calibration", "cycle", "orders", "totals", "calendar")
    return digest(*(config.model_dump_json(include={part}) for part in parts))


def digest(*texts: str) -> str:
    """16 hex digits of some texts."""
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=8).hexdigest()


def due(run: Run, panel: Panel, state: State | None) -> Due:
    """Why models are to be tried now, if they are."""
    settings = run.config.cycle
    assert settings is not None
    if state is None:
        return Due.FIRST
    if state.terms != terms_of(run.config):
        return Due.CHANGED
    if panel.last - state.fitted >= settings.retrain_every:
        return Due.RETRAIN
    return Due.REFRESH if panel.last - state.tried >= settings.refresh_every else Due.NO


def _candidates(question: Question, why: Due, champion: Version | None) -> list[Version]:
    """What is to be fitted: the champion's recipe at a refresh, else the config's model and its challengers."""
    config = question.run.config
    assert config.cycle is not None
    if why is Due.REFRESH:
        assert champion is not None
        return [_version(question, champion.name, champion.settings, champion.id)]
    names = dict.fromkeys((config.forecast.model, *config.cycle.challengers))
    settings = {config.forecast.model: config.forecast.settings}
    return [_version(question, name, json.dumps(settings.get(name, {}), sort_keys=True), None) for name in names]


def _version(question: Question, name: str, settings: str, parent: str | None) -> Version:
    cut = question.origins[0]
    number = digest(name, settings, str(cut), question.text, parent or "", question.key)
    return Version(number, name, settings, cut, question.text, parent)


def model(question: Question, ledger: Ledger, version: Version) -> Forecaster:
    """The fitted model of a version, fitted now unless it is there."""
    run, panel = question.run, question.panel

    def make(folder: Path) -> None:
        run.progress(f"fitting {version.name}", 0, 1)
        fitted = model_of(run, version.name, question.horizons, _settings(question, ledger, version))
        fitted = trained(run, fitted, panel.as_of(version.cut))
        if hasattr(fitted, "compute"):  # where it began is no part of a network
            fitted.compute = replace(fitted.compute, warm_start=None)
        fitted.save(folder)
        run.progress(f"fitting {version.name}", 1, 1)

    return load(ledger.model(version, make))


def _settings(question: Question, ledger: Ledger, version: Version) -> dict[str, Any]:
    """Settings of a fit: at a refresh, a network goes on from its parent's weights."""
    settings: dict[str, Any] = json.loads(version.settings)
    config = question.run.config.cycle
    assert config is not None
    if version.parent is None:
        return settings
    maker = model_of(question.run, version.name, question.horizons, settings)
    if hasattr(maker, "compute"):
        settings["warm_start"] = str(ledger.folder / "models" / version.parent)
    return settings | config.refresh_settings


def hold(question: Question, ledger: Ledger, state: State | None, why: Due) -> Trial:
    """Fit what is due, let everyone forecast the judged origins, and decide."""
    run, panel, config = question.run, question.panel, question.run.config
    assert config.cycle is not None
    if config.calibration.on:  # an unknown name is told before anything is fitted
        question.labels(config.calibration.by)(panel, panel.last)
    champion = state.champion if state is not None and state.champion.question == question.text else None
    versions = _candidates(question, why, champion)
    sentences, records, verdicts, past = [], [], [], dict[str, Forecast]()
    if champion is None:
        champion, *versions = versions
        sentences.append(f"{champion.name} was fitted on what was known on {_date(panel, champion.cut)}.")
    made = _past(question, model(question, ledger, champion), champion.name)
    for version in versions:
        label = f"{version.name} new" if version.name == champion.name else version.name
        own = _past(question, model(question, ledger, version), label)
        verdict = _judged(question, own, made)
        is_other = version.name != champion.name
        is_promoted = verdict.promoted and (not is_other or verdict.difference < 0)
        verdicts.append(verdict.table.select(pl.lit(label).alias("challenger"), pl.lit(champion.name).alias("champion"),
                                             pl.lit(is_promoted).alias("promoted"), pl.all()))  # fmt: skip
        records.append({"origin": str(panel.date(panel.last)), "challenger": asdict(version), "promoted": is_promoted,
                        "champion": champion.id, "difference": verdict.difference})  # fmt: skip
        sentences += _said(version, champion, verdict, is_promoted)
        if is_promoted:
            past[f"{champion.name} before"], champion, made = made, version, own
        else:
            past[f"{version.name} refused"] = own
    past = {champion.name: made, **past}
    baseline = config.backtest.baseline
    if baseline not in past:
        fitted = model_of(run, baseline, question.horizons).fit(panel.as_of(question.origins[0]))
        past[baseline] = _past(question, fitted, baseline)
    repair, coverage = _repaired(question, made)
    past = {name: replace(in_units(run, f), model=name) for name, f in past.items()}
    table = pl.concat(verdicts) if verdicts else None
    return Trial(champion, why, tuple(sentences), tuple(records), past, table, repair, coverage)


def _past(question: Question, fitted: Forecaster, label: str) -> Forecast:
    """Forecasts from the judged origins, each from what was known then."""
    panel, pieces = question.panel, []
    for n, origin in enumerate(question.origins):
        question.run.progress(f"judging {label}", n, len(question.origins))
        pieces.append(fitted.predict(panel.as_of(origin), [origin]))
    return replace(concat_origins(pieces), model=label)


def _judged(question: Question, own: Forecast, other: Forecast) -> Verdict:
    """The comparison of products alone."""
    settings, panel = question.run.config.cycle, question.panel
    assert settings is not None
    single, places = products(panel), _singles(panel)
    own, other = (in_units(question.run, made).take(places) for made in (own, other))
    return judge(
        own, other, single, settings.guard, tolerance=settings.tolerance, segment_tolerance=settings.segment_tolerance
    )


def in_units(run: Run, made: Forecast) -> Forecast:
    """In whole units where the config says so."""
    return made.rounded() if run.config.forecast.whole_units else made


def _singles(panel: Panel) -> NDArray[np.int64]:
    """Places of the products among products and totals."""
    if AGGREGATE not in panel.series.columns:
        return np.arange(panel.n_series)
    return np.flatnonzero((panel.series[AGGREGATE] == SINGLE).to_numpy())


def _said(version: Version, champion: Version, verdict: Verdict, is_promoted: bool) -> list[str]:
    """What became of a challenger, and where it was worse."""
    row = verdict.table.row(0, named=True)
    range_ = "" if row["low"] is None else f" (95 % interval {row['low']:+.1%} to {row['high']:+.1%})"
    how = "refreshed" if version.parent else "fitted anew"
    ending = "it forecasts from now on" if is_promoted else f"refused: {champion.name} of before goes on"
    worse = [f"Worse: {text}." for text in verdict.sentences()]
    return [
        f"{version.name}, {how}: error {verdict.difference:+.1%} against {champion.name}{range_}; {ending}.",
        *worse,
    ]


def _repaired(question: Question, made: Forecast) -> tuple[pl.DataFrame | None, pl.DataFrame | None]:
    """The repair for the next forecasts, and the coverage that such repairs gave in the past."""
    settings, panel = question.run.config.calibration, question.panel
    if not settings.on:
        return None, None
    how = Settings(settings.strength, settings.bands, question.run.config.forecast.whole_units)
    labels = question.labels(settings.by)
    repair = learn(made, panel, panel.last, labels, how)
    pair = walked(made, panel, labels, how)
    return None if repair is None else repair.table(), None if pair is None else _coverage(question, *pair)


_COVERED = ("span", "level", "below", "at_most", "n", "gap")


def _coverage(question: Question, before: Forecast, after: Forecast) -> pl.DataFrame:
    """Coverage of products before and after, overall and by each way to part them."""
    panel, by, tables = question.panel, question.run.config.calibration.by, []
    single, places = products(panel), _singles(panel)
    for when, made in (("before", before), ("after", after)):
        own = in_units(question.run, made).take(places)
        for name in (None, *by):
            table = gaps(calibration(own, single, () if name is None else (name,)))
            label = pl.lit("all") if name is None else pl.col(name).cast(pl.String)
            names = {"when": pl.lit(when), "by": pl.lit(name or "all"), "segment": label}
            tables.append(table.select(*(e.alias(n) for n, e in names.items()), *_COVERED))
    return pl.concat(tables)


def repaired(made: Forecast, panel: Panel, table: pl.DataFrame | None, labels: Labels) -> Forecast:
    """A forecast after the repair in a table, if there is one."""
    return made if table is None else Repair.from_table(table).apply(made, labels(panel, made.origins[-1]))


def _date(panel: Panel, period: int) -> str:
    return str(panel.date(period))
