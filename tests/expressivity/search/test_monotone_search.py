"""The monotone route: its penalty against autograd, its cost, and that it trains."""

import pytest
import torch

from deqlab.expressivity.search import monotone

SETTINGS = {"width": 3, "batch_size": 16, "learning_rate": 0.1, "seed": 0}
X = torch.rand(12, 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
Y = 1 - X


def test_the_penalty_is_the_mean_squared_jacobian_over_the_width():
    torch.manual_seed(0)
    network = monotone.built(4)
    cell, z = network.layer.cell, network.layer.solve(X).value.detach()
    squares = [
        torch.func.jacrev(lambda state, x=x: cell(state[None], x[None])[0])(row).square().sum()
        for row, x in zip(z, X, strict=True)
    ]
    expected = torch.stack(squares).mean() / 4
    with_it, without = (monotone._loss(network, X, Y, penalty) for penalty in (1.0, 0.0))
    torch.testing.assert_close(with_it - without, expected)


def test_adam_lowers_the_loss_and_its_flops_are_counted():
    network, spent = monotone.trained(X, Y, **SETTINGS, steps=10, penalty=0.0)
    torch.manual_seed(0)
    start = monotone._loss(monotone.built(3), X, Y, 0.0)
    assert monotone._loss(network, X, Y, 0.0) < 0.5 * start
    _, less = monotone.trained(X, Y, **SETTINGS, steps=5, penalty=0.0)
    # One step is counted, the first, and stands for all.
    assert spent == pytest.approx(2 * less)
    assert less > 5 * 16 * 3**3


def test_a_penalty_makes_the_jacobian_smaller():
    settings = SETTINGS | {"width": 6}

    def size(penalty):
        network, _ = monotone.trained(X, Y, **settings, steps=6, penalty=penalty)
        return (monotone._loss(network, X, Y, 1.0) - monotone._loss(network, X, Y, 0.0)).item()

    assert 0 < size(10.0) < 0.8 * size(0.0)
