"""A row without an answer passes no gradient, and no NaN to the gradients of the others."""

from dataclasses import replace

import pytest
import torch

from deqlab import Status, fixed_point
from tests.contracts.gradients import every_gradient, untaped_gradients
from tests.problems import F64

HEALTHY = [0, 2]
SICK = 1


def run(case, f, **tensors):
    """Gradients of the sum of z*, with respect to the tensors that f takes after z."""
    leaves = {name: t.clone().requires_grad_() for name, t in tensors.items()}
    solution = fixed_point(
        f,
        torch.zeros(3, 2, dtype=F64),
        *leaves.values(),
        solver=replace(case.solver, rtol=1e-11),
        gradient=case.gradient,
        on_failure="ignore",
    )
    solution.value.sum().backward()
    return solution, {name: t.grad for name, t in leaves.items()}


def healthy_only(case, f, **tensors):
    """The same, for the batch of healthy rows alone."""
    rows = {k: t[HEALTHY] if t.ndim == 2 and len(t) == 3 else t for k, t in tensors.items()}
    leaves = {name: t.clone().requires_grad_() for name, t in rows.items()}
    value = fixed_point(
        f,
        torch.zeros(2, 2, dtype=F64),
        *leaves.values(),
        solver=replace(case.solver, rtol=1e-11),
        gradient=case.gradient,
    ).value
    value.sum().backward()
    return value.detach(), {name: t.grad for name, t in leaves.items()}


def at_once(z, w, x):
    return torch.tanh(w * z + x)


def midway(z, w, x, end):
    """Contracts towards 2x, and ends where z passes `end`: sqrt has neither value nor slope."""
    return w * z + x + 1e-3 * torch.sqrt(end - z)


W = torch.tensor(0.5, dtype=F64)
X = torch.tensor([[1.0, 0.5], [8.0, 9.0], [-0.5, 2.0]], dtype=F64)
END = torch.tensor([[100.0], [10.0], [100.0]], dtype=F64)


@every_gradient
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_rows_beside_a_nonfinite_input_keep_value_and_gradient(case, bad):
    x = X.clone()
    # sin(inf) is nan as well; tanh alone would map inf to 1.
    f = lambda z, w, x: at_once(z, w, x) + 0 * torch.sin(x)  # noqa: E731
    x[SICK, 0] = bad
    solution, gradients = run(case, f, w=W, x=x)
    value, expected = healthy_only(case, f, w=W, x=x)
    assert solution.status.tolist() == [0, Status.NONFINITE, 0]
    torch.testing.assert_close(solution.value[HEALTHY], value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients["x"][HEALTHY], expected["x"], rtol=1e-10, atol=1e-10)


@every_gradient
def test_rows_beside_a_late_nan_keep_value_and_gradient(case):
    solution, gradients = run(case, midway, w=W, x=X, end=END)
    value, expected = healthy_only(case, midway, w=W, x=X, end=END)
    assert solution.status.tolist() == [0, Status.NONFINITE, 0]
    assert solution.steps[SICK] > 1
    torch.testing.assert_close(solution.value[HEALTHY], value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients["x"][HEALTHY], expected["x"], rtol=1e-9, atol=1e-9)


@untaped_gradients
def test_a_late_nan_passes_nothing_to_parameters_shared_with_other_rows(case):
    solution, gradients = run(case, midway, w=W, x=X, end=END)
    _, expected = healthy_only(case, midway, w=W, x=X, end=END)
    assert solution.status[SICK] == Status.NONFINITE
    assert torch.equal(gradients["x"][SICK], torch.zeros(2, dtype=F64))
    torch.testing.assert_close(gradients["w"], expected["w"], rtol=1e-9, atol=1e-9)


@every_gradient
def test_a_row_that_ran_out_of_steps_spoils_no_gradient(case):
    # Row 1 drifts for ever; its gradient means little, but it is finite and stays in its row.
    rates = torch.tensor([[0.5], [1.0], [0.3]], dtype=F64)
    f = lambda z, x: rates[: len(z)] * z + x  # noqa: E731
    x = X.clone().requires_grad_()
    solution = fixed_point(
        f,
        torch.zeros(3, 2, dtype=F64),
        x,
        # The slowest method shrinks the error of row 0 by 0.71 a step: to 1e-9, as is asked below.
        solver=replace(case.solver, max_steps=60),
        gradient=case.gradient,
        on_failure="ignore",
    )
    assert solution.status[SICK] != Status.CONVERGED
    solution.value[HEALTHY].sum().backward()
    assert torch.equal(x.grad[SICK], torch.zeros(2, dtype=F64))
    if case.exact:
        exact = 1 / (1 - rates[HEALTHY]).expand(2, 2)
        torch.testing.assert_close(x.grad[HEALTHY], exact, rtol=1e-7, atol=1e-7)
