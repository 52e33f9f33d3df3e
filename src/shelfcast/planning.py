"""What a cycle will do, found out before it does anything: what is new, what is odd about it, what is due."""

from dataclasses import dataclass, replace

from shelfcast import champions
from shelfcast.champions import Due, Question, digest
from shelfcast.config import CycleConfig, RunConfig, TableConfig, as_toml
from shelfcast.data.inspection import CHECKS, Finding, inspect
from shelfcast.data.panel import Panel
from shelfcast.data.tables import open_table
from shelfcast.errors import ConfigError, DataError, nearest
from shelfcast.ledger import Ledger, State
from shelfcast.loading import Run, completed, products, read_products
from shelfcast.overrides import read_overrides
from shelfcast.pipelines import horizons_of, model_of

News = tuple[str, str]
"""A topic and a sentence."""


@dataclass(frozen=True)
class Plan:
    """What a cycle will do, before it does anything.

    Parameters
    ----------
    key, content : of the generation; `ledger.State`.
    base, panel : products as they are kept, and with calendar and totals.
    old : the panel of the generation in force; None for the first, or where the tables are others.
    findings : what is odd about new data.
    due : why new models are tried, if they are.
    state : of the generation in force.
    """

    key: str
    content: str
    base: Panel
    panel: Panel
    old: Panel | None
    findings: tuple[Finding, ...]
    due: Due
    state: State | None

    @property
    def origin(self) -> str:
        """Label of the last period."""
        return str(self.panel.date(self.panel.last))

    @property
    def is_done(self) -> bool:
        """Whether the generation in force was made from just this."""
        return self.state is not None and self.state.content == self.content

    def news(self) -> list[News]:
        """What there is to be done, in sentences."""
        base, unit = self.base, self.base.frequency.unit.value
        if self.is_done:
            return [("data", f"nothing is new since {base.date(base.last)}")]
        if self.old is None:
            said = f"{base.n_series:,} series to {base.date(base.last)}, read as a whole"
        else:
            n_new, added = base.last - self.old.last, base.n_series - self.old.n_series
            said = f"{n_new:,} new {unit}s to {base.date(base.last)}; {added:,} series are new"
        return [("data", said), *(("data", f.sentence) for f in self.findings), ("model", self.due.value)]


def ledger_of(run: Run) -> Ledger:
    """Where a run's cycle stands."""
    return Ledger(run.folder / "cycle")


def plan(run: Run, ledger: Ledger) -> Plan:
    """Read what is new and say what is due; nothing is written."""
    config = run.config
    settings = _checked(config)
    state = ledger.read()
    is_same = state is not None and state.source == source_of(config)
    old = Panel.open(ledger.folder / state.key / "panel" / "panel") if state is not None and is_same else None
    base = read_products(run, old, settings.revised)
    found = inspect(old, base, fewest_series=settings.fewest_series, most_change=settings.most_change,
                    accept=settings.accept)  # fmt: skip
    panel = completed(run, base)
    content = digest(as_toml(config), run.store.code_version, panel.fingerprint(), *_other_tables(run))
    key = digest(content, "" if state is None else state.key)
    due = champions.due(run, panel, state)
    made = Plan(key, content, base, panel, old, tuple(found), due, state)
    if state is not None and due is Due.REFRESH and state.champion.question != question_of(run, made).text:
        return replace(made, due=Due.CHANGED)
    return made


def question_of(run: Run, made: Plan) -> Question:
    """What is forecast, by whom, and how it is judged."""
    return Question(run, made.panel, horizons_of(run, made.panel), made.key)


def _checked(config: RunConfig) -> CycleConfig:
    """The cycle's settings; ConfigError where one cannot go with a cycle, or there are none."""
    if config.cycle is None:
        raise ConfigError("cycle", "the config has no [cycle] section", "add one, or run without --dry-run")
    if config.forecast.origin is not None:
        raise ConfigError("forecast.origin", "a cycle forecasts from the last period", "remove it, or [cycle]")
    for check in config.cycle.accept:
        if check not in CHECKS:
            raise ConfigError("cycle.accept", f"unknown check '{check}'; {nearest(check, CHECKS)}")
    for name in config.cycle.challengers:
        if name == config.forecast.model:
            raise ConfigError("cycle.challengers", f"'{name}' is the model itself", "name others")
    return config.cycle


def source_of(config: RunConfig) -> str:
    """Digest of the settings that say what a panel is made of."""
    parts = ("sales", "items", "known")
    return digest(*(config.model_dump_json(include={part}) for part in parts))


def _other_tables(run: Run) -> list[str]:
    """Digests of the tables that orders and overrides read."""
    orders = run.config.orders
    tables: list[TableConfig | None] = [run.config.overrides]
    tables += [] if orders is None else [orders.on_hand, orders.on_order, orders.lead_times]
    found = []
    for one in tables:
        parts = [] if one is None else [b.write_csv() for b in open_table(one.source, "table", run.tables).batches()]
        found.append(digest(*parts))
    return found


def stop_on_findings(made: Plan) -> None:
    """DataError where new data would poison the forecasts."""
    stops = [finding for finding in made.findings if finding.stops]
    if stops and not made.is_done:
        checks = ", ".join(f'"{name}"' for name in dict.fromkeys(f.check for f in stops))
        raise DataError(
            "new data that look like the data before", "; ".join(f.sentence for f in stops),
            f"correct the table; or, if this is right, set accept = [{checks}] in [cycle]. Nothing was changed",
            table="sales",
        )  # fmt: skip


def rehearse(run: Run) -> list[News]:
    """What `turn` would do now, as sentences; nothing is written."""
    ledger = ledger_of(run)
    made = plan(run, ledger)
    said = made.news()
    if made.is_done:
        return said
    stops = [finding for finding in made.findings if finding.stops]
    if stops:
        return [*said, ("would", "stop here, for what is said of the data; nothing would change")]
    config = run.config
    assert config.cycle is not None
    if made.due is Due.REFRESH and made.state is not None:
        said.append(("would", f"refresh {made.state.champion.name}, and judge it against its present weights"))
    elif made.due is not Due.NO:
        tried = ", ".join((config.forecast.model, *config.cycle.challengers))
        said.append(("would", f"fit {tried}; judge from {len(question_of(run, made).origins)} origins"))
    horizons = horizons_of(run, made.panel)
    for name in (config.forecast.model, *config.cycle.challengers):
        model_of(run, name, horizons)
    n = made.panel.n_series
    said.append(("would", f"forecast {n:,} series over {len(horizons)} horizons from {made.origin}"))
    if config.overrides is not None:
        rows = read_overrides(config.overrides.source, products(made.panel), run.tables)
        said.append(("would", f"apply {rows.height} overrides that have not expired"))
    if config.orders is not None:
        said.append(("would", "order, and publish all together"))
    return said
