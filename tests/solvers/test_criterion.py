"""When a row has converged, and when nothing is to be hoped for."""

import math

import numpy as np
import pytest
import torch

from deqlab import Anderson, Picard, Status, fixed_point
from deqlab.solvers.criterion import norm_of
from tests.problems import F64

A = torch.tensor([[1.2, 0.1], [0.0, 0.9]], dtype=F64)
B = torch.ones(2, 1, dtype=F64)


def solve(f, z0, **settings):
    return fixed_point(f, z0, solver=Picard(**settings), on_failure="ignore")


def riccati(cost, control):
    """P -> Q + A'P A - A'P B (R + B'P B)^-1 B'P A with R = 1: the discrete Riccati iteration."""
    b = control * B

    def f(p):
        gain = torch.linalg.solve(1 + b.T @ p @ b, b.T @ p @ A)
        return cost * torch.eye(2, dtype=F64) + A.T @ p @ A - A.T @ p @ b @ gain

    return f


@pytest.mark.parametrize(("cost", "control"), [(1e-3, 1.0), (1e-6, 1.0), (1e-4, 0.3)])
def test_rows_that_grow_before_they_contract_converge(cost, control):
    # From P = 0 the cost to go grows as that of the unstable A does, until control sets in.
    f, p0 = riccati(cost, control), torch.zeros(1, 2, 2, dtype=F64)
    solution = solve(f, p0, max_steps=400)
    assert solution.converged.all()
    assert solution.trace.argmax() > 5
    assert solution.evaluations > 40
    p = p0
    for _ in range(2000):
        p = f(p)
    torch.testing.assert_close(solution.value, p, rtol=1e-3, atol=0)


def test_a_map_that_returns_its_argument_to_the_bit_has_converged():
    for dtype, slope in ((torch.float32, 1e-5), (F64, 1e-7)):
        z0 = torch.zeros(1, 1, dtype=dtype)
        solution = solve(lambda z, s=slope: (2 * z + s).clamp(-1, 1), z0)
        assert solution.status.tolist() == [Status.CONVERGED]
        assert solution.value.item() == 1


@pytest.mark.parametrize(
    "solver", [Picard(rtol=0.0), Anderson(rtol=0.0)], ids=["Picard", "Anderson"]
)
def test_no_tolerance_at_all_is_met_by_standing_still(solver):
    z0 = torch.zeros(2, 1, dtype=F64)
    solution = fixed_point(lambda z: (z + 1).clamp(max=4), z0, solver=solver)
    assert solution.value.tolist() == [[4.0], [4.0]]
    assert (solution.residual == 0).all()


@pytest.mark.parametrize("patience", [5, 30])
@pytest.mark.parametrize(
    ("f", "z0"),
    [
        (lambda z: z + 1, 0.0),
        (lambda z: z + 0.1, 0.0),  # rounding makes its residuals differ, more and more
        (lambda z: 1.001 * z + 1, 0.0),
        (lambda z: 3 - z, 0.25),
        (lambda z: -z - 3 * z.sign(), 2.0),
        (lambda z: 3.9 * z * (1 - z), 0.3),  # chaos
        (lambda z: z + z.abs().sqrt(), 1.0),
        (lambda z: torch.cos(z) + 1e-9 * torch.sin(1e9 * z), 1.0),  # a floor of noise
    ],
    ids=["drift", "rounded drift", "slow growth", "cycle", "jump", "chaos", "root", "noise"],
)
def test_what_leads_nowhere_ends_soon(f, z0, patience):
    z0 = torch.full((1, 1), z0, dtype=F64)
    solution = solve(f, z0, rtol=1e-13, patience=patience, max_steps=100_000)
    assert solution.status.tolist() == [Status.STAGNATED]
    # Noise and chaos find a least residual now and then, ever more rarely.
    assert solution.evaluations <= 40 * patience


@pytest.mark.parametrize(("rate", "steps"), [(2.0, 29), (10.0, 10)])
def test_what_explodes_has_diverged(rate, steps):
    solution = solve(lambda z: rate * z + 1, torch.zeros(1, 1, dtype=F64), max_steps=1000)
    assert solution.status.tolist() == [Status.DIVERGED]
    assert solution.evaluations <= steps


def test_norms_are_right_at_every_scale_and_nan_stays_nan():
    parts = np.array([[3.0, 4.0], [3e200, 4e200], [3e-200, 4e-200], [0.0, 0.0], [np.nan, np.inf]])
    with np.errstate(all="ignore"):
        norms = norm_of(parts)
    np.testing.assert_allclose(norms[:3], [5.0, 5e200, 5e-200], rtol=1e-14)
    assert norms[3] == 0
    assert math.isnan(norms[4])
