"""torch.compile as everybody writes it: the solve runs outside of the graph, as it always does."""

import copy

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint

from deqlab import (
    DEQ,
    Anderson,
    Broyden,
    ConvergenceError,
    ConvergenceWarning,
    Implicit,
    JacobianFree,
    NewtonKrylov,
    Phantom,
    Picard,
    Shine,
    Unrolled,
    fixed_point,
)
from deqlab.gradients import Reversed
from deqlab.nn import DenseCell
from deqlab.solvers import Reversible
from tests.problems import F64, matrix, normal

pytestmark = [
    pytest.mark.usefixtures("traceable"),
    # torch hides it where it looks for what a piece of the graph is given; as an error it is not.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor"),
]

SOLVER = Anderson(rtol=1e-10)
X = normal(5, 3, seed=0)


class Between(nn.Module):
    """Layers of torch around one or more DEQs, and no loop, in which torch compiles nothing."""

    def __init__(self, *deqs):
        super().__init__()
        torch.manual_seed(0)
        self.before, self.after = nn.Linear(3, 3, dtype=F64), nn.Linear(3, 2, dtype=F64)
        self.first, self.second = (*deqs, nn.Identity())[:2]

    def forward(self, x):
        return self.after(self.second(self.first(self.before(x).tanh()).relu()))


