"""One matrix for DEQs and FNNs: what it counts, what it computes, how it moves with its weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deqlab.expressivity.search.evaluation import Substitution
from deqlab.expressivity.search.modules import as_deq, as_fnn
from deqlab.expressivity.search.network import Network, Wiring, identity
from deqlab.nn import mlp

DEQ, FNN = Wiring((1,) * 4, dense=True), Wiring((3, 2), dense=False)


def drawn(wiring, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(wiring.num_parameters, generator=generator, dtype=torch.float64)
    return Network(wiring, wiring.matrix(weights))


@given(levels=st.lists(st.integers(1, 5), min_size=1, max_size=4))
@settings(max_examples=20, deadline=None)
def test_an_fnn_has_the_parameters_and_multiply_adds_of_its_module(levels):
    wiring = Wiring(tuple(levels), dense=False)
    parameters = list(mlp([1, *levels, 1]).parameters())
    assert wiring.num_parameters == sum(p.numel() for p in parameters)
    assert wiring.multiply_adds == sum(p.numel() for p in parameters if p.ndim == 2)


def test_a_deq_of_width_10_has_77_parameters_and_66_multiply_adds():
    wiring = Wiring((1,) * 10, dense=True)
    assert (wiring.num_parameters, wiring.multiply_adds) == (77, 66)
    assert wiring.step_flops(1000) == 1000 * (2 * 77**2 + 8 * 66) + 77**3 / 3


@given(levels=st.lists(st.integers(1, 3), max_size=4), dense=st.booleans())
@settings(max_examples=20, deadline=None)
def test_no_neuron_reads_its_own_level_or_a_later_one(levels, dense):
    wiring = Wiring(tuple(levels), dense)
    assert wiring.bounds[-1:] == (((sum(levels[:-1])), sum(levels)),)[: len(levels)]
    for start, end in wiring.bounds:
        assert not wiring.mask[start:end, start : wiring.num_neurons].any()
        assert wiring.mask[start:end, -1].all()


@pytest.mark.parametrize("wiring", [DEQ, FNN], ids=["deq", "fnn"])
def test_weights_go_into_the_matrix_and_come_out_again(wiring):
    network = drawn(wiring)
    assert torch.equal(network.having(network.weights).matrix, network.matrix)
    assert network.matrix[~wiring.mask].abs().sum() == 0


def test_substitution_is_the_equilibrium_that_deqlab_solves_for():
    x = torch.linspace(-2, 2, 101, dtype=torch.float64)
    network = drawn(DEQ)
    y = as_deq(network)(x[:, None])[:, 0]
    ours = Substitution(DEQ, x).output(network.weights)
    torch.testing.assert_close(ours, y.detach(), rtol=1e-12, atol=1e-12)


def test_substitution_is_what_the_feed_forward_module_computes():
    x = torch.linspace(-2, 2, 101, dtype=torch.float64)
    network = drawn(FNN)
    y = as_fnn(network)(x[:, None])[:, 0]
    ours = Substitution(FNN, x).output(network.weights)
    torch.testing.assert_close(ours, y.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("wiring", [DEQ, FNN, Wiring((), True)], ids=["deq", "fnn", "empty"])
def test_the_jacobian_is_that_of_finite_differences(wiring):
    x = torch.linspace(-1.03, 1.01, 17, dtype=torch.float64)
    model, weights = Substitution(wiring, x), drawn(wiring, seed=3).weights
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
    network = identity(dense=dense)
    assert torch.equal(Substitution(network.wiring, x).output(network.weights), x)
