"""MonotoneCell keeps I - W above its margin, whatever its parameters are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab import DEQ, Anderson
from deqlab.nn import MonotoneCell
from deqlab.solvers.broyden import Broyden
from deqlab.solvers.proximal import Relu, Tanh
from deqlab.solvers.splitting import DouglasRachford, ForwardBackward, PeacemanRachford
from tests.problems import F64, normal


def margin_of(cell):
    a = torch.eye(cell.width, dtype=F64) - cell.weight.detach().double()
    return torch.linalg.eigvalsh((a + a.T) / 2)[0].item()


def with_scale(cell, scale, seed=0):
    """The cell with its two free matrices drawn anew, at this scale."""
    with torch.no_grad():
        cell.symmetric.copy_(scale * normal(*cell.symmetric.shape, seed=seed))
        cell.skew.copy_(scale * normal(*cell.skew.shape, seed=seed + 1))
    return cell


@given(
    width=st.integers(1, 6),
    margin=st.floats(0.01, 3.0),
    scale=st.floats(0.0, 100.0),
    seed=st.integers(0, 100),
)
def test_the_margin_holds_for_all_parameters(width, margin, scale, seed):
    cell = with_scale(MonotoneCell(2, width, margin=margin).double(), scale, seed)
    # Rounding of a matrix of size scale^2.
    assert margin_of(cell) >= margin - 1e-13 * (1 + scale**2) * width


def test_the_weight_is_its_formula():
    cell = MonotoneCell(2, 3, margin=0.25).double()
    a, b = cell.symmetric, cell.skew
    expected = 0.75 * torch.eye(3, dtype=F64) - a.T @ a + b - b.T
    torch.testing.assert_close(cell.weight, expected, rtol=1e-12, atol=1e-12)
    assert (cell.weight - cell.weight.T).norm() > 0.1


def test_the_cell_is_its_formula_and_prepare_is_the_same_map():
    cell = MonotoneCell(3, 5, activation=torch.tanh).double()
    z, x = normal(4, 5, seed=2), normal(4, 3, seed=3)
    u, b = cell.inject.weight, cell.inject.bias
    torch.testing.assert_close(cell(z, x), torch.tanh(z @ cell.weight.T + x @ u.T + b))
    prepared = cell.prepare(x)
    assert torch.equal(cell.update(z, prepared.shared, prepared.rows), cell(z, x))
    assert torch.equal(cell.initial(x), torch.zeros(4, 5, dtype=F64))


@pytest.mark.parametrize("activation", [torch.relu, torch.tanh, torch.sigmoid])
def test_every_method_finds_the_same_point_at_a_norm_above_one(activation):
    cell = with_scale(MonotoneCell(3, 6, margin=0.8, activation=activation).double(), 0.4)
    assert torch.linalg.matrix_norm(cell.weight, ord=2) > 1.2
    x = normal(5, 3, seed=4)
    values = [
        DEQ(cell, solver=solver, on_failure="raise")(x).detach()
        for solver in (
            PeacemanRachford(rtol=1e-10, max_steps=2000),
            DouglasRachford(rtol=1e-10, max_steps=2000),
            ForwardBackward(rtol=1e-10, max_steps=5000),
            Anderson(rtol=1e-10, memory=10, max_steps=500),
            Broyden(rtol=1e-10, max_steps=500),
        )
    ]
    for value in values[1:]:
        torch.testing.assert_close(value, values[0], rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    "activation", [torch.tanh, pytest.param(torch.sigmoid, marks=pytest.mark.slow)]
)
def test_gradients_are_those_of_finite_differences(activation):
    cell = with_scale(MonotoneCell(1, 2, margin=0.8, activation=activation).double(), 0.7)
    deq = DEQ(cell, solver=PeacemanRachford(rtol=1e-13, max_steps=2000), on_failure="raise")
    x = normal(1, 1, seed=5).requires_grad_()
    parameters = dict(cell.named_parameters())

    def value(x, *tensors):
        named = {f"cell.{n}": t for n, t in zip(parameters, tensors, strict=True)}
        return torch.func.functional_call(deq, named, (x,))

    assert torch.autograd.gradcheck(value, (x, *parameters.values()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "solver",
    [
        PeacemanRachford(),
        DouglasRachford(max_steps=500),
        ForwardBackward(rtol=1e-3, max_steps=2000),
    ],
)
def test_training_lowers_the_loss_and_keeps_the_margin(solver):
    torch.manual_seed(0)
    cell = MonotoneCell(2, 8, margin=0.5)
    deq = DEQ(cell, solver=solver, on_failure="raise")
    model = torch.nn.Sequential(deq, torch.nn.Linear(8, 1))
    x = normal(32, 2, seed=6).float()
    y = (x[:, :1] * x[:, 1:]).sin()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        assert margin_of(cell) >= 0.5 - 1e-5  # W is in float32
    assert losses[-1] < 0.9 * losses[0]
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num_inputs": 0, "width": 2}, "num_inputs must be at least 1, got 0"),
        ({"num_inputs": 2, "width": 0}, "width must be at least 1, got 0"),
        (
            {"num_inputs": 2, "width": 2, "gain": -1.0},
            "gain must be 0 or more, and finite, got -1.0",
        ),
        (
            {"num_inputs": 2, "width": 2, "margin": 0.0},
            "margin must be more than 0, and finite, got 0.0",
        ),
    ],
)
def test_a_setting_outside_its_domain_is_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        MonotoneCell(**settings)


def test_an_activation_without_a_proximal_operator_is_refused():
    with pytest.raises(TypeError, match="no proximal operator is known for"):
        MonotoneCell(2, 2, activation=torch.sin)


def test_activations_are_functions_of_torch_or_proximal_operators():
    assert MonotoneCell(2, 2).activation == Relu()
    assert MonotoneCell(2, 2, activation=Tanh()).activation == Tanh()
    assert "margin=0.1, activation=Relu()" in repr(MonotoneCell(2, 2))
