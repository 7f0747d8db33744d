"""What is planted is named first, and what is healthy gives no alarm."""

import re

import pytest
import torch
from torch import nn

from deqlab import DEQ, Anderson, Phantom, diagnose
from deqlab.diagnosis import Rank
from deqlab.nn import DenseCell, MonotoneCell, SpectralNorm
from tests.diagnosis.maps import PLANTED
from tests.problems import normal


@pytest.mark.parametrize("case", PLANTED)
def test_what_is_planted_is_named_first(case):
    planted = PLANTED[case]
    first, *_ = diagnose(planted.f, *planted.inputs, **{"starts": 0, **planted.options}).findings
    assert first.name == planted.name, str(first)
    assert first.rank < Rank.NOTE
    assert re.search(planted.says, first.sentence), first.sentence


def contractive():
    return DEQ(DenseCell(3, 6, activation=torch.tanh, constraint=SpectralNorm(0.8)).double())


def monotone():
    return DEQ(MonotoneCell(3, 6, margin=0.5).double())


@pytest.mark.parametrize("layer", [contractive, monotone])
def test_a_healthy_layer_gives_neither_alarm_nor_warning(layer):
    diagnosis = diagnose(layer(), normal(5, 3, seed=1), starts=2)
    assert not diagnosis.alarms + diagnosis.warnings, str(diagnosis)
    # Every probe came to an end.
    expected = {"gradient", "tolerance", "certificate", "solvers", "cost", "warm-start"}
    assert expected <= set(diagnosis.names())
    assert not diagnosis.measurements.unmeasured


def test_a_plain_contraction_is_healthy_too():
    diagnosis = diagnose(lambda z, x: 0.5 * torch.tanh(z) + x, normal(5, 3, seed=1), starts=2)
    assert not diagnosis.alarms + diagnosis.warnings, str(diagnosis)
    assert "attracting" in diagnosis.names()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "options"),
    [
        (lambda: DenseCell(6, 16, activation=torch.tanh, constraint=SpectralNorm(0.9)), {}),
        (lambda: MonotoneCell(6, 16), {}),
        (
            lambda: DenseCell(6, 16, constraint=SpectralNorm(0.9)),
            {"gradient": Phantom(), "solver": Anderson(rtol=1e-2, max_steps=20)},
        ),
    ],
)
def test_a_trained_layer_gives_no_alarm(cell, options):
    x = normal(24, 6, seed=3).float()
    y = (x[:, 0] * x[:, 1] > 0).long()
    model = nn.Sequential(DEQ(cell(), **options), nn.Linear(16, 2))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimiser.step()
    assert loss < 0.2
    assert not diagnose(model, x).alarms
