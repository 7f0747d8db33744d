"""f as one fixed map: what it may return, and what it may do to z."""

import pytest
import torch
from torch import nn

from deqlab import DEQ, Anderson, Implicit, JacobianFree, Picard, fixed_point
from deqlab.gradients import Reversed, Unrolled
from deqlab.solvers import Newton, NewtonKrylov, Reversible
from tests.contracts.gradients import every_gradient
from tests.contracts.solvers import every_solver
from tests.problems import F64, matrix, normal

W, X = matrix(4, norm=0.5, seed=0), normal(3, 4, seed=1)


def cell(z, x=X):
    return torch.tanh(z @ W.T + x)


class Midway:
    """The cell; what it returns from the second evaluation on is spoilt."""

    def __init__(self, spoil, calls=1):
        self.spoil, self.left = spoil, calls

    def __call__(self, z, x=X):
        self.left -= 1
        image = cell(z.double(), x).to(z.dtype)
        return image if self.left >= 0 else self.spoil(image)


class Labelled(torch.Tensor):
    """A subclass that only carries a name."""


class Hidden(torch.Tensor):
    """A subclass whose numbers lie elsewhere."""

    @staticmethod
    def __new__(cls, elem):
        return torch.Tensor._make_wrapper_subclass(cls, elem.shape, dtype=elem.dtype)

    def __init__(self, elem):
        self.elem = elem

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise NotImplementedError


REFUSED = {
    "lower": (lambda y: y.float(), r"dtype of z: torch\.float64 became torch\.float32; start from"),
    "half": (lambda y: y.half(), r"float64 became torch\.float16"),
    "integer": (lambda y: y.long(), r"became torch\.int64; it must return real floating point"),
    "bool": (lambda y: y > 0, r"became torch\.bool; it must return real floating point"),
    "complex": (lambda y: y + 0j, r"became torch\.complex128; it must return real"),
    "device": (lambda y: y.to("meta"), "stay on the device of z: cpu became meta"),
    "sparse": (lambda y: y.to_sparse(), r"dense tensor, got one of layout torch\.sparse_coo"),
    "wrapper": (Hidden, "plain tensor, got a Hidden, whose numbers lie elsewhere"),
    "fewer rows": (lambda y: y[:2], r"shape of z: \(3, 4\) became \(2, 4\)"),
    "more rows": (lambda y: torch.cat([y, y]), r"shape of z: \(3, 4\) became \(6, 4\)"),
    "one row": (lambda y: y.mean(0, keepdim=True), r"\(3, 4\) became \(1, 4\)"),
    "transposed": (lambda y: y.T, r"\(3, 4\) became \(4, 3\)"),
    "scalar": (lambda y: y.mean(), r"\(3, 4\) became \(\)"),
    "numpy": (lambda y: y.detach().numpy(), "f returned a numpy array, through which no gradient"),
    "None": (lambda y: None, r"f returned None; it must return a new z \(is a return missing\?\)"),
    "tuple": (lambda y: (y,), "structure of z: a tensor became a tuple of 1"),
    "tuple with None": (lambda y: (y, None), "f returned None"),
    "dict": (lambda y: {"z": y}, "structure of z: a tensor became a dict"),
}
every_refused = pytest.mark.parametrize(("spoil", "sentence"), REFUSED.values(), ids=REFUSED)


@every_refused
@pytest.mark.parametrize("calls", [0, 1, 3])
def test_what_f_returns_is_checked_at_every_evaluation(spoil, sentence, calls):
    with pytest.raises(ValueError, match=sentence):
        fixed_point(Midway(spoil, calls), torch.zeros_like(X), solver=Picard(rtol=1e-12))


@every_refused
@pytest.mark.parametrize(
    ("gradient", "solver"),
    [
        (Implicit(accuracy=1e-6), Anderson()),
        (Reversed(rtol=1.0), Reversible(rtol=1e-6)),
    ],
    ids=["accuracy", "reversed"],
)
def test_what_f_returns_is_checked_in_the_backward_pass(spoil, sentence, gradient, solver):
    f, x = Midway(spoil, calls=10**6), X.clone().requires_grad_()
    value = fixed_point(f, torch.zeros_like(X), x, solver=solver, gradient=gradient).value
    f.left = 0
    with pytest.raises(ValueError, match=sentence):
        value.sum().backward()


@every_refused
def test_what_f_returns_within_a_dict_is_checked(spoil, sentence):
    sentence = sentence.partition("structure")[0] or "a state holds tensors, not nested|must keep"
    state = {"a": torch.zeros_like(X), "b": torch.zeros_like(X)}
    f = lambda s: {"a": cell(s["b"]), "b": spoil(cell(s["a"]))}  # noqa: E731
    with pytest.raises((ValueError, TypeError), match=sentence):
        fixed_point(f, state)


@every_solver
def test_a_float32_state_does_not_become_float64_midway(solver):
    f = Midway(lambda y: y.double(), calls=2)
    with pytest.raises(ValueError, match=r"float32 became torch\.float64; start from a z0 of"):
        fixed_point(f, torch.zeros(3, 4), X.double(), solver=solver)


@pytest.mark.parametrize("wrap", [Labelled, lambda y: nn.Parameter(y.detach())])
def test_a_plain_subclass_is_the_tensor_that_it_is(wrap):
    f = lambda z: wrap(cell(z))  # noqa: E731
    value = fixed_point(f, torch.zeros_like(X)).value
    assert type(value) is torch.Tensor
    torch.testing.assert_close(value.detach(), fixed_point(cell, torch.zeros_like(X)).value)


