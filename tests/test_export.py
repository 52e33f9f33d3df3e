"""Export of networks: what another runtime says is what `predict` says; refusals."""

import json

import numpy as np
import pytest

from commandline import refused, shelfcast, write_config, write_shop
from shelfcast.errors import ConfigError, StoreError
from shelfcast.models.table import forecaster
from shelfcast.networks.batches import Source
from shelfcast.networks.export import inputs_of
from shelfcast.networks.prediction import batches
from shop import panel_of

pytest.importorskip("onnx", reason="needs the extra 'export'")
runtime = pytest.importorskip("onnxruntime", reason="needs the extra 'export'")

TINY = {"steps": 12, "series": 8, "origins": 4, "width": 8, "hidden": 8, "reach": 7, "forks": 16}


@pytest.fixture(scope="module")
def some():
    """Seven series of Poisson counts, 200 days, one of them silent."""
    return panel_of([*np.random.default_rng(0).poisson(5, (6, 200)), np.zeros(200)])


@pytest.mark.parametrize(
    ("name", "head"),
    [("mq-cnn", "grid"), ("mq-rnn", "spline"), ("mq-fnn", "grid"), ("rnn-point", "point"), ("mqtransformer", "grid")],
)
def test_another_runtime_says_what_predict_says(name, head, some, tmp_path):
    """From arrays that were made without torch; other numbers of series and origins than at export."""
    settings = TINY | {"features": True, "position": 4, "feedback": 2} if name == "mqtransformer" else TINY
    model = forecaster(name, horizons=[(0, 1), (1, 1), (0, 7)], head=head, **settings).fit(some)
    found = model.export(some, tmp_path / "deep" / "net.onnx")
    assert found["difference"] <= 1e-4
    session = runtime.InferenceSession(str(tmp_path / "deep" / "net.onnx"), providers=["CPUExecutionProvider"])
    described = json.loads((tmp_path / "deep" / "net.json").read_text())
    assert set(described["inputs"]) == {entry.name for entry in session.get_inputs()}
    layout, origins = model.fitted_.layout, [196, 199]
    source = Source(some, layout, min(origins) - layout.forks - max(layout.lags, default=0), max(origins))
    for series in (np.arange(7), np.array([2])):
        said = model.predict(some.take(series), origins).values
        for places, asked, batch in batches(source, series, origins, whole_blocks=model.network.encoder == "lstm"):
            given = {k: v for k, v in inputs_of(batch, source.table).items() if k in described["inputs"]}
            (quantiles,) = session.run([described["output"]], given)
            np.testing.assert_allclose(quantiles[:, asked], said[:, places], atol=1e-4 * batch.scale.max())


def test_heads_of_counts_give_their_parameters(some, tmp_path):
    model = forecaster("rnn-distribution", horizons=2, **TINY).fit(some)
    assert model.export(some, tmp_path / "net.onnx")["difference"] <= 1e-4
    assert json.loads((tmp_path / "net.json").read_text())["output"] == "parameters"


def test_a_difference_from_torch_is_refused(some, tmp_path, monkeypatch):
    from shelfcast.networks import export

    model = forecaster("mq-cnn", horizons=2, **TINY).fit(some)
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(StoreError, match="differs from torch"):
        model.export(some, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_an_unwritable_place_and_an_empty_panel_are_refused(some, tmp_path):
    model = forecaster("mq-cnn", horizons=2, **TINY).fit(some)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="Choose a writable folder"):
        model.export(some, tmp_path / "file" / "net.onnx")
    with pytest.raises(ConfigError, match="expected a panel with series"):
        model.export(some.take([]), tmp_path / "net.onnx")


def test_without_the_extra_it_says_what_to_install(some, tmp_path, monkeypatch):
    model = forecaster("mq-cnn", horizons=2, **TINY).fit(some)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"shelfcast\[export\]"):
        model.export(some, tmp_path / "net.onnx")


def test_the_command_exports_what_fit_saved(tmp_path):
    write_shop(tmp_path)
    config = write_config(tmp_path)
    assert shelfcast("fit", config).code == 0
    refused(shelfcast("export", config, "--onnx", tmp_path / "net.onnx"), "'season-profile' is no network")
    settings = ", ".join(f"{key} = {value}" for key, value in TINY.items())
    network = {'model = "season-profile"': f'model = "mq-cnn"\nsettings = {{ {settings} }}'}
    assert shelfcast("fit", write_config(tmp_path, **network)).code == 0
    outcome = shelfcast("export", config, "--onnx", tmp_path / "net.onnx", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["onnx"] == str(tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").stat().st_size > 0
