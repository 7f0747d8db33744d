"""What only recipes on graphs show: the absolute stop, chains, and weights chosen by validation."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from deqlab.nn import Graph, ImplicitGraphCell
from deqlab.recipes.graphs.stopping import AbsoluteStop
from deqlab.tasks import chains, communities
from deqlab.training.best_weights import BestWeights


def chain(length):
    return Graph.of(torch.stack([torch.arange(length - 1), torch.arange(1, length)]))


def scalar_cell(w):
    cell = ImplicitGraphCell(1, 1, bound=w, bias=False).double()
    with torch.no_grad():
        cell.free.fill_(w)
        cell.inject.weight.fill_(1)
    return cell


def test_the_absolute_stop_ends_before_the_far_end_of_a_chain_is_reached():
    length, w, tolerance = 200, 0.9, 3e-6
    x = torch.zeros(length, 1, dtype=torch.float64)
    x[0] = 1
    graph, cell = chain(length), scalar_cell(w)
    stopped = AbsoluteStop(cell, tolerance=tolerance)
    solved = AbsoluteStop(cell, tolerance=0.0, max_steps=3000)
    with torch.no_grad():
        z, exact = stopped(x, graph)[:, 0], solved(x, graph)[:, 0]
    hop = w / (2 - w)
    for before, after in pairwise(exact[2:].tolist()):
        assert after / before == pytest.approx(hop, rel=1e-9)
    assert exact[-1] > 0
    steps = next(k for k in range(1, 300) if math.sqrt(2) * w ** (k - 1) <= tolerance)
    assert stopped.steps == pytest.approx(steps, abs=1)
    assert (z[: stopped.steps + 2] > 0).all()  # f is evaluated once more, with the tape
    assert (z[stopped.steps + 2 :] == 0).all()
    share = z / exact
    half = int((share > 0.5).sum())
    assert half == pytest.approx((1 - w / 2) * steps, abs=4)
    assert share[half - 15] > 0.9
    assert share[half + 15] < 0.1


def test_its_gradient_is_that_of_the_equilibrium_where_nothing_is_cut_off():
    torch.manual_seed(0)
    cell = ImplicitGraphCell(2, 3, activation=torch.tanh, bias=False).double()
    graph, x = chain(6), torch.randn(6, 2, dtype=torch.float64)
    states = AbsoluteStop(cell, tolerance=0.0, max_steps=800)
    found = torch.autograd.grad(states(x, graph).square().sum(), cell.free)[0]
    direction = torch.randn(3, 3, dtype=torch.float64)
    ends = []
    with torch.no_grad():
        for step in (1e-5, -2e-5):
            cell.free.add_(step * direction)
            ends.append(states(x, graph).square().sum())
    slope = (ends[0] - ends[1]) / 2e-5
    torch.testing.assert_close((found * direction).sum(), slope, rtol=1e-5, atol=1e-8)


def test_chains_know_their_class_at_the_first_node_alone():
    found = chains.sample(7, num_classes=3, chains=4, generator=torch.Generator().manual_seed(0))
    assert found.x.shape == (84, 100)
    first = found.hops == 0
    assert (found.x[first].argmax(dim=1) == found.y[first]).all()
    assert found.x[~first].abs().sum() == 0
    sources, targets = found.edges
    assert (targets == sources + 1).all()
    assert (found.y[sources] == found.y[targets]).all()
    assert (found.hops[targets] == found.hops[sources] + 1).all()
    parts = torch.stack([found.train, found.validation, found.test])
    assert (parts.sum(dim=0) == 1).all()
    assert parts.sum(dim=1).tolist() == [4, 8, 72]
    with pytest.raises(ValueError, match="chains need 2 nodes, 2 classes, a feature for each"):
        chains.sample(1, generator=torch.Generator())


def test_communities_are_linked_to_their_like():
    generator = torch.Generator().manual_seed(0)
    x, y, edges = communities.sample(2000, likeness=0.7, generator=generator)
    alike = (y[edges[0]] == y[edges[1]]).double().mean().item()
    assert alike == pytest.approx(0.7 + 0.3 / 4, abs=0.02)  # others may be of the class by chance
    own = torch.arange(60) % 4 == y[:, None]
    assert x[own].mean().item() == pytest.approx(0.2, abs=0.01)
    assert x[~own].mean().item() == pytest.approx(0.05, abs=0.01)
    with pytest.raises(ValueError, match=r"likeness must be from 0 to 1, got 2\.0"):
        communities.sample(likeness=2.0, generator=generator)


def test_the_best_weights_are_those_of_the_least_loss_and_go_on_from_a_checkpoint():
    model, best = nn.Linear(1, 1), BestWeights("validation_loss")
    for loss in (math.nan, 2.0, 1.0, math.nan, 3.0):
        nn.init.constant_(model.weight, loss)
        best.see(model, {"validation_loss": loss, "test_accuracy": 1 / loss})
    other = BestWeights("validation_loss")
    other.load_state_dict(best.state_dict())
    other.restore(model)
    assert model.weight.item() == 1
    assert other.row == {"validation_loss": 1.0, "test_accuracy": 1.0}
    with pytest.raises(KeyError, match="no 'validation_loss' to choose by: an evaluation has loss"):
        best.see(model, {"loss": 1.0})
