"""Exact constructions, their noise, and random weights."""

import pytest
import torch

from deqlab.expressivity import narrow_sawtooth, sawtooth_fnn
from deqlab.expressivity.search import (
    Architecture,
    Evaluation,
    evaluate,
    from_deq,
    from_fnn,
    perturb,
    random_network,
)
from deqlab.expressivity.search.initial import SPARE
from deqlab.tasks import sawtooth

X = torch.rand(500, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def exact_deq(k, width):
    return from_deq(narrow_sawtooth(k), width=width)


def loss(network, k):
    return (evaluate(network, X) - sawtooth.evaluate(X, log2_regions=k)).square().mean().item()


@pytest.mark.parametrize("k", [1, 5, 10])
def test_constructions_are_exact(k):
    for network in (exact_deq(k, k), exact_deq(k, 10), from_fnn(sawtooth_fnn(k))):
        assert loss(network, k) < 1e-25
        assert loss(perturb(network, 0.0, torch.Generator()), k) < 1e-25
        assert network.matrix[~network.architecture.mask].abs().sum() == 0


def test_noise_is_relative_to_weights_and_small_on_spare_ones():
    network = exact_deq(5, 10)
    weights = network.weights
    draws = torch.stack(
        [
            perturb(network, 0.1, torch.Generator().manual_seed(seed)).weights - weights
            for seed in range(400)
        ]
    )
    spread = draws.std(dim=0)
    expected = 0.1 * torch.where(weights == 0, SPARE, weights.abs())
    # 400 draws know a standard deviation within 3.5 %; six of these.
    torch.testing.assert_close(spread, expected, rtol=0.22, atol=0)


@pytest.mark.parametrize(
    "architecture", [Architecture((1,) * 5, True), Architecture((4, 3), False)], ids=["deq", "fnn"]
)
def test_every_neuron_of_a_random_network_bends_at_a_training_point(architecture):
    target = sawtooth.evaluate(X, log2_regions=3)
    network = random_network(architecture, X, target, torch.Generator().manual_seed(0))
    assert network.matrix[~architecture.mask].abs().sum() == 0
    s = Evaluation(architecture, X)._signals(network.matrix)
    inputs = network.matrix[:-1] @ s
    # A neuron's own bend is one of the points, so its input is 0 there, to rounding.
    assert (inputs.abs().amin(dim=1) < 1e-12).all()


def test_seeds_draw_different_networks_and_the_same_seed_the_same():
    target = sawtooth.evaluate(X, log2_regions=3)
    one, again, other = (
        random_network(
            Architecture((4,), False), X, target, torch.Generator().manual_seed(seed)
        ).matrix
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
