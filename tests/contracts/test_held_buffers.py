"""Buffers that f writes: one map for the whole solve, one update at its end, none in backward.

A state is one sample of n x d numbers, for batch norm couples its rows.
"""

import copy
import threading

import pytest
import torch
from torch import nn

from deqlab import DEQ, Anderson, ConvergenceError, fixed_point
from tests.contracts.gradients import every_gradient, exact_gradients
from tests.contracts.solvers import every_solver
from tests.problems import F64, matrix, normal

N, D = 6, 4
X = normal(1, N, D, seed=1)


class Normed(nn.Module):
    """0.3 tanh(batch norm(z + x)), over the rows of each sample."""

    def __init__(self, momentum=0.1):
        super().__init__()
        self.norm = nn.BatchNorm1d(D, dtype=F64, momentum=momentum)

    def forward(self, z, x):
        return 0.3 * torch.tanh(self.norm((z + x).flatten(0, 1))).view_as(z)


def linear(norm=3.0):
    layer = nn.Linear(D, D, bias=False, dtype=F64)
    with torch.no_grad():
        layer.weight.copy_(matrix(D, norm=norm, seed=0))
    return layer


class Spectral(nn.Module):
    """0.4 tanh(W z / sigma + x), with sigma from one power iteration: that of torch."""

    def __init__(self, spectral_norm):
        super().__init__()
        torch.manual_seed(5)
        self.linear = spectral_norm(linear())

    def forward(self, z, x):
        return 0.4 * torch.tanh(self.linear(z) + x)


class Observed(nn.Module):
    """A map whose range an observer of quantisation keeps."""

    def __init__(self):
        super().__init__()
        self.linear = linear(norm=0.5)
        self.observer = torch.ao.quantization.MovingAverageMinMaxObserver().double()

    def forward(self, z, x):
        return torch.tanh(self.linear(self.observer(z)) + x)


class Scaled(nn.Module):
    """A buffer that f assigns anew, and reads after it has written it."""

    def __init__(self):
        super().__init__()
        self.linear = linear(norm=0.5)
        self.register_buffer("scale", torch.ones((), dtype=F64))

    def forward(self, z, x):
        self.scale = 0.9 * self.scale + 0.01 * (z + x).detach().abs().mean()
        return torch.tanh(self.linear(z) / (1 + self.scale) + x)


class InPlace(Scaled):
    """The same in place: the tape keeps what was written."""

    def forward(self, z, x):
        with torch.no_grad():
            self.scale.mul_(0.9).add_(0.01 * (z + x).abs().mean())
        return torch.tanh(self.linear(z) * (1 / self.scale.exp()) + x)


CELLS = {
    "batch-norm": Normed,
    "batch-norm-cumulative": lambda: Normed(momentum=None),
    "spectral-norm": lambda: Spectral(nn.utils.parametrizations.spectral_norm),
    "observer": Observed,
    "assigned": Scaled,
    "in-place": InPlace,
}
every_cell = pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)
no_observer_warning = pytest.mark.filterwarnings("ignore:.*torch.ao.quantization.*")
pytestmark = [no_observer_warning, pytest.mark.filterwarnings("ignore:.*spectral_norm.*")]


