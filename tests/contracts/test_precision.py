"""States of low precision, autocast, and complex numbers: right to what a dtype resolves.

Unit roundoff: 2^-8 = 3.9e-3 for bfloat16, 2^-11 = 4.9e-4 for float16.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn

from deqlab import DEQ, ConvergenceWarning, Picard, Status, fixed_point
from tests.contracts.dense import at, relative_error, tanh_gradients, tanh_solution
from tests.contracts.gradients import every_gradient, exact_gradients
from tests.contracts.solvers import every_solver
from tests.problems import F64, matrix, normal

LOW = [torch.bfloat16, torch.float16]
RTOL = 1e-2  # what bfloat16 resolves: 2.5 roundoffs
# The residual allowed, amplified by 1 / (1 - 0.4) in value and adjoint; roundoff in f and in the
# products, amplified too; and for unrolled solves a derivative one evaluation behind (0.4 rtol).
FEW_PER_CENT = 0.05

every_low_dtype = pytest.mark.parametrize("dtype", LOW, ids=["bfloat16", "float16"])
W, X, U = matrix(4, norm=0.4, seed=0), normal(3, 4, seed=1), normal(3, 4, seed=2)


def cell(z, w, x):
    return torch.tanh(z @ w.T + x)


def assert_status_is_honest(solution, f, z0, rtol, roundoff):
    """A row is CONVERGED if and only if its residual, taken in float64, is within tolerance."""
    with torch.no_grad():
        value, image, first = (t.double() for t in (solution.value, f(solution.value), f(z0)))
    residual = (image - value).norm(dim=1)
    scale = torch.minimum(image.norm(dim=1), 10 * torch.maximum(z0.norm(dim=1), first.norm(dim=1)))
    # The solver took f(z) - z in the dtype of z: rounded once more.
    slack = 2 * roundoff * residual + 1e-6 * rtol * scale
    assert (residual[solution.converged] <= (rtol * scale + slack)[solution.converged]).all()
    missed = ~solution.converged
    assert (residual[missed] > (rtol * scale - slack)[missed]).all()
    torch.testing.assert_close(
        solution.residual.double(), residual, rtol=2 * roundoff, atol=1e-6 * rtol
    )


@every_solver
@every_low_dtype
def test_a_tolerance_that_the_dtype_resolves_is_reached(solver, dtype):
    w, x, z0 = W.to(dtype), X.to(dtype), torch.zeros(3, 4, dtype=dtype)
    f = lambda z: cell(z, w, x)  # noqa: E731
    solution = fixed_point(f, z0, solver=replace(solver, rtol=RTOL, atol=0.0))
    assert solution.value.dtype == dtype
    assert solution.status.tolist() == [Status.CONVERGED] * 3
    roundoff = torch.finfo(dtype).eps / 2
    assert_status_is_honest(solution, f, z0, RTOL, roundoff)
    # Banach's bound, with the rounding of f on top of the residual.
    gold = tanh_solution(w, x)
    error = (solution.value.double() - gold).norm(dim=1) / gold.norm(dim=1)
    assert error.max() <= (RTOL + 4 * roundoff) / (1 - 0.4)


@every_solver
@every_low_dtype
def test_a_tolerance_below_the_dtype_gets_an_honest_status(solver, dtype):
    w, x, z0 = W.to(dtype), X.to(dtype), torch.zeros(3, 4, dtype=dtype)
    f = lambda z: cell(z, w, x)  # noqa: E731
    solution = fixed_point(f, z0, solver=replace(solver, rtol=1e-6, atol=0.0), on_failure="ignore")
    roundoff = torch.finfo(dtype).eps / 2
    assert_status_is_honest(solution, f, z0, 1e-6, roundoff)
    gold = tanh_solution(w, x)
    # Whatever the verdict: the best iterate is as good as a few roundings allow.
    assert relative_error(solution.value, gold) <= 8 * roundoff / (1 - 0.4)


@exact_gradients
@every_low_dtype
def test_gradients_in_low_precision_keep_the_dtype_and_are_right_to_a_few_per_cent(case, dtype):
    w, x, u = W.to(dtype).requires_grad_(), X.to(dtype).requires_grad_(), U.to(dtype)
    case = at(case, RTOL)
    options = {"solver": case.solver, "gradient": case.gradient, "on_failure": "raise"}
    value = fixed_point(cell, torch.zeros(3, 4, dtype=dtype), w, x, **options).value
    value.backward(u)
    assert value.dtype == w.grad.dtype == x.grad.dtype == dtype
    _, by_x, by_w = tanh_gradients(w, x, u)
    assert relative_error(x.grad, by_x) <= FEW_PER_CENT
    assert relative_error(w.grad, by_w) <= FEW_PER_CENT


def linear():
    layer = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        layer.weight.copy_(W)
    return layer


@every_solver
def test_under_autocast_a_float32_state_stays_float32(solver):
    layer, x, z0 = linear(), X.float(), torch.zeros(3, 4)
    f = lambda z: torch.tanh(layer(z) + x)  # noqa: E731
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(z0).dtype == torch.bfloat16
        solution = fixed_point(f, z0, solver=replace(solver, rtol=RTOL, atol=0.0))
        # float32 arithmetic on the values of f, but f is rounded to bfloat16 where it is linear.
        assert_status_is_honest(solution, f, z0, RTOL, 2**-24)
    assert solution.value.dtype == torch.float32
    gold = tanh_solution(layer.weight, x)
    assert relative_error(solution.value, gold) <= (RTOL + 2 * 2**-8) / (1 - 0.4)


@every_gradient
def test_under_autocast_a_value_in_float32_keeps_more_digits_than_bfloat16_has(case):
    # The map is exact in float32: only the algebra of the solver could lose digits.
    x, case = X.float().requires_grad_(), at(case, 1e-5)
    options = {"solver": case.solver, "gradient": case.gradient}
    f = lambda z, x: 0.4 * torch.sin(z) + x  # noqa: E731
    plain = fixed_point(f, torch.zeros(3, 4), x, **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = fixed_point(f, torch.zeros(3, 4), x, **options)
    assert cast.value.dtype == torch.float32
    assert cast.evaluations == plain.evaluations
    assert torch.equal(cast.value, plain.value)


@exact_gradients
@pytest.mark.parametrize("backward_under_autocast", [False, True])
def test_under_autocast_gradients_are_right_to_a_few_per_cent(case, backward_under_autocast):
    # Autocast belongs around the forward pass only; around the backward pass it must not hurt.
    layer, x, case = linear(), X.float().requires_grad_(), at(case, RTOL)
    options = {"solver": case.solver, "gradient": case.gradient, "on_failure": "raise"}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        f = lambda z, x: torch.tanh(layer(z) + x)  # noqa: E731
        value = fixed_point(f, torch.zeros(3, 4), x, **options).value
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=backward_under_autocast):
        value.backward(U.float())
    assert layer.weight.grad.dtype == x.grad.dtype == torch.float32
    _, by_x, by_w = tanh_gradients(layer.weight, x, U)
    assert relative_error(x.grad, by_x) <= FEW_PER_CENT
    assert relative_error(layer.weight.grad, by_w) <= FEW_PER_CENT


@exact_gradients
def test_a_layer_trains_under_autocast(case):
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = linear()

        def forward(self, z, x):
            return torch.tanh(self.linear(z) + x)

    case = at(case, RTOL)
    deq = DEQ(Cell(), solver=case.solver, gradient=case.gradient, on_failure="raise")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = (deq(X.float()) * U.float()).sum()
    loss.backward()
    _, _, by_w = tanh_gradients(deq.cell.linear.weight, X.float(), U)
    assert relative_error(deq.cell.linear.weight.grad, by_w) <= FEW_PER_CENT


@every_solver
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_a_complex_start_is_refused_with_the_way_out(solver, dtype):
    with pytest.raises(ValueError, match=r"real floating point, got torch\.complex.*real and imag"):
        fixed_point(lambda z: 0.5 * z, torch.zeros(2, 3, dtype=dtype), solver=solver)


@every_solver
def test_a_map_that_turns_complex_is_refused(solver):
    # A spectral cell (fft) that forgot to come back; no silent cast drops the imaginary part.
    f = lambda z: torch.fft.fft(z)  # noqa: E731
    with pytest.raises(ValueError, match=r"keep the dtype of z: torch\.float64 became torch\.comp"):
        fixed_point(f, torch.ones(2, 3, dtype=F64), solver=solver)


@exact_gradients
def test_a_spectral_cell_that_is_real_at_both_ends_has_its_dense_gradient(case):
    # Complex numbers inside f, circular convolution by the transform: J is circulant.
    kernel, x = 0.2 * normal(5, seed=3), normal(2, 5, seed=4).requires_grad_()
    spectrum = torch.fft.rfft(kernel)
    f = lambda z, x: torch.fft.irfft(torch.fft.rfft(z) * spectrum, n=5) + x  # noqa: E731
    options = {"solver": case.solver, "gradient": case.gradient}
    u = normal(2, 5, seed=5)
    fixed_point(f, torch.zeros(2, 5, dtype=F64), x, **options).value.backward(u)
    circulant = torch.stack([kernel.roll(i) for i in range(5)], dim=1)
    exact = torch.linalg.solve(torch.eye(5, dtype=F64) - circulant.T, u.T).T
    torch.testing.assert_close(x.grad, exact, rtol=1e-8, atol=1e-8)


@every_solver
def test_a_tolerance_below_what_autocast_resolves_is_told_in_one_sentence(solver):
    layer, x = linear(), X.float()
    f = lambda z: torch.tanh(layer(z) + x)  # noqa: E731
    solver = replace(solver, rtol=1e-6, atol=0.0, max_steps=40, patience=20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        solution = fixed_point(f, torch.zeros(3, 4), solver=solver, on_failure="ignore")
        if solution.converged.all():
            pytest.skip("the rounded map has a fixed point of its own, and it was met")
        with pytest.warns(ConvergenceWarning) as caught:
            fixed_point(f, torch.zeros(3, 4), solver=solver, on_failure="warn")
    (message,) = [str(warning.message) for warning in caught]
    assert "autocast computes f in bfloat16, which does not resolve this tolerance" in message
    assert "ask for an rtol of 0.02 or more" in message
    assert "no longer shrinks" not in message


def test_other_failures_under_autocast_do_not_blame_it():
    layer, x = linear(), X.float()
    maps = {
        "a tolerance that it resolves": (lambda z: torch.tanh(layer(z) + x), 2e-2, 2),
        "a map that does not contract": (lambda z: 3 - 1.1 * layer(z) * 0 - z, 1e-6, 100),
        "a map that grows": (lambda z: 2 * z + 1 + 0 * layer(z), 1e-6, 100),
    }
    for f, rtol, steps in maps.values():
        solver = Picard(rtol=rtol, max_steps=steps)
        with (
            torch.autocast("cpu", dtype=torch.bfloat16),
            pytest.warns(ConvergenceWarning, match=r"^(?!.*autocast)"),
        ):
            solution = fixed_point(f, torch.zeros(3, 4), solver=solver, on_failure="warn")
        assert not solution.converged.all()


def test_the_same_failure_without_autocast_does_not_name_it():
    solver = Picard(rtol=1e-12, atol=0.0)
    with pytest.warns(ConvergenceWarning, match="no longer shrinks"):
        fixed_point(
            lambda z: cell(z, W.float(), X.float()),
            torch.zeros(3, 4),
            solver=solver,
            on_failure="warn",
        )
