"""Stages: their targets and steps, what they begin with, and that they learn."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab.expressivity.search import (
    Architecture,
    Evaluation,
    Route,
    evaluate,
    grow,
    identity,
    levenberg_marquardt,
    random_network,
    refit,
    refit_readout,
    stage_targets,
)
from deqlab.expressivity.search.stages import share
from deqlab.tasks import sawtooth

X = torch.rand(200, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def data(k):
    return X, sawtooth.evaluate(X, log2_regions=k)


@pytest.mark.parametrize(
    ("k", "stages", "expected"),
    [
        (5, 10, (1, 2, 3, 4, 5, 5, 5, 5, 5, 5)),
        (5, 5, (1, 2, 3, 4, 5)),
        (5, 4, (2, 3, 4, 5)),
        (5, 3, (2, 4, 5)),
        (5, 2, (3, 5)),
        (5, 1, (5,)),
        (10, 5, (2, 4, 6, 8, 10)),
    ],
)
def test_targets_of_stages(k, stages, expected):
    assert stage_targets(k, stages) == expected


@given(steps=st.integers(0, 1000), stages=st.integers(1, 20))
def test_steps_are_shared_without_loss(steps, stages):
    shares = list(share(steps, stages))
    assert len(shares) == stages
    assert sum(shares) == steps
    assert max(shares) - min(shares) <= 1


def test_a_stage_is_a_fit_from_where_the_one_before_ended():
    architecture = Architecture((4,), dense=False)
    start = random_network(architecture, *data(1), torch.Generator().manual_seed(0))
    route = Route(start).then((1, 2))
    one, two = route.stages(data, 21)
    start = route.start.weights
    for stage, steps in ((one, 10), (two, 11)):
        x, y = data(stage.number)
        fit = levenberg_marquardt(Evaluation(architecture, x), start, y, steps=steps)
        assert torch.equal(stage.network.weights, fit.weights)
        assert (stage.train_loss, stage.steps) == (fit.loss, fit.steps)
        assert stage.flops == fit.steps * architecture.step_flops(200)
        start = fit.weights


def test_a_stage_may_refit_its_readout():
    architecture = Architecture((3, 2), dense=False)
    start = random_network(architecture, *data(1), torch.Generator().manual_seed(0))
    route = Route(start).then((1,)).then((2,), refit)
    *_, last = route.stages(data, 0)
    assert torch.equal(last.network.matrix, refit_readout(route.start, *data(2)).matrix)


@pytest.mark.parametrize("levels", [(1,) * 4, (2, 2)])
def test_a_route_grows_to_its_architecture_and_learns(levels):
    dense = len(levels) == 4
    architecture = Architecture(levels, dense)
    generator = torch.Generator().manual_seed(0)
    scale = (lambda k: 0.5**k) if dense else (lambda k: 1.0)
    prepare = grow(architecture, scale=scale, candidates=16, generator=generator)
    route = Route(identity(architecture)).then(stage_targets(2, len(levels)), prepare)
    *_, last = route.stages(data, 200)
    assert last.network.architecture == architecture
    fresh = torch.rand(300, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    expected = sawtooth.evaluate(fresh, log2_regions=2)
    torch.testing.assert_close(evaluate(last.network, fresh), expected, rtol=0, atol=1e-10)
