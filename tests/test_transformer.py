"""MQTransformer: nothing after an origin reaches what is said there; every part alone and switched off; attention."""

import numpy as np
import pytest
import torch

from shelfcast.errors import ConfigError
from shelfcast.horizons import Horizon, per_period
from shelfcast.models.table import forecaster, load
from shelfcast.networks import fitting
from shelfcast.networks.attention import Alignment, Feedback
from shelfcast.networks.batches import make_batch
from shelfcast.networks.training import to_tensors
from shop import panel_of, rewritten_after

TINY = {"steps": 6, "series": 8, "origins": 8, "width": 8, "hidden": 8, "reach": 7, "forks": 24, "keys": 9}
TINY |= {"feedback": 3, "feedback_step": 2, "position": 4}
HORIZONS = (*per_period(6), Horizon(0, 3), Horizon(2, 3), Horizon(4, 3))
PARTS = [
    {},
    {"align": "ahead"},
    {"align": "none"},
    {"feedback": 0},
    {"position": 0},
    {"specific": 0},
    {"align": "none", "feedback": 0, "position": 0},
    {"align": "ahead", "feedback": 0, "position": 0, "encoder": "lstm"},
    {"encoder": "mlp", "position": 0},
    {"features": True},
    {"features": True, "align": "ahead", "encoder": "mlp", "position": 0},
    {"head": "negative-binomial"},
    {"head": "spline"},
    {"head": "point"},
]


def named(parts):
    return "-".join(f"{key}={value}" for key, value in parts.items()) or "whole"


def trained(settings, horizons=HORIZONS, panel=None):
    panel = panel_of(np.random.default_rng(0).poisson(5, (6, 120))) if panel is None else panel
    return forecaster("mqtransformer", horizons=horizons, levels=(0.1, 0.5, 0.9), **(TINY | settings)).fit(panel)


