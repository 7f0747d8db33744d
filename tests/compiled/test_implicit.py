"""The implicit gradient in one graph is that of the solve outside, and fails as it does."""

import warnings

import pytest
import torch
from torch import nn

from deqlab import (
    DEQ,
    Anderson,
    ConvergenceError,
    ConvergenceWarning,
    Implicit,
    Picard,
    Status,
    fixed_point,
)
from deqlab.gradients import GMRES, Dense
from deqlab.nn import DenseCell
from tests.compiled.both import compiled
from tests.contracts.dense import relative_error, tanh_gradients
from tests.problems import F64, affine_solution, matrix, normal

pytestmark = [
    pytest.mark.usefixtures("traceable"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"),
]

W, X, U = matrix(4, norm=0.9, seed=0), normal(3, 4, seed=1), normal(3, 4, seed=2)
EXACT = Implicit(solver=GMRES(rtol=1e-12))


def tanh(z, w, x):
    return torch.tanh(z @ w.T + x)


def step(f, z0, args, *, cotangent, backend=None, **options):
    """The solution and the gradients of args, outside or, with a backend, in one graph."""
    args = [each.clone().requires_grad_() for each in args]
    options = {"solver": Picard(rtol=1e-12, max_steps=400), "gradient": EXACT, **options}
    call = lambda *args: fixed_point(f, z0, *args, **options)  # noqa: E731
    solution = (compiled(call, backend) if backend else call)(*args)
    loss = sum((cotangent[k] * each).sum() for k, each in enumerate(blocks(solution.value)))
    return solution, torch.autograd.grad(loss, args)


def blocks(value):
    return [value] if isinstance(value, torch.Tensor) else list(value)


def assert_same(f, z0, args, *, cotangent, rtol=1e-9, **options):
    """Equal verdicts and counts, gradients to rounding; returns those in one graph."""
    outside, expected = step(f, z0, args, cotangent=cotangent, **options)
    inside, found = step(f, z0, args, cotangent=cotangent, backend="aot_eager", **options)
    assert inside.status.tolist() == outside.status.tolist()
    assert inside.steps.tolist() == outside.steps.tolist()
    for each, other in zip(found, expected, strict=True):
        torch.testing.assert_close(each, other, rtol=rtol, atol=rtol)
    return inside, found


@pytest.mark.slow
def test_values_and_gradients_are_those_outside_and_those_of_a_dense_solve():
    inside, found = assert_same(tanh, torch.zeros_like(X), (W, X), cotangent=[U])
    z, by_x, by_w = tanh_gradients(W, X, U)
    assert relative_error(inside.value, z) < 1e-11
    assert relative_error(found[0], by_w) < 1e-11
    assert relative_error(found[1], by_x) < 1e-11


@pytest.mark.slow
def test_in_float32_to_the_tolerance_of_the_solver_by_machine_code():
    args = [each.float() for each in (W, X)]
    options = {"cotangent": [U.float()], "solver": Anderson(rtol=1e-4), "gradient": Implicit()}
    outside, expected = step(tanh, torch.zeros(3, 4), args, **options)
    inside, found = step(tanh, torch.zeros(3, 4), args, **options, backend="inductor")
    assert inside.steps.tolist() == outside.steps.tolist()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)  # W amplifies by ten
    gold = tanh_gradients(W, X, U)
    assert relative_error(found[0], gold[2]) < 1e-3


@pytest.mark.slow
def test_several_blocks_each_in_its_own_scale():
    # In units of 1e3 and 1e-3, and one that the loss does not touch.
    def f(state, w, x):
        large, small, idle = state
        return (
            1e3 * torch.tanh(large / 1e3 @ w.T + 0.3 * small / 1e-3 + x),
            1e-3 * torch.sin(0.3 * small / 1e-3 + 0.2 * large / 1e3),
            0.5 * idle + large / 1e3,
        )

    z0 = tuple(torch.zeros(3, 4, dtype=F64) for _ in range(3))
    cotangent = [U / 1e3, normal(3, 4, seed=3) / 1e-3, torch.zeros_like(U)]
    assert_same(f, z0, (0.5 * W, X), cotangent=cotangent)


@pytest.mark.slow
def test_a_state_that_is_one_sample():
    f = lambda z, w, x: 0.5 * z.flip(0) @ w.T + x  # noqa: E731
    assert_same(f, torch.zeros_like(X), (W, X), cotangent=[U], batched=False)


@pytest.mark.slow
def test_what_f_captures_and_what_made_it_get_their_gradients():
    w, bias = W.clone().requires_grad_(), normal(4, seed=3).requires_grad_()
    unused = torch.ones(2, dtype=F64, requires_grad=True)

    def call(x):
        weight = 0.9 * w
        f = lambda z: torch.tanh(z @ weight.T + x) + bias  # noqa: E731
        value = fixed_point(f, torch.zeros_like(x), solver=Picard(rtol=1e-12), gradient=EXACT).value
        return (value * U).sum() + unused.sum()

    found, expected = (
        torch.autograd.grad(each(X), (w, bias, unused))
        for each in (compiled(call, "aot_eager"), call)
    )
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_a_layer_trains_with_its_default_gradient_at_any_batch_size():
    deq = DEQ(DenseCell(4, 4), solver=Picard(rtol=1e-6)).double()
    solve, weights = compiled(deq, "aot_eager"), list(deq.parameters())
    for rows in (3, 5, 7):  # of any size from the second on
        x = normal(rows, 4, seed=rows)
        found, expected = (
            torch.autograd.grad(each(x).square().sum(), weights) for each in (solve, deq)
        )
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_an_f_that_does_not_depend_on_z_or_by_constants_only():
    z0 = torch.zeros_like(X)
    assert_same(lambda z, x: x.sin(), z0, (X,), cotangent=[U])
    scale = torch.tensor([0.5], dtype=F64)
    assert_same(lambda z, x: scale * z + x, z0, (X,), cotangent=[U])


