"""`Solution.plot`: what is drawn is what was measured."""

from dataclasses import replace

import pytest
import torch
from matplotlib.figure import Figure

from deqlab import Picard, fixed_point
from deqlab.residual_plot import CONVERGED, FAILED, MANY

RATES = torch.tensor([[0.1], [0.5], [0.99]], dtype=torch.float64)


@pytest.fixture
def solution():
    solver = Picard(rtol=1e-6, max_steps=25)
    z0 = torch.zeros(3, 1, dtype=torch.float64)
    return fixed_point(lambda z: RATES * z + 1, z0, solver=solver, on_failure="ignore")


def test_each_sample_has_its_residuals_until_its_verdict(solution):
    axes = solution.plot(Figure().subplots())
    *lines, tolerance = axes.lines
    assert len(lines) == 3
    by_length = {len(line.get_xdata()): line for line in lines}
    for sample, steps in enumerate(solution.steps.tolist()):
        line = by_length[steps]
        assert list(line.get_ydata()) == solution.trace[:steps, sample].tolist()
        sound = bool(solution.converged[sample])
        assert (line.get_color(), line.get_linestyle()) == (
            (CONVERGED, "-") if sound else (FAILED, "--")
        )
    assert tolerance.get_ydata()[0] == solution.tolerance.max()
    labels = {text.get_text() for text in axes.get_legend().get_texts()}
    assert labels == {"converged", "missed the tolerance", "tolerance"}


def test_of_many_samples_the_worst_are_drawn():
    z0 = torch.zeros(MANY + 7, 1)
    rates = torch.linspace(0.1, 0.9, len(z0))[:, None]
    axes = fixed_point(lambda z: rates * z + 1, z0).plot(Figure().subplots())
    assert len(axes.lines) == MANY + 1


def test_a_solve_without_a_trace_says_so(solution):
    with pytest.raises(ValueError, match=r"no trace to plot.*torch\.compile"):
        replace(solution, trace=solution.trace[:0]).plot(Figure().subplots())