def stirred(network):
    """A network whose attentions speak: they begin at zero, and a few steps leave them quiet."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def ready(settings, horizons=HORIZONS):
    """A network with loud attentions, and inputs of 3 series at origins two apart."""
    panel = panel_of(np.random.default_rng(0).poisson(5, (6, 120)), known=np.random.default_rng(1).random((720, 2)))
    model = forecaster("mqtransformer", horizons=horizons, levels=(0.1, 0.5, 0.9), **(TINY | settings))
    trainer = fitting.prepare(panel, model.horizons, model.levels, model.network, model.training, model.compute, 0)
    origins = np.arange(8, 18, 2)
    batch = make_batch(trainer.source, np.arange(3), np.full(3, 110), origins)
    return stirred(trainer.network), to_tensors(batch, trainer.table), trainer.layout


@pytest.mark.parametrize("parts", PARTS, ids=named)
def test_no_gradient_from_anything_after_an_origin(parts):
    """Demand, past and state reach a forecast up to its origin alone; plans and dates, to just beyond its horizons."""
    network, given, layout = ready(parts)
    read, state = given.inputs.clone().requires_grad_(), given.state.clone().requires_grad_()
    targets = given.targets.clone().requires_grad_()
    raw = network(given._replace(inputs=read, state=state, targets=targets))
    for o, origin in enumerate(given.origins.tolist()):
        by_input, by_state, by_target = torch.autograd.grad(raw[:, o].sum(), (read, state, targets), retain_graph=True)
        assert not by_target[:, o + 1 :].any()
        assert by_target[:, o].any() or not layout.n_targets
        assert not by_input[:, origin + 1 :].any()
        assert by_input[:, origin].any()
        assert not by_state[:, o + 1 :].any()
    if given.indicators is not None and layout.around:
        planned = given.indicators.clone().requires_grad_()
        raw = network(given._replace(indicators=planned))
        (found,) = torch.autograd.grad(raw[:, 0].sum(), planned)
        end = int(given.origins[0]) + layout.n_leads + layout.around
        assert not found[:, end + 1 :].any()
        assert found[:, end].any()


def test_feedback_reads_forecasts_of_earlier_origins_and_no_other():
    """The context at an origin depends on those of its lags, of the same window alone; never on a later origin."""
    torch.manual_seed(0)
    network, given, layout = ready({"align": "none"})
    assert layout.lags == (2, 4)
    place = given.origins - network.reach
    _, cell, there = network._since(given, place)
    horizons = layout.horizons
    for o, j, k in np.ndindex(*there.shape):
        earlier = int(place[o]) - layout.lags[j]
        wanted = Horizon(horizons[k].lead + layout.lags[j], horizons[k].span)
        assert bool(there[o, j, k]) == (earlier in place.tolist() and wanted in horizons)
        if there[o, j, k]:
            p, q = divmod(int(cell[o, j, k]), len(horizons))
            assert int(place[p]) == earlier
            assert horizons[q] == wanted
    assert there.any()
    context = torch.randn(2, 5, 9, 8, requires_grad=True)
    at = torch.randn(2, 5, network.feedback.query.in_features)
    made = stirred(network.feedback)(context, at, torch.randn(2, 5, 2, Feedback.N_SINCE), cell, there)
    for o, k in np.ndindex(5, 9):
        (found,) = torch.autograd.grad(made[:, o, k].sum(), context, retain_graph=True)
        reached = set(map(tuple, found.abs().sum(dim=(0, 3)).nonzero().tolist()))
        assert reached == {(o, k)} | {divmod(int(cell[o, j, k]), 9) for j in range(2) if there[o, j, k]}


def test_demand_since_an_earlier_origin_ends_at_this_one():
    network, given, _ = ready({"align": "none"})
    place = given.origins - network.reach
    read = given.inputs.clone().requires_grad_()
    since, _, _ = network._since(given._replace(inputs=read), place)
    for o, origin in enumerate(given.origins.tolist()):
        for j, lag in enumerate((2, 4)):
            (found,) = torch.autograd.grad(since[:, o, j, 0].sum(), read, retain_graph=True)
            assert found[..., 0].nonzero()[:, 1].unique().tolist() == list(range(origin - lag + 1, origin + 1))


@pytest.mark.parametrize("align", ["dates", "ahead"])
def test_alignment_sees_its_window_and_weighs_to_one(align):
    network, given, layout = ready({"align": align, "feedback": 0})
    _, _, parts = network.contexts(given)
    weights = network.alignment.weights(*parts)
    place = given.origins - network.reach
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))
    age = place[:, None] - torch.arange(layout.keys + layout.forks)
    hidden = (age < 0) | (age >= layout.keys)
    assert not weights[..., :-1][hidden[None, None, :, None].expand(*weights.shape[:-1], -1)].any()
    assert (weights[..., :-1] > 0).any()
    encoded = torch.cat((parts[0], parts[0].new_zeros(3, 1, 8)), dim=1)
    assert network.alignment(*parts).shape == (3, 5, 9, 8)
    assert encoded.shape[1] == weights.shape[-1]


@pytest.mark.parametrize("align", ["dates", "ahead"])
def test_alignment_is_attention_written_out(align):
    """Against a loop over origins, horizons and keys, with the mean over a horizon's periods where keys look ahead."""
    network, given, _ = ready({"align": align, "feedback": 0, "heads": 1})
    _, _, parts = network.contexts(given)
    part: Alignment = network.alignment
    encoded, position, read, at, ahead, place, windows, there = parts
    made, n = part(*parts), encoded.shape[1]
    for b, o, k in ((0, 0, 0), (1, 3, 7), (2, 4, 5)):
        query = part.query(at[b, o]) + part.query_ahead(ahead[b, o, k])
        scores, values = [(query * part.nothing).sum()], [torch.zeros(part.size)]
        for s in range(n):
            if not 0 <= int(place[o]) - s < part.window or not there[b, s] or (align == "dates" and s == 0):
                continue
            if align == "dates":
                key = part.key(torch.cat((encoded[b, s - 1], position[b, s - 1]))) + part.key_ahead(position[b, s])
                value = part.value(torch.cat((encoded[b, s], read[b, s])))
            else:
                lead, span = windows[k].tolist()
                later = position[b, s + lead + 1 : s + lead + span + 1].mean(dim=0)
                key = part.key(torch.cat((encoded[b, s], position[b, s]))) + part.key_ahead(later)
                value = part.value(encoded[b, s])
            scores.append((query * key).sum())
            values.append(value)
        share = (torch.stack(scores) / part.size**0.5).softmax(dim=0)
        torch.testing.assert_close(part.out(share @ torch.stack(values)), made[b, o, k], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parts", PARTS, ids=named)
def test_every_part_alone_and_left_out_keeps_the_laws(parts, tmp_path):
    """Sound quantiles, no look-ahead, origins apart and together, saved and loaded, series without rows."""
    demand = np.random.default_rng(0).poisson(5, (6, 120)).astype(float)
    panel = panel_of([*demand, []], last=119)
    model = trained(parts, panel=panel.as_of(109))
    stirred(model.fitted_.network)
    said = model.predict(panel, [103, 109])
    assert np.isfinite(said.values).all()
    assert (np.diff(said.values, axis=-1) >= 0).all()
    assert (said.values >= 0).all()
    np.testing.assert_array_equal(model.predict(rewritten_after(panel, 109), [103, 109]).values, said.values)
    np.testing.assert_allclose(model.predict(panel, [103]).values, said.at([103]).values, rtol=1e-4, atol=1e-4)
    model.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(panel, [103, 109]).values, said.values)


def test_memory_of_attention_is_bounded_and_said():
    panel = panel_of(np.random.default_rng(0).poisson(5, (6, 120)))
    model = forecaster("mqtransformer", horizons=HORIZONS, **TINY)
    line = model.preflight(panel)
    assert "attention over 9 periods and 2 earlier origins, 0.00 GB a step" in line
    assert "\n" not in line


def test_settings_that_cannot_be_are_named():
    for wrong, message in (
        ({"align": "date"}, "unknown alignment"),
        ({"heads": 3}, "divisor of width 8"),
        ({"keys": 0}, "whole number >= 1"),
        ({"position_layers": 4}, "at most 7 periods"),
    ):
        with pytest.raises(ConfigError, match=message):
            trained(wrong)
    with pytest.raises(ConfigError, match="no such setting"):
        forecaster("mq-cnn", horizons=1, heads=2)
