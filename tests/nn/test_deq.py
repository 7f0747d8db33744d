"""The DEQ layer: a module like any other, whose output is a fixed point."""

import copy
import pickle

import pytest
import torch
from torch import nn

from deqlab import (
    DEQ,
    Anderson,
    ConvergenceError,
    ConvergenceWarning,
    Implicit,
    JacobianFree,
    Picard,
    Unrolled,
)
from deqlab.nn import DenseCell, SpectralNorm, Triangular
from tests.problems import F64, affine_solution, normal

SOLVER = Anderson(rtol=1e-11, max_steps=300)


def some_deq(**options):
    cell = DenseCell(3, 5, activation=torch.tanh, constraint=SpectralNorm(0.8), gain=2.0)
    return DEQ(cell, **({"solver": SOLVER, "on_failure": "raise"} | options)).double()


def linear_deq():
    cell = DenseCell(3, 5, activation=nn.Identity(), constraint=SpectralNorm(0.8), gain=2.0)
    return DEQ(cell, solver=SOLVER, on_failure="raise").double()


def test_the_output_of_a_linear_cell_is_the_dense_solution_with_its_gradients():
    deq, x = linear_deq(), normal(4, 3, seed=0)
    u = normal(4, 5, seed=1)
    value = deq(x)
    value.backward(u)
    expected = affine_solution(deq.cell.weight.detach(), deq.cell.inject(x).detach())
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    v = affine_solution(deq.cell.weight.detach().T, u)
    torch.testing.assert_close(deq.cell.inject.bias.grad, v.sum(0), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(deq.cell.inject.weight.grad, v.T @ x, rtol=1e-9, atol=1e-9)
    # And through the constraint: the free matrix gets its share by the chain rule.
    (by_weight,) = torch.autograd.grad(
        deq.cell.constraint(deq.cell.free), deq.cell.free, v.T @ expected
    )
    torch.testing.assert_close(deq.cell.free.grad, by_weight, rtol=1e-8, atol=1e-9)


def test_the_value_is_the_same_bits_in_train_and_eval_with_and_without_gradients():
    deq, x = some_deq(), normal(4, 3, seed=2)
    trained = deq.train()(x)
    assert trained.requires_grad
    assert torch.equal(deq.eval()(x), trained)
    with torch.no_grad():
        assert torch.equal(deq(x), trained)
    with torch.inference_mode():
        assert torch.equal(deq(x), trained)


@pytest.mark.parametrize("gradient", [Implicit(), JacobianFree(), Unrolled()])
def test_it_composes_in_a_sequence_and_trains(gradient):
    torch.manual_seed(0)
    head = nn.Linear(5, 1, dtype=F64)
    network = nn.Sequential(some_deq(gradient=gradient), head)
    x, y = normal(16, 3, seed=3), normal(16, 1, seed=4)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(network(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(p.grad.abs().sum() > 0 for p in network.parameters())


def test_a_state_dict_restores_the_layer():
    deq, other, x = some_deq(), some_deq(), normal(2, 3, seed=5)
    assert set(deq.state_dict()) == {"cell.free", "cell.inject.weight", "cell.inject.bias"}
    assert not torch.equal(other(x), deq(x))
    other.load_state_dict(deq.state_dict())
    assert torch.equal(other(x), deq(x))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_equal_and_independent(duplicate):
    deq, x = some_deq(), normal(2, 3, seed=6)
    deq(x).sum().backward()  # a solve leaves nothing behind that could not be copied
    twin, before = duplicate(deq), deq(x)
    assert torch.equal(twin(x), before)
    assert twin.solver == deq.solver
    with torch.no_grad():
        twin.cell.inject.bias.add_(1.0)
    assert torch.equal(deq(x), before)
    assert not torch.equal(twin(x), before)


def test_a_plain_module_is_a_cell_that_starts_at_zeros_in_the_shape_of_x():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3, bias=False, dtype=F64)
            nn.init.orthogonal_(self.linear.weight, gain=0.7)

        def forward(self, z, x):
            seen.append(z.detach().clone())
            return self.linear(z) + x

    seen = []
    deq, x = DEQ(Plain(), solver=SOLVER), normal(2, 3, seed=7)
    value = deq(x)
    assert torch.equal(seen[0], torch.zeros_like(x))
    w = deq.cell.linear.weight
    torch.testing.assert_close(value, affine_solution(w.detach(), x), rtol=1e-9, atol=1e-9)
    value.sum().backward()
    v = affine_solution(w.detach().T, torch.ones_like(x))
    torch.testing.assert_close(w.grad, v.T @ value.detach(), rtol=1e-9, atol=1e-9)


def test_solve_takes_a_start_and_returns_every_verdict():
    deq, x = some_deq(), normal(2, 3, seed=8)
    solution = deq.solve(x)
    warm = deq.solve(x, z0=solution.value.detach())
    assert warm.evaluations == 1
    assert warm.converged.all()
    assert torch.equal(warm.value, solution.value)


def test_a_failure_warns_by_default_and_raises_if_asked_to():
    cell = DenseCell(3, 5)
    x = torch.randn(2, 3)
    short = Picard(max_steps=1)
    with pytest.warns(ConvergenceWarning, match=r"DEQ\(DenseCell\): samples missed"):
        DEQ(cell, solver=short)(x)
    with pytest.raises(ConvergenceError, match=r"DEQ\(DenseCell\): 2 of 2 samples missed"):
        DEQ(cell, solver=short, on_failure="raise")(x)
    DEQ(cell, solver=short, on_failure="ignore")(x)


def test_a_triangular_cell_is_solved_row_by_row_of_its_matrix():
    # Coordinate i needs only those before it: forward substitution with scalar equations.
    cell = DenseCell(1, 4, activation=torch.relu, constraint=Triangular(0.5), gain=2.0).double()
    x = normal(3, 1, seed=9)
    w, q = cell.weight.detach(), cell.inject(x).detach()
    z = torch.zeros_like(q)
    for i in range(4):
        # z_i = relu(w_ii z_i + c) with 0 <= w_ii < 1 or w_ii < 0: c / (1 - w_ii) if c > 0, else 0.
        c = z[:, :i] @ w[i, :i] + q[:, i]
        z[:, i] = torch.relu(c) / (1 - w[i, i])
    value = DEQ(cell, solver=SOLVER, on_failure="raise")(x)
    torch.testing.assert_close(value, z, rtol=1e-9, atol=1e-9)


def test_an_unknown_on_failure_is_refused_when_the_layer_is_made():
    with pytest.raises(Exception, match="'rise'"):
        DEQ(DenseCell(1, 2), on_failure="rise")


def test_repr_names_the_solver_and_the_gradient():
    assert "solver=Anderson(rtol=1e-11" in repr(some_deq())
    assert "gradient=Implicit(solver=GMRES(rtol=None" in repr(some_deq())
