"""Gradients that leave a compiled solve are those that leave the solve outside."""

import pytest
import torch

from deqlab import (
    JacobianFree,
    Phantom,
    Picard,
    Shine,
    Status,
    Unrolled,
    fixed_point,
)
from tests.compiled.both import compiled
from tests.problems import F64, matrix, normal

pytestmark = pytest.mark.usefixtures("traceable")

W, X, U = matrix(4, norm=0.7, seed=0), normal(3, 4, seed=1), normal(3, 4, seed=2)
BIAS = normal(4, seed=3)
END = 1.2  # row 0 is beyond it after one step, the others never are


def gradients(gradient, *, backend=None, end=torch.inf):
    """The solution, and the gradients of an argument, of what f captures, and of what made it.

    f is nan where the first number of z is beyond `end`.
    """
    w, bias, x = (t.clone().requires_grad_() for t in (W, BIAS, X))

    def call(x):
        weight = 0.9 * w

        def f(z, x):
            return (torch.tanh(z @ weight.T + x) + bias).where(z[:, :1] < end, torch.nan)

        options = {"solver": Picard(), "gradient": gradient, "on_failure": "ignore"}
        return fixed_point(f, torch.zeros_like(x), x, **options)

    solution = (compiled(call, backend) if backend else call)(x)
    return solution, torch.autograd.grad((solution.value * U).sum(), (x, bias, w))


@pytest.mark.parametrize(
    "gradient",
    [
        JacobianFree(),
        pytest.param(Phantom(steps=4, damping=0.6), marks=pytest.mark.slow),
        pytest.param(Phantom(steps=3, damping=0.6, unrolled=True), marks=pytest.mark.slow),
        Unrolled(steps=3),
    ],
    ids=["JacobianFree", "Phantom", "Phantom-unrolled", "Unrolled"],
)
def test_values_and_gradients_are_those_of_the_solve_outside(gradient):
    outside, expected = gradients(gradient)
    inside, found = gradients(gradient, backend="aot_eager")
    torch.testing.assert_close(inside.value, outside.value, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_a_row_that_is_not_finite_passes_no_gradient_and_spoils_no_other():
    outside, expected = gradients(JacobianFree(), end=END)
    inside, found = gradients(JacobianFree(), end=END, backend="aot_eager")
    assert inside.status.tolist() == outside.status.tolist()
    assert set(inside.status.tolist()) == {Status.CONVERGED, Status.NONFINITE}
    assert (found[0][inside.status == Status.NONFINITE] == 0).all()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gradient", [Shine(), Unrolled(), Unrolled(steps=2, checkpoint=True)])
def test_what_is_not_compiled_is_refused(gradient):
    name = type(gradient).__name__
    sentence = f"backward pass of {name}: take Implicit.* or Unrolled.*, solve under torch.no_grad"
    with pytest.raises(RuntimeError, match=sentence):
        gradients(gradient, backend="eager")


@pytest.mark.slow
def test_where_nothing_needs_a_gradient_any_will_do():
    x = X.clone().requires_grad_()
    f = lambda z, x: 0.5 * z + x  # noqa: E731
    solve = lambda x: fixed_point(f, torch.zeros_like(x), x, solver=Picard()).value  # noqa: E731
    assert torch.equal(compiled(solve)(X), solve(X))
    with torch.no_grad():
        assert torch.equal(compiled(solve)(x), solve(X))


@pytest.mark.slow
def test_the_start_receives_no_gradient():
    z0 = torch.zeros(3, 4, dtype=F64, requires_grad=True)
    call = compiled(lambda z0: fixed_point(lambda z: 0.5 * z + 1, z0).value)
    assert not call(z0).requires_grad
