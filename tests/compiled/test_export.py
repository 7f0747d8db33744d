"""A solve that torch.export has taken: the same at any number of rows, loaded again, and heard."""

import io
import re

import pytest
import torch
from torch import nn
from torch.export import Dim, export, load, save

from deqlab import DEQ, Anderson, ConvergenceWarning, JacobianFree, Picard, fixed_point
from tests.problems import F64, matrix, normal

pytestmark = [
    pytest.mark.usefixtures("traceable"),
    pytest.mark.slow,
    pytest.mark.parametrize("strict", [True, False], ids=["strict", "not strict"]),
]

W, X = matrix(6, norm=0.8, seed=0), normal(4, 6, seed=1)


class Tanh(nn.Module):
    """tanh(W z + x)."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(W.clone())

    def forward(self, z, x):
        return torch.tanh(z @ self.w.T + x)


class Pair(nn.Module):
    """A state of two blocks of different shapes, with its verdicts."""

    def forward(self, x):
        f = lambda z, x: {  # noqa: E731
            "row": torch.tanh(z["map"].mean(dim=2) + x),
            "map": 0.3 * z["row"].cos()[:, :, None].expand(-1, -1, 2),
        }
        z0 = {"row": torch.zeros_like(x), "map": x.new_zeros(x.shape[0], 6, 2)}
        solution = fixed_point(f, z0, x, solver=Anderson(rtol=1e-10))
        return solution.value["map"], solution.status, solution.steps


def exported(module, strict):
    """The module as a program for any number of rows, written and read again."""
    rows = {0: Dim("rows")}
    shapes = ((rows,),) if isinstance(module, DEQ) else (rows,)  # a DEQ takes any number of inputs
    program = export(module, (X,), dynamic_shapes=shapes, strict=strict)
    file = io.BytesIO()
    save(program, file)
    file.seek(0)
    return load(file).module()


def test_a_layer_at_another_number_of_rows(strict):
    layer, x = DEQ(Tanh(), solver=Anderson(rtol=1e-10)), normal(9, 6, seed=2)
    with torch.no_grad():
        program = exported(layer, strict)
        z = program(x)
        torch.testing.assert_close(z, layer(x), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(program(x[:1]), layer(x[:1]), rtol=1e-12, atol=1e-12)
    # And by another route: Newton's method by dense algebra, from zero.
    z_star = torch.zeros(9, 6, dtype=F64)
    for _ in range(30):
        fz = torch.tanh(z_star @ W.T + x)
        system = torch.eye(6, dtype=F64) - (1 - fz**2)[:, :, None] * W
        z_star = z_star + torch.linalg.solve(system, fz - z_star)
    torch.testing.assert_close(z, z_star, rtol=1e-8, atol=1e-8)


def test_blocks_and_verdicts(strict):
    x = normal(7, 6, seed=3)
    torch.testing.assert_close(exported(Pair(), strict)(x), Pair()(x), rtol=1e-12, atol=1e-12)


def test_a_gradient(strict):
    layer, x = DEQ(Tanh(), solver=Picard(), gradient=JacobianFree()), normal(7, 6, seed=3)
    program = exported(layer, strict)
    program(x).square().sum().backward()
    layer(x).square().sum().backward()
    (found,) = (p.grad for p in program.parameters())
    torch.testing.assert_close(found, layer.cell.w.grad, rtol=1e-12, atol=1e-12)


def test_a_failure_is_told_when_it_runs(strict):
    layer = DEQ(Tanh(), solver=Picard(max_steps=3, rtol=1e-12))
    with torch.no_grad():
        program = exported(layer, strict)
        with pytest.warns(ConvergenceWarning, match="samples missed") as caught:
            program(normal(7, 6, seed=3))
    assert re.search(r"7 of 7 samples .* after 3 steps", caught[0].message.details, re.DOTALL)
