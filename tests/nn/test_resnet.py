"""The residual network is its formula, and a sample does not feel its neighbours."""

import pytest
import torch

from deqlab.nn import ResidualBlock, resnet
from tests.nn.maps import convolution, normalised, relu
from tests.problems import normal


def with_affine(norm, x, groups):
    return normalised(x, groups) * norm.weight[:, None, None] + norm.bias[:, None, None]


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(4, 4, 1), (4, 6, 1), (4, 4, 2)])
def test_a_block_is_its_formula(inputs, outputs, stride):
    torch.manual_seed(0)
    block = ResidualBlock(inputs, outputs, stride=stride, groups=2).double()
    with torch.no_grad():  # else they are ones and zeros
        for norm in (block.before, block.between):
            norm.weight.uniform_(0.5, 2)
            norm.bias.uniform_(-1, 1)
    h = normal(2, inputs, 6, 8, seed=1)
    activated = relu(with_affine(block.before, h, 2))
    inner = convolution(activated, block.first.weight, stride=stride)
    expected = convolution(relu(with_affine(block.between, inner, 2)), block.second.weight)
    if block.around is None:
        assert (inputs, stride) == (outputs, 1)
        expected = expected + h
    else:
        expected = expected + convolution(activated, block.around.weight, stride=stride)
    torch.testing.assert_close(block(h), expected, rtol=1e-10, atol=1e-10)


def test_each_stage_but_the_first_halves_the_resolution_once():
    features, readout = resnet(3, (4, 8, 12), 5, blocks=2, stride=2)
    maps = features(torch.randn(2, 3, 16, 16))
    assert maps.shape == (2, 12, 2, 2)
    assert maps.min() >= 0
    assert readout(maps).shape == (2, 5)
    assert sum(isinstance(layer, ResidualBlock) for layer in features) == 6


def test_a_sample_does_not_feel_its_neighbours():
    model, x = resnet(3, (4, 8), 5).double(), normal(3, 3, 8, 8, seed=2)
    together = model(x)
    for i in range(3):
        torch.testing.assert_close(model(x[i : i + 1])[0], together[i], rtol=1e-10, atol=1e-12)


def test_settings_outside_their_domain_are_refused():
    with pytest.raises(ValueError, match=r"multiples of groups = 4, got \[4, 6\]"):
        resnet(3, (4, 6), 10)
    with pytest.raises(ValueError, match="blocks must be at least 1, got 0"):
        resnet(3, (4, 8), 10, blocks=0)
