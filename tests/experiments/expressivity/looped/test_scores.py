"""What a network is worth as trained and as solved, where both are closed forms."""

import pytest
import torch
from torch import nn

from deqlab.experiments.expressivity.looped.networks import NetworksConfig
from deqlab.experiments.expressivity.looped.scores import loss_as_trained, scores
from deqlab.gradients import Implicit, Loops
from deqlab.nn import DEQ, DenseCell
from deqlab.solvers import Anderson

CONFIG = NetworksConfig(width=1, test_rtol=1e-12, test_max_steps=200)
X = torch.linspace(0.1, 1, 8, dtype=torch.float64)[:, None]


def scalar(w, gradient):
    """z = relu(w z + x), which is (1 - w^k) / (1 - w) x after k steps, read out as it is."""
    layer = DEQ(
        DenseCell(1, 1, activation=torch.relu),
        solver=Anderson(rtol=1e-3, max_steps=60),
        gradient=gradient,
        on_failure="ignore",
    )
    network = nn.Sequential(layer, nn.Linear(1, 1)).double()
    values = (w, 1.0, 0.0, 1.0, 0.0)
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), values, strict=True):
            parameter.fill_(value)
    return network


def test_a_loop_is_its_last_step_and_its_equilibrium_another_function():
    w, k = 0.5, 3
    row = scores(scalar(w, Loops(steps=k)), CONFIG, X, torch.zeros_like(X))
    square = X.square().mean().item()
    assert row["test_loss"] == pytest.approx(((1 - w**k) / (1 - w)) ** 2 * square, rel=1e-12)
    assert row["solved_loss"] == pytest.approx(square / (1 - w) ** 2, rel=1e-9)
    assert (row["converged"], row["solved_converged"]) == (0, 1)
    assert row["evaluations"] == k + 1
    # |f(z) - z| = w^k x, against z.
    assert row["residual"] == pytest.approx(w**k * (1 - w) / (1 - w**k), rel=1e-9)


def test_a_deq_is_what_its_solve_comes_to():
    row = scores(scalar(0.5, Implicit()), CONFIG, X, torch.zeros_like(X))
    assert row["test_loss"] == row["solved_loss"]
    assert row["test_loss"] == pytest.approx(4 * X.square().mean().item(), rel=1e-9)
    assert row["converged"] == row["solved_converged"] == 1


def test_without_an_equilibrium_nothing_converges_and_the_loop_is_as_good_as_before():
    # z = z + x has none.
    row = scores(scalar(1.0, Loops(steps=2)), CONFIG, X, 2 * X)
    assert row["test_loss"] < 1e-20
    assert row["solved_converged"] == row["converged"] == 0
    assert row["solved_loss"] > 0.1


def test_an_fnn_has_nothing_to_solve():
    network = nn.Sequential(nn.Linear(1, 1)).double()
    assert scores(network, CONFIG, X, X).keys() == {"test_loss"}


def test_the_loss_that_chooses_a_rate_is_that_of_the_last_step():
    network = scalar(0.5, Loops(steps=3))
    row = scores(network, CONFIG, X, X)
    assert loss_as_trained(network, CONFIG, X, X) == row["test_loss"] != row["solved_loss"]
