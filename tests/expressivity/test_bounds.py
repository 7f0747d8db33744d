"""Bounds against the networks they bound: none breaks them, and some meet them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from deqlab.expressivity import (
    largest_infinity_norm,
    largest_pieces,
    layered_pieces,
    narrow_sawtooth,
    sawtooth_fnn,
    smallest_depth,
    smallest_infinity_norm,
    smallest_width,
    steep_ramp,
)
from deqlab.nn import DEQ, DenseCell, MonotoneCell, Triangular, mlp


@given(st.lists(st.integers(1, 9), max_size=6))
def test_pieces_are_counted_layer_by_layer_as_by_the_published_sum(widths):
    # Serra et al. (2018), Theorem 1: the sum over all (j_1, ..., j_L) with 0 <= j_l <=
    # min(n_0, n_1 - j_1, ..., n_(l-1) - j_(l-1), n_l) of the products of (n_l choose j_l).
    def total(rest, room):
        if not rest:
            return 1
        n, later = rest[0], rest[1:]
        return sum(
            math.comb(n, j) * total(later, min(room, n - j)) for j in range(min(room, n) + 1)
        )

    assert largest_pieces(widths) == total(widths, 1)


def test_one_layer_meets_its_bound():
    network = mlp([1, 6, 1]).double()
    with torch.no_grad():
        network[0].weight.fill_(1.0)
        network[0].bias.copy_(-torch.arange(1, 7) / 7)
        network[2].weight.fill_(1.0)
    assert layered_pieces(network, 0.0, 1.0).num_regions == largest_pieces([6]) == 7


@given(st.integers(1, 12), st.integers(1, 5000))
def test_the_smallest_depth_is_enough_and_one_less_is_not(width, pieces):
    depth = smallest_depth(width, pieces)
    assert largest_pieces([width] * depth) >= pieces
    assert depth == 0 or largest_pieces([width] * (depth - 1)) < pieces


@given(st.integers(1, 6), st.integers(1, 10**6))
def test_the_smallest_width_is_enough_and_one_less_is_not(depth, pieces):
    width = smallest_width(depth, pieces)
    assert largest_pieces([width] * depth) >= pieces
    assert width == 1 or largest_pieces([width - 1] * depth) < pieces


@pytest.mark.parametrize("k", [2, 5, 9])
def test_the_exact_network_obeys_the_bound_on_regions(k):
    assert 2**k <= largest_pieces([2] * k)
    assert smallest_depth(2, 2**k) <= k


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.floats(0, 0.4), st.integers(0, 12))
def test_no_network_is_steeper_than_its_norms_allow(seed, depth, error, d):
    torch.manual_seed(seed)
    network = mlp([1, *[5] * depth, 1]).double()
    steepest = layered_pieces(network, -1.0, 1.0).slopes.abs().max().item()
    # It rises by steepest * run somewhere, and so is within error of what rises by 2 error more.
    run = 2.0**-d
    rise = steepest * run + 2 * error
    if rise > 0:
        bound = smallest_infinity_norm(run=run, rise=rise, depth=depth, error=error)
        assert bound <= largest_infinity_norm(network) * (1 + 1e-9)


def test_the_bound_on_norms_is_met_by_a_steep_line():
    line = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)).double()
    with torch.no_grad():
        line[0].weight.fill_(32.0)
        line[2].weight.fill_(-32.0)
    bound = smallest_infinity_norm(run=2.0**-10, depth=1, error=0.0)
    assert bound == largest_infinity_norm(line) == 32


def test_the_bound_on_norms_has_the_documented_value():
    # ((1 - 2 eps) 2^d)^(1 / (L + 1)), with 2^d = 2^12, eps = 1/4, L = 2.
    assert smallest_infinity_norm(run=2.0**-12, depth=2, error=0.25) == pytest.approx(2 ** (11 / 3))
    assert smallest_infinity_norm(run=0.1, depth=2, error=0.6) == 0
    assert smallest_infinity_norm(run=0.5, depth=0, error=0.0, rise=3.0) == 6


@pytest.mark.parametrize("d", [1, 10, 24])
def test_the_ramp_as_a_deq_keeps_a_norm_of_two_however_steep_it_is(d):
    assert largest_infinity_norm(steep_ramp(2.0**-d)) == 2


def test_norms_are_row_sums_of_weights_without_biases():
    network = mlp([2, 2, 1])
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.5]]))
        network[0].bias.fill_(100.0)
        network[2].weight.copy_(torch.tensor([[1.0, 1.0]]))
    assert largest_infinity_norm(network) == 3.5
    assert largest_infinity_norm(sawtooth_fnn(4)) == 6
    assert largest_infinity_norm(narrow_sawtooth(4)) == 4 * 2**5


@pytest.mark.parametrize("make", [DenseCell, MonotoneCell])
def test_a_constrained_matrix_counts_as_the_cell_uses_it(make):
    torch.manual_seed(0)
    kind = {"constraint": Triangular(0.5)} if make is DenseCell else {"margin": 0.5}
    cell = make(1, 4, gain=3.0, **kind)
    torch.nn.init.zeros_(cell.inject.weight)
    expected = torch.linalg.matrix_norm(cell.weight, ord=torch.inf).item()
    assert largest_infinity_norm(DEQ(cell)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: largest_pieces([3, 0]), r"widths must be at least 1, got \[3, 0\]"),
        (lambda: smallest_width(0, 4), "depth must be at least 1, got 0"),
        (lambda: smallest_width(1, 0), "pieces must be at least 1, got 0"),
        (lambda: smallest_depth(0, 4), "width must be at least 1, got 0"),
        (lambda: smallest_depth(2, 0), "pieces must be at least 1, got 0"),
        (lambda: smallest_infinity_norm(run=0.0, depth=1, error=0.0), "run and rise must be above"),
        (lambda: smallest_infinity_norm(run=1.0, depth=1, error=-0.1), "error and depth 0 or more"),
        (lambda: largest_infinity_norm(nn.ReLU()), "ReLU has no weight matrix"),
        (lambda: largest_infinity_norm(nn.Conv1d(1, 1, 1)), r"Conv1d.weight has shape \(1, 1, 1\)"),
    ],
)
def test_a_number_out_of_its_domain_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
