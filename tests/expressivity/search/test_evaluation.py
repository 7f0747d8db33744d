"""One matrix for DEQs and FNNs: what it counts, what it computes, how it moves with its weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deqlab.expressivity.search import (
    Architecture,
    Evaluation,
    Network,
    as_deq,
    as_fnn,
    evaluate,
    identity,
)
from deqlab.nn import mlp

DEQ, FNN = Architecture((1,) * 4, dense=True), Architecture((3, 2), dense=False)


def drawn(architecture, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(architecture.num_parameters, generator=generator, dtype=torch.float64)
    return Network(architecture, architecture.matrix(weights))


@given(levels=st.lists(st.integers(1, 5), min_size=1, max_size=4))
@settings(max_examples=20, deadline=None)
def test_an_fnn_has_the_parameters_and_multiply_adds_of_its_module(levels):
    architecture = Architecture(tuple(levels), dense=False)
    parameters = list(mlp([1, *levels, 1]).parameters())
    assert architecture.num_parameters == sum(p.numel() for p in parameters)
    assert architecture.multiply_adds == sum(p.numel() for p in parameters if p.ndim == 2)


def test_a_deq_of_width_10_has_77_parameters_and_66_multiply_adds():
    architecture = Architecture((1,) * 10, dense=True)
    assert (architecture.num_parameters, architecture.multiply_adds) == (77, 66)
    assert architecture.step_flops(1000) == 1000 * (2 * 77**2 + 8 * 66) + 77**3 / 3


@given(levels=st.lists(st.integers(1, 3), max_size=4), dense=st.booleans())
@settings(max_examples=20, deadline=None)
def test_no_neuron_reads_its_own_level_or_a_later_one(levels, dense):
    architecture = Architecture(tuple(levels), dense)
    assert architecture.bounds[-1:] == (((sum(levels[:-1])), sum(levels)),)[: len(levels)]
    for start, end in architecture.bounds:
        assert not architecture.mask[start:end, start : architecture.num_neurons].any()
        assert architecture.mask[start:end, -1].all()


@pytest.mark.parametrize("architecture", [DEQ, FNN], ids=["deq", "fnn"])
def test_weights_go_into_the_matrix_and_come_out_again(architecture):
    network = drawn(architecture)
    assert torch.equal(network.with_weights(network.weights).matrix, network.matrix)
    assert network.matrix[~architecture.mask].abs().sum() == 0


def test_substitution_is_the_equilibrium_that_deqlab_solves_for():
    x = torch.linspace(-2, 2, 101, dtype=torch.float64)
    network = drawn(DEQ)
    y = as_deq(network)(x[:, None])[:, 0]
    ours = evaluate(network, x)
    torch.testing.assert_close(ours, y.detach(), rtol=1e-12, atol=1e-12)


def test_substitution_is_what_the_feed_forward_module_computes():
    x = torch.linspace(-2, 2, 101, dtype=torch.float64)
    network = drawn(FNN)
    y = as_fnn(network)(x[:, None])[:, 0]
    ours = evaluate(network, x)
    torch.testing.assert_close(ours, y.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "architecture", [DEQ, FNN, Architecture((), True)], ids=["deq", "fnn", "empty"]
)
def test_the_jacobian_is_that_of_finite_differences(architecture):
    x = torch.linspace(-1.03, 1.01, 17, dtype=torch.float64)
    model, weights = Evaluation(architecture, x), drawn(architecture, seed=3).weights
    y, j = model.jacobian(weights)
    assert torch.equal(y, model.output(weights))
    h = 1e-6
    for index, row in enumerate(j):
        step = torch.zeros_like(weights)
        step[index] = h
        slope = (model.output(weights + step) - model.output(weights - step)) / (2 * h)
        torch.testing.assert_close(row, slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dense", [True, False])
def test_a_network_without_neurons_is_the_identity(dense):
    x = torch.linspace(0, 1, 5, dtype=torch.float64)
    network = identity(Architecture((3,), dense))
    assert torch.equal(evaluate(network, x), x)
