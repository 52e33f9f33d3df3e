"""The story of benchmarks/: results are found again, a changed setting is not, plots are sound SVG."""

import sys
import xml.etree.ElementTree as Tree
from dataclasses import replace
from pathlib import Path

import numpy as np
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
