"""The value is the caller's to write to: gradients and other values do not change."""

import pytest
import torch
from torch import nn

from deqlab import DEQ, fixed_point
from deqlab.nn import DenseCell
from tests.contracts.gradients import every_gradient
from tests.problems import F64, matrix, normal

W, X = matrix(3, norm=0.6, seed=0), normal(2, 3, seed=1)


def cell(z, w, x):
    return torch.tanh(z @ w.T + x)


def solve(case, f=cell, z0=None):
    w, x = W.clone().requires_grad_(), X.clone().requires_grad_()
    options = {"solver": case.solver, "gradient": case.gradient}
    z0 = torch.zeros(2, 3, dtype=F64) if z0 is None else z0
    return w, x, fixed_point(f, z0, w, x, **options)


WRITES = {
    "relu_": (lambda z: torch.relu_(z), lambda z: torch.relu(z)),
    "mul_": (lambda z: z.mul_(3.0), lambda z: 3 * z),
    "columns": (
        lambda z: z.__setitem__((slice(None), 0), 0.0) or z,
        lambda z: z * torch.tensor([0.0, 1.0, 1.0], dtype=F64),
    ),
    "rows": (lambda z: z[0].mul_(2) is None or z, lambda z: torch.stack([2 * z[0], z[1]])),
}
every_write = pytest.mark.parametrize("write", WRITES)


@every_gradient
@every_write
def test_an_operation_in_place_has_the_gradient_of_the_plain_one(case, write):
    in_place, plain = WRITES[write]
    w, x, solution = solve(case)
    in_place(solution.value).square().sum().backward()
    v, y, other = solve(case)
    plain(other.value).square().sum().backward()
    torch.testing.assert_close(w.grad, v.grad, rtol=1e-12, atol=0)
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-12, atol=0)


def as_dict(z, w, x):
    image = cell(torch.cat([z["a"], z["b"]], dim=1), w, x)
    return {"a": image[:, :1], "b": image[:, 1:]}


@every_gradient
@every_write
def test_so_it_has_on_one_tensor_of_a_state(case, write):
    in_place, plain = WRITES[write]
    if write == "columns":
        in_place, plain = (lambda z: z.__setitem__((slice(None), 0), 0.0) or z), zero_first
    z0 = {"a": torch.zeros(2, 1, dtype=F64), "b": torch.zeros(2, 2, dtype=F64)}
    w, x, solution = solve(case, as_dict, z0)
    written = in_place(solution.value["b"])
    (written.square().sum() + solution.value["a"].sum()).backward()
    v, y, other = solve(case, as_dict, z0)
    (plain(other.value["b"]).square().sum() + other.value["a"].sum()).backward()
    torch.testing.assert_close(w.grad, v.grad, rtol=1e-12, atol=0)
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-12, atol=0)


def zero_first(z):
    return z * torch.tensor([0.0, 1.0], dtype=F64)


def test_a_network_with_an_activation_in_place_trains():
    torch.manual_seed(0)
    deq = DEQ(DenseCell(3, 4))
    x = torch.randn(5, 3)
    gradients = []
    for in_place in (False, True):
        deq.zero_grad()
        nn.Sequential(deq, nn.ReLU(inplace=in_place))(x).sum().backward()
        gradients.append([p.grad.clone() for p in deq.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
