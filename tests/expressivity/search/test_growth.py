"""Growth: what a new level is before and after it is fitted, and that stages learn."""

import pytest
import torch

from deqlab.expressivity.search import (
    Architecture,
    Evaluation,
    Neurons,
    add_level,
    as_deq,
    evaluate,
    grow_level,
    identity,
    levenberg_marquardt,
)
from deqlab.expressivity.search.growth import MARGIN
from deqlab.tasks import sawtooth

X = torch.rand(200, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def output(network, x=X):
    return evaluate(network, x)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def sprout(network, k, *, width=1, candidates=8, seed=0, scale=1.0):
    return grow_level(
        network,
        X,
        sawtooth.evaluate(X, log2_regions=k),
        width=width,
        scale=scale,
        candidates=candidates,
        generator=torch.Generator().manual_seed(seed),
    )


def test_a_neuron_that_is_added_to_a_deq_is_inert_before_its_fit():
    network = sprout(sprout(identity(Architecture((1,), dense=True)), 1), 2)
    more = add_level(network, Neurons(tensor(0.7), tensor(0.3)), tensor(1, 0, 0))
    assert more.architecture.levels == (1, 1, 1)
    assert more.architecture.num_neurons == network.architecture.num_neurons + 1
    torch.testing.assert_close(output(more), output(network), rtol=0, atol=1e-14)


def test_a_new_neuron_reads_the_output_of_the_network_before_it():
    network = sprout(sprout(identity(Architecture((1,), dense=True)), 1), 2)
    more = add_level(network, Neurons(tensor(0.7), tensor(0.3)), tensor(0, 1, 0))
    expected = torch.relu(0.7 * (output(network) - 0.3))
    torch.testing.assert_close(output(more), expected, rtol=0, atol=1e-14)


def test_a_new_level_of_an_fnn_carries_the_output_through_its_first_neuron():
    network = sprout(identity(Architecture((1,), dense=False)), 1, width=2)
    least = output(network).min()
    kinks = torch.stack([least - MARGIN, least + 0.5])
    more = add_level(network, Neurons(tensor(1, -1), kinks), torch.cat([tensor(1, 0), kinks[:1]]))
    assert more.architecture.levels == (2, 2)
    torch.testing.assert_close(output(more), output(network), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("dense", "width"), [(True, 1), (False, 3)])
def test_growth_keeps_the_weights_there_were_and_respects_the_wiring(dense, width):
    network = sprout(identity(Architecture((1,), dense=dense)), 1, width=width)
    more = sprout(network, 2, width=width)
    n = network.architecture.num_neurons
    kept = [*range(n), -2, -1]
    assert torch.equal(more.matrix[:n, kept], network.matrix[:-1])
    assert more.matrix[~more.architecture.mask].abs().sum() == 0


@pytest.mark.parametrize(("dense", "width"), [(True, 1), (False, 3)])
def test_more_candidates_fit_no_worse(dense, width):
    target = sawtooth.evaluate(X, log2_regions=2)
    network = sprout(identity(Architecture((1,), dense=dense)), 1, width=width)
    # The worst of the single draws bounds the best of several.
    losses = [
        (output(sprout(network, 2, width=width, candidates=c)) - target).square().mean()
        for c in (1, 64)
    ]
    assert losses[1] < losses[0]


def test_the_margin_holds_for_every_candidate():
    network = sprout(identity(Architecture((1,), dense=False)), 1, width=3, candidates=1)
    carrier = network.matrix[0, -2:]  # slope on x, constant
    assert carrier[0] == 1
    assert carrier[1].item() == pytest.approx(MARGIN - X.min().item(), abs=1e-14)


def test_a_grown_deq_is_strictly_triangular_learns_and_solves_to_what_substitution_says():
    network = identity(Architecture((1,), dense=True))
    for k in (1, 2, 3):
        network = sprout(network, k, scale=0.5**k)
        model = Evaluation(network.architecture, X)
        target = sawtooth.evaluate(X, log2_regions=k)
        fit = levenberg_marquardt(model, network.weights, target, steps=30)
        network = network.with_weights(fit.weights)
    module = as_deq(network)
    w = module.layer.cell.weight.detach()
    assert torch.equal(w, w.tril(-1))
    fresh = torch.rand(300, 1, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    solution = module.layer.solve(fresh)
    assert solution.converged.all()
    assert solution.evaluations == 4
    y = module.output(fresh, solution)[:, 0].detach()
    torch.testing.assert_close(y, output(network, fresh[:, 0]), rtol=0, atol=1e-12)
    expected = sawtooth.evaluate(fresh[:, 0], log2_regions=3)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)


def test_a_deq_without_a_skip_grows_from_x_and_keeps_its_output_from_then_on():
    start = identity(Architecture((1,), dense=True, loops=True, skip=False))
    assert torch.equal(output(start), X)
    one = sprout(start, 1)
    assert one.architecture == Architecture((1,), dense=True, loops=True, skip=False)
    assert one.matrix[~one.architecture.mask].abs().sum() == 0
    two = add_level(one, Neurons(tensor(0.7), tensor(0.3)), tensor(1, 0, 0))
    assert two.architecture == Architecture((1, 1), dense=True, loops=True, skip=False)
    torch.testing.assert_close(output(two), output(one), rtol=0, atol=1e-14)
    assert two.matrix[1, 1] == 0
