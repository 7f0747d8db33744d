"""The config on ramps: who competes, fields out of their domain, its routes and constructions."""

from dataclasses import replace

import pytest
import torch

from deqlab.experiments.expressivity.open.jobs import errors_of, plan, route_of
from deqlab.experiments.expressivity.open.open_steep import EXPERIMENT
from deqlab.experiments.expressivity.open.steep_routes import OpenSteepConfig
from deqlab.expressivity import largest_infinity_norm
from deqlab.expressivity.search import Architecture, as_module, evaluate
from deqlab.expressivity.search.network import CLOSE

CONFIG = replace(EXPERIMENT.presets["smoke"], log2_steepness=4)
FNN = Architecture((3, 2), dense=False)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("d", [1, 10, 20, 24])
def test_constructions_are_exact_and_the_deq_is_so_at_its_own_equilibrium(d):
    for width in (2, 10):
        config = OpenSteepConfig(log2_steepness=d, width=width, test_samples=500)
        x, y = config.test(d)
        network, fnn = config.exact()
        assert network.architecture == config.deq
        assert fnn.architecture == Architecture((2,), dense=False)
        module = as_module(network)
        errors, row = errors_of(module, x, y)
        # The solve goes on to the last bit; else it would miss by the rounding of the state.
        assert torch.equal(module(x[:, None])[:, 0], evaluate(network, x))
        # A difference of states of size 2^d, to rounding.
        torch.testing.assert_close(evaluate(network, x), y, rtol=0, atol=4 * 2.0 ** (d - 52))
        assert torch.equal(errors, evaluate(network, x) - y)
        assert row["converged"] == 1
        assert largest_infinity_norm(module) == 2
    torch.testing.assert_close(evaluate(fnn, x), y, rtol=0, atol=4 * 2.0 ** (d - 52))
    assert largest_infinity_norm(as_module(fnn)) == 2.0**d


def test_a_construction_without_noise_is_where_its_route_starts():
    config = replace(CONFIG, routes=("construction",), noises=(0.0, 0.1))
    *exact, noisy_deq, noisy_fnn = (route_of(config, job) for job in plan(config, []))
    networks = config.exact()
    for route, network in zip(exact, networks, strict=True):
        assert torch.equal(route.start.matrix, network.matrix)
        assert route.targets == (4,)
    for route, network in zip((noisy_deq, noisy_fnn), networks, strict=True):
        assert not torch.equal(route.start.matrix, network.matrix)


@pytest.mark.parametrize("architecture", [CONFIG.deq, FNN], ids=["deq", "fnn"])
def test_targets_of_stages(architecture):
    plain = CONFIG.route("plain", architecture, generator())
    climb = CONFIG.route("curriculum", architecture, generator())
    steeper = CONFIG.route("steepening", architecture, generator())
    grown = CONFIG.route("growth", architecture, generator())
    assert plain.targets == (4,)
    assert climb.targets == steeper.targets == (1, 2, 3, 4)
    assert grown.targets == (*[1] * len(architecture.levels), 2, 3, 4)
    assert tuple(tried for *_, tried in grown.plan) == (*[4] * len(architecture.levels), 0, 0, 0)
    assert torch.equal(climb.start.matrix, steeper.start.matrix)
    # The same weights, though other kinks and another readout, which are made for a ramp.
    assert torch.equal(plain.start.matrix[:-1, :-1], climb.start.matrix[:-1, :-1])
    assert not torch.equal(plain.start.matrix, climb.start.matrix)


@pytest.mark.parametrize("architecture", [CONFIG.deq, FNN], ids=["deq", "fnn"])
def test_a_stage_without_steps_shows_what_it_begins_with(architecture):
    data, x = CONFIG.train, torch.linspace(-0.1, 0.1, 41, dtype=torch.float64)
    climb = CONFIG.route("curriculum", architecture, generator())
    for stage in climb.stages(data, 0):
        assert torch.equal(stage.network.matrix, climb.start.matrix)
    steeper = CONFIG.route("steepening", architecture, generator())
    for stage in steeper.stages(data, 0):
        expected = evaluate(steeper.start, x * 2.0 ** (stage.number - 1))
        torch.testing.assert_close(evaluate(stage.network, x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("architecture", [CONFIG.deq, FNN], ids=["deq", "fnn"])
def test_growth_ends_with_the_architecture_that_competes(architecture):
    stages = list(CONFIG.route("growth", architecture, generator()).stages(CONFIG.train, 60))
    sizes = [len(stage.network.architecture.levels) for stage in stages]
    levels = len(architecture.levels)
    assert sizes == [*range(1, levels + 1), *[levels] * 3]
    assert stages[-1].network.architecture == architecture
    assert stages[-1].network.matrix[~architecture.mask].abs().sum() == 0


def test_a_grown_deq_learns_the_ramp_and_keeps_its_weights_small():
    config = replace(CONFIG, log2_steepness=10, test_samples=500)
    stages = list(config.route("growth", config.deq, generator()).stages(config.train, 240))
    network = stages[-1].network
    errors, row = errors_of(as_module(network), *config.test(10))
    assert row["converged"] == 1
    assert errors.square().mean() < 1e-20
    assert largest_infinity_norm(as_module(network)) < 10


def test_fnns_cost_what_a_deq_with_loops_costs():
    config = OpenSteepConfig()
    assert config.deq.loops
    assert not config.deq.skip
    assert config.deq.num_parameters == 77 - 1 + 10
    assert config.steps == 1000
    budget = config.deq.step_flops(config.train_samples)
    levels = [architecture.levels for architecture in config.fnns]
    assert levels == [(28,), (7, 7), (5,) * 3, (4,) * 4, (4,) * 5, (2,)]
    for architecture in config.fnns:
        assert not architecture.dense
        assert architecture.step_flops(config.train_samples) <= (1 + CLOSE) * budget


def test_the_narrowest_fnn_is_not_named_twice():
    config = OpenSteepConfig(width=2, depths=(1,), train_samples=64)
    assert [architecture.levels for architecture in config.fnns].count((2,)) <= 1


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"seeds": ()}, "seeds needs at least one number"),
        ({"log2_steepness": 0}, "log2_steepness must be from 1 to 24, got 0"),
        ({"log2_steepness": 25}, "log2_steepness must be from 1 to 24, got 25"),
        ({"width": 1}, "width must be at least 2, got 1"),
        ({"train_samples": 63}, "train_samples must be at least 64, got 63"),
        ({"test_samples": 0}, "test_samples must be at least 1"),
        ({"steps_per_stage": 0}, "steps_per_stage must be at least 1"),
        ({"candidates": 0}, "candidates must be at least 1"),
        ({"depths": ()}, "depths needs one or more entries"),
        ({"depths": (0,)}, r"depths must be at least 1, got \[0\]"),
        ({"routes": ("monotone",)}, "routes are plain, .* growth; got monotone"),
        ({"routes": ("plain", "plain")}, "routes must differ"),
        ({"noises": (float("inf"),)}, r"noises must be 0 or more, and finite, got \[inf\]"),
        ({"noises": (0.1, 0.1)}, "noises must differ"),
    ],
)
def test_a_field_outside_its_domain_is_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(OpenSteepConfig(), **fields)


@pytest.mark.parametrize("d", [1, 24])
def test_the_ends_of_the_domain_are_taken(d):
    assert replace(OpenSteepConfig(), log2_steepness=d).log2_steepness == d
