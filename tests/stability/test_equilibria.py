"""How well equilibria were solved, over several solves."""

import pytest
import torch

from deqlab.activations import ReLU
from deqlab.kernels import ImplicitKernel
from deqlab.stability.equilibria import Solves, relative_residual


@pytest.fixture
def network():
    kernel = ImplicitKernel(activation=ReLU(), sigma_a2=0.2)
    generator = torch.Generator().manual_seed(0)
    return kernel.network(3, 8, 2, tau0=1.0, generator=generator, dtype=torch.float64)


def test_the_solves_of_all_rows_are_told_of(network):
    solves = Solves()
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    parts = [network.solve(part) for part in x.split(12)]
    for solution in parts:
        solves.add(solution)
    row = solves.row()
    residuals = torch.cat([relative_residual(solution) for solution in parts])
    assert row["converged"] == 1
    assert 0 < row["residual"] <= row["residual_max"] <= network.solver.rtol
    assert row["residual"] == residuals.median()
    assert row["evaluations"] == max(solution.evaluations for solution in parts)
    assert solves.row("converged") == {"converged": 1.0}


def test_a_network_without_a_solve_has_nothing_to_tell():
    solves = Solves()
    solves.add(None)
    assert solves.row() == solves.row("residual") == {}
