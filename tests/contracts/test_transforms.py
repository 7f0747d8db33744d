"""Second derivatives, torch.func and forward mode: the right number.

Gradients of the steps of a solver refuse transforms that differentiate, in a sentence.

The scalar z = tanh(w z + x), with s = 1 - z^2 and p = s / (1 - w s), has

    dz/dx = p                                  d2z/dx2  = -2 z s / (1 - w s)^3
    dz/dw = z p                                d2z/dxdw = (s^2 - 2 z^2 p) / (1 - w s)^2
                                               d2z/dw2  = z p^2 + z d2z/dxdw
"""

import re

import pytest
import torch
import torch.autograd.forward_ad as forward_mode
from torch import func

from deqlab import DEQ, ConvergenceError, fixed_point
from deqlab.gradients import Shine
from deqlab.nn import DenseCell
from tests.contracts.gradients import every_gradient, exact_gradients, twice_exact_gradients
from tests.problems import F64, matrix, normal

# Torch's own: the formulas of its forward mode are scripted.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)

W = torch.tensor([[0.4], [-0.3], [0.2]], dtype=F64)
X = torch.tensor([[0.5], [1.0], [-2.0]], dtype=F64)
T = torch.tensor([[1.0], [-3.0], [0.7]], dtype=F64)


class Exact:
    """The closed forms of the module docstring, at (w, x)."""

    def __init__(self, w, x):
        z = torch.zeros_like(x)
        for _ in range(200):  # contracts by 0.4 or better: 0.4^200 < 1e-79
            z = torch.tanh(w * z + x)
        s = 1 - z**2
        regular = 1 - w * s
        p = s / regular
        self.z, self.by_x, self.by_w = z, p, z * p
        self.by_xx = -2 * z * s / regular**3
        self.by_xw = (s**2 - 2 * z**2 * p) / regular**2
        self.by_ww = z * p**2 + z * self.by_xw


def z_star(case, w, x, through="argument"):
    """z*, where x enters f as an argument or through a closure; w always through a closure."""
    options = {"solver": case.solver, "gradient": case.gradient}
    if through == "argument":
        f = lambda z, x: torch.tanh(w * z + x)  # noqa: E731
        return fixed_point(f, torch.zeros_like(x), x, **options).value
    return fixed_point(lambda z: torch.tanh(w * z + x), torch.zeros_like(x), **options).value


def refusal_of(fn):
    """(result, None), or (None, the sentence that refuses)."""
    try:
        return fn(), None
    except ConvergenceError:
        raise
    except RuntimeError as error:
        return None, str(error)


def right_or_refused(fn, expected, transform, *, refused=False):
    """fn() is `expected`; or deqlab refuses: it names the transform and says what to do instead."""
    result, sentence = refusal_of(fn)
    if not refused:
        assert sentence is None, sentence
        # Solves to 1e-13, amplified by 1 / (1 - 0.4) per order of the derivative; unrolled
        # Anderson differentiates its least squares as well.
        torch.testing.assert_close(result, expected, rtol=1e-8, atol=1e-8)
        return
    assert sentence is not None, result
    assert re.search(r"deqlab|fixed_point", sentence), f"not deqlab's own words: {sentence}"
    assert re.search(transform, sentence, re.IGNORECASE), f"names no transform: {sentence}"
    assert re.search(r"\b(instead|use|call|pass)\b", sentence), f"what next? {sentence}"


def forward_derivative(fn, x, tangent):
    """The tangent of fn(x); none is a derivative of zero, as it is for torch."""
    with forward_mode.dual_level():
        out = forward_mode.unpack_dual(fn(forward_mode.make_dual(x, tangent)))
        return torch.zeros_like(out.primal) if out.tangent is None else out.tangent


@twice_exact_gradients
def test_second_derivatives_of_a_tanh_cell_are_those_of_finite_differences(case):
    w, x = matrix(2, norm=0.3, seed=0).requires_grad_(), normal(1, 2, seed=1).requires_grad_()

    def solve(w, x):
        f = lambda z, w, x: torch.tanh(z @ w.T + x)  # noqa: E731
        options = {"solver": case.solver, "gradient": case.gradient}
        return fixed_point(f, torch.zeros_like(x), w, x, **options).value

    assert torch.autograd.gradgradcheck(solve, (w, x), fast_mode=True)


