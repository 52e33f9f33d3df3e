"""The Croston family and temporal aggregation against loops, hand values and statsforecast."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flat import has_extra, histories, library, rows, series_of
from oracles import textbook as slow
from shelfcast.errors import ConfigError
from shelfcast.models.intermittent import ADIDA, IMAPA, SBA, TSB, Croston

EVERY = [Croston(), SBA(), TSB(), ADIDA(), IMAPA()]


@pytest.fixture(scope="module")
def holed():
    """Series with about four zeros to a demand and a fifth of the days unobserved."""
    return series_of(*histories(7, chance=0.2, gaps=0.2))


class TestAgainstLoops:
    def test_croston_and_sba(self, holed):
        expected = np.array([slow.croston(slow.seen_only(d, s), 0.15) for d, s in rows(holed)])
        np.testing.assert_allclose(Croston(0.15).path(holed, 1)[:, 0], expected, rtol=1e-12)
        np.testing.assert_allclose(SBA(0.15).path(holed, 1)[:, 0], expected * 0.925, rtol=1e-12)

    def test_tsb(self, holed):
        expected = [slow.tsb(slow.seen_only(d, s), 0.2, 0.05) for d, s in rows(holed)]
        np.testing.assert_allclose(TSB(0.2, 0.05).path(holed, 1)[:, 0], expected, rtol=1e-12)

    @pytest.mark.parametrize(("model", "loop"), [(ADIDA(), slow.adida), (IMAPA(), slow.imapa)], ids=["adida", "imapa"])
    def test_blocks(self, holed, model, loop):
        expected = [loop(slow.seen_only(d, s)) for d, s in rows(holed)]
        np.testing.assert_allclose(model.path(holed, 1)[:, 0], expected, rtol=1e-3)

    @given(st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.0, 9.0, None]), min_size=1, max_size=40))
    def test_any_history(self, history):
        series = series_of(history)
        values = [value for value in history if value is not None]
        sold = any(values)
        assert Croston().path(series, 1)[0, 0] == pytest.approx(slow.croston(values, 0.1))
        assert TSB(0.1, 0.2).path(series, 1)[0, 0] == pytest.approx(slow.tsb(values, 0.1, 0.2))
        for model in EVERY:
            path = model.path(series, 4)
            assert (path[0] == path[0, 0]).all()
            assert 0 <= path[0, 0] <= max(values, default=0.0) + 1e-9
            assert (path[0, 0] > 0) == sold or model.name in ("adida", "imapa")


class TestByHand:
    def test_croston(self):
        """Sizes 2, 4; intervals 1, 2: 2.2 / 1.1."""
        assert Croston().path(series_of([2, 0, 4]), 1)[0, 0] == pytest.approx(2.0)
        assert SBA().path(series_of([2, 0, 4]), 1)[0, 0] == pytest.approx(1.9)

    def test_an_unobserved_period_is_no_interval(self):
        """Without the gap the interval is one; a zero in its place makes it two."""
        assert Croston().path(series_of([2, None, 4]), 1)[0, 0] == pytest.approx(2.2)
        assert Croston().path(series_of([2, 0, 4]), 1)[0, 0] == pytest.approx(2.0)

    def test_tsb_decays_where_croston_stays(self):
        sold, ended = [1.0] * 20, [1.0] * 20 + [0.0] * 50
        assert TSB(0.1, 0.1).path(series_of(ended), 1)[0, 0] == pytest.approx(0.9**50)
        assert TSB(0.1, 0.1).path(series_of([*sold, *[None] * 50]), 1)[0, 0] == pytest.approx(1.0)
        assert Croston().path(series_of(ended), 1)[0, 0] == pytest.approx(1.0)

    def test_blocks_are_counted_from_the_origin(self):
        """Intervals 2, 2, 2; blocks (0, 4), (0, 4), (0, 4): two a period. The first 0 of seven fills no block."""
        assert ADIDA().path(series_of([0, 4, 0, 4, 0, 4]), 1)[0, 0] == pytest.approx(2.0)
        assert ADIDA().path(series_of([0, 0, 4, 0, 4, 0, 4]), 1)[0, 0] == pytest.approx(2.0)

    def test_one_sale_long_ago(self):
        """One sale in the first of 3 periods, interval 1: blocks of one."""
        path = IMAPA().path(series_of([5, 0, 0]), 1)[0, 0]
        assert path == pytest.approx(ADIDA().path(series_of([5, 0, 0]), 1)[0, 0])
        assert path == pytest.approx(5 * 0.7**2, rel=1e-3)

    def test_one_sale_at_the_end(self):
        """Mean interval 40: ADIDA sees one block of 40 with one sale."""
        assert ADIDA().path(series_of([0] * 39 + [8]), 1)[0, 0] == pytest.approx(0.2)


@has_extra
@pytest.mark.parametrize("chance", [0.05, 0.3, 0.6, 1.0])
@pytest.mark.parametrize(
    ("model", "theirs"),
    [
        (Croston(), ("CrostonClassic", {})),
        (SBA(), ("CrostonSBA", {})),
        (TSB(0.2, 0.1), ("TSB", {"alpha_d": 0.2, "alpha_p": 0.1})),
        (ADIDA(), ("ADIDA", {})),
        (IMAPA(), ("IMAPA", {})),
    ],
    ids=str,
)
def test_equal_to_statsforecast(model, theirs, chance):
    name, settings = theirs
    path = library(name, **settings)
    values = histories(8, 15, chance=chance, longest=400)
    np.testing.assert_allclose(model.path(series_of(*values), 3), [path(v, 3) for v in values], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", [lambda: Croston(0), lambda: SBA(2.0), lambda: TSB(0.1, -0.1), lambda: TSB(None)])
def test_wrong_settings(make):
    with pytest.raises(ConfigError, match=r"model\.alpha(_d|_p)?: expected a number above 0"):
        make()
