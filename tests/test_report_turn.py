"""What the report says of a cycle's repair: by segment and span, signed, before and after."""

import polars as pl

from shelfcast.report.turn import turn

NEWS = pl.DataFrame({"topic": ["data"], "sentence": ["7 new days"]})


def coverage(rows):
    names = ("when", "by", "segment", "span", "level", "below", "at_most", "n", "gap")
    return pl.DataFrame(rows, schema=names, orient="row")


def test_segments_are_told_by_the_level_furthest_off():
    table = coverage(
        [
            ("before", "all", "all", 1, 0.5, 0.4, 0.48, 90, -0.02),
            ("before", "all", "all", 1, 0.9, 0.91, 0.95, 90, 0.01),
            ("before", "all", "all", 7, 0.5, 0.55, 0.6, 30, 0.05),
            ("before", "velocity", "fast", 1, 0.5, 0.4, 0.6, 40, 0.0),
            ("after", "all", "all", 1, 0.5, 0.4, 0.6, 90, 0.0),
            ("after", "all", "all", 1, 0.9, 0.85, 0.895, 90, -0.005),
            ("after", "velocity", "fast", 1, 0.5, 0.4, 0.6, 40, 0.0),
        ]
    )
    made = turn({"news": NEWS, "coverage": table})["tables"]
    assert [one["title"] for one in made] == ["Calibration before and after the repair", "Calibration by segment"]
    assert made[1]["columns"] == ["products", "span 1", "span 7"]
    assert made[1]["rows"] == [["all products", "-2.0 → -0.5", "+5.0 → –"], ["velocity fast", "0 → 0", "– → –"]]


def test_no_coverage_is_no_table():
    assert turn({"news": NEWS})["tables"] == []
    assert turn({"news": NEWS, "coverage": coverage([])})["tables"] == []
    assert turn({}) is None