@twice_exact_gradients
@pytest.mark.parametrize("through", ["argument", "closure"])
def test_second_derivatives_of_the_scalar_tanh_map_are_their_closed_forms(case, through):
    w, x, exact = W.clone().requires_grad_(), X.clone().requires_grad_(), Exact(W, X)
    value = z_star(case, w, x, through).sum()
    by_w, by_x = torch.autograd.grad(value, (w, x), create_graph=True)
    # The solves stop at 1e-13, and each order amplifies by at most 1 / (1 - 0.4).
    close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)  # noqa: E731
    close(by_w, exact.by_w)
    close(by_x, exact.by_x)
    by_xw, by_xx = torch.autograd.grad(by_x.sum(), (w, x), retain_graph=True)
    by_ww, by_wx = torch.autograd.grad(by_w.sum(), (w, x))
    close(by_xx, exact.by_xx)
    close(by_xw, exact.by_xw)
    close(by_wx, exact.by_xw)
    close(by_ww, exact.by_ww)


@twice_exact_gradients
def test_the_double_backward_trick_gives_the_forward_derivative(case):
    exact = Exact(W, X)
    _, by_t = torch.autograd.functional.jvp(lambda x: z_star(case, W, x), X, T)
    torch.testing.assert_close(by_t, exact.by_x * T, rtol=1e-8, atol=1e-8)


TRANSFORMS = {
    "grad": lambda f, e: (lambda: func.grad(lambda x: f(x).sum())(X), e.by_x),
    "vjp": lambda f, e: (lambda: func.vjp(f, X)[1](T)[0], e.by_x * T),
    "jvp": lambda f, e: (lambda: func.jvp(f, (X,), (T,))[1], e.by_x * T),
    "jacrev": lambda f, e: (
        lambda: func.jacrev(f)(X).reshape(3, 3),
        torch.diag(e.by_x.squeeze(1)),
    ),
    "jacfwd": lambda f, e: (
        lambda: func.jacfwd(f)(X).reshape(3, 3),
        torch.diag(e.by_x.squeeze(1)),
    ),
    "hessian": lambda f, e: (
        lambda: func.hessian(lambda x: f(x).sum())(X).reshape(3, 3),
        torch.diag(e.by_xx.squeeze(1)),
    ),
    "vmap of grad": lambda f, e: (
        lambda: func.vmap(func.grad(lambda x: f(x).sum()))(torch.stack([X, X])),
        torch.stack([e.by_x, e.by_x]),
    ),
}


@exact_gradients
@pytest.mark.parametrize("through", ["argument", "closure"])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_derivative_by_torch_func_is_right_or_refused(case, transform, through):
    fn, expected = TRANSFORMS[transform](lambda x: z_star(case, W, x, through), Exact(W, X))
    right_or_refused(fn, expected, r"torch\.func", refused=case.refuses_transforms)


@every_gradient
@pytest.mark.parametrize("through", ["argument", "closure"])
def test_vmap_over_a_solve_is_a_solve_of_more_rows(case, through):
    many = torch.stack([X, 0.5 * X, T])
    expected = torch.stack([Exact(W, x).z for x in many])
    fn = lambda: func.vmap(lambda x: z_star(case, W, x, through))(many)  # noqa: E731
    torch.testing.assert_close(fn(), expected, rtol=1e-8, atol=1e-8)


@exact_gradients
def test_a_batch_of_cotangents_at_once_has_the_gradient_of_each(case):
    # What torch.autograd.functional.jacobian(vectorize=True) and batched gradient checks do.
    x, cotangents = X.clone().requires_grad_(), torch.stack([T, -T, 0 * T])
    value = z_star(case, W, x)
    fn = lambda: torch.autograd.grad(value, x, cotangents, is_grads_batched=True)[0]  # noqa: E731
    torch.testing.assert_close(fn(), cotangents * Exact(W, X).by_x, rtol=1e-8, atol=1e-8)


