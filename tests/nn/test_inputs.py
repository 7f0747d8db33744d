"""Inputs of a layer: several, by name, a start, any dimensions in front; and what it remembers."""

import copy
import gc
import io
import pickle
import re
import weakref

import pytest
import torch
from torch import nn

from deqlab import DEQ, Anderson, ConvergenceError, Implicit, Picard, Solution, Status
from deqlab.nn import Cell, DenseCell, MonotoneCell, MultiscaleCell, Prepared, SpectralNorm
from deqlab.nn.leading import Leading
from deqlab.solvers import PeacemanRachford
from tests.problems import F64, normal

SOLVER = Anderson(rtol=1e-12, max_steps=300)


class Gated(nn.Module):
    """z = mask (A z) + x + shift, for a mask that may be missing; its state is wider than x."""

    def __init__(self):
        super().__init__()
        self.back = nn.Linear(4, 4, bias=False, dtype=F64)
        self.inject = nn.Linear(3, 4, bias=False, dtype=F64)
        nn.init.orthogonal_(self.back.weight, gain=0.6)

    def initial(self, x, mask=None, *, shift=0.0):
        self.seen = (x, mask, shift)
        return x.new_zeros(len(x), 4)

    def forward(self, z, x, mask=None, *, shift=0.0):
        back = self.back(z)
        return (back if mask is None else mask * back) + self.inject(x) + shift


X, MASK = normal(2, 3, seed=0), torch.tensor([[1.0, 0, 1, 0], [0, 1, 1, 1]], dtype=F64)


def gold(cell, x, mask, shift):
    """One dense solve a row: z = diag(mask) A z + q."""
    a = cell.back.weight
    rows = []
    for i, q in enumerate(cell.inject(x) + shift):
        gate = torch.ones(4, dtype=F64) if mask is None else mask[i]
        rows.append(torch.linalg.solve(torch.eye(4, dtype=F64) - gate[:, None] * a, q))
    return torch.stack(rows)


@pytest.mark.parametrize("by_name", [False, True])
def test_several_inputs_with_their_gradients(by_name):
    deq = DEQ(Gated(), solver=SOLVER, on_failure="raise")
    x, mask, shift = X.clone(), MASK.clone(), torch.full((2, 1), 0.5, dtype=F64)
    leaves = [t.requires_grad_() for t in (x, mask, shift)]
    value = deq(x, mask=mask, shift=shift) if by_name else deq(x, mask, shift=shift)
    expected = gold(deq.cell, x, mask, shift)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-10)
    u = normal(2, 4, seed=1)
    parameters = [*leaves, *deq.parameters()]
    found = torch.autograd.grad(value, parameters, u)
    right = torch.autograd.grad(expected, parameters, u)
    torch.testing.assert_close(found, right, rtol=1e-8, atol=1e-9)
    assert deq.cell.seen[1] is mask


def test_inputs_that_are_no_tensors_are_passed_on():
    deq = DEQ(Gated(), solver=SOLVER, on_failure="raise")
    torch.testing.assert_close(
        deq(X, None, shift=0.5), gold(deq.cell, X, None, 0.5), rtol=1e-9, atol=1e-10
    )
    torch.testing.assert_close(deq(x=X, mask=None), deq(X), rtol=0, atol=0)


