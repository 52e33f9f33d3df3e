"""The story of benchmarks/: results are found again, a changed setting is not, plots are sound SVG."""

import sys
import xml.etree.ElementTree as Tree
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _importable():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def test_a_second_call_makes_nothing_again(tmp_path, monkeypatch, capsys):
    import story

    monkeypatch.setattr(story, "FOLDER", tmp_path)
    monkeypatch.setattr(sys, "argv", ["story.py", "--sets", "shop", "--only", "season-profile", "--seeds", "1"])
    assert story.main() == 0
    assert "0 of them there" in capsys.readouterr().out
    stored = next(tmp_path.rglob("*.npz"))
    before = stored.stat().st_mtime_ns
    assert story.main() == 0
    assert "1 of them there; about 0 CPU minutes" in capsys.readouterr().out
    assert stored.stat().st_mtime_ns == before
    entry = next(e for e in story.GENERATIONS if e.name == "season-profile")
    made, fit, predict = story.kept("shop", entry, 0)
    assert made.origins == story.SETS["shop"].origins
    assert min(fit, predict) > 0
    again, _, _ = story.made("shop", entry, 0)
    np.testing.assert_allclose(made.values, again.values, rtol=1e-3, atol=1e-3)
    assert story.kept("shop", replace(entry, settings={"window": 14}), 0) is None


def test_windows_do_not_overlap_and_nothing_is_known_of_the_second_before():
    import story

    for data in story.SETS.values():
        assert data.frozen <= min(data.choose)
        assert max(data.choose) + data.n_ahead <= min(data.test)


def test_plots_are_sound_and_dots_stand_where_they_should():
    import plots

    page = Tree.fromstring(plots.dots("A <title>", {"one": {"M5": 1.0, "shop": 3.0}, "two": {"M5": 2.0}}, "WQL"))
    dots = [float(c.get("cx")) for c in page.iter("{http://www.w3.org/2000/svg}circle") if len(c)]
    assert dots[2] == pytest.approx((dots[0] + dots[1]) / 2, abs=0.1)
    Tree.fromstring(plots.curves("Coverage", {"one": [(0.1, -2.0), (0.9, 1.0)]}, "level", "points"))


def test_coverage_of_several_windows_counts_cells_and_tells_large_slices_only():
    """Two windows off by 20 and -10 points, the second of three times as many cells: 2.5 off in all."""
    import story_classes

    def window(at_most, n, after):
        cells = {"level": 0.5, "below": at_most, "at_most": at_most, "n": n, "model": "m", "after": after}
        return pl.DataFrame([cells | {"slice": name} for name in ("all", "kind large", "kind small")])

    windows = [window(0.7, 100, 0), window(0.4, 300, 0), window(0.5, 100, 1), window(0.464, 300, 1)]
    inside = [
        pl.DataFrame({"slice": "kind large", "series": range(first, first + 150)}) for first in (0, 50)
    ] + [pl.DataFrame({"slice": "kind small", "series": range(199)})] * 2  # fmt: skip
    *_, row = story_classes.coverage(windows, inside)
    assert row == "| `m` | -2.5 | -2.5 (kind large) | 0 of 1 | -2.7 | -2.7 (kind large) | 0 of 1 |"