@every_gradient
@pytest.mark.parametrize("through", ["argument", "closure"])
def test_forward_mode_is_right_or_refused(case, through):
    # A tangent that is lost on the way reads as a derivative of zero: the worst of answers. That
    # of an inexact gradient is as inexact as its backward pass, whose transpose it is.
    x = X.clone().requires_grad_()
    (expected,) = torch.autograd.grad(z_star(case, W, x, through), x, T)
    fn = lambda: forward_derivative(lambda x: z_star(case, W, x, through), X, T)  # noqa: E731
    refused = case.refuses_transforms or isinstance(case.gradient, Shine)
    right_or_refused(fn, expected, "forward[- ]mode", refused=refused)
    if case.exact and not refused:
        torch.testing.assert_close(fn(), Exact(W, X).by_x * T, rtol=1e-8, atol=1e-8)


def some_deq(case):
    cell = DenseCell(1, 1, activation=torch.tanh).double()
    deq = DEQ(cell, solver=case.solver, gradient=case.gradient, on_failure="raise")
    parameters = {
        "cell.free": torch.tensor([[0.4]], dtype=F64),
        "cell.inject.weight": torch.tensor([[1.5]], dtype=F64),
        "cell.inject.bias": torch.tensor([0.2], dtype=F64),
    }
    assert set(parameters) == {name for name, _ in deq.named_parameters()}
    return deq, parameters, Exact(parameters["cell.free"], 1.5 * X + 0.2)


@exact_gradients
def test_parameters_that_another_network_computes_get_their_gradient(case):
    deq, parameters, exact = some_deq(case)
    code = torch.tensor(1.0, dtype=F64, requires_grad=True)
    computed = {name: code * p for name, p in parameters.items()}
    func.functional_call(deq, computed, (X,)).sum().backward()
    expected = (0.4 * exact.by_w + (1.5 * X + 0.2) * exact.by_x).sum()
    torch.testing.assert_close(code.grad, expected, rtol=1e-8, atol=1e-8)
    assert all(p.grad is None for p in deq.parameters())


def of_a_layer(transform, deq, p, e):
    """The call of `transform` on a DEQ with parameters p, and its closed form."""
    call = lambda p, x: func.functional_call(deq, p, (x,))  # noqa: E731
    ones = {name: torch.ones_like(t) for name, t in p.items()}
    along_ones = e.by_w + X * e.by_x + e.by_x
    by_name = (e.by_w.sum(), (X * e.by_x).sum(), e.by_x.sum())
    expected = {n: t.reshape(p[n].shape) for n, t in zip(p, by_name, strict=True)}
    if transform == "grad":
        return lambda: func.grad(lambda p: call(p, X).sum())(p), expected
    if transform == "jvp":
        return lambda: func.jvp(lambda p: call(p, X), (p,), (ones,))[1], along_ones
    if transform == "vmap":
        return lambda: func.vmap(lambda x: call(p, x))(X[None]), e.z[None]
    if transform == "jacrev":
        jacobian = lambda: func.jacrev(lambda x: call(p, x))(X).reshape(3, 3)  # noqa: E731
        return jacobian, torch.diag(1.5 * e.by_x.squeeze(1))
    hessian = lambda: func.hessian(lambda x: call(p, x).sum())(X).reshape(3, 3)  # noqa: E731
    return hessian, torch.diag(1.5**2 * e.by_xx.squeeze(1))


@exact_gradients
@pytest.mark.parametrize("transform", ["grad", "jvp", "vmap", "jacrev", "hessian"])
def test_torch_func_on_a_functional_layer_is_right_or_refused(case, transform):
    fn, expected = of_a_layer(transform, *some_deq(case))
    refused = case.refuses_transforms and transform != "vmap"
    right_or_refused(fn, expected, r"torch\.func", refused=refused)


@exact_gradients
def test_forward_mode_in_the_parameters_of_a_layer_is_right_or_refused(case):
    deq, parameters, exact = some_deq(case)
    bias = parameters["cell.inject.bias"]
    rest = {name: p for name, p in parameters.items() if name != "cell.inject.bias"}
    call = lambda b: func.functional_call(deq, {**rest, "cell.inject.bias": b}, (X,))  # noqa: E731
    fn = lambda: forward_derivative(call, bias, torch.ones_like(bias))  # noqa: E731
    right_or_refused(fn, exact.by_x, "forward-mode", refused=case.refuses_transforms)
