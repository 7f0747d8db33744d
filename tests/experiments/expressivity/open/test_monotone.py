"""The monotone route: its penalty against autograd, its cost, and that it trains."""

from dataclasses import replace

import pytest
import torch

from deqlab.experiments.expressivity.open import monotone
from deqlab.experiments.expressivity.open.open_sawtooth import EXPERIMENT

CONFIG = replace(EXPERIMENT.presets["smoke"], adam_steps=3)
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
    config = replace(CONFIG, adam_steps=10, learning_rate=0.1)
    network, spent = monotone.trained(config, X, Y, penalty=0.0, seed=0)
    torch.manual_seed(0)
    start = monotone._loss(monotone.built(config.width), X, Y, 0.0)
    assert monotone._loss(network, X, Y, 0.0) < 0.5 * start
    _, less = monotone.trained(replace(config, adam_steps=5), X, Y, penalty=0.0, seed=0)
    # One step is counted, the first, and stands for all.
    assert spent == pytest.approx(2 * less)
    assert less > 5 * 16 * 3**3


def test_a_penalty_makes_the_jacobian_smaller():
    config = replace(CONFIG, width=6, adam_steps=6, learning_rate=0.1)

    def size(penalty):
        network, _ = monotone.trained(config, X, Y, penalty=penalty, seed=0)
        return (monotone._loss(network, X, Y, 1.0) - monotone._loss(network, X, Y, 0.0)).item()

    assert 0 < size(10.0) < 0.8 * size(0.0)
