"""Starts agree where there is one fixed point, and are seen to differ where there are two."""

import pytest
import torch
from torch import nn

from deqlab import DEQ, Picard
from deqlab.gradients import Loops
from deqlab.nn import DenseCell, Noise, SpectralNorm, hybrid_transformer
from deqlab.training import path_independence


class Doubled(nn.Module):
    """z = tanh(4 z): from above 0 it ends in +1, from below in -1, number by number."""

    def forward(self, z, x):
        return torch.tanh(4 * z + 0 * x)


class Shrinking(nn.Module):
    """Ends near 0, never in it."""

    def forward(self, z, x):
        return 0.5 * z + 0 * x


def test_one_fixed_point_is_found_from_everywhere():
    torch.manual_seed(0)
    layer = DEQ(DenseCell(4, 6, constraint=SpectralNorm(0.5)))
    found = path_independence(nn.Sequential(layer, nn.Linear(6, 3)), torch.randn(50, 4), starts=3)
    assert found.same_state == found.same_answer == 1
    assert found.cosine > 0.9999
    assert layer.start is None
    assert "solve" not in vars(layer)
    assert layer.training


def test_two_fixed_points_are_seen():
    torch.manual_seed(0)
    layer = DEQ(Doubled(), solver=Picard(rtol=1e-4))
    found = path_independence(layer, torch.zeros(400, 1), starts=2)
    # Two starts of one number agree in half of the cases; the cosine is then 1, and else -1.
    assert found.same_state == pytest.approx(0.5, abs=0.1)
    assert found.cosine == pytest.approx(0, abs=0.2)
    scores = nn.Sequential(layer, nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        scores[1].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    found = path_independence(scores, torch.zeros(400, 1), starts=2)
    assert found.same_answer == pytest.approx(0.5, abs=0.1)


def test_states_that_are_zero_agree():
    """ReLU of an input below 0: the fixed point is 0, and what a solve leaves of it is rounding."""
    torch.manual_seed(0)
    layer = DEQ(DenseCell(3, 5, constraint=SpectralNorm(0.5)), solver=Picard(rtol=1e-4))
    with torch.no_grad():
        layer.cell.inject.bias.fill_(-10)
    found = path_independence(layer, torch.randn(20, 3), start=Noise(30.0))
    assert found.same_state == found.cosine == 1
    assert path_independence(DEQ(Shrinking()), torch.zeros(20, 5)).same_state == 1


def test_a_loose_tolerance_makes_no_two_fixed_points_one():
    torch.manual_seed(0)
    x = torch.zeros(400, 1)
    found = path_independence(DEQ(Doubled(), solver=Picard(rtol=0.5)), x, starts=2)
    assert found.same_state < 0.6
    assert found.cosine == pytest.approx(0, abs=0.2)


def test_loops_that_are_too_few_still_know_their_start():
    torch.manual_seed(0)
    layer = DEQ(DenseCell(4, 6, constraint=SpectralNorm(0.9)), gradient=Loops(steps=1))
    x = torch.randn(50, 4)
    few = path_independence(layer, x, start=Noise(3.0))
    layer.gradient = Loops(steps=60)
    many = path_independence(layer, x, start=Noise(3.0))
    assert few.same_state < 0.2
    assert many.same_state == 1


def test_layers_that_are_solved_by_their_owner_count():
    torch.manual_seed(0)
    model = hybrid_transformer(7, 6, 8, 2, cap=0.1)
    assert path_independence(model, torch.randint(7, (4, 6)), starts=2).same_state == 1


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="Linear has no DEQ layer, and so no start"):
        path_independence(nn.Linear(2, 2), torch.randn(3, 2))
    with pytest.raises(ValueError, match="starts must be at least 2"):
        path_independence(DEQ(DenseCell(2, 2)), torch.randn(3, 2), starts=1)
