"""Exact constructions, their noise, and random weights."""

import pytest
import torch

from deqlab.expressivity.search.evaluation import Substitution
from deqlab.expressivity.search.initial import (
    SPARE,
    disturbed,
    drawn,
    exact_deq,
    exact_fnn,
    refitted,
)
from deqlab.expressivity.search.network import Network, Wiring
from deqlab.tasks import sawtooth

X = torch.rand(500, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def loss(network, k):
    y = Substitution(network.wiring, X).output(network.weights)
    return (y - sawtooth.evaluate(X, log2_regions=k)).square().mean().item()


@pytest.mark.parametrize("k", [1, 5, 10])
def test_constructions_are_exact(k):
    for network in (exact_deq(k, k), exact_deq(k, 10), exact_fnn(k)):
        assert loss(network, k) < 1e-25
        assert loss(disturbed(network, 0.0, torch.Generator()), k) < 1e-25
        assert network.matrix[~network.wiring.mask].abs().sum() == 0


def test_noise_is_relative_to_weights_and_small_on_spare_ones():
    network = exact_deq(5, 10)
    weights = network.weights
    draws = torch.stack(
        [
            disturbed(network, 0.1, torch.Generator().manual_seed(seed)).weights - weights
            for seed in range(400)
        ]
    )
    spread = draws.std(dim=0)
    expected = 0.1 * torch.where(weights == 0, SPARE, weights.abs())
    # 400 draws know a standard deviation within 3.5 %; six of these.
    torch.testing.assert_close(spread, expected, rtol=0.22, atol=0)


@pytest.mark.parametrize(
    "wiring", [Wiring((1,) * 5, True), Wiring((4, 3), False)], ids=["deq", "fnn"]
)
def test_every_neuron_of_a_random_network_bends_at_a_training_point(wiring):
    target = sawtooth.evaluate(X, log2_regions=3)
    network = drawn(wiring, X, target, torch.Generator().manual_seed(0))
    assert network.matrix[~wiring.mask].abs().sum() == 0
    s = Substitution(wiring, X)._signals(network.matrix)
    inputs = network.matrix[:-1] @ s
    # A neuron's own bend is one of the points, so its input is 0 there, to rounding.
    assert (inputs.abs().amin(dim=1) < 1e-12).all()


def test_seeds_draw_different_networks_and_the_same_seed_the_same():
    target = sawtooth.evaluate(X, log2_regions=3)
    one, again, other = (
        drawn(Wiring((4,), False), X, target, torch.Generator().manual_seed(seed)).matrix
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_refitted_readout_cannot_be_improved_and_leaves_neurons_alone():
    wiring = Wiring((3, 2), False)
    generator = torch.Generator().manual_seed(2)
    weights = torch.randn(wiring.num_parameters, generator=generator, dtype=torch.float64)
    network = Network(wiring, wiring.matrix(weights))
    target = sawtooth.evaluate(X, log2_regions=2)
    better = refitted(network, X, target)
    assert torch.equal(better.matrix[:-1], network.matrix[:-1])
    y, j = Substitution(wiring, X).jacobian(better.weights)
    slopes = j[-3:] @ (y - target) / len(X)  # by the readout
    assert slopes.abs().max() < 1e-8
