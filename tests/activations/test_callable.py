"""from_callable: the kinks that it finds, and what it refuses."""

import math

import pytest
import torch
from torch.nn import functional

from deqlab.activations import from_callable
from tests.activations.cases import tensor


@pytest.mark.parametrize(
    ("function", "kinks"),
    [
        (torch.tanh, ()),
        (functional.gelu, ()),
        (torch.relu, (0.0,)),
        (functional.elu, (0.0,)),  # phi'' jumps
        (functional.softsign, (0.0,)),
        (functional.hardswish, (-3.0, 3.0)),
        (functional.relu6, (0.0, 6.0)),
        (lambda u: (u - 1 / 3).abs(), (1 / 3,)),
        (lambda u: torch.clamp(u, -0.1, math.pi), (-0.1, math.pi)),
    ],
)
def test_kinks_are_found(function, kinks):
    assert from_callable(function).kinks == pytest.approx(kinks, abs=1e-15)


def test_kinks_are_sorted_and_named_once():
    assert from_callable(functional.hardtanh, kinks=[1.0, -1.0, 1.0]).kinks == (-1.0, 1.0)


def test_it_speaks_of_the_function_by_its_name():
    assert repr(from_callable(torch.relu)) == "relu"
    assert repr(from_callable(torch.relu, name="mine")) == "mine"


def test_a_step_has_a_dual_and_no_tangent_kernel():
    phi = from_callable(torch.sign)
    a, b, c = tensor(1.0, 2.0, 1.0), tensor(1.0, 0.5, 1.0), tensor(0.3, -0.9, 1.0)
    torch.testing.assert_close(
        phi.dual(a, b, c), 2 / math.pi * torch.asin(c / torch.sqrt(a * b)), rtol=1e-12, atol=0
    )
    for function in (lambda: phi.dual_derivative(a, b, c), lambda: phi.moments(1.0)):
        with pytest.raises(ValueError, match=r"sign jumps at 0: E\[phi'\^2\] is infinite"):
            function()


def test_a_given_derivative_is_used():
    seen = []
    phi = from_callable(torch.relu, lambda u: seen.append(u) or (u > 0).to(u.dtype))
    seen.clear()
    assert phi.moments(1.0).d == pytest.approx(0.5, rel=1e-13)
    assert seen


def test_the_derivative_of_autograd_is_itself_differentiable():
    phi, u = from_callable(torch.tanh), tensor(0.7).requires_grad_()
    (second,) = torch.autograd.grad(phi.derivative(u).sum(), u)
    t = math.tanh(0.7)
    assert float(second) == pytest.approx(-2 * t * (1 - t * t), rel=1e-14)


@pytest.mark.parametrize(
    ("function", "options", "sentence"),
    [
        (torch.log, {}, "log is not finite at u = -40"),
        (lambda u: 1 / u, {"name": "pole"}, "pole is not finite at u = 0"),
        (lambda u: u.abs().sqrt(), {"name": "root"}, "the derivative of root is not finite"),
        (
            lambda u: torch.softmax(u, -1),
            {"name": "softmax"},
            "softmax must be elementwise: its values depend on their neighbours",
        ),
        (
            lambda u: u - u.mean(),
            {"name": "centre"},
            "centre must be elementwise: its values depend on their neighbours",
        ),
        (
            lambda u: u.sum(),
            {"name": "total"},
            r"total must be elementwise, and keep shape and dtype: \(4, 6\), torch.float64 became",
        ),
        (lambda u: u.float(), {}, "must be elementwise, and keep shape and dtype"),
        (math.tanh, {}, "tanh must take a tensor of any shape"),
        (torch.relu, {"kinks": ()}, "the kinks of relu are not resolved, name all of them"),
        (torch.relu, {"kinks": (0.5,)}, "the kinks of relu are not resolved, name all of them"),
        (
            lambda u: torch.sin(1 / (u + 0.001234)),
            {"name": "chirp"},
            r"the kinks of chirp are not resolved|chirp has \d+ kinks",
        ),
        (torch.floor, {}, r"floor has 80 kinks in \[-40, 40\], the first at -39"),
        (torch.tanh, {"kinks": (math.inf,)}, r"kinks of tanh must be finite numbers, got \(inf,\)"),
        (
            torch.tanh,
            {"derivative": torch.cos},
            "derivative is not that of tanh: .* at u = .*, where the difference quotient is",
        ),
    ],
)
def test_what_is_refused(function, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        from_callable(function, **options)
