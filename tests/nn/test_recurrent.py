"""Recurrent cells are those of torch; their equilibrium is where these settle."""

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from deqlab import DEQ, Anderson
from deqlab.nn import RecurrentCell
from tests.problems import normal

KINDS = {
    "GRU": nn.GRUCell,
    "LSTM": nn.LSTMCell,
    "tanh": nn.RNNCell,
    "relu": lambda *sizes, **options: nn.RNNCell(*sizes, nonlinearity="relu", **options),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def made(kind, *, seed=0, **options):
    torch.manual_seed(seed)
    return kind(3, 5, **options).double()


def some_state(cell, x, seed=1):
    return tree_map(lambda t: normal(*t.shape, seed=seed), cell.initial(x))


@every_kind
@pytest.mark.parametrize("bias", [True, False])
def test_f_is_the_cell_of_torch_and_so_are_its_gradients(kind, bias):
    inner, x = made(kind, bias=bias), normal(4, 3, seed=2)
    cell = RecurrentCell(inner)
    z, both = some_state(cell, x), []
    for image in (cell(z, x), inner(x, z)):
        loss = sum(t.square().sum() for t in tree_leaves(image))
        both.append([*tree_leaves(image), *torch.autograd.grad(loss, list(inner.parameters()))])
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


@every_kind
def test_its_equilibrium_is_where_the_cell_of_torch_settles(kind):
    inner, x = made(kind), normal(4, 3, seed=3)
    deq = DEQ(RecurrentCell(inner), solver=Anderson(rtol=1e-12), on_failure="raise")
    state = None
    for _ in range(500):
        state = inner(x, state)
    for one, other in zip(tree_leaves(deq(x)), tree_leaves(state), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@every_kind
def test_the_gain_scales_the_state_and_at_0_it_is_forgotten(kind):
    inner, x = made(kind), normal(4, 3, seed=4)
    cell = RecurrentCell(inner)
    z = some_state(cell, x)
    for gain in (0.5, 0.0):
        cell.knob.value.fill_(gain)
        expected = inner(x, tree_map(lambda t, gain=gain: gain * t, z))
        for one, other in zip(tree_leaves(cell(z, x)), tree_leaves(expected), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)
    other = cell(some_state(cell, x, seed=5), x)
    for one, two in zip(tree_leaves(cell(z, x)), tree_leaves(other), strict=True):
        assert torch.equal(one, two)


def test_a_gru_that_keeps_its_state_has_many_fixed_points():
    inner, x = made(nn.GRUCell), normal(2, 3, seed=6)
    with torch.no_grad():
        inner.bias_hh[5:10] = 50  # the update gate is 1 to rounding
    certificate = RecurrentCell(inner).certificate()
    assert certificate.exists
    assert not certificate.unique
    deq = DEQ(RecurrentCell(inner), on_failure="raise")
    for z0 in (torch.full((2, 5), 0.3).double(), torch.full((2, 5), -0.9).double()):
        torch.testing.assert_close(deq(x, z0=z0), z0)


def test_a_relu_promises_nothing_and_may_grow():
    inner = made(KINDS["relu"])
    assert not RecurrentCell(inner).certificate().exists
    assert RecurrentCell(made(nn.RNNCell)).certificate().exists


def test_weights_may_be_parametrised():
    inner, x = made(nn.GRUCell), normal(4, 3, seed=7)
    nn.utils.parametrizations.spectral_norm(inner, "weight_hh").eval()
    cell = RecurrentCell(inner)
    z = some_state(cell, x)
    torch.testing.assert_close(cell(z, x), inner(x, z), rtol=1e-12, atol=1e-13)


def test_hooks_that_would_not_run_are_refused():
    inner = made(nn.GRUCell)
    inner.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="the hooks of GRUCell would not run: RecurrentCell comp"):
        RecurrentCell(inner)(torch.zeros(2, 5).double(), normal(2, 3, seed=8))


class Own(nn.GRUCell):
    def forward(self, x, h):
        return h / 2


@pytest.mark.parametrize("recurrent", [Own(3, 5), nn.Linear(3, 5), nn.GRU(3, 5)])
def test_another_module_is_refused(recurrent):
    name = type(recurrent).__name__
    with pytest.raises(TypeError, match=f"nn.LSTMCell with its own forward, got {name}; DEQ takes"):
        RecurrentCell(recurrent)


def test_another_width_is_refused():
    with pytest.raises(ValueError, match=r"takes x of shape \(\.\.\., 3\), got \(2, 4\)"):
        DEQ(RecurrentCell(nn.GRUCell(3, 5)))(torch.randn(2, 4))
