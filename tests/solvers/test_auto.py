"""Auto: each row gets the cheapest method that brings it to the end."""

import numpy as np
import pytest
import torch

from deqlab import fixed_point
from deqlab.maps.matrix_map import Bound
from deqlab.solvers import Anderson, Auto, Picard
from deqlab.solvers.auto import ANDERSON, NEWTON, PICARD
from tests.problems import F64, matrix, normal, symmetric_with


def affine(w, x):
    return lambda z: z @ w.T + x


def levels(f, x, solver):
    """The solution, and the level at which each row ended."""
    with torch.no_grad():
        solution, memory = solver.run(Bound(f, ()), torch.zeros_like(x))
    return solution, memory.level.tolist()


def test_an_easy_map_is_left_to_picard_bit_by_bit():
    w, x = matrix(6, norm=0.2, seed=0), normal(4, 6, seed=1)
    f = lambda z: torch.tanh(z @ w.T + x)  # noqa: E731
    by_auto, level = levels(f, x, Auto(rtol=1e-6))
    by_picard = fixed_point(f, torch.zeros_like(x), solver=Picard(rtol=1e-6))
    assert level == [PICARD] * 4
    assert torch.equal(by_auto.value, by_picard.value)
    assert by_auto.evaluations == by_picard.evaluations


def test_a_slow_map_goes_to_anderson_and_costs_little_more_than_its_best():
    w = symmetric_with(torch.linspace(-0.99, 0.99, 40, dtype=F64), seed=2)
    x = normal(5, 40, seed=3)
    by_auto, level = levels(affine(w, x), x, Auto(rtol=1e-6))
    by_anderson = fixed_point(
        affine(w, x), torch.zeros_like(x), solver=Anderson(rtol=1e-6, memory=10)
    )
    assert level == [ANDERSON] * 5
    # 1.5: windows that forget have no order; another start is another count, either way.
    assert by_auto.evaluations <= 1.5 * by_anderson.evaluations


def test_a_map_that_does_not_contract_leaves_picard_at_once():
    w = symmetric_with(torch.linspace(-3, 0, 20, dtype=F64), seed=4)
    x = normal(5, 20, seed=5)
    solution, level = levels(affine(w, x), x, Auto(rtol=1e-8))
    assert solution.converged.all()
    assert level == [ANDERSON] * 5


def test_rows_that_anderson_does_not_bring_on_come_to_newton():
    # A window of one column circles on this map: a rotation by 90 degrees, stretched by 3.
    w = 3 * torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=F64)
    x = normal(3, 2, seed=6)
    f = lambda z: torch.sin(z @ w.T) + x  # noqa: E731
    solver = Auto(memory=1, stall=2, rtol=1e-10, max_steps=200)
    solution, level = levels(f, x, solver)
    assert solution.converged.all()
    assert NEWTON in level
    assert solution.products > 0


def test_each_row_has_its_own_level_and_moves_apart_from_the_others():
    rates = torch.tensor([0.1, 0.99, 0.2, 0.97], dtype=F64)[:, None]
    w, x = symmetric_with(torch.linspace(-1, 1, 16, dtype=F64), seed=7), normal(4, 16, seed=8)
    solution, level = levels(lambda z: rates * (z @ w) + x, x, Auto(rtol=1e-8))
    assert level == [PICARD, ANDERSON, PICARD, ANDERSON]
    for i in range(4):
        alone, _ = levels(lambda z, i=i: rates[i] * (z @ w) + x[i], x[i : i + 1], Auto(rtol=1e-8))
        assert alone.steps[0] == solution.steps[i]
        torch.testing.assert_close(alone.value[0], solution.value[i], rtol=1e-9, atol=1e-12)


def test_a_row_that_slows_down_later_is_looked_at_again():
    # Contraction .2 above 0.01, and .98 below.
    f = lambda z: torch.where(z.abs() > 0.01, 0.2 * z, 0.98 * z) + 1e-6  # noqa: E731
    z0 = torch.ones(2, 1, dtype=F64)
    with torch.no_grad():
        solution, memory = Auto(rtol=1e-6, atol=0.0).run(Bound(f, ()), z0)
    assert memory.level.tolist() == [ANDERSON] * 2
    assert solution.converged.all()
    assert solution.evaluations < 60  # Picard takes hundreds


