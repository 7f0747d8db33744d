"""The networks that compete, and fields out of their domain."""

from dataclasses import replace

import pytest

from deqlab.experiments.expressivity.open.competition import CLOSE, matched_width
from deqlab.experiments.expressivity.open.config import OpenConfig
from deqlab.expressivity.search.network import Wiring


def test_fnns_of_a_width_10_deq():
    config = OpenConfig()
    levels = [wiring.levels for wiring in config.fnns]
    assert levels == [(25,), (7, 7), (5,) * 3, (4,) * 4, (3,) * 5, (2,) * 5]
    assert config.steps == 600


def test_matched_widths_are_the_closest_within_a_quarter_or_the_largest_below():
    budget = OpenConfig().deq.step_flops(1000)
    for depth in range(1, 9):
        width = matched_width(depth, budget, 1000)
        costs = [Wiring((w,) * depth, False).step_flops(1000) for w in range(1, 60)]
        fair = [w for w, cost in enumerate(costs, start=1) if abs(cost / budget - 1) <= CLOSE]
        below = max(w for w, cost in enumerate(costs, start=1) if cost <= budget)
        closest = min(fair, key=lambda w: abs(costs[w - 1] - budget), default=below)
        assert width == closest
        assert costs[width - 1] <= (1 + CLOSE) * budget


def test_a_width_above_the_budget_is_taken_where_it_is_closer():
    budget = 0.95 * Wiring((8,), False).step_flops(1000)
    assert matched_width(1, budget, 1000) == 8


def test_the_narrow_fnn_is_not_named_twice_and_not_if_it_costs_more():
    config = OpenConfig(log2_regions=2, width=3, depths=(2,), train_samples=64)
    assert [wiring.levels for wiring in config.fnns] == [(2, 2)]
    narrow = OpenConfig(log2_regions=3, width=5, depths=(2,), train_samples=64)
    assert [wiring.levels for wiring in narrow.fnns] == [(3, 3), (2, 2, 2)]
    tight = OpenConfig(log2_regions=3, width=3, depths=(1,), train_samples=64)
    exact = Wiring((2, 2, 2), False).step_flops(64)
    assert exact > (1 + CLOSE) * tight.deq.step_flops(64)
    assert len(tight.fnns) == 1


def test_a_depth_that_no_width_affords_is_refused():
    config = OpenConfig(log2_regions=2, width=2, depths=(30,), train_samples=64)
    with pytest.raises(ValueError, match=r"an FNN of 30 hidden layers costs .* take fewer layers"):
        _ = config.fnns


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"seeds": ()}, "seeds needs at least one number"),
        ({"log2_regions": 0}, "log2_regions must be from 1 to 15, got 0"),
        ({"log2_regions": 16, "width": 16}, "log2_regions must be from 1 to 15, got 16"),
        ({"width": 4}, "width must be at least log2_regions = 5, got 4"),
        ({"train_samples": 127}, r"train_samples must be at least 128, 4 for each of the 2\^5"),
        ({"depths": ()}, "depths needs one or more entries"),
        ({"depths": (0,)}, r"depths must be at least 1, got \[0\]"),
        ({"depths": (1, 1)}, r"depths must differ, got \[1, 1\]"),
        ({"routes": ("grow",)}, "routes are plain, .* growth; got grow"),
        ({"routes": ()}, "routes needs one or more entries"),
        ({"noises": (-0.1,)}, r"noises must be 0 or more, and finite, got \[-0.1\]"),
        ({"penalties": (1.0, 1.0)}, "penalties must differ"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"steps_per_stage": 0}, "steps_per_stage must be at least 1"),
        ({"candidates": 0}, "candidates must be at least 1"),
    ],
)
def test_a_field_outside_its_domain_is_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(OpenConfig(), **fields)
