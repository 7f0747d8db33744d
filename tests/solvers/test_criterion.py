"""When a row has converged, and when nothing is to be hoped for."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch

from deqlab import Anderson, Broyden, Picard, Status, fixed_point
from deqlab.linalg.scaled_norms import norm_of
from deqlab.solvers.loop.criterion import bounds_of, look, scales_at_start
from tests.problems import F64, matrix, normal

A = torch.tensor([[1.2, 0.1], [0.0, 0.9]], dtype=F64)
B = torch.ones(2, 1, dtype=F64)
TANH = 0.9575040240772688  # tanh(2 z) = z


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


def unstable_riccati():
    a, b = np.array([[1.2, 0.3], [0.0, 1.1]]), np.ones((2, 1))
    x, y = torch.from_numpy(a), torch.from_numpy(b)

    def f(p):
        gain = torch.linalg.solve(1 + y.T @ p @ y, y.T @ p @ x)
        return 1e-6 * torch.eye(2, dtype=F64) + x.T @ p @ x - x.T @ p @ y @ gain

    value = scipy.linalg.solve_discrete_are(a, b, 1e-6 * np.eye(2), np.eye(1))
    return f, torch.zeros(1, 2, 2, dtype=F64), torch.from_numpy(value)[None]


def spiral(radius, angle, chain):
    """A Jordan chain of rotations that contract: it grows by many orders before it does so."""
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    links = torch.diag(torch.ones(chain - 1), 1)
    w = torch.kron(torch.eye(chain), radius * turn) + torch.kron(links, torch.eye(2))
    w, x = w.to(F64), torch.eye(2 * chain, dtype=F64)[-1:]
    value = torch.linalg.solve(torch.eye(len(w), dtype=F64) - w, x[0])[None]
    return lambda z: z @ w.T + x, torch.zeros_like(x), value


def wave(length, end, start):
    """A shift register: the residual is the same at every step until the last."""
    z0, value = (torch.full((1, length), number, dtype=F64) for number in (start, end))
    return lambda z: torch.cat([value[:, :1], z[:, :-1]], dim=1), z0, value


def scalar(f, z0, value):
    return f, torch.full((1, 1), z0, dtype=F64), torch.full((1, 1), value, dtype=F64)


MOVING = {
    "riccati": unstable_riccati(),
    "spiral": spiral(0.95, 0.05, 5),
    "long chain": spiral(0.9, 0.05, 8),
    "short chain": spiral(0.95, 0.2, 3),
    "wave": wave(50, 1.0, 0.0),
    "wave downwards": wave(90, -1.0, 1.0),
    "logistic": scalar(lambda z: z + 0.05 * z * (1 - z), 1e-4, 1.0),
    "deep logistic": scalar(lambda z: z + 0.1 * z * (1 - z), 1e-8, 1.0),
    "saddle": scalar(lambda z: 2 * z / (1 + z.abs()), 1e-9, 1.0),
    "far below": scalar(lambda z: torch.tanh(2 * z + 1e-10), 0.0, TANH),
    "far far below": scalar(lambda z: torch.tanh(2 * z + 1e-25), 0.0, TANH),
}


@pytest.mark.parametrize("problem", MOVING.values(), ids=MOVING)
def test_rows_that_get_anywhere_converge_with_the_default_patience(problem):
    f, z0, value = problem
    solution = solve(f, z0, rtol=1e-8, max_steps=3000)
    assert solution.status.tolist() == [Status.CONVERGED]
    torch.testing.assert_close(solution.value, value, rtol=1e-4, atol=1e-4 * value.norm().item())


@pytest.mark.parametrize("depth", [20.0, 200.0])
@pytest.mark.parametrize("rate", [0.5, 0.9])
def test_a_block_that_wakes_by_a_tiny_image_has_not_diverged(depth, rate):
    # Its first image is exp(-20) or exp(-200), up to 87 orders below what it comes to.
    f = lambda z: (rate * z[0] + 2 - 2 * rate, (z[1] + torch.exp(depth - 2 * depth / z[0])) / 2)  # noqa: E731
    solution = solve(f, (torch.zeros(1, 1, dtype=F64),) * 2, rtol=1e-8, max_steps=1000)
    assert solution.converged.all()
    for block, expected in zip(solution.value, (2.0, 1.0), strict=True):
        torch.testing.assert_close(block.item(), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    "solver", [Anderson(damping=0.7), Broyden(), Broyden(damping=0.7), Broyden(memory=3)], ids=repr
)
def test_no_step_however_short_or_long_makes_a_late_block_a_divergence(solver):
    # The first image is exp(-94) after a damped step, and up to exp(20) after one too long.
    f = lambda z: (0.5 * z[0] + 1, 0.5 * z[1] + 0.5 * torch.exp(20 - 40 / z[0]))  # noqa: E731
    z0 = (torch.zeros(1, 1, dtype=F64),) * 2
    solver = replace(solver, rtol=1e-8, max_steps=60)
    solution = fixed_point(f, z0, solver=solver, on_failure="ignore")
    assert solution.status[0] != Status.DIVERGED


@pytest.mark.parametrize(
    ("max_steps", "status"), [(300, Status.MAX_STEPS), (1000, Status.NONFINITE)]
)
def test_a_late_block_without_a_bound_runs_off_and_never_converges(max_steps, status):
    f = lambda z: (0.5 * z[0] + 1, 3 * z[1] + torch.relu(z[0] - 1.2))  # noqa: E731
    solution = solve(f, (torch.zeros(1, 1, dtype=F64),) * 2, max_steps=max_steps)
    assert solution.status.tolist() == [status]


def test_a_block_that_wakes_from_a_rounding_error_has_not_diverged():
    f = lambda z: (  # noqa: E731
        0.5 * z[0] + 1,
        0.5 * z[1] + torch.relu(z[0] - 1.2),
        0.5 * z[2] + torch.relu(z[1] - 0.7) ** 2,
    )
    solution = solve(f, (torch.zeros(1, 1, dtype=F64),) * 3, rtol=1e-8)
    assert solution.converged.all()
    for block, expected in zip(solution.value, (2.0, 1.6, 1.62), strict=True):
        torch.testing.assert_close(block.item(), expected, rtol=1e-6, atol=0)


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
        (lambda z: -z, 1.0),
        (lambda z: -(z + 2) / z, 1.0),  # 1, -3, -1/3, 5, ...: it wanders over the whole line
    ],
    ids=[
        *("drift", "rounded drift", "slow growth", "cycle", "jump"),
        *("chaos", "root", "noise", "mirror", "map of the line"),
    ],
)
def test_what_leads_nowhere_ends_soon(f, z0, patience):
    z0 = torch.full((1, 1), z0, dtype=F64)
    solution = solve(f, z0, rtol=1e-13, patience=patience, max_steps=100_000)
    assert solution.status.tolist() == [Status.STAGNATED]
    # Noise and chaos find a least residual now and then, ever more rarely.
    assert solution.evaluations <= 40 * patience


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("angle", [3.0, 1.0, 0.1, 0.01])
def test_a_rotation_ends_soon(angle, dtype):
    # In float32 its rounding shrinks the residual a little at every step.
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    solution = solve(lambda z: z @ turn.to(z), torch.tensor([[1.0, 0.3]]).to(dtype), max_steps=5000)
    assert solution.status.tolist() == [Status.STAGNATED]
    assert solution.evaluations <= 100


@pytest.mark.parametrize("solver", [Picard, Anderson])
def test_a_floor_of_rounding_ends_soon(solver):
    settings, evaluations = solver(rtol=1e-12, max_steps=5000), 0
    for seed in range(4):
        w, x = matrix(20, norm=0.8, seed=seed).float(), normal(6, 20, seed=seed + 1).float()
        f, z0 = (lambda z, w, x: torch.tanh(z @ w + x)), torch.zeros_like(x)
        solution = fixed_point(f, z0, w, x, solver=settings, on_failure="ignore")
        assert set(solution.status.tolist()) <= {Status.CONVERGED, Status.STAGNATED}
        evaluations += solution.evaluations
    # The floor is reached in 20 steps, and `patience` is 30. Least residuals come ever more rarely.
    assert evaluations <= 4 * 75


@pytest.mark.parametrize(("rate", "steps"), [(2.0, 98), (10.0, 31)])
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


def test_a_block_at_rest_that_a_method_moves_where_f_is_zero_is_measured_by_its_own_size():
    rules = replace(Picard().rules(F64), rtol=1e-3)
    scales = scales_at_start(np.array([[0.0, 0.0]]), np.array([[1.0, 0.0]]))
    # f(z) = 0 in the second block, where |z| = .25: splitting methods step elsewhere than to f(z).
    residuals, sizes = np.array([[0.5, 0.25]]), np.array([[1.0, 0.0]])
    scales, bounds, found = look(scales, bounds_of(scales, rules), residuals, sizes, rules)
    assert scales.start.tolist() == [[1.0, 0.25]]
    assert bounds.unit.tolist() == [[1.0, 0.25]]
    assert found.measure == pytest.approx([1.25**0.5])
    assert not found.within.any()