def test_a_cell_prepares_the_same_inputs():
    class Two(Cell):
        def initial(self, x, *, y):
            return torch.zeros_like(y)

        def prepare(self, x, *, y):
            return Prepared(rows=x.sum(1, keepdim=True) + y)

        def update(self, z, shared, rows):
            return 0.5 * z + rows

    x, y = normal(2, 3, seed=0), normal(2, 4, seed=1)
    expected = 2 * (x.sum(1, keepdim=True) + y)
    deq = DEQ(Two(), solver=SOLVER)
    torch.testing.assert_close(deq(x, y=y), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(deq.cell(expected, x, y=y), expected, rtol=1e-9, atol=1e-9)


def test_a_start_is_used_by_both_ways_in():
    deq = DEQ(Gated(), solver=SOLVER)
    value = deq(X, MASK).detach()
    for warm in (deq.solve(X, MASK, z0=value), (deq(X, MASK, z0=value), deq.last)[1]):
        assert warm.evaluations == 1


class Plain(nn.Module):
    """tanh(A z + B x), with no word of where to start."""

    def __init__(self, width, inputs):
        super().__init__()
        self.back, self.inject = nn.Linear(width, width), nn.Linear(inputs, width)

    def forward(self, z, x):
        return torch.tanh(0.1 * self.back(z) + self.inject(x))


class Wide(Plain):
    def forward(self, z, x):
        return torch.tanh(self.inject(x))


@pytest.mark.parametrize("kind", [Plain, Wide])  # f fails, or returns what is no state
@pytest.mark.parametrize("gradient", [True, False])
def test_a_state_unlike_x_is_told_of_initial(kind, gradient):
    deq = DEQ(kind(4, 3))
    with (
        torch.set_grad_enabled(gradient),
        pytest.raises((ValueError, RuntimeError), match=r"\(2, 3\).* no `initial`.* or pass z0="),
    ):
        deq(torch.randn(2, 3))
    assert deq(torch.randn(2, 3), z0=torch.zeros(2, 4)).shape == (2, 4)


STARTS = {
    "width": (torch.zeros(4, 15), r"float32 of shape \(4, 15\)"),
    "rows": (torch.zeros(3, 16), r"float32 of shape \(3, 16\)"),
    "more rows": (torch.zeros(8, 16), r"float32 of shape \(8, 16\)"),
    "one row": (torch.zeros(1, 16), r"float32 of shape \(1, 16\)"),
    "one dimension": (torch.zeros(16), r"float32 of shape \(16,\)"),
    "three": (torch.zeros(2, 2, 16), r"float32 of shape \(2, 2, 16\)"),
    "double": (torch.zeros(4, 16, dtype=F64), r"float64 of shape \(4, 16\)"),
    "half": (torch.zeros(4, 16).half(), r"float16 of shape \(4, 16\)"),
    "integers": (torch.zeros(4, 16).long(), r"int64 of shape \(4, 16\)"),
    "tuple": ((torch.zeros(4, 16),), r"\(float32 of shape \(4, 16\)\)"),
    "list": ([0.0] * 16, "a list"),
    "numpy": (torch.zeros(4, 16).numpy(), "a ndarray"),
}


@pytest.mark.parametrize(("z0", "form"), STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("cell", [DenseCell(8, 16), MonotoneCell(8, 16), Gated()])
def test_a_start_unlike_the_state_is_told_what_the_state_is(z0, form, cell):
    x, own = torch.randn(4, 8), r"float32 of shape \(4, 16\)"
    if isinstance(cell, Gated):
        x, own = torch.randn(4, 3, dtype=F64), r"float64 of shape \(4, 4\)"
    with pytest.raises(ValueError, match=rf"^DEQ\(.*\): z0 is {form}, and .* the state is {own}"):
        DEQ(cell)(x, z0=z0)


def test_many_starts_for_one_input_of_a_cell_of_vectors_are_refused():
    # addmm would take them: four rows for an input of one.
    with pytest.raises(ValueError, match=r"z0 is .*\(4, 16\), .* the state is .*\(1, 16\)"):
        DEQ(DenseCell(8, 16))(torch.randn(1, 8), z0=torch.zeros(4, 16))


def test_a_start_of_several_maps_is_told_what_the_state_is():
    cell = MultiscaleCell(2, (4, 4))
    x = torch.randn(1, 2, 8, 8)
    right = cell.initial(x)
    with pytest.raises(ValueError, match=r"z0 is \(float32 .*, float32 .*\), .* the state is \(f"):
        DEQ(cell)(x, z0=(right[0], right[1][..., :1]))


def test_an_input_that_is_wrong_is_not_blamed_on_the_start():
    with pytest.raises(ValueError, match=r"^DenseCell takes x of shape \(\.\.\., 8\)"):
        DEQ(DenseCell(8, 16))(torch.randn(4, 7), z0=torch.zeros(4, 16))


@pytest.mark.parametrize("z0", [torch.zeros(2, 5), torch.zeros(3, 3), torch.zeros(1, 3)])
def test_a_start_of_a_plain_module_is_shown_beside_its_error(z0):
    shape = re.escape(str(tuple(z0.shape)))
    with pytest.raises(
        (RuntimeError, ValueError), match=rf"z0 that was passed, .*{shape}.*\(2, 3\)"
    ):
        DEQ(Plain(3, 3))(torch.randn(2, 3), z0=z0)


@pytest.mark.parametrize("passed", [True, False])
def test_a_vector_is_one_sample_of_a_plain_module(passed):
    torch.manual_seed(0)
    deq = DEQ(Plain(3, 3).double(), solver=SOLVER, on_failure="raise")
    x, u = normal(3, seed=0).requires_grad_(), normal(3, seed=1)
    value = deq(x, z0=torch.zeros(3, dtype=F64)) if passed else deq(x)
    assert deq.last.status.shape == (1,)
    row = x.detach()[None].requires_grad_()
    expected = deq(row)
    torch.testing.assert_close(value, expected[0], rtol=1e-10, atol=1e-12)
    found = torch.autograd.grad(value, [x, *deq.parameters()], u)
    right = torch.autograd.grad(expected, [row, *deq.parameters()], u[None])
    torch.testing.assert_close(found[1:], right[1:], rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(found[0], right[0][0], rtol=1e-8, atol=1e-10)


def test_numbers_are_samples_where_rows_are_said_to_be_independent():
    class Halved(nn.Module):
        def forward(self, z, x):
            return 0.5 * z.cos() + x

    deq = DEQ(Halved(), rows_independent=True)
    deq(torch.randn(3))
    assert deq.last.status.shape == (3,)


def test_an_error_that_is_not_about_the_start_stays_as_it_is():
    class Broken(nn.Module):
        def initial(self, x):
            return torch.zeros_like(x)

        def forward(self, z, x):
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match=r"^boom\nIt was raised in a solve of DEQ\(Broken\).$"):
        DEQ(Broken())(torch.randn(2, 3))


def test_no_input_to_start_from_is_told_of_initial():
    with pytest.raises(TypeError, match=r"where to start\? Plain has no `initial`.*pass z0="):
        DEQ(Plain(3, 3))(x=torch.randn(2, 3))


VECTORS = {
    "dense": lambda: DEQ(
        DenseCell(3, 5, activation=torch.tanh, constraint=SpectralNorm(0.8)), solver=SOLVER
    ),
    "monotone": lambda: DEQ(MonotoneCell(3, 5), solver=PeacemanRachford(rtol=1e-12, max_steps=500)),
    "hooked": lambda: hooked(),
    "wrapped": lambda: DEQ(nn.DataParallel(DenseCell(3, 5, gain=0.3)), solver=SOLVER),
}


def hooked():
    cell = DenseCell(3, 5, gain=0.3)
    cell.register_forward_hook(lambda module, inputs, out: 0.5 * out)
    return DEQ(cell, solver=SOLVER)


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("front", [(), (1,), (4,), (2, 3), (2, 0), (2, 1, 3)])
def test_any_dimensions_may_stand_in_front_as_in_linear(name, front):
    deq = VECTORS[name]().double()
    x = normal(*front, 3, seed=0).requires_grad_()
    u = normal(*front, 5, seed=1)
    solution = deq.solve(x)
    assert solution.value.shape == u.shape
    (found,) = torch.autograd.grad(solution.value, x, u)
    # The gold: one vector at a time.
    rows = x.detach().reshape(-1, 3).requires_grad_()
    each = [deq(row[None]) for row in rows]
    assert len(solution.status) == len(solution.residual) == len(each)
    if each:
        value = torch.cat(each)
        torch.testing.assert_close(solution.value.reshape(-1, 5), value, rtol=1e-9, atol=1e-10)
        (expected,) = torch.autograd.grad(value, rows, u.reshape(-1, 5))
        torch.testing.assert_close(found.reshape(-1, 3), expected, rtol=1e-8, atol=1e-9)
    z = solution.value.detach()
    torch.testing.assert_close(deq.cell(z, x), z, rtol=1e-9, atol=1e-9)
    assert deq.solve(x, z0=z).value.shape == z.shape
    assert deq(x=x).shape == z.shape


def test_recorded_states_and_the_correction_have_the_dimensions_in_front():
    cell = DenseCell(3, 5, activation=torch.tanh).double()
    deq = DEQ(cell, solver=Anderson(record=(1, 2)), gradient=Implicit(accuracy=1e-3))
    solution = deq.solve(normal(2, 4, 3, seed=0))
    assert [state.shape for state in solution.states] == [(2, 4, 5)] * 2
    assert solution.correction.shape == (2, 4, 5)
    assert solution.error.shape == (8,)


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (torch.zeros(2, 7), r"DenseCell takes x of shape \(\.\.\., 3\), got \(2, 7\)"),
        (torch.zeros(7), r"DenseCell takes x of shape \(\.\.\., 3\), got \(1, 7\)"),
    ],
)
def test_an_input_of_another_shape_is_refused(x, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        DEQ(DenseCell(3, 5))(x)


def test_dimensions_in_front_are_those_of_a_tensor_with_at_least_one_sample():
    with pytest.raises(ValueError, match=r"one sample .* has 1 dimension, .* the shape \(\)"):
        Leading.of(torch.tensor(1.0), 1)
    with pytest.raises(TypeError, match="the input must be a tensor, got list"):
        Leading.of([1.0, 2.0], 1)


def test_a_start_without_the_dimensions_in_front_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 4\) in front .* got the shape \(8, 5\)"):
        DEQ(DenseCell(3, 5))(torch.zeros(2, 4, 3), z0=torch.zeros(8, 5))


