"""Widths of FNNs that cost what a DEQ costs, and architectures that do not exist."""

import pytest

from deqlab.expressivity.search import Architecture, matching_width
from deqlab.expressivity.search.network import CLOSE

BUDGET = Architecture((1,) * 10, dense=True).step_flops(1000)


def test_matching_widths_are_the_closest_within_a_quarter_or_the_largest_below():
    for depth in range(1, 9):
        width = matching_width(depth, BUDGET, 1000)
        costs = [Architecture((w,) * depth, False).step_flops(1000) for w in range(1, 60)]
        fair = [w for w, cost in enumerate(costs, start=1) if abs(cost / BUDGET - 1) <= CLOSE]
        below = max(w for w, cost in enumerate(costs, start=1) if cost <= BUDGET)
        closest = min(fair, key=lambda w: abs(costs[w - 1] - BUDGET), default=below)
        assert width == closest
        assert costs[width - 1] <= (1 + CLOSE) * BUDGET


def test_a_width_above_the_budget_is_taken_where_it_is_closer():
    budget = 0.95 * Architecture((8,), False).step_flops(1000)
    assert matching_width(1, budget, 1000) == 8


def test_a_depth_that_no_width_affords_is_refused():
    budget = Architecture((1, 1), dense=True).step_flops(64)
    with pytest.raises(ValueError, match=r"an FNN of 30 hidden layers costs .* take fewer layers"):
        matching_width(30, budget, 64)


def test_a_level_without_neurons_is_refused():
    with pytest.raises(ValueError, match=r"at least 1 neuron, got levels=\(2, 0\)"):
        Architecture((2, 0), dense=True)
