"""Operators of splitting methods against the dense matrices that they never make."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import conv2d

from deqlab import DEQ, Anderson, Implicit
from deqlab.gradients import Dense
from deqlab.linalg.circular import convolve, spectrum
from deqlab.nn import DenseCell, MonotoneCell, MonotoneConvCell, MonotoneTiersCell, tune_alpha
from deqlab.solvers import DouglasRachford, ForwardBackward, PeacemanRachford
from tests.contracts.cells import dense_operator
from tests.problems import F64, normal


def circular(kernel, z):
    """conv2d of maps that repeat, by indices: kernels may be larger than the map."""
    k = kernel.shape[-1] // 2
    rows = torch.arange(-k, z.shape[-2] + k) % z.shape[-2]
    columns = torch.arange(-k, z.shape[-1] + k) % z.shape[-1]
    return conv2d(z[..., rows, :][..., columns], kernel)


@pytest.mark.parametrize("size", [(5, 4), (6, 7), (3, 2), (1, 1), (8, 1)])
@pytest.mark.parametrize("taps", [3, 5])
def test_a_spectrum_is_the_circular_convolution(size, taps):
    kernel, z = normal(3, 2, taps, taps, seed=0), normal(4, 2, *size, seed=1)
    w = spectrum(kernel, *size)
    torch.testing.assert_close(convolve(w, z), circular(kernel, z), rtol=0, atol=1e-12)
    y = normal(4, 3, *size, seed=2)
    left, right = (convolve(w, z) * y).sum(), (convolve(w.transposed, y) * z).sum()
    torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-11)


def single():
    cell = MonotoneConvCell(2, 2, margin=0.6).double()
    with torch.no_grad():
        cell.symmetric.scale.fill_(1.5)
        cell.skew.scale.fill_(2.0)
    return cell, ((2, 4, 5),)


def tiers():
    cell = MonotoneTiersCell(2, (1, 2, 1), margin=0.6, border=False).double()
    with torch.no_grad():
        for group in (cell.symmetric, cell.skew, cell.down):
            for filters in group:
                filters.scale.fill_(1.5)
        for bias in cell.bias:
            bias.normal_(generator=torch.Generator().manual_seed(5))
    return cell, ((1, 8, 4), (2, 4, 2), (1, 2, 1))


every_operator = pytest.mark.parametrize("make", [single, tiers])


def as_state(matrix, shapes):
    parts = matrix.split([torch.Size(shape).numel() for shape in shapes], dim=1)
    state = tuple(p.reshape(-1, *shape) for p, shape in zip(parts, shapes, strict=True))
    return state if len(shapes) > 1 else state[0]


def as_matrix(state):
    parts = state if isinstance(state, tuple) else (state,)
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def test_the_weight_of_a_convolution_is_its_formula():
    torch.manual_seed(0)
    cell, shapes = single()
    unit = torch.eye(40, dtype=F64).reshape(40, 2, 4, 5)
    a, b = (circular(f(), unit).reshape(40, 40).T for f in (cell.symmetric, cell.skew))
    expected = 0.4 * torch.eye(40, dtype=F64) - a.T @ a + b - b.T
    torch.testing.assert_close(dense_operator(cell, shapes), expected, rtol=0, atol=1e-12)


def test_the_weight_of_tiers_is_one_gram_matrix_whose_upper_part_is_cancelled():
    torch.manual_seed(0)
    cell, shapes = tiers()
    unit = as_state(torch.eye(50, dtype=F64), shapes)
    a = [circular(f(), z) for f, z in zip(cell.symmetric, unit, strict=True)]
    for i, f in enumerate(cell.down):
        a[i + 1] = a[i + 1] + circular(f(), unit[i])[:, :, ::2, ::2]
    a = as_matrix(tuple(a)).T
    b = as_matrix(tuple(circular(f(), z) for f, z in zip(cell.skew, unit, strict=True))).T
    expected = 0.4 * torch.eye(50, dtype=F64) - a.T @ a + b - b.T
    ends = [0, 32, 48, 50]
    for i in range(2):
        here, there = slice(*ends[i : i + 2]), slice(*ends[i + 1 : i + 3])
        above = (a.T @ a)[here, there]
        expected[here, there] += above
        expected[there, here] -= above.T
    torch.testing.assert_close(dense_operator(cell, shapes), expected, rtol=0, atol=1e-12)
    assert not expected[:32, 32:].any()
    assert expected[32:48, :32].norm() > 0.1


@every_operator
@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_a_resolvent_and_its_transpose_are_those_of_the_dense_matrix(make, alpha):
    cell, shapes = make()
    w = dense_operator(cell, shapes)
    unit = torch.eye(len(w), dtype=F64)
    gold = torch.linalg.inv(unit + alpha * (unit - w))
    with torch.no_grad():
        weights = cell.prepare(torch.zeros(1, 2, *shapes[0][1:], dtype=F64)).shared
        transposed = cell.feedback.transpose(weights)
        for each, expected in ((weights, gold), (transposed, gold.T)):
            columns = cell.feedback.resolvent(each, alpha)(as_state(unit, shapes))
            torch.testing.assert_close(as_matrix(columns).T, expected, rtol=0, atol=1e-12)
        again = cell.feedback.transpose(transposed)
        zero = as_state(torch.zeros_like(unit), shapes)
        image = cell.feedback.affine(again, as_state(unit, shapes), zero)
    torch.testing.assert_close(as_matrix(image).T, w, rtol=0, atol=1e-12)


def gradients(cell, x, solver, gradient):
    deq = DEQ(cell, solver=solver, gradient=gradient, on_failure="raise")
    value = as_matrix(deq(x))
    return value, torch.autograd.grad(value.square().sum(), [x, *cell.parameters()]), deq


def vectors():
    return MonotoneCell(2, 12, margin=0.6, gain=1.5, activation=torch.tanh).double(), None


@pytest.mark.parametrize(
    ("make", "solver"),
    [
        (single, PeacemanRachford(alpha=0.3)),
        (tiers, PeacemanRachford(alpha=0.3)),
        (vectors, PeacemanRachford(alpha=0.3)),
        (vectors, DouglasRachford(alpha=0.3)),
        (vectors, ForwardBackward()),
        pytest.param(single, DouglasRachford(alpha=0.3), marks=pytest.mark.slow),
        pytest.param(single, ForwardBackward(), marks=pytest.mark.slow),
        pytest.param(tiers, DouglasRachford(alpha=0.3), marks=pytest.mark.slow),
        pytest.param(tiers, ForwardBackward(), marks=pytest.mark.slow),
    ],
)
def test_both_directions_by_splitting_agree_with_dense_solves(make, solver):
    torch.manual_seed(0)
    cell, shapes = make()
    if make is not vectors and isinstance(solver, ForwardBackward):
        solver = replace(solver, alpha=0.03)
    x = normal(3, *(2, *shapes[0][1:]) if shapes else (2,), seed=4).requires_grad_()
    solver = replace(solver, rtol=1e-10, max_steps=2000, patience=2000)
    exact = Anderson(rtol=1e-12, memory=15, max_steps=500)
    value, gold, _ = gradients(cell, x, exact, Implicit(solver=Dense()))
    ours, found, deq = gradients(cell, x, solver, Implicit(solver=solver))
    torch.testing.assert_close(ours, value, rtol=0, atol=1e-8)
    for one, other in zip(found, gold, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-8 * max(1.0, other.abs().max()))
    adjoint = deq.last.adjoint[-1]
    assert adjoint.converged.all()
    assert adjoint.evaluations > 3
    assert adjoint.products == 0


@pytest.mark.slow
def test_second_derivatives_go_through_an_adjoint_that_was_split():
    torch.manual_seed(0)
    cell, _ = vectors()
    solver = PeacemanRachford(alpha=0.3, rtol=1e-13, max_steps=2000)
    deq = DEQ(cell, solver=solver, gradient=Implicit(solver=solver), on_failure="raise")
    x = normal(1, 2, seed=6).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: deq(x).square().sum(), (x,))


def test_a_row_that_failed_gets_no_adjoint_and_spoils_no_other():
    torch.manual_seed(0)
    cell, _ = vectors()
    solver = PeacemanRachford(alpha=0.3, rtol=1e-10, max_steps=500)
    deq = DEQ(cell, solver=solver, gradient=Implicit(solver=solver), on_failure="ignore")
    x = normal(3, 2, seed=7)
    alone = x[:1].clone().requires_grad_()
    deq(alone).sum().backward()
    x[1] = torch.nan
    x.requires_grad_()
    deq(x)[[0, 2]].sum().backward()
    torch.testing.assert_close(x.grad[0], alone.grad[0], rtol=1e-7, atol=1e-9)
    assert deq.last.adjoint[-1].converged[[0, 2]].all()


@pytest.mark.parametrize("grad_mode", [True, False])
def test_an_adjoint_cannot_be_split_where_the_map_is_not(grad_mode):
    deq = DEQ(DenseCell(2, 3), gradient=Implicit(solver=PeacemanRachford()))
    sentence = r"Implicit\(solver=Peace.*\(\)\) splits z = sigma"
    with torch.set_grad_enabled(grad_mode), pytest.raises(TypeError, match=sentence):
        deq(torch.ones(1, 2))


def test_forward_backward_asks_for_its_step_where_no_norm_is_known():
    cell, shapes = tiers()
    with pytest.raises(ValueError, match="pass its alpha, or take PeacemanRachford"):
        DEQ(cell, solver=ForwardBackward())(normal(1, 2, *shapes[0][1:], seed=8))


def test_tuning_finds_a_step_that_takes_fewer_evaluations_and_tells_nobody():
    torch.manual_seed(0)
    cell = MonotoneCell(3, 12, gain=4.0)
    solver = PeacemanRachford(rtol=1e-3, max_steps=1000, patience=1000)
    deq = DEQ(cell, solver=solver, gradient=Implicit(solver=solver))
    x, told = torch.randn(8, 3), []
    deq.observers.append(told.append)
    slow = PeacemanRachford(alpha=0.02, rtol=1e-4, max_steps=3000)
    before = DEQ(cell, solver=slow, on_failure="raise")(x).detach()
    alpha = tune_alpha(deq, x)
    assert not told
    assert deq.last is None
    assert alpha == deq.solver.alpha == deq.gradient.solver.alpha < 1
    value = deq(x)
    torch.testing.assert_close(value, before, rtol=0.05, atol=0.05)
    deq.solver = solver
    assert told[0].evaluations * 2 < deq.solve(x).evaluations