def assert_same_buffers(module, expected, tolerance=1e-9):
    found, wanted = dict(module.named_buffers()), dict(expected.named_buffers())
    assert found.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(
            found[name], wanted[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: n + m
        )


def updated_by_hand(cell, z, x):
    """The cell after torch's own single call at z."""
    with torch.no_grad():
        cell(z, x)
    return cell


@every_gradient
@every_cell
def test_a_training_step_is_one_call_at_the_solution(case, make):
    cell = make()
    twin, identities = copy.deepcopy(cell), {n: id(b) for n, b in cell.named_buffers()}
    x = X.clone().requires_grad_()
    deq = DEQ(cell, solver=case.solver, gradient=case.gradient, on_failure="raise")
    value = deq(x)
    after = updated_by_hand(twin, value.detach(), X)
    assert_same_buffers(cell, after)
    value.square().sum().backward()
    assert_same_buffers(cell, after)
    if not isinstance(cell, Scaled):  # which assigns its buffer itself
        assert {n: id(b) for n, b in cell.named_buffers()} == identities


@every_solver
@every_cell
def test_the_value_is_a_fixed_point_of_the_map_at_the_start(solver, make):
    cell = make()
    at_start = copy.deepcopy(cell)
    solution = fixed_point(cell, torch.zeros_like(X), X, solver=solver)
    with torch.no_grad():
        residual = (at_start(solution.value, X) - solution.value).norm()
    torch.testing.assert_close(residual, solution.residual[0], rtol=1e-6, atol=1e-14)
    assert residual <= solution.tolerance[0]


def test_batch_norm_by_an_explicit_loop():
    cell, y = Normed(), X[0]
    for step in range(2):
        z = torch.zeros_like(y)
        for _ in range(500):
            h = z + y
            z = 0.3 * torch.tanh((h - h.mean(0)) / (h.var(0, unbiased=False) + 1e-5).sqrt())
        h = z + y
        mean = (0.1 if step == 0 else 0.19) * h.mean(0)
        var = (0.9 if step == 0 else 0.81) + (0.1 if step == 0 else 0.19) * h.var(0)
        DEQ(cell, solver=Anderson(rtol=1e-12))(X).sum().backward()
        torch.testing.assert_close(cell.norm.running_mean, mean, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(cell.norm.running_var, var, rtol=1e-9, atol=1e-9)
        assert cell.norm.num_batches_tracked == step + 1


def test_the_old_spectral_norm_by_an_explicit_power_iteration():
    cell = Spectral(nn.utils.spectral_norm)
    w, u = cell.linear.weight_orig.detach(), cell.linear.weight_u.clone()
    for _ in range(3):
        v = nn.functional.normalize(w.T @ u, dim=0)
        u = nn.functional.normalize(w @ v, dim=0)
        z = torch.zeros_like(X)
        for _ in range(400):
            z = 0.4 * torch.tanh(z @ w.T / (u @ w @ v) + X)
        value = DEQ(cell, solver=Anderson(rtol=1e-12))(X)
        value.sum().backward()
        torch.testing.assert_close(value, z, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(cell.linear.weight_u, u, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(cell.linear.weight_v, v, rtol=1e-12, atol=1e-12)


@exact_gradients
@pytest.mark.parametrize("make", [Scaled, InPlace, CELLS["spectral-norm"]])
def test_the_gradient_is_that_of_the_map_at_the_start(case, make):
    cell, x, u = make(), X.clone().requires_grad_(), normal(1, N, D, seed=2)
    at_start = copy.deepcopy(cell)
    deq = DEQ(cell, solver=case.solver, gradient=case.gradient, on_failure="raise")
    value = deq(x)
    value.backward(u)
    z, leaf = value.detach(), X.clone().requires_grad_()

    def fresh(z, x):
        return copy.deepcopy(at_start)(z.view_as(X), x).flatten()

    j = torch.autograd.functional.jacobian(lambda z: fresh(z, X), z.flatten())
    v = torch.linalg.solve((torch.eye(N * D, dtype=F64) - j).T, u.flatten())
    (expected,) = torch.autograd.grad(fresh(z, leaf), leaf, v)
    torch.testing.assert_close(x.grad, expected, rtol=1e-7, atol=1e-8)


QUANTISED = torch.ao.quantization
OTHERS = {
    "scripted": lambda: torch.jit.script(nn.BatchNorm1d(D, dtype=F64)),
    "fake quantisation": lambda: QUANTISED.FakeQuantize(QUANTISED.MovingAverageMinMaxObserver),
    "fused": lambda: QUANTISED.FusedMovingAvgObsFakeQuantize(),
    "per channel": lambda: QUANTISED.PerChannelMinMaxObserver(ch_axis=1),
    "histogram": lambda: QUANTISED.HistogramObserver(),
    "shared": lambda: nn.Sequential(*[nn.BatchNorm1d(D, dtype=F64)] * 2),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.*", "ignore::DeprecationWarning")
@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_any_module_of_torch_is_called_once_in_effect(make):
    module = make()
    twin = copy.deepcopy(module)
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    x = X.clone().to(dtype).requires_grad_()
    f = lambda z, x: 0.3 * torch.tanh(module((z + x)[0]))[None]  # noqa: E731
    value = fixed_point(f, torch.zeros_like(x), x, on_failure="ignore").value
    with torch.no_grad():
        twin((value + x)[0])
    assert_same_buffers(module, twin, 1e-5 if dtype == torch.float32 else 1e-9)
    value.sum().backward()
    assert_same_buffers(module, twin, 1e-5 if dtype == torch.float32 else 1e-9)


def functional(mean, var, z, x):
    return 0.3 * torch.tanh(nn.functional.batch_norm((z + x)[0], mean, var, training=True))[None]


@every_gradient
@pytest.mark.parametrize("way", ["closure", "argument", "attribute", "functional_call"])
def test_statistics_without_a_module_are_held_as_well(case, way):
    mean, var, count = torch.zeros(D, dtype=F64), torch.ones(D, dtype=F64), torch.tensor(0)
    module = Normed()
    x, args = X.clone().requires_grad_(), ()
    if way == "closure":
        f = lambda z, x: functional(mean, var, z, x)  # noqa: E731
    elif way == "argument":
        f, args = (lambda z, x, mean, var: functional(mean, var, z, x)), (mean, var)
    elif way == "attribute":
        module.mean, module.var = mean, var
        module.forward = lambda z, x: functional(module.mean, module.var, z, x)
        f = module
    else:
        names = ("running_mean", "running_var", "num_batches_tracked")
        state = {f"norm.{name}": t for name, t in zip(names, (mean, var, count), strict=True)}
        f = lambda z, x: torch.func.functional_call(module, state, (z, x))  # noqa: E731
    options = {"solver": case.solver, "gradient": case.gradient}
    value = fixed_point(f, torch.zeros_like(X), x, *args, **options).value
    h = value.detach()[0] + X[0]
    for _ in range(2):
        torch.testing.assert_close(mean, 0.1 * h.mean(0), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(var, 0.9 + 0.1 * h.var(0), rtol=1e-9, atol=1e-9)
        assert count == (1 if way == "functional_call" else 0)
        if _ == 0:
            value.square().sum().backward()
    assert module.norm.num_batches_tracked == 0


def test_a_module_that_is_not_initialised_is_refused():
    norm = nn.LazyBatchNorm1d(dtype=F64)
    f = lambda z: 0.3 * torch.tanh(norm(z + X[0]))  # noqa: E731
    with pytest.raises(ValueError, match="LazyBatchNorm1d that is not initialised yet; call f"):
        fixed_point(f, torch.zeros_like(X[0]))


def test_two_forwards_before_one_backward_keep_the_buffers_of_their_start():
    cell = InPlace()
    alone = [copy.deepcopy(cell)]
    deq, x = DEQ(cell, solver=Anderson(rtol=1e-12)), X.clone().requires_grad_()
    first = deq(x)
    alone.append(copy.deepcopy(cell))
    second = deq(2 * x)
    (first.sum() + second.sum()).backward()
    expected = torch.zeros_like(X)
    for module, factor in zip(alone, (1, 2), strict=True):
        y = X.clone().requires_grad_()
        DEQ(module, solver=Anderson(rtol=1e-12))(factor * y).sum().backward()
        expected += y.grad
    torch.testing.assert_close(x.grad, expected, rtol=1e-8, atol=1e-8)


def test_second_derivatives_write_nothing():
    cell, x = InPlace(), X.clone().requires_grad_()
    value = DEQ(cell, solver=Anderson(rtol=1e-12))(x)
    kept = cell.scale.clone()
    (by_x,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    by_x.square().sum().backward()
    assert torch.equal(cell.scale, kept)


def test_a_solve_that_raises_writes_nothing():
    cell = Normed()
    before = copy.deepcopy(cell)
    with pytest.raises(ConvergenceError):
        fixed_point(cell, torch.zeros_like(X), X, solver=Anderson(max_steps=2))
    assert_same_buffers(cell, before)

    def breaks(z):
        cell.norm(z[0])
        raise MemoryError

    with pytest.raises(MemoryError):
        fixed_point(breaks, torch.zeros_like(X))
    assert_same_buffers(cell, before)


def test_statistics_of_numbers_that_are_not_finite_are_not_kept():
    cell = Normed()
    before = copy.deepcopy(cell)
    DEQ(cell, on_failure="ignore")(X * torch.nan)
    assert_same_buffers(cell, before)


def test_eval_mode_reads_the_statistics_and_writes_nothing():
    cell = Normed()
    DEQ(cell)(X)
    cell.eval()
    before = copy.deepcopy(cell)
    value = DEQ(cell, solver=Anderson(rtol=1e-12))(X)
    z = torch.zeros_like(X)
    for _ in range(200):
        z = before(z, X).detach()
    torch.testing.assert_close(value, z, rtol=1e-9, atol=1e-9)
    assert_same_buffers(cell, before)


def test_a_deq_within_f_updates_once_as_well():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = DEQ(InPlace(), solver=Anderson(rtol=1e-12))
            self.norm = nn.BatchNorm1d(D, dtype=F64)

        def forward(self, z, x):
            return 0.2 * self.norm(self.inner(z + x).flatten(0, 1)).view_as(z)

    outer = Outer()
    twin = copy.deepcopy(outer)
    x = X.clone().requires_grad_()
    value = DEQ(outer, solver=Anderson(rtol=1e-11))(x)
    after = updated_by_hand(twin, value.detach(), X)
    assert_same_buffers(outer, after, 1e-8)
    value.sum().backward()
    assert_same_buffers(outer, after, 1e-8)
    assert outer.norm.num_batches_tracked == 1


def test_a_norm_that_is_used_outside_as_well_keeps_its_tape():
    norm = nn.BatchNorm1d(D, dtype=F64)
    x = X[0].clone().requires_grad_()
    before = norm(x)
    f = lambda z, x: 0.3 * torch.tanh(norm(z[0] + x))[None]  # noqa: E731
    value = fixed_point(f, torch.zeros_like(X), x, on_failure="ignore").value
    (before.square().sum() + value.sum()).backward()
    assert norm.num_batches_tracked == 2
    assert x.grad.isfinite().all()


def test_threads_that_share_a_norm_count_each_solve_once():
    cell = Normed()
    deq = DEQ(cell)
    threads = [threading.Thread(target=lambda: [deq(X) for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cell.norm.num_batches_tracked == 20
