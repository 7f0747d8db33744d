"""The config on sawtooths: who competes, fields out of their domain, routes, what is measured."""

from dataclasses import replace

import pytest
import torch

from deqlab.experiments.expressivity.open import jobs, sawtooth_routes
from deqlab.experiments.expressivity.open.sawtooth_routes import OpenSawtoothConfig
from deqlab.expressivity import narrow_sawtooth, sawtooth_fnn
from deqlab.expressivity.search import Architecture, as_deq, from_deq, from_fnn
from deqlab.expressivity.search.network import CLOSE


def test_fnns_of_a_width_10_deq():
    config = OpenSawtoothConfig()
    levels = [architecture.levels for architecture in config.fnns]
    assert levels == [(25,), (7, 7), (5,) * 3, (4,) * 4, (3,) * 5, (2,) * 5]
    assert config.steps == 600


def test_the_narrow_fnn_is_not_named_twice_and_not_if_it_costs_more():
    config = OpenSawtoothConfig(log2_regions=2, width=3, depths=(2,), train_samples=64)
    assert [architecture.levels for architecture in config.fnns] == [(2, 2)]
    narrow = OpenSawtoothConfig(log2_regions=3, width=5, depths=(2,), train_samples=64)
    assert [architecture.levels for architecture in narrow.fnns] == [(3, 3), (2, 2, 2)]
    tight = OpenSawtoothConfig(log2_regions=3, width=3, depths=(1,), train_samples=64)
    exact = Architecture((2, 2, 2), False).step_flops(64)
    assert exact > (1 + CLOSE) * tight.deq.step_flops(64)
    assert len(tight.fnns) == 1


def test_a_depth_that_no_width_affords_is_refused():
    config = OpenSawtoothConfig(log2_regions=2, width=2, depths=(30,), train_samples=64)
    with pytest.raises(ValueError, match=r"an FNN of 30 hidden layers costs .* take fewer layers"):
        jobs.check(config)


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
        replace(OpenSawtoothConfig(), **fields)


def test_regions_are_counted_unless_rounding_hides_them(monkeypatch):
    config = OpenSawtoothConfig(log2_regions=3)
    module = as_deq(from_deq(narrow_sawtooth(3), width=4))
    job = jobs.plan(config, [])[0]
    assert config.measured(job, module, torch.zeros(1)) == {"regions": 8}
    assert config.measured(job, sawtooth_fnn(3), torch.zeros(1)) == {"regions": 8}

    def hidden(*args):
        raise ValueError("there is more than one equilibrium")

    monkeypatch.setattr(sawtooth_routes, "pieces_of", hidden)
    row = jobs.summary(config, job, module)
    assert "regions" not in row
    assert row["converged"] == 1


def test_constructions_are_those_of_the_library_with_neurons_to_spare():
    config = OpenSawtoothConfig()
    deq, fnn = config.exact()
    assert deq.architecture == config.deq == Architecture((1,) * 10, dense=True)
    assert fnn.architecture == Architecture((2,) * 5, dense=False)
    assert torch.equal(deq.matrix, from_deq(narrow_sawtooth(5), width=10).matrix)
    assert torch.equal(fnn.matrix, from_fnn(sawtooth_fnn(5)).matrix)
