"""Classes worked by hand, cuts kept from a fit, and rules: the first that fits, and what is said of wrong ones."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from shelfcast.data.panel import FeatureNames
from shelfcast.errors import ConfigError, DataError
from shelfcast.models.routing import (
    DEMAND_CLASSES,
    ValueCuts,
    check_rules,
    classify,
    default_rules,
    read_rules,
    route,
    summary,
)
from shelfcast.models.textbook import POINT_MODELS
from shop import WEEKDAYS, panel_of, rewritten_after

T = 400
MODELS = list(POINT_MODELS)
EVERY_OTHER = np.arange(T) % 2 == 0
ROWS = {
    "smooth": np.where(EVERY_OTHER, 5.0, 6.0),
    "erratic": np.where(np.arange(T) % 5 == 0, 50.0, 1.0),  # mean 10.8, sd 19.6
    "intermittent": np.where(EVERY_OTHER, 5.0, 0.0),  # a sale every 2 days
    "lumpy": np.where(EVERY_OTHER, np.where(np.arange(T) % 10 == 0, 50.0, 1.0), 0.0),
    "none": np.zeros(T),
    "new": np.where(np.arange(T) >= T - 90, 5.0, 0.0),
    "ended": np.where(np.arange(T) < T - 91, 5.0, 0.0),
    "just": np.where(np.arange(T) < T - 90, 5.0, 0.0),
}


def panel_by_hand():
    return panel_of(list(ROWS.values()), static={"department": ["food", "toys"] * 4})


def classes_of(panel, origin=T - 1, cuts=None):
    return classify(panel, origin, cuts)[0]


def test_demand_classes_and_lives_by_hand():
    table = classes_of(panel_by_hand()).with_columns(kind=pl.Series(list(ROWS)))
    assert table["demand_class"].to_list()[:5] == ["smooth", "erratic", "intermittent", "lumpy", "none"]
    assert table["life"].to_list() == ["current"] * 4 + ["unsold", "new", "ended", "current"]
    assert set(table["demand_class"]) <= set(DEMAND_CLASSES)


def test_unobserved_days_are_no_days_without_sales():
    panel = panel_of([ROWS["intermittent"]], observed=[EVERY_OTHER])
    assert classes_of(panel)["demand_class"].to_list() == ["smooth"]


def test_value_is_units_of_a_year_times_price():
    """Values 800, 150, 50 a day: A makes the first 80 %, B the next 15 %."""
    price = np.repeat([8.0, 0.5, 5.0], T)[:, None]
    panel = panel_of([np.full(T, u) for u in (100.0, 300.0, 10.0)], known=price)
    panel = replace(panel, names=FeatureNames((), ("price",), "price"))
    table, cuts = classify(panel, T - 1)
    assert table["abc"].to_list() == ["A", "B", "C"]
    assert (cuts.a, cuts.b) == pytest.approx((800 * 365, 150 * 365))
    without, _ = classify(replace(panel, names=FeatureNames((), ("price",))), T - 1)
    assert without["abc"].to_list() == ["A", "A", "C"]  # 300, 100 and 10 units: 100 begins at 73 %


def test_cuts_are_kept_so_that_company_does_not_matter():
    panel = panel_by_hand()
    table, cuts = classify(panel, T - 1)
    for i in range(panel.n_series):
        assert classes_of(panel.take([i]), cuts=cuts).row(0) == table.row(i)
    assert classify(panel.take([2]), T - 1)[0]["abc"].to_list() == ["A"]  # cuts of its own
    assert ValueCuts.of(np.zeros(3)) == ValueCuts(np.inf, np.inf)


def test_nothing_after_the_origin_is_read():
    panel = panel_by_hand()
    said = classes_of(panel, 300)
    assert classes_of(rewritten_after(panel, 300), 300).equals(said)
    assert classes_of(panel.as_of(300), 300).equals(said)


def test_a_weekday_pattern_is_found_and_noise_rarely_is():
    """At 1 % of chance, by a normal approximation of F: at most 4 % of 400 series without a season."""
    rng = np.random.default_rng(0)
    season = panel_of(rng.poisson(10 * np.tile(WEEKDAYS, 30), (50, 210)))
    assert (classes_of(season, 209)["seasonal"] == "yes").mean() > 0.98
    noise = panel_of(rng.poisson(10, (400, 210)))
    assert (classes_of(noise, 209)["seasonal"] == "yes").mean() < 0.04


@pytest.mark.parametrize("level", [0.1, 7.0, 1_234_567.0, 1e9])
def test_a_constant_has_no_season(level):
    assert classes_of(panel_of([np.full(T, level)]))["seasonal"].to_list() == ["no"]


def test_too_short_a_history_has_no_season():
    rows = np.tile(WEEKDAYS, 2)
    assert classes_of(panel_of([rows]), 13)["seasonal"].to_list() == ["no"]
    assert classes_of(panel_of([np.tile(rows, 2)]), 27)["seasonal"].to_list() == ["yes"]


def test_no_series_no_classes():
    table, cuts = classify(panel_by_hand().take([]), T - 1)
    assert (table.height, cuts) == (0, ValueCuts(np.inf, np.inf))
    assert table.columns == ["demand_class", "abc", "life", "seasonal"]


# --- rules -----------------------------------------------------------------------------------------------------------


def checked(*rules, static=("item", "department")):
    return check_rules(pl.DataFrame(list(rules)), MODELS, static)


def test_the_default_rules_route_everything():
    panel = panel_by_hand()
    rules = check_rules(default_rules(7), MODELS, panel.series.columns)
    chosen = rules["model"].gather(route(panel.series, classes_of(panel), rules)).to_list()
    level = "holt-winters"
    assert chosen == [level, level, level, "tsb", level, "window-average", "window-average", level]
    assert default_rules(52)["model"].to_list() == ["window-average", "window-average", "tsb", "ses"]


def test_the_first_rule_that_fits_wins():
    panel, classes = panel_by_hand(), classes_of(panel_by_hand())
    rules = checked(
        {"demand_class": "lumpy", "life": "*", "model": "tsb"},
        {"demand_class": "*", "life": "current", "model": "ses"},
        {"demand_class": "lumpy", "life": "current", "model": "sba"},
        {"demand_class": None, "life": "*", "model": "croston"},
    )
    assert route(panel.series, classes, rules).tolist() == [1, 1, 1, 0, 3, 3, 3, 1]


def test_a_static_column_overrides_a_group_and_an_item():
    panel, classes = panel_by_hand(), classes_of(panel_by_hand())
    rules = checked({"department": "toys", "model": "tsb"}, {"department": "*", "model": "ses"})
    assert route(panel.series, classes, rules).tolist() == [1, 0] * 4
    rules = checked({"item": "item-03", "model": "tsb"}, {"item": "*", "model": "ses"})
    assert route(panel.series, classes, rules).tolist() == [1, 1, 1, 0, 1, 1, 1, 1]


def test_a_table_that_leaves_some_without_a_rule_names_them():
    panel, classes = panel_by_hand(), classes_of(panel_by_hand())
    for rules in (
        checked({"life": "current", "model": "ses"}),
        checked({"item": "item-03", "model": "ses"}),
    ):
        with pytest.raises(ConfigError, match=r"no rule fits [37] series.*item-0[04]") as error:
            route(panel.series, classes, rules)
        assert error.value.key == "rules"
        assert "end with a rule of '*'" in str(error.value)


@pytest.mark.parametrize(
    ("rule", "key", "said"),
    [
        ({"model": "crostn"}, "rules.model", "unknown model 'crostn'.*\n.*did you mean 'croston'"),
        ({"model": None}, "rules.model", "unknown model"),
        ({"demand_clas": "smooth", "model": "ses"}, "rules", "unknown column.*\n.*did you mean 'demand_class'"),
        ({"departmnt": "food", "model": "ses"}, "rules", "did you mean 'department'"),
        ({"demand_class": "smoth", "model": "ses"}, "rules.demand_class", "did you mean 'smooth'"),
        ({"life": "old", "model": "ses"}, "rules.life", "current, new, ended, unsold"),
        ({"abc": "D", "model": "ses"}, "rules.abc", "A, B, C"),
        ({"seasonal": "maybe", "model": "ses"}, "rules.seasonal", "yes, no"),
        ({"model": "ses", "season": "yes"}, "rules.season", "expected true or false; got 'yes'"),
        ({"life": "new"}, "rules", "expected a column 'model'"),
    ],
)
def test_wrong_rules_name_the_nearest(rule, key, said):
    with pytest.raises(ConfigError, match=said) as error:
        checked(rule)
    assert error.value.key == key


def test_no_rules_at_all_are_refused():
    with pytest.raises(ConfigError, match="at least one rule"):
        check_rules(default_rules(7).clear(), MODELS, ())


def test_a_rule_without_conditions_fits_everything():
    panel = panel_by_hand()
    assert route(panel.series, classes_of(panel), checked({"model": "ses"})).tolist() == [0] * 8


def test_what_is_left_out_of_a_rule_is_any_and_both_addons():
    rules = checked({"life": "new", "model": "ses"}, {"demand_class": "lumpy", "model": "tsb", "season": False})
    assert rules.select("life", "demand_class").rows() == [("new", "*"), ("*", "lumpy")]
    assert rules.select("season", "price").rows() == [(True, True), (False, True)]


def test_rules_from_toml_and_parquet_are_the_same(tmp_path):
    text = '[[rules]]\ndemand_class = "lumpy"\nmodel = "tsb"\nprice = false\n\n[[rules]]\nmodel = "ses"\n'
    (tmp_path / "rules.toml").write_text(text)
    from_toml = check_rules(read_rules(tmp_path / "rules.toml"), MODELS, ())
    assert from_toml.rows(named=True) == [
        {"demand_class": "lumpy", "model": "tsb", "season": True, "price": False},
        {"demand_class": "*", "model": "ses", "season": True, "price": True},
    ]
    from_toml.write_parquet(tmp_path / "rules.parquet")
    assert check_rules(read_rules(tmp_path / "rules.parquet"), MODELS, ()).equals(from_toml)


@pytest.mark.parametrize("text", ["[[rules", "", "rules = 3", 'rules = ["ses"]', "\x00", "[[rule]]\nmodel = 'ses'"])
@pytest.mark.parametrize("ending", ["toml", "parquet"])
def test_a_file_that_holds_no_rules_is_named(tmp_path, text, ending):
    path = tmp_path / f"mine.{ending}"
    path.write_text(text)
    with pytest.raises((DataError, ConfigError), match="rules"):
        check_rules(read_rules(path), MODELS, ())
    with pytest.raises(DataError, match=r"nowhere\.toml"):
        read_rules(tmp_path / "nowhere.toml")


def test_the_summary_counts_series_and_units_of_every_rule_used():
    panel = panel_by_hand()
    table = summary(panel, T - 1, check_rules(default_rules(7), MODELS, panel.series.columns))
    assert table["series"].sum() == panel.n_series
    assert dict(table.select("rule", "series").rows()) == {0: 1, 1: 1, 2: 1, 3: 5}
    year = np.array([row[-365:].sum() for row in ROWS.values()])
    assert table["units"].sum() == pytest.approx(year.sum())
    assert table.filter(rule=2)["units"].item() == pytest.approx(year[3])
