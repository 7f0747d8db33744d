"""Networks with features: answers are sums of shares, and tests are at the equilibrium."""

import pytest
import torch

from deqlab.bias.features import TEST, build, magnitudes
from tests.problems import normal


@pytest.mark.parametrize("arm", ["diagonal", "deq", "fnn"])
def test_the_answer_is_the_weighted_sum_of_its_features(arm):
    torch.manual_seed(0)
    network, x = build(arm, 5, 0.5), normal(7, 5, seed=0)
    answer = network.answer(x)
    bias = 0.0 if network.readout is None else network.readout.bias
    torch.testing.assert_close(answer.output, answer.features @ answer.weights + bias)
    assert (answer.solution is None) == (arm == "fnn")
    if arm == "diagonal":  # w = 0: z = x
        torch.testing.assert_close(answer.features, x)
    else:
        assert (answer.features >= 0).all()


@pytest.mark.parametrize("arm", ["diagonal", "deq"])
def test_a_tested_deq_is_at_its_equilibrium(arm):
    torch.manual_seed(0)
    network, x = build(arm, 5, 0.9), normal(7, 5, seed=0)
    network.test()
    assert network.features.solver is TEST
    answer = network.answer(x)
    again = network.features.cell(answer.features, x)
    assert float((again - answer.features).detach().norm()) < 1e-5
    assert answer.solution.converged.all()


def test_magnitudes_are_mean_shares():
    features = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    assert magnitudes(features, torch.tensor([1.0, -3.0])).tolist() == [2.0, 3.0]
