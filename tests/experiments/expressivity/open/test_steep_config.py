"""The networks that compete on ramps, and fields out of their domain."""

from dataclasses import replace

import pytest

from deqlab.experiments.expressivity.open.competition import CLOSE
from deqlab.experiments.expressivity.open.steep_config import OpenSteepConfig


def test_fnns_cost_what_a_deq_with_loops_costs():
    config = OpenSteepConfig()
    assert config.deq.loops
    assert not config.deq.skip
    assert config.deq.num_parameters == 77 - 1 + 10
    assert config.steps == 1000
    budget = config.deq.step_flops(config.train_samples)
    levels = [wiring.levels for wiring in config.fnns]
    assert levels == [(28,), (7, 7), (5,) * 3, (4,) * 4, (4,) * 5, (2,)]
    for wiring in config.fnns:
        assert not wiring.dense
        assert wiring.step_flops(config.train_samples) <= (1 + CLOSE) * budget


def test_the_narrowest_fnn_is_not_named_twice():
    config = OpenSteepConfig(width=2, depths=(1,), train_samples=64)
    assert [wiring.levels for wiring in config.fnns].count((2,)) <= 1


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"seeds": ()}, "seeds needs at least one number"),
        ({"log2_steepness": 0}, "log2_steepness must be from 1 to 24, got 0"),
        ({"log2_steepness": 25}, "log2_steepness must be from 1 to 24, got 25"),
        ({"width": 1}, "width must be at least 2, got 1"),
        ({"train_samples": 63}, "train_samples must be at least 64, got 63"),
        ({"test_samples": 0}, "test_samples must be at least 1"),
        ({"steps_per_stage": 0}, "steps_per_stage must be at least 1"),
        ({"candidates": 0}, "candidates must be at least 1"),
        ({"depths": ()}, "depths needs one or more entries"),
        ({"depths": (0,)}, r"depths must be at least 1, got \[0\]"),
        ({"routes": ("monotone",)}, "routes are plain, .* growth; got monotone"),
        ({"routes": ("plain", "plain")}, "routes must differ"),
        ({"noises": (float("inf"),)}, r"noises must be 0 or more, and finite, got \[inf\]"),
        ({"noises": (0.1, 0.1)}, "noises must differ"),
    ],
)
def test_a_field_outside_its_domain_is_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(OpenSteepConfig(), **fields)


@pytest.mark.parametrize("d", [1, 24])
def test_the_ends_of_the_domain_are_taken(d):
    assert replace(OpenSteepConfig(), log2_steepness=d).log2_steepness == d
