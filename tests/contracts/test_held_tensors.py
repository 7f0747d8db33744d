"""Tensors that f writes and that are no buffers: held still all the same, wherever f has them.

The map is that of vector quantisation: a codebook follows the state by an exponential average.
"""

import weakref

import pytest
import torch
from torch import nn

from deqlab import DEQ, Anderson, fixed_point
from tests.contracts.gradients import every_gradient
from tests.problems import F64, matrix, normal

N, D = 5, 4
W, X = matrix(D, norm=0.5, seed=0), normal(N, D, seed=1)
START = normal(3, D, seed=2)
ELSEWHERE = {}


class Holder:
    def __init__(self, tensor):
        self.tensor = tensor


class Quantised(nn.Module):
    """tanh(W z + x) + 0.3 mean(codebook), where the codebook moves before it is read."""

    def __init__(self, place, write):
        super().__init__()
        self.w, self.place, self.write = nn.Parameter(W.clone()), place, write
        codebook = START.clone()
        if place == "parameter":
            self.codebook = nn.Parameter(codebook, requires_grad=False)
        elif place == "parameter of a submodule":
            self.part = nn.Embedding(3, D, _weight=codebook)
            self.part.requires_grad_(False)
        elif place == "attribute":
            self.codebook = codebook
        elif place == "list":
            self.held = [codebook]
        elif place == "list of parameters":
            self.held = [nn.Parameter(codebook, requires_grad=False)]
        elif place == "object":
            self.held = Holder(codebook)
        elif place == "property":
            ELSEWHERE["codebook"] = codebook
        else:
            ELSEWHERE["module"] = Holder(codebook)
            self.held = weakref.ref(ELSEWHERE["module"])

    @property
    def elsewhere(self):
        return ELSEWHERE["codebook"]

    def read(self):
        if self.place == "parameter of a submodule":
            return self.part.weight
        if self.place == "property":
            return self.elsewhere
        if self.place.startswith("list"):
            return self.held[0]
        if self.place == "object":
            return self.held.tensor
        return self.held().tensor if self.place == "weakref" else self.codebook

    def forward(self, z, x):
        with torch.no_grad():
            self.write(self.read(), 0.1 * (z + x).mean(0))
        return torch.tanh(z @ self.w.T + x) + 0.3 * self.read().mean(0)


def past_autograd(codebook, change):
    codebook.data.mul_(0.9).add_(change)


def in_place(codebook, change):
    codebook.mul_(0.9).add_(change)


PLACES = ("parameter", "parameter of a submodule", "attribute", "list", "list of parameters")
PLACES = (*PLACES, "object", "property", "weakref")


@pytest.mark.parametrize("write", [past_autograd, in_place])
@pytest.mark.parametrize("place", PLACES)
def test_the_map_stands_still_and_one_update_is_made(place, write):
    cell = Quantised(place, write)
    x = X.clone().requires_grad_()
    codebook = cell.read()
    value = DEQ(cell, solver=Anderson(rtol=1e-12), batched=False, on_failure="raise")(x)

    def at_start(z):  # as one call at z reads it
        moved = 0.9 * START + 0.1 * (z + X).mean(0)
        return torch.tanh(z @ W.T + X) + 0.3 * moved.mean(0)

    torch.testing.assert_close(at_start(value.detach()), value.detach(), rtol=1e-9, atol=1e-9)
    after = 0.9 * START + 0.1 * (value.detach() + X).mean(0)
    torch.testing.assert_close(cell.read().detach(), after, rtol=1e-12, atol=1e-12)
    assert cell.read() is codebook
    value.sum().backward()
    torch.testing.assert_close(cell.read().detach(), after, rtol=1e-12, atol=1e-12)


@every_gradient
@pytest.mark.parametrize("place", ["parameter", "attribute"])
def test_a_training_step_with_every_gradient_is_one_update(case, place):
    cell = Quantised(place, past_autograd)
    options = {"solver": case.solver, "gradient": case.gradient, "on_failure": "ignore"}
    value = DEQ(cell, batched=False, **options)(X)
    after = 0.9 * START + 0.1 * (value.detach() + X).mean(0)
    torch.testing.assert_close(cell.codebook.detach(), after, rtol=1e-12, atol=1e-12)
    value.sum().backward()
    torch.testing.assert_close(cell.codebook.detach(), after, rtol=1e-12, atol=1e-12)
    assert isinstance(cell.codebook, nn.Parameter) is (place == "parameter")


