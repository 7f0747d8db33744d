"""What a method itself has found out about each row reaches the `Solution`, on every way there."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from typing_extensions import override

from deqlab import Anderson, fixed_point
from deqlab.nn import DEQ, DenseCell
from deqlab.solvers.base import Solver
from tests.compiled.both import both
from tests.problems import F64

RATES = torch.tensor([0.9, 0.1, 0.5, 0.0], dtype=F64)[:, None]


@dataclass(frozen=True, kw_only=True)
class Counting(Solver[np.ndarray]):
    """Picard iteration that counts the steps of each row, and reports them as its error."""

    @override
    def init(self, z):
        return np.zeros(len(z))

    @override
    def step(self, f, iterate, memory):
        return iterate.fz, memory + iterate.running

    @override
    def reports(self, memory):
        return {"error": memory}


def contraction(z, rates):
    return rates * z + 1


@pytest.mark.parametrize("rows_independent", [False, True])
def test_a_report_on_each_row_stands_in_the_solution(rows_independent):
    z0 = torch.zeros(4, 2, dtype=F64)
    solution = fixed_point(
        contraction, z0, RATES, solver=Counting(), rows_independent=rows_independent
    )
    # The iterate that is found to have converged is the last one: no step is taken from it.
    assert solution.error.tolist() == (solution.steps - 1).tolist()
    assert len(set(solution.steps.tolist())) == 4
    verdicts = solution.verdicts()
    assert verdicts.error.tolist() == solution.error.tolist()
    assert verdicts.error is not solution.error


def test_a_report_on_a_state_that_is_one_sample():
    z0 = torch.zeros(4, 2, dtype=F64)
    solution = fixed_point(contraction, z0, RATES, solver=Counting(), batched=False)
    assert solution.error.tolist() == [solution.steps.item() - 1]


def test_a_report_on_the_samples_of_a_layer_with_dimensions_in_front():
    torch.manual_seed(0)
    deq = DEQ(DenseCell(3, 5), solver=Counting())
    solution = deq.solve(torch.randn(2, 3, 3))
    assert solution.value.shape == (2, 3, 5)
    assert solution.error.tolist() == (solution.steps - 1).tolist()
    assert deq.last.error.tolist() == solution.error.tolist()


@pytest.mark.usefixtures("traceable")
def test_a_report_of_a_compiled_solve_is_that_of_the_same_solve_outside(monkeypatch):
    def reports(self, memory):  # a compiled step has its residuals in units of a power of two
        return {"error": torch.frexp(torch.as_tensor(memory.least)).mantissa}

    monkeypatch.setattr(Anderson, "reports", reports)
    f = lambda z, x: torch.tanh(0.9 * z.roll(1, dims=1)) + x  # noqa: E731
    x = torch.linspace(-1, 1, 12, dtype=F64).view(3, 4)
    outside, inside = both(f, torch.zeros_like(x), x, solver=Anderson(rtol=1e-4))
    assert len(set(outside.error.tolist())) == 3
    torch.testing.assert_close(inside.error, outside.error, rtol=1e-5, atol=0)
