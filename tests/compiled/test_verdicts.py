"""Every verdict of a compiled solve, row by row, beside that of the solve outside."""

import pytest
import torch

from deqlab import Anderson, Picard, Status, fixed_point
from tests.compiled.both import both, compiled
from tests.problems import F64, normal, rotation

pytestmark = pytest.mark.usefixtures("traceable")

ROWS = [
    lambda z: 0.5 * z.sin() + 1,  # the healthy one
    lambda z: z + torch.nan,
    lambda z: z + torch.inf,
    lambda z: torch.where(z < 10, 0.5 * z + 8, torch.nan),  # nan midway
    lambda z: z + 1 + z**2,  # explodes
    lambda z: z + 1,
    lambda z: z + 1 + z.abs(),  # |f(z) - z| >= 1 everywhere
    lambda z: 3 * z + 1,  # repels
    lambda z: 3 - z,  # cycles
    lambda z: torch.tanh(z) + 1e-9,  # slow
    lambda z: z.clone(),  # solved
]
START = torch.full((len(ROWS), 1), 0.25, dtype=F64)
EACH, HEALTHY = torch.arange(len(ROWS))[:, None], torch.zeros(len(ROWS), 1, dtype=torch.int64)


def f(z, row):
    """Another map in each row, by its number in `ROWS`."""
    images = torch.stack([map_of_row(z) for map_of_row in ROWS])
    return images.gather(0, row[None])[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solver", "verdicts"),
    [(Picard, set(Status)), (Anderson, set(Status) - {Status.MAX_STEPS, Status.DIVERGED})],
)
def test_each_row_has_the_verdict_it_has_outside_and_leaves_the_others_alone(solver, verdicts):
    settings = solver(rtol=1e-8, max_steps=100, patience=8)
    call = lambda z0, row: fixed_point(f, z0, row, solver=settings, on_failure="ignore")  # noqa: E731
    outside, solve = call(START, EACH), compiled(call)
    inside, reference = solve(START, EACH), solve(START, HEALTHY)
    assert inside.status.tolist() == outside.status.tolist()
    assert inside.steps.tolist() == outside.steps.tolist()
    assert set(inside.status.tolist()) == verdicts
    torch.testing.assert_close(inside.value, outside.value)
    torch.testing.assert_close(inside.residual, outside.residual, rtol=1e-6, atol=1e-12)
    assert inside.value.isfinite().all()
    assert torch.equal(inside.value[0], reference.value[0])
    assert inside.steps[0] == reference.steps[0]


@pytest.mark.slow
def test_rows_that_get_anywhere_end_as_they_do_outside():
    # A wave, a slow growth, a growth from far below, a rotation and an explosion, as rows of one.
    turn = rotation(0.3, scale=1.0)

    def f(z):
        wave, slow, deep, circle, blast = z.split(1)
        return torch.cat(
            [
                torch.cat([torch.ones_like(wave[:, :1]), wave[:, :-1]], dim=1),
                slow + 0.1 * slow * (1 - slow),
                torch.tanh(2 * deep + 1e-15),
                (circle.reshape(-1, 2) @ turn).reshape(1, -1),
                2 * blast + 1,
            ]
        )

    z0 = torch.zeros(5, 50, dtype=F64)
    z0[1], z0[3] = 1e-4, 1.0
    outside, inside = both(f, z0, solver=Picard(max_steps=400))
    expected = [Status.CONVERGED] * 3 + [Status.STAGNATED, Status.DIVERGED]
    assert inside.status.tolist() == outside.status.tolist() == expected
    # All points of a circle have one residual: rounding decides which is the best, and so the end.
    others = [0, 1, 2, 4]
    assert inside.steps[others].tolist() == outside.steps[others].tolist()
    torch.testing.assert_close(inside.value[:2], torch.ones(2, 50, dtype=F64), rtol=1e-3, atol=0)


@pytest.mark.slow
def test_a_block_that_wakes_late_by_a_tiny_image_converges():
    f = lambda z: (0.5 * z[0] + 1, 0.5 * z[1] + 0.5 * torch.exp(20 - 40 / z[0]))  # noqa: E731
    outside, inside = both(f, (torch.zeros(1, 1, dtype=F64),) * 2, solver=Picard(rtol=1e-8))
    assert inside.status.tolist() == [Status.CONVERGED]
    assert inside.steps.tolist() == outside.steps.tolist()
    torch.testing.assert_close(inside.value[1].item(), 1.0, rtol=1e-6, atol=0)


@pytest.mark.slow
def test_the_residual_is_that_of_the_value_where_all_rows_fail():
    x = normal(4, 3, seed=0)
    x[0] *= 1e3
    f = lambda z, x: 0.5 * z + 0.45 * z.flip(0) + x  # noqa: E731
    solver = Picard(rtol=1e-12, max_steps=7)
    outside, inside = both(f, torch.zeros_like(x), x, solver=solver)
    assert inside.evaluations == outside.evaluations == 8
    residual = (f(inside.value, x) - inside.value).norm(dim=1)
    torch.testing.assert_close(inside.residual, residual)


@pytest.mark.slow
@pytest.mark.parametrize("solver", [Picard, Anderson])
def test_a_map_without_fixed_point_is_never_called_converged(solver):
    # In float32 z + 1 is z once an extrapolated z reaches 1e8.
    _, inside = both(lambda z: z + 1, normal(100, 3, seed=0).float(), solver=solver(max_steps=100))
    assert not inside.converged.any()
    assert inside.value.isfinite().all()


@pytest.mark.slow
def test_float32_states_whose_squares_vanish_or_overflow_are_judged_in_float64():
    scale = torch.tensor([1e-30, 1.0, 1e30])[:, None]
    f = lambda z: scale * torch.tanh(0.5 * z / scale + 1)  # noqa: E731
    outside, inside = both(f, torch.zeros(3, 3), solver=Picard(atol=0.0))
    assert inside.converged.all()
    assert inside.steps.tolist() == outside.steps.tolist()


@pytest.mark.slow
def test_min_steps_and_max_steps():
    f = lambda z: 0.5 * z + 1  # noqa: E731
    outside, inside = both(f, torch.full((2, 2), 2.0), solver=Picard(min_steps=4))
    assert inside.steps.tolist() == outside.steps.tolist() == [4, 4]
    outside, inside = both(f, torch.zeros(2, 2), solver=Picard(max_steps=1))
    assert inside.status.tolist() == [Status.MAX_STEPS] * 2
    assert inside.evaluations == outside.evaluations == 1
    assert torch.equal(inside.value, torch.zeros(2, 2))
