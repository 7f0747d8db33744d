"""Cells in half precision and under autocast: what a constraint promises is computed in float32."""

import pytest
import torch

from deqlab import DEQ, Anderson
from deqlab.nn import DenseCell, MonotoneCell, SpectralNorm, Triangular
from deqlab.solvers import DouglasRachford, PeacemanRachford
from tests.problems import normal

HALF = [torch.bfloat16, torch.float16]
X = normal(4, 3, seed=0)


@pytest.mark.parametrize("dtype", HALF)
def test_the_spectral_norm_of_a_half_matrix_is_that_of_the_same_numbers_in_float64(dtype):
    free = (3 * normal(6, 6, seed=1)).to(dtype).requires_grad_()
    exact = free.detach().double().requires_grad_()
    w, expected = SpectralNorm(0.9)(free), SpectralNorm(0.9)(exact)
    assert w.dtype == dtype
    # Each entry is rounded once.
    half_eps = torch.finfo(dtype).eps / 2
    torch.testing.assert_close(w.double(), expected, rtol=1.01 * half_eps, atol=1e-7)
    assert torch.linalg.svdvals(w.detach().double())[0] <= 0.9 * (1 + half_eps * 6**0.5)
    u = normal(6, 6, seed=2).to(dtype)
    w.backward(u)
    expected.backward(u.double())
    torch.testing.assert_close(free.grad.double(), exact.grad, rtol=4 * half_eps, atol=4 * half_eps)


@pytest.mark.parametrize("dtype", HALF)
def test_the_weight_of_a_half_monotone_cell_is_its_formula_rounded_once(dtype):
    cell = MonotoneCell(3, 6, margin=0.1, gain=3.0).to(dtype)
    a, b = cell.symmetric.detach().double(), cell.skew.detach().double()
    expected = 0.9 * torch.eye(6, dtype=torch.float64) - a.T @ a + b - b.T
    assert cell.weight.dtype == dtype
    torch.testing.assert_close(
        cell.weight.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-5
    )


def test_autocast_changes_no_weight():
    cells = [MonotoneCell(3, 6), DenseCell(3, 6, constraint=SpectralNorm(), gain=3.0)]
    for cell in [*cells, DenseCell(3, 6, constraint=Triangular())]:
        expected = cell.weight
        with torch.autocast("cpu"):
            assert torch.equal(cell.weight, expected)


@pytest.mark.parametrize(
    "solver", [Anderson(rtol=2e-2), PeacemanRachford(rtol=2e-2), DouglasRachford(rtol=2e-2)]
)
def test_a_monotone_cell_under_autocast_is_near_its_equilibrium(solver):
    torch.manual_seed(0)
    cell = MonotoneCell(3, 5, margin=0.5)
    deq = DEQ(cell, solver=solver, on_failure="raise")
    x = X.float().requires_grad_()
    with torch.autocast("cpu"):
        value = deq(x)
    value.sum().backward()
    twin = MonotoneCell(3, 5, margin=0.5).double()
    twin.load_state_dict(cell.state_dict())
    exact = X.clone().requires_grad_()
    expected = DEQ(twin, solver=PeacemanRachford(rtol=1e-12, max_steps=500))(exact)
    expected.sum().backward()
    assert value.dtype == torch.float32
    # A residual of 2 %, and bfloat16 in f, amplified by 1 / margin = 2 at most.
    size = expected.norm().item()
    assert (value.double() - expected).norm() < 2 * 0.03 * size
    assert (x.grad.double() - exact.grad).norm() < 0.1 * exact.grad.norm()


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(
    "make",
    [
        lambda: DenseCell(3, 5, constraint=SpectralNorm(0.5), gain=2.0),
        lambda: DenseCell(3, 5, constraint=Triangular(0.5)),
        lambda: MonotoneCell(3, 5, margin=0.5),
    ],
)
def test_a_half_cell_is_near_the_equilibrium_of_the_same_numbers(make, dtype):
    torch.manual_seed(0)
    cell = make().to(dtype)
    x = X.to(dtype)
    value = DEQ(cell, solver=Anderson(rtol=2e-2), on_failure="raise")(x)
    twin = make().double()
    twin.load_state_dict(cell.state_dict())
    expected = DEQ(twin, solver=Anderson(rtol=1e-10, max_steps=500))(x.double())
    assert value.dtype == dtype
    assert (value.double() - expected).norm() < 0.1 * expected.norm()