@every_solver
def test_an_image_that_carries_a_tape_of_its_own_leaves_none(solver):
    weight = W.clone().requires_grad_()
    seen = []

    def f(z):
        with torch.enable_grad():
            return torch.tanh(z @ weight.T + X)

    def watched(z):
        seen.append(z.requires_grad)
        return f(z)

    with torch.no_grad():
        solution = fixed_point(watched, torch.zeros_like(X), solver=solver)
    assert not solution.value.requires_grad
    if not isinstance(solver, Newton | NewtonKrylov):  # which record f themselves
        assert not any(seen)
    expected = fixed_point(cell, torch.zeros_like(X)).value
    torch.testing.assert_close(solution.value, expected, rtol=1e-3, atol=1e-3)


# An energy E(z) = z'Az / 2 - x'z, whose minimum is A^-1 x; f is a step down its slope.

A = torch.diag(torch.tensor([0.5, 1.0, 1.2, 0.8], dtype=F64)) + 0.1
STEP = 0.8


def energy(z, x):
    return (0.5 * z * (z @ A) - x * z).sum()


def by_a_flag_on_z(z, x):
    with torch.enable_grad():
        z = z.requires_grad_()
        (slope,) = torch.autograd.grad(energy(z, x), z, create_graph=True)
        return z - STEP * slope


def by_a_flag_without_a_tape_in_the_loop(z, x):
    recorded = torch.is_grad_enabled()
    with torch.enable_grad():
        z.requires_grad_()
        (slope,) = torch.autograd.grad(energy(z, x), z, create_graph=recorded)
    return z - STEP * slope


def by_an_alias(z, x):
    with torch.enable_grad():
        alias = z if z.requires_grad else z.detach().requires_grad_()
        (slope,) = torch.autograd.grad(energy(alias, x), alias, create_graph=True)
    return z - STEP * slope


def by_torch_func(z, x):
    return z - STEP * torch.func.grad(energy)(z, x)


every_descent = pytest.mark.parametrize(
    "descent",
    [by_a_flag_on_z, by_a_flag_without_a_tape_in_the_loop, by_an_alias, by_torch_func],
)


@every_solver
@every_descent
def test_f_may_take_a_derivative_by_every_solver(solver, descent):
    with torch.no_grad():
        solution = fixed_point(descent, torch.zeros_like(X), X, solver=solver)
    torch.testing.assert_close(solution.value, X @ A.inverse(), rtol=1e-3, atol=1e-3)
    assert not solution.value.requires_grad


@every_gradient
@every_descent
def test_f_may_take_a_derivative_by_every_gradient(case, descent):
    if descent is by_torch_func and case.gradient == Unrolled(checkpoint=True):
        pytest.skip("torch.func does not go into torch's checkpoints")
    x, u = X.clone().requires_grad_(), normal(3, 4, seed=2)
    options = {"solver": case.solver, "gradient": case.gradient}
    value = fixed_point(descent, torch.zeros_like(X), x, **options).value
    value.backward(u)
    torch.testing.assert_close(value, X @ A.inverse(), rtol=1e-9, atol=1e-9)
    if case.exact:
        torch.testing.assert_close(x.grad, u @ A.inverse(), rtol=1e-8, atol=1e-8)


def test_the_state_of_a_solve_keeps_its_flag():
    start = torch.zeros_like(X)
    value = fixed_point(by_a_flag_on_z, start, X, solver=Anderson(rtol=1e-9)).value
    assert not start.requires_grad
    assert not value.requires_grad


class Energy(torch.nn.Module):
    """A step down |z - x|^2 / 2 + sum(log cosh(W z)) / 2, by a derivative that f takes itself."""

    def __init__(self, way, **options):
        super().__init__()
        self.w = torch.nn.Parameter(0.5 * A.clone())
        self.way, self.options = way, options

    def forward(self, z, x):
        with torch.enable_grad():
            y = z.detach().requires_grad_() if self.way == "apart" or not z.requires_grad else z
            energy = 0.5 * (y - x).square().sum() + 0.5 * (y @ self.w.T).cosh().log().sum()
            if self.way == "positional":
                (slope,) = torch.autograd.grad([energy], [y], None, None, False)
            else:
                (slope,) = torch.autograd.grad(energy, y, **self.options)
        if self.way == "all is constant":
            z = z.detach()
        scale = 1 + 0 * self.w.sum() + 0 * x.mean() if self.way == "meant" else 1
        return z - 0.4 * scale * slope


CONSTANT = r"Energy\): f calls torch\.autograd\.grad without create_graph=True.* a constant"


@pytest.mark.parametrize("gradient", [Implicit(), Unrolled(), JacobianFree()])
@pytest.mark.parametrize("way", ["direct", "apart", "all is constant", "positional"])
def test_a_derivative_of_f_that_is_a_constant_is_told(way, gradient):
    x = normal(3, 4, seed=0).requires_grad_()
    deq = DEQ(Energy(way), gradient=gradient)
    with pytest.warns(UserWarning, match=CONSTANT):
        deq(x)


def test_a_derivative_of_f_that_is_a_constant_where_no_gradient_is_asked_for():
    with torch.no_grad():  # and warnings are errors
        value = DEQ(Energy("direct"))(normal(3, 4, seed=0))
    torch.testing.assert_close(value, DEQ(Energy("", create_graph=True))(normal(3, 4, seed=0)))


def test_a_derivative_of_f_that_is_a_constant_and_hides_nothing():
    # All that needs a gradient is there on another way: f may mean it.
    DEQ(Energy("meant"))(normal(3, 4, seed=0).requires_grad_())
