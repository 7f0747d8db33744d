"""A DEQ held to the loop that calls its cell: 100 evaluations of a map that contracts by 1/2."""

import torch
from torch import nn

from deqlab import DEQ, Anderson, Implicit
from deqlab.nn import DenseCell
from tests.problems import F64, normal

SOLVER = Anderson(rtol=1e-12, max_steps=300)
EXACT = Implicit()
X, U = normal(4, 3, seed=0), normal(4, 5, seed=1)


def dense():
    cell = DenseCell(3, 5, activation=torch.tanh).double()
    with torch.no_grad():
        cell.free.copy_(0.5 * torch.linalg.qr(normal(5, 5, seed=2))[0])
    return cell


class Plain(nn.Module):
    """A module that says where to start, and is no `Cell`."""

    def __init__(self):
        super().__init__()
        self.back = nn.Linear(5, 5, dtype=F64)
        self.inject = nn.Linear(3, 5, dtype=F64)
        nn.init.orthogonal_(self.back.weight, gain=0.5)

    def initial(self, x):
        return x.new_zeros(len(x), 5)

    def forward(self, z, x):
        return torch.tanh(self.back(z) + self.inject(x))


def by_a_loop(cell, x):
    z = torch.zeros(len(x), 5, dtype=F64)
    for _ in range(100):
        z = cell(z, x)
    return z


def gradients(module, value, x):
    value.backward(U)
    found = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    return found | {"x": x.grad}


def check_against_the_loop(make, gradient=EXACT):
    torch.manual_seed(0)
    cell = make()
    torch.manual_seed(0)
    twin = make()
    x, same = (X.clone().requires_grad_() for _ in range(2))
    deq = DEQ(cell, solver=SOLVER, gradient=gradient, on_failure="raise")
    value, expected = deq(x), by_a_loop(twin, same)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-10)
    if gradient == EXACT:
        found, gold = gradients(cell, value, x), gradients(twin, expected, same)
        assert found.keys() == gold.keys()
        for name, right in gold.items():
            torch.testing.assert_close(found[name], right, rtol=1e-8, atol=1e-9, msg=name)
