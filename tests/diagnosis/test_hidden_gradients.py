"""Inputs and parameters that f detaches: the fixed point is right, and their gradient is zero."""

import pytest
import torch
from torch import nn

from deqlab import DEQ, diagnose
from deqlab.diagnosis.course import _begun
from deqlab.diagnosis.probes.inputs import hidden_gradients
from deqlab.diagnosis.subject import Subject
from deqlab.gradients import Implicit
from deqlab.nn import Cell, DenseCell, MonotoneCell, Prepared
from deqlab.solvers import Anderson
from tests.problems import F64, normal

X = normal(4, 3, seed=0)


class Block(nn.Module):
    def __init__(self, cut=()):
        super().__init__()
        torch.manual_seed(0)
        self.feedback = nn.Linear(3, 3, dtype=F64)
        self.inject = nn.Linear(3, 3, dtype=F64)
        self.gate = nn.Parameter(torch.full((3,), 0.5, dtype=F64))
        self.unused = nn.Parameter(torch.ones(2, dtype=F64))
        self.cut = cut

    def see(self, name, value):
        return value.detach() if name in self.cut else value

    def forward(self, z, x):
        weight = self.see("weight", self.feedback.weight)
        gate = self.see("gate", self.gate)
        injected = self.see("inject", self.inject(self.see("x", x)))
        return gate * torch.relu(0.3 * z @ weight.T + self.feedback.bias) + injected


class Prepares(Cell[torch.Tensor]):
    """What is detached is not in f as it is iterated, but in what is computed before."""

    sample_dims = 1

    def __init__(self, hides):
        super().__init__()
        self.linear, self.hides = nn.Linear(3, 3, dtype=F64), hides

    def initial(self, x):
        return torch.zeros_like(x)

    def prepare(self, x):
        rows = self.linear(x)
        return Prepared(rows=rows.detach() if self.hides else rows)

    def update(self, z, shared, rows):
        return 0.5 * torch.tanh(z) + rows


def hidden_in(f, x=X, **keywords):
    subject = Subject(
        name="f",
        asked=f,
        inputs=(x,),
        keywords=keywords,
        z0=None,
        solver=Anderson(),
        gradient=Implicit(),
        batched=True,
    )
    problem = _begun(subject)
    z = problem.solve(Anderson(), problem.z0).value
    found = hidden_gradients(subject, problem, z, 0)
    return found.inputs, tuple(name.partition(" of ")[0] for name in found.parameters)


@pytest.mark.parametrize(
    ("cut", "inputs", "parameters"),
    [
        ((), (), ()),
        (("x",), ("input 0",), ()),
        (("gate",), (), ("gate",)),
        (("weight",), (), ("weight",)),
        (("inject",), ("input 0",), ("bias", "weight")),
        (("x", "gate", "weight"), ("input 0",), ("gate", "weight")),
    ],
)
def test_what_is_detached_is_named_and_nothing_else(cut, inputs, parameters):
    block = Block(cut)
    before = [p.detach().clone() for p in block.parameters()]
    found = hidden_in(block)
    assert (found[0], tuple(sorted(found[1]))) == (inputs, parameters)
    assert all(torch.equal(*pair) for pair in zip(before, block.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in block.parameters())


def test_a_tape_from_before_can_still_be_walked():
    block = Block(("gate",))
    loss = block(X, X).square().sum()
    hidden_in(block)
    loss.backward()  # raises where a parameter was written to on the way
    assert block.feedback.weight.grad.any()


@pytest.mark.parametrize("hides", [True, False])
def test_what_is_computed_once_a_solve_is_looked_at_too(hides):
    found = hidden_in(DEQ(Prepares(hides)))
    assert found == ((("input 0",), ("weight", "bias")) if hides else ((), ()))


def test_frozen_parameters_and_whole_numbers_are_not_asked_of():
    block = Block(("gate",))
    block.gate.requires_grad_(False)
    assert hidden_in(block) == ((), ())
    table = nn.Embedding(5, 3, dtype=F64)
    tokens = torch.tensor([0, 1, 2, 3])

    def f(z, x, tokens):
        return 0.5 * torch.tanh(z) + x + table(tokens)

    assert hidden_in(f, tokens=tokens) == ((), ())

    def hides(z, x, tokens):
        return 0.5 * torch.tanh(z) + x + table(tokens).detach()

    assert hidden_in(hides, tokens=tokens) == ((), ("weight",))


def test_tensors_of_a_function_are_its_parameters():
    weight = (0.3 * normal(3, 3, seed=1)).requires_grad_()
    assert hidden_in(lambda z, x: torch.tanh(z @ weight.T) + x) == ((), ())
    assert hidden_in(lambda z, x: torch.tanh(z @ weight.detach().T) + x)[1] == ("a tensor",)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("cell", [DenseCell, MonotoneCell])
def test_cells_of_deqlab_hide_nothing(cell, dtype):
    torch.manual_seed(0)
    assert hidden_in(DEQ(cell(3, 6).to(dtype)), X.to(dtype)) == ((), ())


def test_dropout_is_held_while_it_is_looked_at():
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(3, 3, dtype=F64), nn.Dropout(0.5))
    assert hidden_in(lambda z, x: 0.5 * torch.tanh(z) + block(x)) == ((), ())


def test_the_page_says_what_trains_not():
    block = Block(("gate",))
    first = diagnose(block, X, starts=0).alarms[0]
    assert first.name == "hidden-gradient"
    assert "f depends on gate of Block, and autograd does not see it" in first.sentence
    (found,) = diagnose(Block(("x",)), X, starts=0).warnings
    assert "f depends on input 0" in found.sentence
