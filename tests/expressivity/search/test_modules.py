"""Networks as modules and back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from deqlab.expressivity import ReadoutDEQ
from deqlab.expressivity.search import (
    Architecture,
    Network,
    as_deq,
    as_fnn,
    as_module,
    from_deq,
    from_fnn,
)
from deqlab.nn import DEQ, DenseCell


def drawn(architecture, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(architecture.num_parameters, generator=generator, dtype=torch.float64)
    return Network(architecture, architecture.matrix(weights))


@given(n=st.integers(1, 6), loops=st.booleans(), skip=st.booleans(), seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_the_network_of_the_module_of_a_dense_network_is_that_network(n, loops, skip, seed):
    network = drawn(Architecture((1,) * n, True, loops, skip), seed)
    again = from_deq(as_deq(network))
    assert again.architecture == network.architecture
    assert torch.equal(again.matrix, network.matrix)


@given(levels=st.lists(st.integers(1, 4), min_size=1, max_size=4), seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_the_network_of_the_module_of_levels_is_that_network(levels, seed):
    network = drawn(Architecture(tuple(levels), dense=False), seed)
    again = from_fnn(as_fnn(network))
    assert again.architecture == network.architecture
    assert torch.equal(again.matrix, network.matrix)


@pytest.mark.parametrize("dense", [True, False])
def test_no_module_moves_the_global_generator(dense):
    before = torch.get_rng_state()
    as_module(drawn(Architecture((2, 2), dense), 0))
    assert torch.equal(torch.get_rng_state(), before)


def test_more_neurons_than_the_module_has_do_nothing():
    network = drawn(Architecture((1, 1), dense=True), 0)
    wider = from_deq(as_deq(network), width=4)
    assert wider.architecture == Architecture((1,) * 4, dense=True)
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None]
    assert torch.equal(as_deq(wider)(x), as_deq(network)(x))


def test_a_deq_of_another_kind_is_refused():
    def deq(cell):
        return ReadoutDEQ(DEQ(cell), nn.Linear(2, 1))

    with pytest.raises(ValueError, match="a DenseCell with relu"):
        from_deq(deq(DenseCell(1, 2, activation=torch.tanh)))
    with pytest.raises(ValueError, match="W must be lower triangular"):
        from_deq(deq(DenseCell(1, 2)))
