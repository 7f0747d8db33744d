"""The readout against least squares of another library, and against its own derivatives."""

import torch

from deqlab.expressivity.search import (
    Architecture,
    Evaluation,
    Network,
    least_squares,
    refit_readout,
)
from deqlab.tasks import sawtooth

X = torch.rand(500, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def test_least_squares_is_that_of_lstsq():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(4, 3, 50, generator=generator, dtype=torch.float64)
    target = torch.randn(50, generator=generator, dtype=torch.float64)
    expected = torch.linalg.lstsq(features.mT, target.expand(4, -1)[..., None]).solution[..., 0]
    torch.testing.assert_close(least_squares(features, target), expected, rtol=1e-8, atol=1e-8)


def test_a_refitted_readout_cannot_be_improved_and_leaves_neurons_alone():
    architecture = Architecture((3, 2), False)
    generator = torch.Generator().manual_seed(2)
    weights = torch.randn(architecture.num_parameters, generator=generator, dtype=torch.float64)
    network = Network(architecture, architecture.matrix(weights))
    target = sawtooth.evaluate(X, log2_regions=2)
    better = refit_readout(network, X, target)
    assert torch.equal(better.matrix[:-1], network.matrix[:-1])
    y, j = Evaluation(architecture, X).jacobian(better.weights)
    slopes = j[-3:] @ (y - target) / len(X)  # by the readout
    assert slopes.abs().max() < 1e-8
