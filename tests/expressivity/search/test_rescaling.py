"""A network of 2 x: the same function of 2 x, and what becomes of its weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deqlab.expressivity import steep_ramp
from deqlab.expressivity.search import Architecture, Network, evaluate, from_deq, rescale_input

X = torch.linspace(-1.03, 1.01, 57, dtype=torch.float64)


def drawn(architecture, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(architecture.num_parameters, generator=generator, dtype=torch.float64)
    weights[architecture.is_loop] = 1 - torch.exp(weights[architecture.is_loop])
    return Network(architecture, architecture.matrix(weights))


def exact_deq(d, width):
    return from_deq(steep_ramp(2.0**-d), width=width)


def exact_fnn(d):
    a = [[0, 0, 2.0**d, 0], [0, 0, 2.0**d, -1], [1, -1, 0, 0]]
    return Network(Architecture((2,), dense=False), torch.tensor(a, dtype=torch.float64))


def check_rescaled(network):
    steeper = rescale_input(network)
    assert steeper.architecture == network.architecture
    assert steeper.matrix[~network.architecture.mask].abs().sum() == 0
    expected = evaluate(network, 2 * X)
    scale = expected.abs().max().clamp_min(1).item()
    torch.testing.assert_close(evaluate(steeper, X), expected, rtol=1e-10, atol=1e-10 * scale)


@given(levels=st.lists(st.integers(1, 4), min_size=1, max_size=4), seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_the_output_of_an_fnn_at_x_is_what_it_was_at_2x(levels, seed):
    check_rescaled(drawn(Architecture(tuple(levels), dense=False), seed))


@given(n=st.integers(1, 6), skip=st.booleans(), seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_the_output_of_a_deq_at_x_is_what_it_was_at_2x(n, skip, seed):
    check_rescaled(drawn(Architecture((1,) * n, dense=True, loops=True, skip=skip), seed))


def test_no_weight_of_a_deq_grows_but_its_loops_and_those_stay_below_1():
    network = exact_deq(1, 4)
    for d in range(2, 60):
        steeper = rescale_input(network)
        loops = steeper.matrix[:4, :4].diagonal()
        assert (loops < 1).all()
        off = ~torch.eye(5, 6, dtype=torch.bool)
        assert (steeper.matrix.abs() <= network.matrix.abs())[off].all()
        if d <= 52:
            assert loops[0] == 1 - 2.0**-d
        network = steeper


@pytest.mark.parametrize("d", [1, 10, 19])
def test_the_exact_ramp_becomes_the_next_one(d):
    x = torch.cat([X, X * 2.0**-d])
    for exact in (exact_deq(d, 3), exact_fnn(d)):
        expected = (x * 2.0 ** (d + 1)).clamp(0, 1)
        y = evaluate(rescale_input(exact), x)
        torch.testing.assert_close(y, expected, rtol=0, atol=2.0 ** (d - 50))


@pytest.mark.parametrize("levels", [(3,), (3, 2), (2, 4, 3)])
def test_matrices_of_an_fnn_grow_by_what_the_bound_grows_by(levels):
    network = drawn(Architecture(levels, dense=False), 0)
    a, b = (n.matrix[:, :-1] for n in (network, rescale_input(network)))
    factor = 2 ** (1 / (len(levels) + 1))
    torch.testing.assert_close(b, factor * a, rtol=1e-14, atol=0)


def test_a_deq_without_loops_is_refused():
    with pytest.raises(ValueError, match="it needs loops=True"):
        rescale_input(drawn(Architecture((1, 1), dense=True), 0))
