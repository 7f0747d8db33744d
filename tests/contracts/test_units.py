"""The units of a state change no verdict, no number of steps and no digit, block by block.

With s a power of two, s f(z / s) rounds as f does, and its solve is that of f bit for bit, but for
sums that leave the range of their dtype and are taken in another way there.
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deqlab import Implicit, Status, fixed_point
from tests.contracts.solvers import VARIANTS, every_solver
from tests.problems import F64, matrix, normal

W, X = matrix(4, norm=0.8, seed=0), normal(3, 4, seed=1)
EXPONENTS = st.integers(-498, 498)  # 1e-150 to 1e150: no square overflows or vanishes


def solve(solver, units, accuracy=None):
    """Three blocks, each in its own unit; the second is at rest at first, the third for longer."""
    a_unit, b_unit, c_unit = units

    def f(state, x):
        a, b, c = state["a"] / a_unit, state["b"] / b_unit, state["c"] / c_unit
        return {
            "a": a_unit * torch.tanh(a @ W.T + 0.1 * c + x),
            "b": b_unit * torch.sin(0.5 * b + 0.3 * a),
            "c": c_unit * (0.4 * c + 0.5 * b),
        }

    z0 = {name: torch.zeros_like(X) for name in "abc"}
    gradient = Implicit(accuracy=accuracy)
    solution = fixed_point(f, z0, X, solver=solver, gradient=gradient, on_failure="ignore")
    return solution, torch.stack(
        [t / s for t, s in zip(solution.value.values(), units, strict=True)]
    )


def assert_same(found, expected):
    (found, value), (expected, value_expected) = found, expected
    assert found.status.tolist() == expected.status.tolist()
    assert found.steps.tolist() == expected.steps.tolist()
    assert found.evaluations == expected.evaluations
    assert found.products == expected.products
    # Sums of squares are taken in another way near the ends of the range.
    torch.testing.assert_close(value, value_expected, rtol=1e-11, atol=1e-13)


few_examples = settings(max_examples=3)


@every_solver
@pytest.mark.parametrize("rtol", [1e-4, 1e-10])
@few_examples
@given(exponents=st.tuples(EXPONENTS, EXPONENTS, EXPONENTS))
def test_units_of_blocks_change_nothing(solver, rtol, exponents):
    solver = replace(solver, rtol=rtol, max_steps=300)
    plain = solve(solver, (1.0, 1.0, 1.0))
    assert plain[0].converged.all()
    assert_same(solve(solver, tuple(2.0**e for e in exponents)), plain)


@every_solver
@pytest.mark.parametrize("units", [(1e-19, 1.0, 1e6), (1e150, 1e-150, 1.0), (1.0, 1e-9, 1e-30)])
def test_decimal_units_change_nothing_either(solver, units):
    # They round: a residual near its tolerance would tell, and none is.
    solver = replace(solver, rtol=1e-7, max_steps=300)
    assert_same(solve(solver, units), solve(solver, (1.0, 1.0, 1.0)))


@every_solver
@few_examples
@given(exponents=st.tuples(EXPONENTS, EXPONENTS, EXPONENTS))
def test_an_accuracy_is_met_in_any_units(solver, exponents):
    solver = replace(solver, max_steps=300)
    plain = solve(solver, (1.0, 1.0, 1.0), accuracy=1e-4)
    assert_same(solve(solver, tuple(2.0**e for e in exponents), accuracy=1e-4), plain)


@every_solver
@few_examples
@given(exponent=EXPONENTS)
def test_units_of_a_state_of_one_block_change_nothing(solver, exponent):
    s, solver = 2.0**exponent, replace(solver, rtol=1e-10, max_steps=300)

    def run(s):
        f = lambda z: s * torch.tanh(z / s @ W.T + X)  # noqa: E731
        solution = fixed_point(f, torch.zeros_like(X), solver=solver)
        return solution, solution.value / s

    assert_same(run(s), run(1.0))


@every_solver
@pytest.mark.parametrize("exponent", [-100, -60, 60, 100])
def test_units_of_float32_change_nothing(solver, exponent):
    # 2^-100 and 2^100 are 1e-30 and 1e30: squares leave the range of float32.
    s, solver = 2.0**exponent, replace(solver, max_steps=300)
    w, x = W.float(), X.float()

    def run(s):
        f = lambda z: s * torch.tanh(z / s @ w.T + x)  # noqa: E731
        solution = fixed_point(f, torch.zeros_like(x), solver=solver)
        return solution, solution.value / s

    (found, value), (expected, value_expected) = run(s), run(1.0)
    assert found.status.tolist() == expected.status.tolist()
    assert (found.steps - expected.steps).abs().max() <= 1
    torch.testing.assert_close(value, value_expected, rtol=1e-4, atol=1e-4)


@every_solver
def test_volts_and_charges(solver):
    f = lambda z: {  # noqa: E731
        "volt": 0.5 * z["volt"] + 1,
        "charge": 0.3 * z["charge"] + 1e-19 * z["volt"],
    }
    z0 = {name: torch.zeros(1, 1, dtype=F64) for name in ("volt", "charge")}
    value = fixed_point(f, z0, solver=replace(solver, rtol=1e-8, max_steps=300)).value
    torch.testing.assert_close(value["volt"], torch.full((1, 1), 2.0, dtype=F64))
    charge = torch.full((1, 1), 2e-19 / 0.7, dtype=F64)
    torch.testing.assert_close(value["charge"], charge, rtol=1e-6, atol=0)


@every_solver
@pytest.mark.parametrize(("start", "dtype"), [(0.0, torch.float32), (1.0, F64)])
def test_a_small_fixed_point_is_no_zero(solver, start, dtype):
    z0 = torch.full((2, 1), start, dtype=dtype)
    solution = fixed_point(
        lambda z: 0.5 * z + 1e-13, z0, solver=replace(solver, rtol=1e-4, max_steps=300)
    )
    torch.testing.assert_close(solution.value, torch.full_like(z0, 2e-13), rtol=1e-3, atol=0)


@every_solver
@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_an_iteration_towards_zero_ends_without_an_absolute_tolerance(solver, dtype, scale):
    z0 = torch.full((2, 3), scale, dtype=dtype)
    z0[1] = 0.0
    solution = fixed_point(lambda z: 0.5 * z, z0, solver=replace(solver, max_steps=200))
    assert solution.status.tolist() == [Status.CONVERGED] * 2
    # Below the rounding of the start; the error of a value is twice its residual here.
    allowed = 2 * solver.rtol * torch.finfo(dtype).eps * z0[0].norm()
    assert solution.value[0].norm() <= allowed * (1 + 1e-3)


@every_solver
def test_a_block_that_starts_far_below_what_it_comes_to_converges(solver):
    # b sees the fourth power of a, which starts at 1e-3: its first image is 1e-12, its value 2.
    f = lambda s: (0.5 * s[0] + 0.5, 0.5 * s[1] + (s[0] - 1e-3).abs().clamp(max=1) ** 4)  # noqa: E731
    z0 = (torch.full((2, 1), 1e-3, dtype=F64), torch.zeros(2, 1, dtype=F64))
    # These two find nothing new for longer than the default patience on their way.
    slow = solver in (VARIANTS["Broyden-damped"], VARIANTS["NewtonKrylov-restarted"])
    solver = replace(solver, rtol=1e-6, max_steps=300, patience=300 if slow else 30)
    solution = fixed_point(f, z0, solver=solver)
    assert solution.converged.all()
    expected = torch.full((2, 1), 2 * 0.999**4, dtype=F64)
    torch.testing.assert_close(solution.value[1], expected, rtol=1e-3, atol=0)
