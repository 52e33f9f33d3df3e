"""Profiles of small panels, counted by hand, and of shards against the whole."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from shelfcast.data import profile as module
from shelfcast.data.panel import Calendar, FeatureNames, Panel
from shelfcast.data.profile import demand_classes, profile, velocity_classes
from shelfcast.periods import Frequency

DAY = Frequency.parse("day")
START = 19000  # 2022-01-08


def panel_of(rows: dict[str, list[float | None]], starts: dict[str, int] | None = None) -> Panel:
    """A daily panel by item; None is not observed. `last` is the last period of the longest."""
    values = [v for series in rows.values() for v in series]
    lengths = [len(series) for series in rows.values()]
    start = [START + (starts or {}).get(name, 0) for name in rows]
    return Panel(
        calendar=Calendar(DAY),
        series=pl.DataFrame({"item": list(rows)}),
        start=np.array(start, dtype=np.int32),
        indptr=np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        demand=np.array([v or 0 for v in values], dtype=np.float32),
        observed=np.array([v is not None for v in values]),
        past=np.zeros((len(values), 0), dtype=np.float32),
        known=np.zeros((len(values), 0), dtype=np.float32),
        names=FeatureNames(),
        place=np.zeros(len(rows), dtype=np.int32),
        last=max(s + n - 1 for s, n in zip(start, lengths, strict=True)),
    )


def small() -> Panel:
    return panel_of(
        {
            "steady": [5] * 200,
            "ended": [1, 3] * 20 + [0] * 160,
            "new": [4, None, 2, 0, 6],
            "unsold": [0] * 50,
            "absent": [],
        },
        {"new": 195, "unsold": 150},
    )


def test_the_panel_of_the_test_is_what_it_says():
    panel = small()
    assert panel.n_series == 5
    assert panel.last == START + 199
    assert panel.observed.sum() == len(panel.demand) - 1


def test_counts_by_hand():
    found = profile(small())
    assert (found.frequency, found.n_series, found.n_rows) == ("day", 5, 455)
    assert (found.first_date, found.last_date) == ("2022-01-08", "2022-07-26")
    assert found.units == 1000 + 80 + 12
    assert found.zeros == pytest.approx((160 + 1 + 50) / 454)
    assert found.unobserved == pytest.approx(1 / 455)
    assert (found.n_gaps, found.n_constant, found.n_unsold, found.n_without_rows) == (1, 1, 1, 1)
    assert (found.n_new, found.n_ended) == (1, 1)
    # lately: 5 a day, nothing, 3 a day (12 units in 4 observed days), nothing, no rows; 3 of 8 units begin at 62.5 %
    assert found.velocity == {"fast": 2, "medium": 0, "slow": 0, "none": 3}
    assert found.demand == {"smooth": 1, "intermittent": 2, "erratic": 0, "lumpy": 0, "none": 2}


def test_rows_after_the_last_period_do_not_count():
    panel = small()
    ahead = replace(panel, last=START + 39)
    found = profile(ahead)
    assert found.n_rows == 80
    assert found.units == 200 + 80
    assert found.n_without_rows == 3


def test_spikes_are_the_farthest_cells():
    flat = [10.0, 11.0] * 50
    spiked = [*flat[:40], 500.0, *flat[41:]]
    found = profile(panel_of({"a": flat, "b": spiked}))
    top = found.spikes[0]
    assert (top.keys, top.date, top.demand) == ("b", "2022-02-17", 500.0)
    values = np.array(spiked)
    assert top.z == pytest.approx((500 - values.mean()) / values.std())
    assert len(found.spikes) == 5


def test_shards_agree_with_the_whole(monkeypatch):
    rng = np.random.default_rng(3)
    rows = {f"i{k}": [float(v) for v in rng.poisson(rng.uniform(0, 3), rng.integers(1, 120))] for k in range(40)}
    panel = panel_of(rows)
    whole = profile(panel)
    monkeypatch.setattr(module, "_SHARD_ROWS", 50)
    assert profile(panel) == whole


def test_demand_classes_against_a_loop_over_series():
    rng = np.random.default_rng(4)
    draws = {f"i{k}": rng.gamma(1 + k % 3, 3, 90) * rng.binomial(1, 0.3 + 0.7 * (k % 2), 90) for k in range(60)}
    rows = {name: [float(v) for v in np.round(values, 3)] for name, values in draws.items()}
    panel = panel_of(rows)
    expected = []
    for values in rows.values():
        demand = np.trim_zeros(np.array(values), "f")
        sizes = demand[demand > 0]
        adi, cv2 = len(demand) / len(sizes), (sizes.std() / sizes.mean()) ** 2
        names = {
            (False, False): "smooth",
            (True, False): "intermittent",
            (False, True): "erratic",
            (True, True): "lumpy",
        }
        expected.append(names[adi >= 1.32, cv2 >= 0.49])
    assert demand_classes(panel).tolist() == expected
    assert set(expected) == {"smooth", "intermittent", "erratic", "lumpy"}


def test_velocity_by_hand():
    # 80 of 100 units are sold by the first two; the third begins at 80 %, the fourth at 96 %.
    assert velocity_classes(np.array([50.0, 30.0, 16.0, 4.0, 0.0])).tolist() == [
        "fast",
        "fast",
        "medium",
        "slow",
        "none",
    ]


def test_warnings_are_sentences():
    found = profile(small())
    text = " ".join(found.warnings)
    for words in ("1 products have no row", "1 series never sold", "1 series have the same demand", "sold nothing in"):
        assert words in text
    assert all(warning.endswith((".", "?")) for warning in found.warnings)


def test_it_prints_and_serialises():
    found = profile(small())
    again = json.loads(json.dumps(found.to_dict()))
    assert again["n_series"] == 5
    assert again["spikes"][0]["keys"] == found.spikes[0].keys
    frame = found.frame()
    assert frame.columns == ["what", "value"]
    assert frame["value"].null_count() == 0
    assert "without rows" in str(found)
    assert str(found).count("\n") >= frame.height


def test_a_panel_without_rows():
    empty = panel_of({"a": [1.0, 2.0]}).take([])
    found = profile(empty)
    assert (found.n_series, found.n_rows, found.units, found.spikes) == (0, 0, 0.0, ())
