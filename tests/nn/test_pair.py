"""Two networks with feature maps of one resolution and nearly the same number of parameters."""

import pytest
import torch

from deqlab.costs import num_parameters
from deqlab.nn.models import pair
from deqlab.nn.models.twins import training_flops
from deqlab.solvers import Anderson

SOLVER = Anderson(rtol=1e-3, max_steps=50)


def shape_of(size, channels=3):
    return pair.Shape(images=(channels, size, size), num_classes=10)


@pytest.mark.parametrize(("size", "resolution"), [(8, 8), (16, 8), (28, 14), (32, 8)])
def test_both_feature_maps_have_the_same_resolution(size, resolution):
    shape = shape_of(size)
    x = torch.randn(2, 3, size, size)
    for model in (pair.deq(shape, (4, 8), SOLVER), pair.residual(shape, 4)):
        maps, scores, solution = pair.forward(model, x)
        assert maps.shape[2:] == (resolution, resolution)
        assert maps.min() >= -1e-2  # rectified, but for the tolerance of the solve
        assert torch.equal(scores, model(x))
        assert (solution is None) == (model[0][1].__class__.__name__ != "DEQ")
        if solution is not None:
            assert torch.equal(maps, solution.value[0])


@pytest.mark.parametrize("channels", [(4, 4), (16, 32), (24, 8)])
def test_no_width_has_more_nearly_the_parameters_of_the_deq(channels):
    shape = shape_of(32)
    budget = num_parameters(pair.deq(shape, channels, SOLVER))
    gaps = {
        width: abs(num_parameters(pair.residual(shape, width)) - budget)
        for width in range(4, 64, 4)
    }
    assert gaps[pair.matching_width(shape, channels)] == min(gaps.values())


def test_no_blocks_take_more_nearly_the_flops_of_a_budget():
    shape = shape_of(8)
    x, y = torch.randn(2, 3, 8, 8), torch.tensor([0, 1])
    costs = [
        training_flops(pair.residual(shape, 4, blocks=blocks), x, y) for blocks in (1, 2, 3, 4)
    ]
    for budget, blocks in ((costs[0], 1), (costs[2] + 1, 3), (costs[3] - 1, 4)):
        assert pair.matching_blocks(shape, 4, budget, x, y) == blocks