@pytest.mark.parametrize("write", [past_autograd, in_place])
@pytest.mark.parametrize("place", ["parameter", "attribute"])
def test_the_gradient_is_that_of_the_map_at_the_start(place, write):
    class Scaling(Quantised):
        def forward(self, z, x):
            self.write(self.read(), 0.01)  # the same for any z: J is that of the rest
            return 0.3 * (self.read()[0] * torch.tanh(z @ self.w.T + x))  # a tape keeps both

    cell, x, u = Scaling(place, write), X.clone().requires_grad_(), normal(N, D, seed=3)
    value = DEQ(cell, solver=Anderson(rtol=1e-12))(x)
    value.backward(u)
    scale = 0.3 * (0.9 * START + 0.01)[0]
    z = torch.zeros_like(X)
    for _ in range(300):
        z = scale * torch.tanh(z @ W.T + X)
    slope = scale * (1 - torch.tanh(z @ W.T + X) ** 2)
    expected = torch.zeros_like(X)
    for row in range(N):
        j = slope[row, :, None] * W
        expected[row] = slope[row] * torch.linalg.solve((torch.eye(D, dtype=F64) - j).T, u[row])
    torch.testing.assert_close(value.detach(), z, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(x.grad, expected, rtol=1e-8, atol=1e-9)


def test_a_parameter_that_is_assigned_anew_is_put_back_and_assigned_once():
    class Assigning(nn.Module):
        def __init__(self):
            super().__init__()
            self.codebook = nn.Parameter(START.clone())

        def forward(self, z, x):
            moved = 0.9 * self.codebook.detach() + 0.1 * (z + x).detach().mean(0)
            self.codebook = nn.Parameter(moved)
            return 0.5 * torch.tanh(z) + x + 0.3 * moved.mean(0)

    cell = Assigning()
    value = DEQ(cell, solver=Anderson(rtol=1e-12), batched=False)(X)
    after = 0.9 * START + 0.1 * (value.detach() + X).mean(0)
    torch.testing.assert_close(cell.codebook.detach(), after, rtol=1e-12, atol=1e-12)
    assert isinstance(cell.codebook, nn.Parameter)


class Trained(nn.Module):
    """A parameter in training that f writes itself."""

    def __init__(self, write):
        super().__init__()
        self.w, self.write = nn.Parameter(W.clone()), write

    def forward(self, z, x):
        with torch.no_grad():
            self.write(self.w)
        return torch.tanh(z @ self.w.T + x)


def decay(w):
    w.mul_(0.99)


def decay_past_autograd(w):
    w.data.mul_(0.99)


@pytest.mark.parametrize("write", [decay, decay_past_autograd])
@pytest.mark.parametrize("grad", [True, False])
def test_a_parameter_in_training_that_f_writes_is_refused(write, grad):
    with (
        torch.set_grad_enabled(grad),
        pytest.raises(ValueError, match=r"f writes to Trained\.w whenever .*register_buffer"),
    ):
        DEQ(Trained(write))(X)


def test_a_frozen_parameter_that_f_writes_in_eval_mode_is_refused():
    cell = Trained(decay_past_autograd).requires_grad_(False).eval()
    with pytest.raises(ValueError, match=r"f writes to Trained\.w.*in train mode"):
        DEQ(cell)(X)


@pytest.mark.parametrize("grad", [True, False])
def test_a_write_that_changes_nothing_any_more_is_none(grad):
    mask = torch.ones(D, D, dtype=F64).tril()

    def masked(w):
        w.data *= mask

    with torch.set_grad_enabled(grad):
        value = DEQ(Trained(masked), solver=Anderson(rtol=1e-12))(X)
    z = torch.zeros_like(X)
    for _ in range(300):
        z = torch.tanh(z @ (mask * W).T + X)
    torch.testing.assert_close(value.detach(), z, rtol=1e-9, atol=1e-9)


def test_an_argument_that_f_writes_is_refused():
    def f(z, x):
        x += 0.1 * z
        return torch.tanh(x)

    with pytest.raises(ValueError, match=r"f writes to a tensor of shape \(5, 4\) whenever"):
        fixed_point(f, torch.zeros_like(X), X.clone())


def test_a_large_tensor_beside_modules_that_f_writes_is_refused():
    table = torch.zeros(2**17, dtype=F64)

    def f(z):
        table.add_(0.1)
        return 0.5 * torch.tanh(z) + table[0]

    with pytest.raises(ValueError, match=r"f writes to a tensor of shape \(131072,\)"):
        fixed_point(f, X)


def test_what_f_leaves_in_an_attribute_keeps_its_graph():
    class Looked(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.seen = nn.Parameter(W.clone()), torch.zeros(N, D, dtype=F64)

        def forward(self, z, x):
            self.seen = torch.tanh(z @ self.w.T + x)
            return self.seen

    cell = Looked()
    for _ in range(2):
        value = DEQ(cell)(X)
        assert torch.equal(cell.seen, value) or (cell.seen - value).abs().max() < 1e-4
        assert cell.seen.requires_grad
