"""Whatever stands between a caller and a cell runs in a DEQ as in a loop that calls the module.

The gold is that loop, with autograd through its evaluations; see `loops`.
"""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.optim.swa_utils import AveragedModel

from deqlab import DEQ, JacobianFree, Phantom
from deqlab.nn import Cell, DenseCell, MonotoneCell, Prepared
from deqlab.solvers import PeacemanRachford
from tests.nn.loops import SOLVER, Plain, X, check_against_the_loop, dense
from tests.problems import F64


def with_hook(register, hook):
    def make():
        cell = dense()
        getattr(cell, register)(hook)
        return cell

    return make


def pruned():
    cell = dense()
    prune.random_unstructured(cell, "free", amount=0.5)
    return cell


def old_weight_norm():
    cell = dense()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's: it still works
        return nn.utils.weight_norm(cell, "free")


def old_spectral_norm():
    cell = Plain()
    nn.utils.spectral_norm(cell.back)
    for _ in range(50):  # power iteration, until it stands still
        cell.back(torch.zeros(1, 5, dtype=F64))
    cell.register_forward_hook(lambda module, inputs, out: 0.5 * out)
    return cell.eval()


def parametrised():
    return parametrizations.weight_norm(dense(), "free")


def parametrised_plain():
    cell = Plain()
    parametrizations.weight_norm(cell.back)
    return cell


def parametrised_with_hook():
    cell = parametrised()
    cell.register_forward_hook(lambda module, inputs, out: 0.9 * out)
    return cell


class Halved(DenseCell):
    """A subclass that overrides what a call does, and not what `prepare` does."""

    def forward(self, z, x):
        return 0.5 * super().forward(z, x)


def overridden():
    cell = Halved(3, 5, activation=torch.tanh).double()
    cell.load_state_dict(dense().state_dict())
    return cell


def patched():
    cell = dense()
    forward = cell.forward
    cell.forward = lambda z, x: 0.5 * forward(z, x)
    return cell


CELLS = {
    "as it is": dense,
    "forward hook": with_hook("register_forward_hook", lambda module, inputs, out: 0.5 * out),
    "forward pre-hook": with_hook(
        "register_forward_pre_hook", lambda module, inputs: (0.5 * inputs[0], 2 * inputs[1])
    ),
    "full backward hook": with_hook(
        "register_full_backward_hook", lambda module, to, of: (0.5 * to[0], 3 * to[1])
    ),
    "full backward pre-hook": with_hook(
        "register_full_backward_pre_hook", lambda module, of: (0.5 * of[0],)
    ),
    "pruned": pruned,
    "old weight_norm": old_weight_norm,
    "old spectral_norm": old_spectral_norm,
    "parametrised": parametrised,
    "forward overridden": overridden,
    "forward patched": patched,
    "DataParallel": lambda: nn.DataParallel(dense()),
    "AveragedModel": lambda: AveragedModel(dense()),
    "AveragedModel of a plain module": lambda: AveragedModel(Plain()),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_deq_is_the_loop_that_calls_its_cell(name):
    check_against_the_loop(CELLS[name])


@pytest.mark.parametrize("make", [parametrised, parametrised_plain, parametrised_with_hook])
def test_weights_that_a_cache_keeps_still_get_their_gradients(make):
    # Cached in an evaluation without a tape, they would get none.
    with parametrize.cached():
        check_against_the_loop(make)


@pytest.mark.slow
@pytest.mark.parametrize("gradient", [JacobianFree(), Phantom()])
@pytest.mark.parametrize("name", CELLS)
def test_other_gradients_have_the_same_value(name, gradient):
    check_against_the_loop(CELLS[name], gradient)


def test_a_weight_that_is_pruned_is_the_one_in_use():
    cell = pruned()
    deq = DEQ(cell, solver=SOLVER, on_failure="raise")
    with torch.no_grad():
        deq(X)
        cell.free_orig.zero_()
        value = deq(X)
    assert torch.equal(cell.free, torch.zeros_like(cell.free))
    torch.testing.assert_close(value, torch.tanh(cell.inject(X)), rtol=1e-12, atol=1e-12)


def test_without_any_of_these_what_is_constant_is_computed_once():
    class Counted(nn.Identity):
        calls = 0

        def forward(self, free):
            Counted.calls += 1
            return free

    deq = DEQ(DenseCell(3, 5, constraint=Counted(), gain=0.1).double(), solver=SOLVER)
    assert deq.solve(X).evaluations > 3
    assert Counted.calls == 1


def test_a_layer_is_named_after_what_its_wrappers_hold():
    assert DEQ(nn.DataParallel(AveragedModel(dense()))).name == "DEQ(DenseCell)"
    assert DEQ(dense(), name="encoder").name == "encoder"


def test_rows_leave_a_cell_with_hooks_and_a_wrapped_one():
    # The first row is solved at once; the last one needs many steps.
    x = torch.tensor([[0.0], [1.0], [1.0]], dtype=F64)

    class Rows(Cell):
        def initial(self, x):
            return torch.zeros_like(x)

        def prepare(self, x):
            return Prepared(rows=x)

        def update(self, z, shared, rows):
            sizes.append(len(z))
            return 0.9 * torch.tanh(z) + rows

    expected = DEQ(Rows(), solver=SOLVER)
    for wrap in (lambda cell: cell, nn.DataParallel):
        sizes = []
        cell = Rows()
        cell.register_forward_hook(lambda module, inputs, out: out + 0)
        deq = DEQ(wrap(cell), solver=SOLVER, rows_independent=True)
        value = deq(x)
        assert min(sizes) < max(sizes) == 3
        torch.testing.assert_close(value, expected(x), rtol=1e-10, atol=1e-12)


def test_a_splitting_method_says_what_it_needs_of_a_cell_with_hooks():
    cell = MonotoneCell(3, 5).double()
    cell.register_forward_hook(lambda module, inputs, out: out)
    with pytest.raises(TypeError, match="PeacemanRachford splits z = sigma"):
        DEQ(cell, solver=PeacemanRachford())(X)


def test_an_averaged_layer_is_a_layer():
    deq = DEQ(dense(), solver=SOLVER)
    deq(X).sum().backward()
    averaged = AveragedModel(deq)
    torch.testing.assert_close(averaged(X), deq(X), rtol=1e-12, atol=1e-12)
    averaged.update_parameters(copy.deepcopy(deq))
    assert averaged.module.last is not None
    assert deq.last is not averaged.module.last


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_a_scripted_cell_is_a_plain_module():
    torch.manual_seed(0)
    scripted, x = torch.jit.script(torch.nn.GRUCell(3, 3)), torch.randn(4, 3)
    value = DEQ(Swapped(scripted))(x)
    torch.testing.assert_close(scripted(x, value), value, rtol=1e-3, atol=1e-4)
    assert DEQ(scripted)(x).shape == (4, 3)


class Swapped(torch.nn.Module):
    """A cell f(z, x) of torch's, which takes x first."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, z, x):
        return self.cell(x, z)


def test_what_a_cell_raises_is_told_with_the_layer():
    class Narrower(nn.Module):
        def initial(self, x):
            return torch.zeros_like(x)

        def forward(self, z, x):
            return z[:, :3]

    class Torn(Narrower):
        def forward(self, z, x):
            return z @ torch.ones(5, 5)

    for cell in (Narrower(), Torn()):
        with pytest.raises((ValueError, RuntimeError)) as caught:
            DEQ(cell, name="second")(torch.randn(4, 8))
        assert caught.value.__notes__ == ["It was raised in a solve of second."]