def test_groups_follow_their_rows_when_others_leave():
    rates = torch.tensor([0.1, 0.99, 0.2, 0.97, 0.1, 0.1, 0.98, 0.1], dtype=F64)[:, None]
    w, x = symmetric_with(torch.linspace(-1, 1, 16, dtype=F64), seed=9), normal(8, 16, seed=10)
    f = lambda z, rates, x: rates * (z @ w) + x  # noqa: E731
    whole, part = (
        fixed_point(f, torch.zeros_like(x), rates, x, solver=Auto(rtol=1e-9), rows_independent=flag)
        for flag in (False, True)
    )
    assert torch.equal(part.steps, whole.steps)
    torch.testing.assert_close(part.value, whole.value, rtol=1e-9, atol=1e-12)


def test_taking_rows_of_the_memory_keeps_groups_consistent():
    rates = torch.tensor([0.99, 0.1, 0.98, 0.97], dtype=F64)[:, None]
    w, x = symmetric_with(torch.linspace(-1, 1, 8, dtype=F64), seed=11), normal(4, 8, seed=12)
    with torch.no_grad():
        _, memory = Auto(max_steps=6).run(Bound(lambda z: rates * (z @ w) + x, ()), 0 * x)
    taken = memory.take_rows(np.array([2, 1, 3]))
    assert taken.level.tolist() == [ANDERSON, PICARD, ANDERSON]
    assert [group.rows.tolist() for group in taken.groups] == [[0, 2]]
    [group] = memory.groups
    [part] = taken.groups
    np.testing.assert_array_equal(part.memory.window.gram, group.memory.window.gram[[1, 2]])


@pytest.mark.parametrize("name", ["memory", "promise", "stall"])
def test_a_setting_outside_its_domain_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        Auto(**{name: 0})


def test_anderson_begins_with_what_picard_has_seen():
    """Where Picard iteration fails at once, the change of method costs no evaluation."""
    w = symmetric_with(torch.linspace(-3, 0, 32, dtype=F64), seed=3)
    x = normal(5, 32, seed=4)
    start = torch.zeros_like(x)

    def f(z):
        return torch.tanh(z @ w.T + x)

    auto = Auto(memory=10, rtol=1e-6).solve(f, start)
    anderson = Anderson(memory=10, rtol=1e-6).solve(f, start)
    assert bool(auto.converged.all())
    assert auto.evaluations <= anderson.evaluations


def test_a_group_of_rows_has_the_weights_of_these_rows():
    # Two blocks, whose scales differ from row to row; the fast rows stay with Picard iteration.
    w, x, z = (
        symmetric_with([-1.0, -0.4, 0.5, 1.0], seed=20),
        normal(6, 4, seed=21),
        torch.zeros(6, 4),
    )
    z = z.double()
    rate = torch.tensor([0.02, 0.95, 0.01, 0.97, 0.9, 0.99], dtype=F64)[:, None]
    scales = torch.tensor(
        [[1, 1], [1e4, 1], [1, 1e-4], [1e-6, 1e3], [1e3, 1e-6], [1, 1e5]], dtype=F64
    )

    def f(state, rate, scales, x):
        a, b = state[0] / scales[:, :1], state[1] / scales[:, 1:]
        return (
            scales[:, :1] * torch.tanh(rate * (a @ w + 0.05 * b) + x),
            scales[:, 1:] * torch.sin(rate * (b @ w - 0.05 * a) + x),
        )

    solver = Auto(rtol=1e-9, max_steps=300)
    together = fixed_point(f, (z, z), rate, scales, x, solver=solver)
    assert len(set(together.steps.tolist())) > 2
    for i in range(6):
        row = slice(i, i + 1)
        args = (rate[row], scales[row], x[row])
        alone = fixed_point(f, (z[row], z[row]), *args, solver=solver)
        assert alone.steps[0] == together.steps[i]
        for found, expected in zip(alone.value, together.value, strict=True):
            torch.testing.assert_close(found[0], expected[i], rtol=1e-11, atol=0)


def test_no_unit_decides_how_soon_a_row_leaves_picard():
    # Block a has nearly converged after three steps, block b has not: whichever is larger.
    def steps(unit):
        f = lambda s: (0.05 * s[0] + 1, 0.4 * s[1] + unit)  # noqa: E731
        z0 = (torch.zeros(1, 1, dtype=F64), torch.zeros(1, 1, dtype=F64))
        return fixed_point(f, z0, solver=Auto()).steps.tolist()

    assert steps(1e-9) == steps(1.0) == steps(1e9)
