"""Learned rules in a simulation: trained on the tuning period, judged on the test period, found again for orders."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from importlib.util import find_spec

import numpy as np

from shelfcast.errors import ConfigError, StoreError, nearest
from shelfcast.inventory.economics import Ints
from shelfcast.inventory.learned import Evidence, Learned
from shelfcast.inventory.policies import Policy
from shelfcast.inventory.savings import difference
from shelfcast.inventory.trials import Outcome
from shelfcast.replays import Group
from shelfcast.store import ForecastStore, RunKind

LEARNED = "learned"


def check_lessons(settings: Mapping[str, float]) -> None:
    """ConfigError where torch is not installed, or a setting is none of `Schooling`'s."""
    if find_spec("torch") is None:
        raise ConfigError("simulate.policies", "'learned' needs torch to train", "install shelfcast[nets]")
    from shelfcast.inventory.learning import Schooling

    known = [f.name for f in fields(Schooling)]
    for name in settings:
        if name not in known:
            raise ConfigError(f"simulate.settings.learned.{name}", "no such setting", nearest(name, known))


def learn(
    parts: Sequence[Group], settings: Mapping[str, float], m: float | None, report: Callable[[int, int], None]
) -> Learned:
    """A rule learned on the trials of the tuning period.

    Parameters
    ----------
    settings : fields of `Schooling`; `seeds` is how many.
    m : of the projected rule it starts from.
    """
    from shelfcast.inventory.learning import Lesson, Schooling, train

    given = {k: v if k in ("rate", "held_out") else int(v) for k, v in settings.items() if k != "seeds"}
    schooling = Schooling(**given)  # type: ignore[arg-type]
    schooling = replace(schooling, seeds=tuple(range(int(settings.get("seeds", len(schooling.seeds))))))
    return train([Lesson(part.trial, part.laws) for part in parts], schooling, m, report)


def judged(
    rule: Learned, outcome: Outcome, play: Callable[[Policy], Outcome], tuned: Mapping[str, Outcome], clusters: Ints
) -> Learned:
    """The rule with its evidence: against the tuned rule that is cheapest in the same period, which is the harder test.

    Parameters
    ----------
    outcome : of the rule on the test period.
    play : replays any rule there.
    tuned : outcomes of tuned rules by name, at least one.
    """
    against = min(tuned, key=lambda name: tuned[name].total("cost"))
    other = tuned[against].cost
    found = difference(outcome.cost, other, clusters)
    alone = [play(replace(rule, nets=(net,))).cost.sum() / other.sum() - 1.0 for net in rule.nets]
    seeds = tuple(float(x) for x in np.asarray(alone))
    return replace(rule, evidence=Evidence(against, found.relative, found.low, found.high, seeds))


def file_of(model: str) -> str:
    """Name of the file in a run of savings that holds a model's learned rule."""
    return f"learned-{model}.json"


def stored_rule(store: ForecastStore, model: str) -> Learned:
    """The learned rule of the latest simulation for a forecaster.

    Raises
    ------
    ConfigError : there is none, or it was not accepted.
    """
    runs = store.runs()
    advice = "run `shelfcast simulate` with 'learned' among simulate.policies, or choose 'projected'"
    if not runs.filter(runs["current"])["kind"].is_in([RunKind.SAVINGS.value]).any():
        raise ConfigError("orders.policy", "'learned' needs a simulation first", advice)
    try:
        rule = Learned.of_text(store.text(store.current(RunKind.SAVINGS), file_of(model)), file_of(model))
    except StoreError as error:
        raise ConfigError("orders.policy", f"no learned rule for {model} is stored ({error})", advice) from error
    seen = rule.evidence
    if seen is None or not seen.is_accepted:
        came = "no evidence" if seen is None else f"{seen.relative:+.1%} ({seen.low:+.1%} to {seen.high:+.1%})"
        raise ConfigError(
            "orders.policy",
            f"the learned rule was not accepted: {came} against {seen.against if seen else 'tuned rules'}",
            "choose 'projected'; a learned rule orders once its saving is beyond doubt",
        )
    return rule
