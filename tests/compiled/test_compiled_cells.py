"""A cell that torch.compile has taken, inside of a solve: few compilations, right gradients.

What AOTAutograd compiles has first derivatives, backward, and no others.
"""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from deqlab import DEQ, Anderson, Broyden, Implicit, Newton, NewtonKrylov, Phantom, Picard
from tests.compiled.test_graph_breaks import Between, Plain, gradients
from tests.problems import normal

pytestmark = [
    pytest.mark.usefixtures("traceable"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor"),
    # Torch's own.
    pytest.mark.filterwarnings("ignore:`torch.jit.script.*` is deprecated:DeprecationWarning"),
]

X = normal(5, 3, seed=0)
SLOW = [pytest.param(solver, marks=pytest.mark.slow) for solver in (Picard, Broyden, Newton)]
SOLVERS = [Anderson, NewtonKrylov, *SLOW]


def pair(solver, backend, **options):
    """A layer, and the same around a compiled cell."""
    cell = Plain()
    compiled = torch.compile(cell, backend=backend)
    return (DEQ(c, solver=solver(rtol=1e-10), **options) for c in (cell, compiled))


def assert_same(plain, compiled, *, rtol):
    for x in (X, normal(7, 3, seed=1)):
        found, expected = gradients(compiled, compiled, x), gradients(plain, plain, x)
        torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), expected[0], rtol=rtol, atol=rtol)


@pytest.mark.parametrize("solver", SOLVERS)
def test_first_derivatives(solver):
    backend = CompileCounterWithBackend("aot_eager")
    assert_same(*pair(solver, backend), rtol=1e-7)
    # With a tape and without, for 5 rows and for any; forward mode counts as one more.
    assert backend.frame_count <= 6


def test_second_derivatives_are_refused_by_name():
    _, compiled = pair(Anderson, "aot_eager", gradient=Implicit())
    x = X.clone().requires_grad_()
    (g,) = torch.autograd.grad(compiled(x).square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"aot_autograd .* or leave f uncompiled"):
        torch.autograd.grad(g.square().sum(), x)


def test_in_a_compiled_model_with_all_of_it_compiled():
    plain, compiled = pair(Anderson, "aot_eager", gradient=Phantom())
    model = Between(compiled)
    other = Between(plain)
    call = torch.compile(model, backend="aot_eager")
    found, expected = gradients(call, model), gradients(other, other)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("solver", SOLVERS)
def test_machine_code(solver):
    assert_same(*pair(solver, "inductor"), rtol=1e-7)
