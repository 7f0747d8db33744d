"""Activation checkpointing and saved-tensor hooks around a DEQ: less memory, the same numbers."""

import pytest
import torch
from torch import nn
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from deqlab import DEQ, fixed_point
from tests.contracts.dense import at
from tests.contracts.gradients import every_gradient, exact_gradients
from tests.problems import F64, matrix, normal

W, X = matrix(4, norm=0.5, seed=0), normal(3, 4, seed=1)
FEW = 4  # evaluations with a tape: one per forward, one per backward pass


class CountingCell(nn.Module):
    """tanh(W z + b + x), with the number of its evaluations."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4, dtype=F64)
        with torch.no_grad():
            self.linear.weight.copy_(W)
            self.linear.bias.zero_()
        self.evaluations = 0

    def forward(self, z, x):
        self.evaluations += 1
        return torch.tanh(self.linear(z) + x)


def some_deq(case):
    case = at(case, 1e-9)  # what is compared does not hang on the tolerance
    return DEQ(CountingCell(), solver=case.solver, gradient=case.gradient, on_failure="raise")


class Run:
    """Value, gradients and evaluations of one forward and backward pass of a new layer."""

    def __init__(self, case, call):
        deq = some_deq(case)
        x = X.clone().requires_grad_()
        value = call(deq, x)
        self.forward = deq.cell.evaluations
        value.square().sum().backward()
        self.value, self.total = value.detach(), deq.cell.evaluations
        self.gradients = [x.grad, deq.cell.linear.weight.grad, deq.cell.linear.bias.grad]


def assert_same(run, plain):
    assert torch.equal(run.value, plain.value)
    for one, other in zip(run.gradients, plain.gradients, strict=True):
        # The same operations on the same numbers.
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


@every_gradient
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_no_number(case, reentrant):
    plain = Run(case, lambda deq, x: deq(x))
    assert_same(Run(case, lambda deq, x: checkpoint(deq, x, use_reentrant=reentrant)), plain)


@every_gradient
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_reruns_the_forward_once_and_not_once_per_adjoint_product(case, reentrant):
    plain = Run(case, lambda deq, x: deq(x))
    run = Run(case, lambda deq, x: checkpoint(deq, x, use_reentrant=reentrant))
    assert run.forward <= plain.forward
    assert run.total <= plain.total + plain.forward + FEW


@exact_gradients
def test_two_checkpointed_layers_in_a_row_have_the_plain_gradient(case):
    second = some_deq(case)
    plain = Run(case, lambda deq, x: second(deq(x)))
    both = Run(case, lambda d, x: checkpoint(lambda x: second(d(x)), x, use_reentrant=False))
    assert_same(both, plain)


@exact_gradients
def test_a_solve_with_captured_tensors_can_be_checkpointed(case):
    def gradient(wrap):
        w, x = W.clone().requires_grad_(), X.clone().requires_grad_()
        options = {"solver": at(case, 1e-9).solver, "gradient": at(case, 1e-9).gradient}

        def solve(x):
            f = lambda z: torch.tanh(z @ w.T + x)  # noqa: E731
            return fixed_point(f, torch.zeros_like(x), **options).value

        return torch.autograd.grad(wrap(solve, x).sum(), (w, x))

    plain = gradient(lambda solve, x: solve(x))
    checkpointed = gradient(lambda solve, x: checkpoint(solve, x, use_reentrant=False))
    torch.testing.assert_close(checkpointed, plain, rtol=1e-12, atol=1e-13)


@every_gradient
def test_tensors_saved_on_the_cpu_give_the_same_gradient(case):
    def call(deq, x):
        with save_on_cpu():
            return deq(x)

    assert_same(Run(case, call), Run(case, lambda deq, x: deq(x)))


@every_gradient
def test_saved_tensor_hooks_see_each_tensor_of_the_tape_a_few_times_only(case):
    # A hook may fetch from disk: it must not run once per adjoint product.
    unpacked = []

    def unpack(tensor):
        unpacked.append(tensor)
        return tensor.clone()

    saved = []

    def pack(tensor):
        saved.append(tensor)
        return tensor

    def call(deq, x):
        with saved_tensors_hooks(pack, unpack):
            return deq(x)

    run, plain = Run(case, call), Run(case, lambda deq, x: deq(x))
    assert_same(run, plain)
    assert len(unpacked) <= 2 * len(saved) + FEW