@pytest.mark.slow
def test_autocast_lowers_the_products_as_it_does_outside():
    f = lambda z, w, x: nn.functional.linear(z, 0.5 * w).to(x.dtype) + x  # noqa: E731
    args = [each.float() for each in (W, X)]
    options = {"cotangent": [U.float()], "solver": Picard(rtol=2e-2), "gradient": Implicit()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same(f, torch.zeros(3, 4), args, **options, rtol=3e-2)


@pytest.mark.slow
def test_rows_that_fail_in_the_forward_solve_spoil_no_other():
    # Row 0 is beyond its end after a step and has no gradient; row 1 has no equilibrium, and its
    # adjoint, which is singular, is not waited for.
    end = torch.tensor([[1e-3], [torch.inf], [torch.inf]])
    turns = torch.tensor([[0.0], [1.0], [0.0]], dtype=F64)

    def f(z, w, x):
        image = torch.where(turns > 0, 1 - z, tanh(z, w, x))
        return torch.where(z[:, :1].abs() < end, image, torch.nan)

    options = {"cotangent": [U], "on_failure": "ignore"}
    inside, found = assert_same(f, torch.zeros_like(X), (W, X), **options)
    expected = [Status.NONFINITE, Status.STAGNATED, Status.CONVERGED]
    assert inside.status.tolist() == expected
    assert (found[1][0] == 0).all()
    assert relative_error(found[1][2:], tanh_gradients(W, X[2:], U[2:])[1]) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_missed_adjoint_is_told_in_the_backward_pass(backend):
    starved = Implicit(solver=GMRES(max_products=1))
    x = X.clone().requires_grad_()
    told = r"adjoint of fixed_point: 3 of 3 samples missed the tolerance .*\n.* raise max_products"

    def solve(on_failure):
        f = lambda z, x: tanh(z, W, x)  # noqa: E731
        options = {"solver": Picard(), "gradient": starved, "on_failure": on_failure}
        return compiled(lambda x: fixed_point(f, torch.zeros_like(x), x, **options).value, backend)(
            x
        )

    raises, warns, ignores = solve("raise"), solve("warn"), solve("ignore")
    with pytest.raises(ConvergenceError, match=told):
        raises.backward(U)
    with pytest.warns(ConvergenceWarning, match="adjoint of fixed_point: samples missed"):
        (found,) = torch.autograd.grad(warns, x, U)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        (same,) = torch.autograd.grad(ignores, x, U)
    torch.testing.assert_close(found, same)


@pytest.mark.slow
def test_rows_that_f_couples_are_noticed_by_the_residual_that_was_measured():
    # The recurrence of each row trusts the other rows to have no part in it.
    f = lambda z, x: 0.5 * z + 0.4 * z.flip(0) + x  # noqa: E731
    x = normal(2, 3, seed=0).requires_grad_()
    options = {"solver": Picard(rtol=1e-8, max_steps=400), "gradient": EXACT}
    call = lambda x: fixed_point(f, torch.zeros_like(x), x, **options).value  # noqa: E731
    value = compiled(call, "eager")(x)
    with pytest.raises(ConvergenceError, match=r"adjoint of fixed_point: \d of 2 samples missed"):
        value[0].sum().backward()


@pytest.mark.parametrize(
    ("gradient", "sentence"),
    [
        (Implicit(accuracy=1e-2), "no gradient of a stated accuracy.*leave out accuracy, and set"),
        (Implicit(solver=Dense()), r"by GMRES, not by Dense: take Implicit\(\)"),
        (Implicit(solver=GMRES(restart=3)), "GMRES without restarts: leave out restart, or"),
    ],
)
def test_what_is_not_compiled_is_refused(gradient, sentence):
    with pytest.raises(RuntimeError, match=sentence):
        step(tanh, torch.zeros_like(X), (W, X), cotangent=[U], backend="eager", gradient=gradient)


@pytest.mark.slow
def test_a_gradient_of_the_gradient_is_refused():
    x = X.clone().requires_grad_()
    options = {"solver": Picard(), "gradient": EXACT}
    call = lambda x: fixed_point(lambda z, x: 0.5 * z.cos() + x, torch.zeros_like(x), x, **options)  # noqa: E731
    value = compiled(call, "eager")(x).value
    with pytest.raises(NotImplementedError, match="gradient of the gradient"):
        torch.autograd.grad(value.sum(), x, create_graph=True)


def test_a_linear_map_has_the_gradient_of_a_closed_form():
    x = X.clone().requires_grad_()
    w = 0.5 * W
    options = {"solver": Anderson(rtol=1e-12), "gradient": EXACT}
    call = lambda x: fixed_point(lambda z, x: z @ w.T + x, torch.zeros_like(x), x, **options).value  # noqa: E731
    (found,) = torch.autograd.grad(compiled(call, "eager")(x), x, U)
    torch.testing.assert_close(found, affine_solution(w.T, U), rtol=1e-10, atol=1e-10)