def test_the_last_verdicts_are_there_inside_of_a_sequence():
    deq = DEQ(DenseCell(4, 5, gain=0.3).double(), solver=SOLVER, gradient=Implicit(accuracy=1e-4))
    model = nn.Sequential(nn.Linear(3, 4, dtype=F64), deq, nn.Linear(5, 1, dtype=F64))
    assert deq.last is None
    loss = model(X).sum()
    solution = deq.solve(model[0](X))
    model(X)
    assert isinstance(deq.last, Solution)
    assert deq.last.value is None
    assert torch.equal(deq.last.residual, solution.residual)
    assert torch.equal(deq.last.status, solution.status)
    assert deq.last.gradient_error is None
    loss = model(X).sum()
    loss.backward()
    assert deq.last.adjoint[0].converged.all()
    assert (deq.last.gradient_error < 1e-4).all()


def test_observers_are_told_every_solve_and_stay_with_their_layer():
    deq, told = DEQ(DenseCell(3, 5, gain=0.3).double(), on_failure="raise"), []
    deq.observers.append(told.append)
    deq(X)
    deq.solve(X)
    assert told[-1] is deq.last
    deq.solver = Anderson(rtol=1e-12, max_steps=2)
    with pytest.raises(ConvergenceError):
        deq(X)  # before anything is raised
    assert [bool(verdicts.converged.all()) for verdicts in told] == [True, True, False]
    assert copy.deepcopy(deq).observers == []
    assert pickle.loads(pickle.dumps(deq)).observers == []


