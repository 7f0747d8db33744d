"""A cell and a network of the user's in a comparison take part, or are refused in a sentence."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from deqlab import DEQ
from deqlab.costs import num_parameters
from deqlab.experiments.comparing import arms, matching
from deqlab.experiments.comparing.comparison import Metric, judge
from deqlab.nn import Cell, Prepared
from deqlab.own.target import OwnCodeError

HERE = __name__
CONFIG = arms.ArmsConfig(seeds=(0,), width=6, depths=(1,), dtype="float64")


class Mine(Cell[torch.Tensor]):
    def __init__(self, num_inputs, width):
        super().__init__()
        self.width, self.inject = width, nn.Linear(num_inputs, width)

    def initial(self, x):
        return x.new_zeros(len(x), self.width)

    def prepare(self, x):
        return Prepared(rows=self.inject(x))

    def update(self, z, shared, rows):
        return 0.5 * torch.sin(z) + rows


class Wide(Mine):
    def __init__(self, num_inputs, width):
        super().__init__(num_inputs, width + 1)


class Raises(Mine):
    def update(self, z, shared, rows):
        raise RuntimeError("no\nsecond line")


class Fixed(Mine):
    def __init__(self, num_inputs, width):
        super().__init__(num_inputs, width)
        self.requires_grad_(False)


def network(num_inputs, num_outputs):
    return nn.Linear(num_inputs, num_outputs)


def wide(num_inputs, num_outputs):
    return nn.Linear(num_inputs, num_outputs + 1)


def with_a_deq(num_inputs, num_outputs):
    return nn.Sequential(DEQ(Mine(num_inputs, 4)), nn.Linear(4, num_outputs))


def nothing(num_inputs, num_outputs):
    return None


def shape(**fields):
    return arms.Shape(config=replace(CONFIG, **fields), num_inputs=3, num_outputs=2)


def try_own(**fields):
    arms.try_own(shape(**fields), mse_loss, torch.zeros(2, 2, dtype=torch.float64))


def test_parts_that_fit_take_part_and_leave_the_generator_alone():
    own = shape(cell=f"{HERE}:Mine", model=f"{HERE}:network")
    before = torch.get_rng_state()
    try_own(cell=f"{HERE}:Mine", model=f"{HERE}:network")
    jobs = {job.arm: job for job in matching.plan(own, mse_loss, torch.zeros(2, 2), [])}
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(arms.build(own, jobs["deq"])[0].cell, Mine)
    assert jobs["own"].settings["matching"] is None
    assert num_parameters(arms.build(own, jobs["own"])) == 8
    # The FNN is matched to the cell of the user's: 24 in it, 14 in the readout.
    fnn = num_parameters(arms.build(own, jobs["fnn-1-parameters"]))
    assert abs(fnn - 38) <= 3
    assert "own" not in {job.arm for job in matching.plan(shape(), mse_loss, torch.zeros(2, 2), [])}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"cell": "Wide"}, r"has a state of shape \(2, 7\) at inputs of shape \(2, 3\), and what"),
        ({"cell": "Raises"}, r"raised RuntimeError: no \(test_own_parts.py, line \d+\)$"),
        ({"cell": "Fixed"}, "Fixed has no parameter that trains"),
        ({"cell": "nothing"}, "must return a torch.nn.Module, got a NoneType"),
        ({"cell": "HERE"}, "and a str cannot be"),
        ({"cell": "pytest.raises"}, "raised TypeError"),
        ({"cell": "Missing"}, "has no 'Missing'"),
        ({"model": "wide"}, r"its outputs are \(2, 3\), and those that are due \(2, 2\)"),
        ({"model": "with_a_deq"}, "has a DEQ layer, whose solves this comparison does not follow"),
        ({"model": "Mine"}, "raised TypeError"),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_a_sentence(fields, sentence):
    with pytest.raises(OwnCodeError, match=sentence) as caught:
        try_own(**{field: f"{HERE}:{name}" for field, name in fields.items()})
    assert "\n" not in str(caught.value)


def test_a_network_at_a_cost_of_its_own_is_compared_and_not_counted():
    def seeds(arm, matching, accuracy):
        row = {"kind": "summary", "arm": arm, "label": arm, "matching": matching}
        return [{**row, "seed": seed, "test_accuracy": accuracy} for seed in range(3)]

    metric = Metric(field="test_accuracy", label="an accuracy of", is_accuracy=True)
    rows = [
        *seeds("deq", None, 0.8),
        *seeds("fnn", "parameters", 0.7),
        *seeds("own", None, 0.9),
    ]
    verdict = judge(metric, rows, subject="Here")
    assert verdict.outcome == "holds"
    assert "beats 1 of 1 FNN" in verdict.sentence
    assert any(each.startswith("Loss against own at a cost of its own") for each in verdict.details)
    assert verdict.contest.advice == "Take the DEQ: it beats every rival of equal cost."
