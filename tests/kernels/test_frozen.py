"""Frozen random layers: their features, and the readout on them."""

import pytest
import torch

from deqlab.activations import ReLU
from deqlab.kernels import ImplicitKernel
from deqlab.kernels.frozen import ROWS, accuracy, features, outputs, train_readout


@pytest.fixture
def network():
    kernel = ImplicitKernel(activation=ReLU(), sigma_a2=0.2)
    generator = torch.Generator().manual_seed(0)
    return kernel.network(3, 8, 2, tau0=1.0, generator=generator, dtype=torch.float64)


def inputs(n):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_features_in_parts_are_those_of_all_rows_at_once(network):
    x, solves = inputs(ROWS + 3), []
    h = features(network, x, solves.append)
    torch.testing.assert_close(h, network.features(x), rtol=1e-4, atol=1e-4)  # rtol of the solver
    assert [len(solution.converged) for solution in solves] == [ROWS, 3]
    assert not h.requires_grad


def test_the_readout_finds_what_can_be_read_out(network):
    h = features(network, inputs(400))
    y = (h @ torch.arange(8.0, dtype=torch.float64) > 0).long()

    def fit(epochs):
        torch.nn.init.zeros_(network.readout.weight)
        torch.nn.init.zeros_(network.readout.bias)
        return train_readout(
            network.readout,
            h,
            y,
            epochs=epochs,
            batch_size=30,
            learning_rate=1.0,
            generator=torch.Generator().manual_seed(0),
        )

    assert fit(20) < fit(5) < 0.6931  # log 2, of a readout that is zero
    fit(60)
    assert accuracy(network.readout, h, y) > 0.95
    share = (outputs(network, inputs(400)).argmax(dim=1) == y).double().mean().item()
    assert share == accuracy(network.readout, h, y)


def test_the_readout_takes_the_steps_of_sgd(network):
    h, y = features(network, inputs(50)), torch.arange(50) % 2
    other = torch.nn.Linear(8, 2, dtype=torch.float64)
    other.load_state_dict(network.readout.state_dict())
    optimizer = torch.optim.SGD(other.parameters(), lr=0.3)
    order = torch.Generator().manual_seed(0)
    for _ in range(2):
        for part in torch.randperm(50, generator=order).split(20):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(other(h[part]), y[part]).backward()
            optimizer.step()
    loss = train_readout(
        network.readout,
        h,
        y,
        epochs=2,
        batch_size=20,
        learning_rate=0.3,
        generator=torch.Generator().manual_seed(0),
    )
    torch.testing.assert_close(network.readout.weight, other.weight)
    torch.testing.assert_close(network.readout.bias, other.bias)
    assert loss == pytest.approx(torch.nn.functional.cross_entropy(other(h), y).item())