def test_the_last_verdicts_hold_no_graph_and_no_value():
    deq = DEQ(DenseCell(3, 5, gain=0.3).double(), solver=Anderson(rtol=1e-6, record=(1,)))
    value = deq(X)
    dead, graph = weakref.ref(value), weakref.ref(value.grad_fn)
    del value
    gc.collect()
    assert dead() is None
    assert graph() is None
    assert deq.last.states == ()
    tensors = [v for v in vars(deq.last).values() if isinstance(v, torch.Tensor)]
    assert len(tensors) >= 4
    assert not any(t.requires_grad for t in tensors)


def test_the_last_verdicts_are_those_of_a_solve_that_raised():
    deq = DEQ(DenseCell(3, 5).double(), solver=Picard(max_steps=1), on_failure="raise")
    with pytest.raises(ConvergenceError) as caught:
        deq(X)
    assert deq.last.status.tolist() == [Status.MAX_STEPS] * 2
    assert torch.equal(caught.value.solution.residual, deq.last.residual)


def saved_whole(module):
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), saved_whole]
)
def test_the_last_verdicts_are_not_copied_or_saved(duplicate):
    deq = DEQ(DenseCell(3, 5, gain=0.3).double())
    deq(X).sum().backward()
    twin = duplicate(deq)
    assert twin.last is None
    assert deq.last is not None
    twin(X)
    assert twin.last is not deq.last
    assert set(deq.state_dict()) == {"cell.free", "cell.inject.weight", "cell.inject.bias"}


def test_a_replica_remembers_its_own():
    deq = DEQ(DenseCell(3, 5, gain=0.3).double())
    deq(X)
    before = deq.last
    replica = deq._replicate_for_data_parallel()
    replica.cell = deq.cell  # as nn.parallel.replicate does for children
    replica(X[:1])
    assert deq.last is before
    assert len(replica.last.status) == 1
