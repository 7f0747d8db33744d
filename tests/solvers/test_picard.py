"""Picard: what only the plain, and the damped, iteration does."""

import pytest
import torch

from deqlab import Picard, Status, fixed_point
from tests.problems import F64, Contraction, matrix, normal, rotation


def test_the_iterates_are_those_of_the_plain_loop():
    problem = Contraction(matrix(3, norm=0.9, seed=0), normal(2, 3, seed=1), 0.9)
    z = problem.z0
    for steps in range(1, 6):
        solution = fixed_point(
            problem, problem.z0, solver=Picard(max_steps=steps), on_failure="ignore"
        )
        assert torch.equal(solution.value, z)
        z = problem(z)


def test_damping_mixes_the_state_and_its_image():
    # z - beta (z - f(z)), written the other way round.
    f = lambda z: torch.cos(z) + 1  # noqa: E731
    z0 = normal(3, 2, seed=2)
    seen = []
    fixed_point(
        lambda z: (seen.append(z), f(z))[1],
        z0,
        solver=Picard(damping=0.25, max_steps=2),
        on_failure="ignore",
    )
    torch.testing.assert_close(seen[1], z0 - 0.25 * (z0 - f(z0)), rtol=1e-14, atol=1e-14)


def test_the_residual_shrinks_by_the_contraction_factor_each_step():
    solution = fixed_point(
        lambda z: 0.5 * z + 1, torch.zeros(1, 1, dtype=F64), solver=Picard(rtol=1e-8)
    )
    factors = solution.trace[1:, 0] / solution.trace[:-1, 0]
    torch.testing.assert_close(factors, torch.full_like(factors, 0.5), rtol=1e-6, atol=0)


def test_a_map_that_doubles_is_diverged():
    solution = fixed_point(
        lambda z: 2 * z + 1, torch.zeros(2, 1, dtype=F64), solver=Picard(), on_failure="ignore"
    )
    assert solution.status.tolist() == [Status.DIVERGED] * 2
    assert solution.value.tolist() == [[0.0], [0.0]]


def test_a_two_cycle_stagnates_undamped_and_is_solved_damped():
    f, z0 = (lambda z: 3 - z), torch.zeros(2, 1, dtype=F64)
    plain = fixed_point(f, z0, solver=Picard(patience=7), on_failure="ignore")
    assert plain.status.tolist() == [Status.STAGNATED] * 2
    assert plain.steps.tolist() == [8, 8]  # the first iterate is the best, then 7 without a better
    damped = fixed_point(f, z0, solver=Picard(damping=0.7))
    torch.testing.assert_close(damped.value, torch.full_like(z0, 1.5), rtol=1e-4, atol=0)


def test_a_rotation_without_contraction_needs_damping():
    # Nonexpansive: Krasnoselskii-Mann converges, the plain iteration circles.
    w, x = rotation(2.0, scale=1.0), normal(3, 2, seed=3)
    f, z0 = (lambda z: z @ w.T + x), torch.zeros(3, 2, dtype=F64)
    assert not fixed_point(f, z0, solver=Picard(), on_failure="ignore").converged.any()
    assert fixed_point(f, z0, solver=Picard(damping=0.5)).converged.all()


@pytest.mark.parametrize("damping", [0.0, -0.5, 1.1, float("nan")])
def test_damping_outside_its_range_is_refused(damping):
    with pytest.raises(ValueError, match=r"damping must be in \(0, 1\], got"):
        Picard(damping=damping)
