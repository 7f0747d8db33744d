"""Routes to a ramp: where they start, what each stage begins with, and the exact constructions."""

from dataclasses import replace

import pytest
import torch

from deqlab.experiments.expressivity.open import steep_routes
from deqlab.experiments.expressivity.open.entrants import solved
from deqlab.experiments.expressivity.open.steep import EXPERIMENT, _points, _training
from deqlab.expressivity import largest_infinity_norm
from deqlab.expressivity.search.evaluation import Substitution
from deqlab.expressivity.search.modules import as_module
from deqlab.expressivity.search.network import Wiring

CONFIG = replace(EXPERIMENT.presets["smoke"], log2_steepness=4)
FNN = Wiring((3, 2), dense=False)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def output(network, x):
    return Substitution(network.wiring, x).output(network.weights)


@pytest.mark.parametrize("d", [1, 10, 20, 24])
def test_constructions_are_exact_and_the_deq_is_so_at_its_own_equilibrium(d):
    x, y = _points(500, d, 7)
    for network in (steep_routes.exact_deq(d, 2), steep_routes.exact_deq(d, 10)):
        module = as_module(network)
        found, row = solved(module, x[:, None])
        # The solve goes on to the last bit; else it would miss by the rounding of the state.
        assert torch.equal(found[:, 0], output(network, x))
        # A difference of states of size 2^d, to rounding.
        torch.testing.assert_close(output(network, x), y, rtol=0, atol=4 * 2.0 ** (d - 52))
        assert row["converged"] == 1
        assert largest_infinity_norm(module) == 2
    fnn = steep_routes.exact_fnn(d)
    torch.testing.assert_close(output(fnn, x), y, rtol=0, atol=4 * 2.0 ** (d - 52))
    assert largest_infinity_norm(as_module(fnn)) == 2.0**d


def test_a_construction_without_noise_is_where_its_route_starts():
    for dense in (True, False):
        route = steep_routes.construction(CONFIG, dense=dense, noise=0.0, generator=generator())
        exact = steep_routes.exact_deq(4, 3) if dense else steep_routes.exact_fnn(4)
        assert torch.equal(route.start.matrix, exact.matrix)
        assert route.targets == (4,)
        noisy = steep_routes.construction(CONFIG, dense=dense, noise=0.1, generator=generator())
        assert not torch.equal(noisy.start.matrix, exact.matrix)


@pytest.mark.parametrize("wiring", [CONFIG.deq, FNN], ids=["deq", "fnn"])
def test_targets_of_stages(wiring):
    data = _training(CONFIG)
    plain = steep_routes.plain(CONFIG, wiring, data, generator())
    climb = steep_routes.curriculum(CONFIG, wiring, data, generator())
    steeper = steep_routes.steepening(CONFIG, wiring, data, generator())
    grown = steep_routes.growth(CONFIG, wiring, generator())
    assert plain.targets == (4,)
    assert climb.targets == steeper.targets == (1, 2, 3, 4)
    assert grown.targets == (*[1] * len(wiring.levels), 2, 3, 4)
    assert grown.candidates == (*[4] * len(wiring.levels), 0, 0, 0)
    assert torch.equal(climb.start.matrix, steeper.start.matrix)
    # The same weights, though other kinks and another readout, which are made for a ramp.
    assert torch.equal(plain.start.matrix[:-1, :-1], climb.start.matrix[:-1, :-1])
    assert not torch.equal(plain.start.matrix, climb.start.matrix)


@pytest.mark.parametrize("wiring", [CONFIG.deq, FNN], ids=["deq", "fnn"])
def test_a_stage_without_steps_shows_what_it_begins_with(wiring):
    data, x = _training(CONFIG), torch.linspace(-0.1, 0.1, 41, dtype=torch.float64)
    climb = steep_routes.curriculum(CONFIG, wiring, data, generator())
    for stage in climb.stages(data, 0):
        assert torch.equal(stage.network.matrix, climb.start.matrix)
    steeper = steep_routes.steepening(CONFIG, wiring, data, generator())
    for stage in steeper.stages(data, 0):
        expected = output(steeper.start, x * 2.0 ** (stage.number - 1))
        torch.testing.assert_close(output(stage.network, x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("wiring", [CONFIG.deq, FNN], ids=["deq", "fnn"])
def test_growth_ends_with_the_wiring_that_competes(wiring):
    stages = list(steep_routes.growth(CONFIG, wiring, generator()).stages(_training(CONFIG), 60))
    sizes = [len(stage.network.wiring.levels) for stage in stages]
    levels = len(wiring.levels)
    assert sizes == [*range(1, levels + 1), *[levels] * 3]
    assert stages[-1].network.wiring == wiring
    assert stages[-1].network.matrix[~wiring.mask].abs().sum() == 0


def test_a_grown_deq_learns_the_ramp_and_keeps_its_weights_small():
    config = replace(CONFIG, log2_steepness=10)
    stages = list(
        steep_routes.growth(config, config.deq, generator()).stages(_training(config), 240)
    )
    network = stages[-1].network
    x, y = _points(500, 10, 7)
    found, row = solved(as_module(network), x[:, None])
    assert row["converged"] == 1
    assert (found[:, 0] - y).square().mean() < 1e-20
    assert largest_infinity_norm(as_module(network)) < 10