class Plain(nn.Module):
    """A cell that is any module."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(matrix(3, norm=0.7, seed=1))

    def forward(self, z, x):
        return torch.tanh(z @ self.w.T + x)


def layer(**options):
    torch.manual_seed(1)
    return DEQ(DenseCell(3, 3), **{"solver": SOLVER, **options}).double()


def counting(backend="eager"):
    return CompileCounterWithBackend(backend)


def gradients(call, module, x=X):
    """The value, and the gradient of every parameter."""
    module.zero_grad()
    value = call(x)
    value.square().sum().backward()
    return value.detach(), [p.grad.clone() for p in module.parameters()]


def assert_same(call, module, x=X):
    """The backend "eager" runs the same operators: not even the rounding differs."""
    found, expected = gradients(call, module, x), gradients(module, module, x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_training_compiles_what_stands_before_and_behind_once():
    backend, plain = counting(), Between(layer())
    model, losses = copy.deepcopy(plain), []
    for module, call in ((model, torch.compile(model, backend=backend)), (plain, plain)):
        optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
        for step in range(6):
            optimizer.zero_grad()
            loss = call(normal(5, 3, seed=step)).square().sum()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[:6] == pytest.approx(losses[6:], rel=1e-12)
    assert losses[5] < losses[0]
    assert backend.frame_count == 2
    assert backend.op_count >= 3  # both linear layers, and the tanh


def test_other_batches_and_modes_add_a_handful_of_compilations():
    backend, model = counting(), Between(layer(), layer(solver=Picard(rtol=1e-10)))
    call = torch.compile(model, backend=backend)
    for rows in (5, 7, 9, 30, 7, 5):
        assert_same(call, model, normal(rows, 3, seed=rows))
    assert backend.frame_count == 2 * 3  # three pieces: for 5 rows, and for any number
    model.eval()
    with torch.no_grad():
        for rows in (5, 9):
            assert torch.equal(call(X[:rows]), model(X[:rows]))
    with torch.inference_mode():
        call(X)
    model.train()
    assert_same(call, model)
    assert backend.frame_count <= 12


def test_many_layers_add_none_to_their_number():
    # Twelve layers of different widths: torch gives up at eight variants of one function.
    class Many(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(DEQ(DenseCell(3, 3 + i), solver=SOLVER) for i in range(12))
            self.double()

        def forward(self, x):
            x = x.tanh()
            a, b, c, d, e, f, g, h, i, j, k, m = (deq(x).sum(dim=1) for deq in self.layers)
            return a + b + c + d + e + f + g + h + i + j + k + m

    backend, model = counting(), Many()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        assert_same(torch.compile(model, backend=backend), model)
    assert backend.frame_count <= 13


def sequence(deq):
    return nn.Sequential(nn.Linear(3, 3), deq, nn.ReLU(), nn.Linear(3, 2)).double()


@pytest.mark.parametrize("method", [False, True], ids=["torch.compile", "module.compile"])
@pytest.mark.parametrize(("make", "graphs"), [(lambda deq: deq, 0), (Between, 2), (sequence, 0)])
def test_modules_of_every_kind(make, graphs, method):
    backend, module = counting(), make(layer())
    expected = gradients(module, module)
    call = module if method else torch.compile(module, backend=backend, dynamic=True)
    if method:
        module.compile(backend=backend, dynamic=True)
    torch.testing.assert_close(gradients(call, module), expected, rtol=1e-12, atol=1e-12)
    call(normal(7, 3, seed=1))
    assert backend.frame_count == graphs


def slow(name, **options):
    return pytest.param(options, id=name, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"gradient": Implicit(accuracy=1e-6)}, id="Implicit"),
        pytest.param({"gradient": Unrolled(steps=2, checkpoint=True)}, id="Unrolled-checkpoint"),
        slow("JacobianFree", gradient=JacobianFree()),
        slow("Phantom", gradient=Phantom()),
        slow("Unrolled", gradient=Unrolled()),
        slow("Shine", gradient=Shine(), solver=Broyden(rtol=1e-10)),
        slow("Reversed", gradient=Reversed(), solver=Reversible(rtol=1e-3)),
        slow("NewtonKrylov", solver=NewtonKrylov(rtol=1e-10)),
    ],
)
def test_every_gradient_is_that_of_eager_mode_also_where_the_function_calls_backward(options):
    backend, model = counting(), Between(layer(**options))
    assert_same(torch.compile(model, backend=backend), model)
    _, expected = gradients(model, model)

    def step(x):
        model(x).square().sum().backward()

    model.zero_grad()
    torch.compile(step, backend=backend)(X)
    found = [p.grad for p in model.parameters()]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert backend.frame_count <= 6  # nothing of the adjoint solve


def test_second_derivatives():
    model, x = Between(layer()), X.clone().requires_grad_()

    def second(call):
        (g,) = torch.autograd.grad(call(x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(g.square().sum(), x)[0]

    torch.testing.assert_close(
        second(torch.compile(model, backend="eager")), second(model), rtol=1e-9, atol=1e-9
    )


def test_a_solution_that_a_compiled_function_looks_at():
    deq, backend = layer(), counting()

    def call(x):
        solution = deq.solve(x + 1)
        scale = 1.0 + solution.evaluations
        return solution.value * scale * solution.converged[:, None] + solution.residual[:, None]

    compiled = torch.compile(call, backend=backend)
    for scale in (1.0, 2.0, 3.0, 0.0):
        for rows in (5, 7):
            x = scale * normal(rows, 3, seed=rows)
            torch.testing.assert_close(compiled(x), call(x), rtol=1e-12, atol=1e-12)
    assert backend.frame_count <= 8


def test_a_map_that_is_made_within_the_function():
    # z = a z + b x: the value and both gradients are known.
    a = torch.tensor(0.5, dtype=F64, requires_grad=True)

    def call(x, b):
        f = lambda z: a * z + b * x  # noqa: E731
        return fixed_point(f, torch.zeros_like(x), solver=SOLVER).value

    backend, x = counting(), X.clone().requires_grad_()
    compiled = torch.compile(call, backend=backend)
    for b in (1.0, 2.0, 3.0, 4.0):
        value = compiled(x, b)
        by_x, by_a = torch.autograd.grad(value.sum(), (x, a))
        torch.testing.assert_close(value, 2 * b * x, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(by_x, torch.full_like(x, 2 * b), rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(by_a, 4 * b * x.sum(), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("around", ["nothing", "a compiled model"])
def test_a_compiled_cell_is_called_many_times_and_compiled_a_few(around):
    backend, cell = counting(), Plain()
    deq = DEQ(cell, solver=SOLVER)
    model = deq if around == "nothing" else Between(deq)
    expected = gradients(model, model)
    deq.cell = torch.compile(cell, backend=backend)
    call = model if around == "nothing" else torch.compile(model, backend=backend)
    for _ in range(3):
        torch.testing.assert_close(gradients(call, model), expected, rtol=1e-12, atol=1e-12)
        with torch.no_grad():
            assert torch.equal(call(X), expected[0])
    most = 2 if around == "nothing" else 7  # with a tape and without, after x with one and without
    assert backend.frame_count <= most
    for rows in (7, 9):
        call(normal(rows, 3, seed=rows)).sum().backward()
    assert backend.frame_count <= 2 * most


def test_a_compiled_map():
    w, backend = matrix(3, norm=0.7, seed=1).requires_grad_(), counting()
    f = lambda z, x: torch.tanh(z @ w.T + x)  # noqa: E731
    found, expected = (
        torch.autograd.grad(fixed_point(g, torch.zeros_like(X), X, solver=SOLVER).value.sum(), w)
        for g in (torch.compile(f, backend=backend), f)
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert backend.frame_count == 2


def test_failures_are_told_as_they_are_in_eager_mode():
    deq = layer(solver=Picard(max_steps=2))
    call = torch.compile(Between(deq), backend="eager")
    for _ in range(2):
        with pytest.warns(ConvergenceWarning, match=r"DEQ\(DenseCell\): samples") as told:
            call(X)
        assert "5 of 5 samples missed" in told[0].message.details
        assert deq.last.steps.tolist() == [2] * 5
    deq.on_failure = "raise"
    with pytest.raises(ConvergenceError, match=r"5 of 5 samples missed .* after 2 steps"):
        call(X)


@pytest.mark.slow
def test_within_checkpoints_and_under_autocast():
    model = Between(layer())
    rerun = lambda x: checkpoint(model, x, use_reentrant=False) + 1  # noqa: E731
    found = gradients(torch.compile(rerun, backend="eager"), model)
    torch.testing.assert_close(found, gradients(rerun, model), rtol=1e-12, atol=1e-12)

    model = Between(layer(solver=Anderson(rtol=1e-2))).float()

    def mixed(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(x).float()

    found = gradients(torch.compile(mixed, backend="eager"), model, X.float())
    torch.testing.assert_close(found, gradients(mixed, model, X.float()), rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_one_graph_is_one_graph_after_broken_ones_too():
    model, backend = Between(layer(solver=Picard())), counting()
    with torch.no_grad():
        torch.compile(model, backend="eager")(X)
        found = torch.compile(model, backend=backend, fullgraph=True)(X)
        torch.testing.assert_close(found, model(X), rtol=1e-9, atol=1e-9)
    assert backend.frame_count == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("options", [{}, {"mode": "reduce-overhead"}, {"backend": "aot_eager"}])
def test_in_machine_code(options):
    model = Between(layer())
    call = torch.compile(model, **options)
    for rows in (5, 7):
        x = normal(rows, 3, seed=rows)
        found, expected = gradients(call, model, x), gradients(model, model, x)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(call(X), model(X), rtol=1e-9, atol=1e-9)
