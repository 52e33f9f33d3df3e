"""Panels take, hide, cut and store what a slow dict of rows would."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracles.horizons import loop_sums
from oracles.panels import cells_of, slow_window
from shelfcast.data.panel import Calendar, Panel, ragged_tails
from shelfcast.errors import DataError, StoreError
from shelfcast.horizons import Horizon
from shop import DAY, panel_of, rewritten_after

ARRAYS = ("start", "indptr", "demand", "observed", "past", "known", "place")


@st.composite
def panels(draw, max_series=4, max_rows=8):
    n = draw(st.integers(1, max_series))
    lengths = draw(st.lists(st.integers(0, max_rows), min_size=n, max_size=n))
    starts = draw(st.lists(st.integers(90, 100), min_size=n, max_size=n))
    rng = np.random.default_rng(draw(st.integers(0, 1_000)))
    total = sum(lengths)
    made = panel_of(
        [rng.poisson(4, length) for length in lengths],
        starts=starts,
        observed=[rng.random(length) < 0.8 for length in lengths],
        past=rng.normal(size=(total, 1)),
        known=rng.normal(size=(total, 2)),
        last=draw(st.integers(98, 112)),
    )
    return made if made.last >= 106 else made.as_of(made.last)


def same(one, other):
    assert one.series.equals(other.series)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert (one.last, one.names, one.frequency) == (other.last, other.names, other.frequency)
    np.testing.assert_array_equal(one.calendar.values, other.calendar.values)


# --- looking -------------------------------------------------------------------------------------------------------


@given(panels(), st.integers(85, 110), st.integers(0, 12))
def test_a_window_is_what_a_dict_of_rows_says(panel, first, width):
    demand, observed = panel.window(first, first + width)
    for i, cells in enumerate(cells_of(panel).values()):
        slow, seen = slow_window(cells, first, first + width)
        assert demand[i].tolist() == slow
        assert observed[i].tolist() == seen


@given(panels(), st.integers(85, 110), st.integers(0, 12))
def test_known_windows_are_the_rows_or_nan(panel, first, width):
    found = panel.known_window(first, first + width)
    assert found.shape == (panel.n_series, width + 1, 2)
    series, periods = panel.row_series(), panel.row_periods()
    inside = (periods >= first) & (periods <= first + width)
    expected = np.full(found.shape, np.nan, dtype=np.float32)
    expected[series[inside], periods[inside] - first] = panel.known[inside]
    np.testing.assert_array_equal(found, expected)


@given(panels(), st.lists(st.integers(88, 108), min_size=1, max_size=3, unique=True))
def test_labels_are_the_loops(panel, origins):
    horizons = [Horizon(0, 1), Horizon(1, 3), Horizon(0, 7)]
    sums, complete = panel.labels(origins, horizons)
    for i, cells in enumerate(cells_of(panel).values()):
        demand, seen = slow_window(cells, 80, 130)
        slow, whole = loop_sums(demand, seen, horizons)
        at = np.array(origins) - 80
        assert complete[i].tolist() == whole[at].tolist()
        np.testing.assert_allclose(sums[i], slow[at])


def test_row_series_and_periods_by_hand():
    panel = panel_of([[1, 2], [], [3]], starts=[7, 0, 9])
    assert panel.row_series().tolist() == [0, 0, 2]
    assert panel.row_periods().tolist() == [7, 8, 9]
    assert (panel.first, panel.last, panel.n_series) == (7, 9, 3)
    assert panel.lengths.tolist() == [2, 0, 1]


@pytest.mark.parametrize("rows", [[], [[]], [[], []]])
def test_a_panel_without_rows(rows):
    panel = panel_of(rows, last=50)
    assert panel.window(48, 50)[0].tolist() == [[0.0] * 3] * len(rows)
    assert not panel.window(48, 50)[1].any()
    assert panel.known_window(48, 50).shape == (len(rows), 3, 0)
    assert panel.labels([50], [Horizon(0, 2)])[1].shape == (len(rows), 1, 1)
    assert panel.first == 50
    assert panel.as_of(40).last == 40
    assert sum(piece.n_series for piece in panel.shards()) == len(rows)
    assert len(panel.fingerprint()) == 16


# --- hiding --------------------------------------------------------------------------------------------------------


@given(panels(), st.integers(85, 112))
def test_rewriting_the_future_changes_nothing_at_the_origin(panel, origin):
    panel = replace(panel, last=113)
    same(panel.as_of(origin), rewritten_after(panel, origin).as_of(origin))
    assert panel.as_of(origin).fingerprint() == rewritten_after(panel, origin).as_of(origin).fingerprint()


@given(panels(), st.integers(85, 112))
def test_as_of_hides_demand_stock_and_past_and_nothing_else(panel, origin):
    panel = replace(panel, last=113)
    seen = panel.as_of(origin)
    later = panel.row_periods() > origin
    assert not seen.observed[later].any()
    assert not seen.demand[later].any()
    assert np.isnan(seen.past[later]).all()
    for name in ("demand", "observed", "past"):
        np.testing.assert_array_equal(getattr(seen, name)[~later], getattr(panel, name)[~later])
    np.testing.assert_array_equal(seen.known, panel.known)
    assert (seen.start is panel.start, seen.known is panel.known, seen.last) == (True, True, origin)


@given(panels(), st.integers(85, 112), st.integers(85, 112))
def test_the_earlier_origin_wins(panel, one, other):
    same(panel.as_of(one).as_of(other), panel.as_of(min(one, other)))


def test_hiding_leaves_the_panel_alone():
    panel = panel_of([[1, 2, 3]])
    for name in ARRAYS:
        getattr(panel, name).setflags(write=False)
    before = panel.fingerprint()
    panel.as_of(0)
    assert panel.fingerprint() == before


@given(st.lists(st.integers(0, 5), max_size=5), st.data())
def test_ragged_tails_are_the_rows_left_over(lengths, data):
    indptr = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    kept = np.array([data.draw(st.integers(-2, 7)) for _ in lengths], dtype=np.int64)
    slow = [r for i, n in enumerate(lengths) for r in range(indptr[i] + min(max(kept[i], 0), n), indptr[i + 1])]
    assert ragged_tails(indptr, kept).tolist() == slow


# --- taking --------------------------------------------------------------------------------------------------------


@given(panels(), st.data())
def test_taking_is_choosing_from_the_dict(panel, data):
    n = panel.n_series
    places = data.draw(st.lists(st.integers(-n, n - 1), max_size=6))
    found = panel.take(np.array(places, dtype=np.int64))
    names = list(cells_of(panel))
    assert found.series["item"].to_list() == [names[p] for p in places]
    for j, place in enumerate(places):
        assert cells_of(found.take([j])) == {names[place]: cells_of(panel)[names[place]]}
    assert found.n_series == len(places)


@given(panels(), st.slices(4))
def test_slices_are_taken_as_python_takes_them(panel, chosen):
    same(panel.take(chosen), panel.take(np.arange(panel.n_series)[chosen]))


@given(panels(), st.data())
def test_masks_are_taken(panel, data):
    mask = np.array([data.draw(st.booleans()) for _ in range(panel.n_series)])
    same(panel.take(mask), panel.take(np.flatnonzero(mask)))


def test_a_place_that_is_not_there_is_an_error():
    with pytest.raises(IndexError):
        panel_of([[1], [2]]).take([2])


def test_a_slice_shares_memory_and_a_list_keeps_every_column():
    panel = panel_of([[1, 2], [3], [4, 5]], past=np.arange(5)[:, None], known=np.arange(10).reshape(5, 2))
    assert np.shares_memory(panel.take(slice(1, 3)).demand, panel.demand)
    chosen = panel.take([2, 0])
    assert chosen.past[:, 0].tolist() == [3, 4, 0, 1]
    assert chosen.known.tolist() == [[6, 7], [8, 9], [0, 1], [2, 3]]


@given(panels(), st.integers(1, 12))
def test_shards_are_the_panel_in_order(panel, n_cells):
    pieces = list(panel.shards(n_cells))
    assert all(len(p.demand) <= n_cells or p.n_series == 1 for p in pieces)
    assert [name for p in pieces for name in p.series["item"]] == panel.series["item"].to_list()
    assert {k: v for p in pieces for k, v in cells_of(p).items()} == cells_of(panel)


# --- storing -------------------------------------------------------------------------------------------------------


@given(panels())
def test_saved_and_opened_is_equal(tmp_path_factory, panel):
    folder = tmp_path_factory.mktemp("panels") / "one"
    panel.save(folder)
    same(Panel.open(folder), panel)
    assert Panel.open(folder).fingerprint() == panel.fingerprint()


def test_a_shop_with_every_kind_of_column_comes_back(shop_panel, tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(1, 6, 2)
    panel = replace(shop_panel, calendar=Calendar(DAY, 19_730, values, ("easter", "xmas")))
    panel.save(tmp_path / "deep" / "folder")
    opened = Panel.open(tmp_path / "deep" / "folder")
    same(opened, panel)
    assert opened.calendar.names == ("easter", "xmas")
    assert opened.calendar.start == 19_730
    assert opened.names == panel.names
    assert opened.fingerprint() == panel.fingerprint()


def test_an_opened_panel_is_mapped_and_read_only(tmp_path):
    panel_of([[1, 2, 3]], known=np.ones((3, 1))).save(tmp_path / "p")
    opened = Panel.open(tmp_path / "p")
    for name in ("demand", "observed", "known", "indptr"):
        array = getattr(opened, name)
        assert isinstance(array.base, np.memmap) or isinstance(array, np.memmap), name
        assert not array.flags.writeable, name
    assert opened.as_of(0).demand.tolist() == [1.0, 0.0, 0.0]


def test_saving_again_replaces_the_whole(tmp_path):
    panel_of([[1, 2, 3]]).save(tmp_path / "p")
    first = Panel.open(tmp_path / "p")
    panel_of([[9]]).save(tmp_path / "p")
    assert Panel.open(tmp_path / "p").demand.tolist() == [9.0]
    assert first.demand.tolist() == [1.0, 2.0, 3.0]  # a reader keeps what it has open
    assert [f.name for f in tmp_path.iterdir()] == ["p"]


@pytest.mark.parametrize("name", [*(f"{a}.npy" for a in ARRAYS), "calendar.npy", "series.parquet", "panel.json"])
@pytest.mark.parametrize("keep", [0, 0.5, None])
def test_a_damaged_file_is_a_store_error(tmp_path, name, keep):
    panel_of([[1, 2, 3]], past=np.ones((3, 1)), known=np.ones((3, 1))).save(tmp_path / "p")
    path = tmp_path / "p" / name
    if keep is None:
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(StoreError, match="Pack it again"):
        Panel.open(tmp_path / "p")


@pytest.mark.parametrize("meta", ["{}", "[]", "3", '{"format": 1}', '{"format": 99}'])
def test_a_foreign_description_is_a_store_error(tmp_path, meta):
    panel_of([[1, 2, 3]]).save(tmp_path / "p")
    (tmp_path / "p" / "panel.json").write_text(meta)
    with pytest.raises(StoreError, match="Pack it again"):
        Panel.open(tmp_path / "p")


def test_arrays_of_two_panels_are_a_store_error(tmp_path):
    panel_of([[1, 2, 3]]).save(tmp_path / "p")
    panel_of([[1, 2, 3, 4]]).save(tmp_path / "q")
    (tmp_path / "q" / "demand.npy").rename(tmp_path / "p" / "demand.npy")
    with pytest.raises(StoreError, match="Pack it again"):
        Panel.open(tmp_path / "p")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(StoreError, match="expected a saved panel"):
        Panel.open(tmp_path / "nothing")


def test_an_unwritable_place_is_a_store_error_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="cannot write"):
        panel_of([[1]]).save(tmp_path / "file" / "panel")
    assert [f.name for f in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_half_way_leaves_the_old_panel(tmp_path, monkeypatch):
    panel_of([[1, 2, 3]]).save(tmp_path / "p")
    real, calls = np.save, []

    def full_disk(path, *args, **kwargs):
        calls.append(path)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        real(path, *args, **kwargs)

    monkeypatch.setattr(np, "save", full_disk)
    with pytest.raises(StoreError, match="No space left"):
        panel_of([[9]]).save(tmp_path / "p")
    assert Panel.open(tmp_path / "p").demand.tolist() == [1.0, 2.0, 3.0]
    assert [f.name for f in tmp_path.iterdir()] == ["p"]


def test_an_interrupted_write_leaves_the_old_panel(tmp_path, monkeypatch):
    panel_of([[1, 2, 3]]).save(tmp_path / "p")

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        panel_of([[9]]).save(tmp_path / "p")
    assert [f.name for f in tmp_path.iterdir()] == ["p"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_panel_is_never_overwritten(tmp_path, kind):
    target = tmp_path / "mine"
    if kind == "folder":
        target.mkdir()
        (target / "thesis.txt").write_text("years of work")
    else:
        target.write_text("years of work")
    with pytest.raises(StoreError, match="not a saved panel"):
        panel_of([[1]]).save(target)
    assert (target / "thesis.txt" if kind == "folder" else target).read_text() == "years of work"
    assert [f.name for f in tmp_path.iterdir()] == ["mine"]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "p").mkdir()
    panel_of([[1]]).save(tmp_path / "p")
    assert Panel.open(tmp_path / "p").demand.tolist() == [1.0]


def test_a_description_can_be_read_by_anyone(tmp_path):
    panel_of([[1]], starts=[19_723]).save(tmp_path / "p")
    meta = json.loads((tmp_path / "p" / "panel.json").read_text())
    assert (meta["format"], meta["frequency"], meta["last"]) == (1, "day", 19_723)


# --- names and identity --------------------------------------------------------------------------------------------


def test_the_fingerprint_changes_with_every_field(shop_panel):
    prints = {shop_panel.fingerprint()}
    for name in ARRAYS:
        array = np.array(getattr(shop_panel, name))
        if name == "indptr":
            array[1] -= 1
        else:
            array[-1] = ~array[-1] if array.dtype == bool else array[-1] + 1
        prints.add(replace(shop_panel, **{name: array}).fingerprint())
    renamed = replace(shop_panel.names, price=None)
    prints.add(replace(shop_panel, names=renamed).fingerprint())
    prints.add(replace(shop_panel, last=shop_panel.last - 1).fingerprint())
    prints.add(replace(shop_panel, series=shop_panel.series.reverse()).fingerprint())
    prints.add(replace(shop_panel, calendar=replace(shop_panel.calendar, start=1)).fingerprint())
    assert len(prints) == 5 + len(ARRAYS)


def test_series_and_columns_are_found_by_name(shop_panel):
    assert shop_panel.find("item-03") == 3
    with pytest.raises(DataError, match="item-03"):
        shop_panel.find("item-30")
    assert shop_panel.column("department").to_list() == ["food", "toys"] * 3
    with pytest.raises(DataError, match="department"):
        shop_panel.column("departement")


@pytest.mark.parametrize("name", ["start", "observed", "past", "known", "place", "indptr"])
def test_arrays_that_do_not_fit_are_refused(name):
    good = panel_of([[1, 2], [3]])
    arrays = {f.name: getattr(good, f.name) for f in fields(good)}
    arrays[name] = arrays[name][:-1]
    with pytest.raises(DataError, match="panel: expected"):
        Panel(**arrays)


def test_calendar_columns_by_place_and_period():
    values = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    calendar = Calendar(DAY, 100, values, ("a", "b"))
    assert calendar.at(1, 101).tolist() == [8.0, 9.0]
    assert calendar.at([[0], [1]], [100, 102]).tolist() == [[[0, 1], [4, 5]], [[6, 7], [10, 11]]]
    assert np.isnan(calendar.at(0, [99, 103])).all()
    assert Calendar(DAY).at([0, 0], [1, 2]).shape == (2, 0)
