"""Blends: weighted means of members' quantiles."""

from dataclasses import replace

import numpy as np
import pytest

from shelfcast.errors import ConfigError
from shelfcast.models.blend import blended
from shelfcast.models.table import forecaster, load

ORIGIN = 19_723 + 118
LEVELS = (0.1, 0.5, 0.9)


def made(name, **settings):
    return forecaster(name, horizons=3, levels=LEVELS, **settings)


def test_quantiles_and_means_are_weighted_means_of_the_members(shop_panel):
    panel, origins = shop_panel.as_of(ORIGIN), [ORIGIN - 7, ORIGIN]
    one, other = (made(name).fit(panel).predict(panel, origins) for name in ("recent-quantiles", "seasonal-naive"))
    members = ["recent-quantiles", "seasonal-naive"]
    even = made("blend", members=members).fit(panel).predict(panel, origins)
    uneven = made("blend", members=members, weights=[3, 1]).fit(panel).predict(panel, origins)
    assert not np.allclose(one.values, other.values)
    np.testing.assert_allclose(even.values, (one.values + other.values) / 2, rtol=1e-6)
    np.testing.assert_allclose(uneven.values, 0.75 * one.values + 0.25 * other.values, rtol=1e-6)
    assert (even.model, even.origins) == ("blend", tuple(origins))
    np.testing.assert_allclose(uneven.mean, 0.75 * one.mean + 0.25 * other.mean, rtol=1e-6)


def test_settings_reach_the_members_and_a_second_of_a_kind_has_another_seed(shop_panel, tmp_path):
    panel = shop_panel.as_of(ORIGIN)
    small = {"n_trees": 5, "n_rows": 20_000}
    model = made("blend", members=["sqrf", "season-profile", "sqrf"], member_settings={"sqrf": small})
    assert "sqrf" in model.preflight(panel)
    first, window, second = model.fit(panel, seed=4).members_
    assert (first.n_trees, window.name, second.n_trees) == (5, "season-profile", 5)
    said = [m.predict(panel, [ORIGIN]).values for m in (first, second)]
    np.testing.assert_array_equal(said[0], made("sqrf", **small).fit(panel, seed=4).predict(panel, [ORIGIN]).values)
    np.testing.assert_array_equal(said[1], made("sqrf", **small).fit(panel, seed=5).predict(panel, [ORIGIN]).values)
    assert not np.array_equal(*said)
    model.save(tmp_path / "kept")
    again = load(tmp_path / "kept")
    assert again == model
    np.testing.assert_array_equal(again.predict(panel, [ORIGIN]).values, model.predict(panel, [ORIGIN]).values)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"members": ["sqrf"]}, "two or more other models"),
        ({"members": "sqrf"}, "two or more other models"),
        ({"members": ["sqrf", "blend"]}, "two or more other models"),
        ({"members": ["sqrf", "sqfr"]}, "did you mean 'sqrf'"),
        ({"members": 3}, "two or more other models"),
        ({"members": [["sqrf"], "sqrf"]}, "two or more other models"),
        ({"weights": 2.0}, "2 numbers above 0"),
        ({"weights": [1, 2, 3]}, "2 numbers above 0"),
        ({"weights": [1, 0]}, "2 numbers above 0"),
        ({"weights": [1, float("nan")]}, "2 numbers above 0"),
        ({"member_settings": ["sqrf"]}, "settings by name"),
        ({"member_settings": {"sqrf": 5}}, "settings by name"),
        ({"member_settings": {"sqrf": {"levels": [0.5]}}}, "'levels' of 'sqrf' are those of the blend"),
        ({"member_settings": {"ses": {}}}, "'ses' is not among the members"),
        ({"member_settings": {"sqrf": {"n_tree": 5}}}, "n_trees"),
    ],
)
def test_a_wrong_setting_says_what_was_expected(settings, says):
    with pytest.raises(ConfigError, match=says):
        made("blend", **settings)


def test_a_reloaded_blend_equals_the_one_that_was_saved(shop_panel, tmp_path):
    """With members by default, and with weights from a list."""
    panel = shop_panel.as_of(ORIGIN)
    small = {"sqrf": {"n_trees": 5, "n_rows": 20_000}}
    for place, settings in enumerate(({"member_settings": small}, {"weights": [2, 1], "member_settings": small})):
        model = made("blend", **settings).fit(panel)
        model.save(tmp_path / str(place))
        again = load(tmp_path / str(place))
        assert again == model
        np.testing.assert_array_equal(again.predict(panel, [ORIGIN]).values, model.predict(panel, [ORIGIN]).values)


def test_there_is_no_mean_where_a_member_has_none(shop_panel):
    panel = shop_panel.as_of(ORIGIN)
    said = made("seasonal-naive").fit(panel).predict(panel, [ORIGIN])
    assert blended([said, said], None, "blend").mean is not None
    assert blended([said, replace(said, mean=None)], None, "blend").mean is None
