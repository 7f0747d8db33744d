"""Counted regions against closed forms, brute force, and enumeration of all active sets."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from deqlab.expressivity import (
    Pieces,
    ReadoutDEQ,
    equilibrium_pieces,
    largest_pieces,
    layered_pieces,
    narrow_sawtooth,
    sampled_regions,
    sawtooth_fnn,
    steep_ramp,
    wide_sawtooth,
)
from deqlab.nn import DEQ, DenseCell, MonotoneCell, Triangular, mlp
from deqlab.solvers import Newton, Picard

F64 = torch.float64


def fnn(widths, seed):
    """A random network, with biases large enough to put kinks all over [-1, 1]."""
    torch.manual_seed(seed)
    network = mlp([1, *widths, 1]).double()
    for module in network:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return network


def deq(width, seed, *, monotone=False, solver=None):
    torch.manual_seed(seed)
    if monotone:
        cell = MonotoneCell(1, width, margin=0.3, gain=2.0)
    else:
        cell = DenseCell(1, width, constraint=Triangular(0.9), gain=3.0)
    solver = Newton(rtol=1e-12) if solver is None else solver
    network = ReadoutDEQ(DEQ(cell, solver=solver, on_failure="ignore"), nn.Linear(width, 1))
    return network.double()


def read(network, x):
    """The output of a DEQ by enumeration: of the 2^m active sets the one that is feasible."""
    cell = network.layer.cell
    w, u = cell.weight.detach().numpy(), cell.inject.weight.detach().numpy()[:, 0]
    b, m = cell.inject.bias.detach().numpy(), cell.width
    q = np.outer(x, u) + b
    z, least = np.zeros_like(q), np.full(len(x), np.inf)
    for active in itertools.product([False, True], repeat=m):
        s, some = np.array(active), np.zeros_like(q)
        if s.any():
            some[:, s] = np.linalg.solve(np.eye(s.sum()) - w[np.ix_(s, s)], q[:, s].T).T
        defect = np.abs(np.maximum(some @ w.T + q, 0) - some).max(axis=1)
        better = defect < least
        z[better], least[better] = some[better], defect[better]
    assert least.max() < 1e-9
    v, c = network.readout.weight.detach().numpy()[0], network.readout.bias.item()
    return z @ v + c


def check_against(pieces, y, n=4001, tolerance=1e-9):
    """The function that the pieces describe is y, up to a constant, and kinks are at the edges."""
    low, high = pieces.edges[0].item(), pieces.edges[-1].item()
    assert (pieces.edges.diff() > 0).all()
    x = torch.linspace(low, high, n, dtype=F64)
    values = torch.cat([torch.zeros(1, dtype=F64), (pieces.slopes * pieces.edges.diff()).cumsum(0)])
    index = (torch.searchsorted(pieces.edges, x, right=True) - 1).clamp(0, len(pieces.slopes) - 1)
    found = values[index] + pieces.slopes[index] * (x - pieces.edges[index])
    exact = torch.as_tensor(y(x))
    scale = exact.abs().max() + 1
    torch.testing.assert_close(found, exact - exact[0], rtol=0, atol=tolerance * scale.item())


def brute_force(pieces, slope_at, n=200_001):
    """The number of changes of the slope on a dense grid, and whether all regions are in it."""
    low, high = pieces.edges[0].item(), pieces.edges[-1].item()
    x = low + (high - low) * (torch.arange(n, dtype=F64) + 0.5) / n
    slopes = slope_at(x)
    dense = 1 + int((slopes.diff().abs() > 1e-9 * slopes.abs().max()).sum())
    return dense, bool((pieces.merged().edges.diff() > 2 * (high - low) / n).all())


def autograd_slope(f):
    def slope(x):
        leaf = x[:, None].clone().requires_grad_()
        return torch.autograd.grad(f(leaf).sum(), leaf)[0][:, 0]

    return slope


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8, 10])
def test_sawtooths_have_two_to_the_k_regions_at_their_places(k):
    counted = {
        "wide": equilibrium_pieces(wide_sawtooth(k), 0.0, 1.0),
        "narrow": equilibrium_pieces(narrow_sawtooth(k), 0.0, 1.0),
        "fnn": layered_pieces(sawtooth_fnn(k), 0.0, 1.0),
    }
    for pieces in counted.values():
        assert pieces.num_regions == 2**k
        merged = pieces.merged()
        grid = torch.arange(2**k + 1, dtype=F64) / 2**k
        torch.testing.assert_close(merged.edges, grid, rtol=0, atol=1e-15)
        assert (merged.slopes == 2.0**k * (-1.0) ** torch.arange(2**k)).all()


@pytest.mark.slow
def test_so_they_have_for_k_of_fifteen_in_seconds():
    for network in (wide_sawtooth(15), narrow_sawtooth(15)):
        assert equilibrium_pieces(network, 0.0, 1.0).num_regions == 2**15
    assert layered_pieces(sawtooth_fnn(15), 0.0, 1.0).num_regions == 2**15


@pytest.mark.parametrize("d", [1, 10, 20])
def test_the_ramp_has_three_regions_on_the_whole_line_and_two_from_zero(d):
    pieces = equilibrium_pieces(steep_ramp(2.0**-d), -1.0, 1.0)
    assert pieces.edges.tolist() == [-1, 0, 2.0**-d, 1]
    assert pieces.slopes.tolist() == [0, 2.0**d, 0]
    assert equilibrium_pieces(steep_ramp(2.0**-d), 0.0, 1.0).num_regions == 2


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_one_hidden_layer_has_a_kink_for_each_unit_in_the_interval(seed, width):
    network = fnn([width], seed)
    kinks = -network[0].bias / network[0].weight[:, 0]
    inside = int(((kinks > -1) & (kinks < 1)).sum())
    assert layered_pieces(network, -1.0, 1.0).num_regions == inside + 1


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_a_network_is_its_pieces_and_they_are_within_the_bound(seed, widths):
    network = fnn(widths, seed)
    pieces = layered_pieces(network, -1.0, 2.0)
    check_against(pieces, lambda x: network(x[:, None])[:, 0].detach())
    assert pieces.num_regions <= largest_pieces(widths)


@pytest.mark.parametrize("seed", range(8))
def test_a_network_has_the_regions_that_a_dense_grid_sees(seed):
    network = fnn([5, 4, 4], seed)
    pieces = layered_pieces(network, -1.0, 1.0)
    dense, all_wide = brute_force(pieces, autograd_slope(network))
    assert dense <= pieces.num_regions
    assert not all_wide or dense == pieces.num_regions
    assert all_wide or seed not in (0, 1, 2)  # else nothing would be compared


@pytest.mark.parametrize("monotone", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_deq_is_its_pieces(seed, monotone):
    network = deq(5, seed, monotone=monotone)
    pieces = equilibrium_pieces(network, -1.0, 1.0)
    assert pieces.num_regions > 1 or seed == 2
    check_against(pieces, lambda x: read(network, x.numpy()))


@pytest.mark.parametrize("seed", range(4))
def test_a_deq_has_the_regions_that_a_dense_grid_sees(seed):
    network = deq(6, seed)
    pieces = equilibrium_pieces(network, -1.0, 1.0)
    sampled = sampled_regions(network, -1.0, 1.0, num_points=300, rounds=3, tolerance=1e-9)
    assert sampled == pieces.num_regions


def test_a_loose_solver_moves_no_edge():
    tight = equilibrium_pieces(deq(8, 0), -1.0, 1.0)
    loose = equilibrium_pieces(deq(8, 0, solver=Picard(rtol=0.5, max_steps=3)), -1.0, 1.0)
    torch.testing.assert_close(loose.edges, tight.edges, rtol=0, atol=1e-12)
    torch.testing.assert_close(loose.slopes, tight.slopes, rtol=1e-9, atol=1e-9)


def test_float32_weights_are_counted_in_float64():
    network = deq(5, 1).float()
    same = equilibrium_pieces(network, -1.0, 1.0)
    # The constraint rounds W in float32.
    check_against(same, lambda x: read(network.double(), x.numpy()), tolerance=1e-6)


def test_units_that_cancel_leave_no_region():
    # relu(x - 1/3) - relu(x - 1/3), and a kink that stays.
    network = mlp([1, 3, 1]).double()
    third = 1 / 3
    network[0].load_state_dict(
        {
            "weight": torch.tensor([[3.0], [1.0], [1.0]], dtype=F64),
            "bias": torch.tensor([-3 * third, -third, 0.0], dtype=F64),
        }
    )
    network[2].load_state_dict(
        {"weight": torch.tensor([[1.0, -3.0, 1.0]], dtype=F64), "bias": torch.zeros(1, dtype=F64)}
    )
    pieces = layered_pieces(network, -1.0, 1.0)
    assert pieces.num_regions == 2
    assert (pieces.edges.diff() > 1e-9).all()  # two units at once cut once


def test_slopes_are_one_up_to_the_tolerance():
    slopes = torch.tensor([1.0, 1.0 + 1e-9, 2.0, -2.0, -2.0], dtype=F64)
    pieces = Pieces(torch.arange(6, dtype=F64), slopes)
    assert pieces.num_regions == 4
    merged = pieces.merged(tolerance=1e-8)
    assert merged.edges.tolist() == [0, 2, 3, 5]
    assert merged.slopes.tolist() == [1, 2, -2]


@pytest.mark.parametrize("scale", [1.0, 1e9])
def test_slopes_that_differ_by_rounding_alone_are_one_region(scale):
    def regions(apart):
        slopes = scale * torch.tensor([1.0, 1.0 + apart, -2.0], dtype=F64)
        return Pieces(torch.arange(4, dtype=F64), slopes).num_regions

    assert regions(2e-15) == 2
    assert regions(1e-9) == 3


@pytest.mark.parametrize("k", [1, 3, 6])
def test_samples_find_all_regions_of_a_sawtooth_and_never_more(k):
    network = sawtooth_fnn(k)
    assert sampled_regions(network, 0.0, 1.0) == 2**k
    for num_points in (2, 5, 17):
        assert sampled_regions(network, 0.0, 1.0, num_points=num_points) <= 2**k


def test_bisection_finds_what_lies_between_two_samples():
    # A tooth of width 1e-4 between points that are 0.1 apart; its sides have other slopes.
    f = lambda x: torch.relu(x - 0.5) + 50 * torch.relu(x - 0.5001)  # noqa: E731
    assert sampled_regions(f, 0.0, 1.0, num_points=11, rounds=0) == 2
    assert sampled_regions(f, 0.0, 1.0, num_points=11) == 3


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_samples_never_count_more_than_there_are(seed):
    network = fnn([4, 4], seed)
    exact = layered_pieces(network, -1.0, 1.0)
    assert sampled_regions(network, -1.0, 1.0, num_points=501) <= exact.num_regions


def test_a_constant_has_one_region():
    assert sampled_regions(torch.ones_like, -1.0, 1.0) == 1
    assert layered_pieces(nn.Sequential(nn.Linear(1, 1)).double(), -1.0, 1.0).num_regions == 1


def two_equilibria():
    """z = relu(2 z + x - 1/2): two equilibria below x = 1/2, none above."""
    network = deq(1, 0)
    cell = DenseCell(1, 1).double()
    for name, value in (("free", 2.0), ("inject.weight", 1.0), ("inject.bias", -0.5)):
        parameter = dict(cell.named_parameters())[name]
        parameter.data = torch.full_like(parameter, value)
    network.layer.cell = cell
    return network


def test_an_equation_with_two_solutions_is_refused():
    # z_1 = relu(2 z_1 + x - 1/2) is 0 or 1/2 - x; z_2 = relu(z_1 + x - 1/5) bends for the first
    # alone, and only the second is found beyond that kink.
    network = deq(2, 0)
    cell = DenseCell(1, 2).double()
    cell.load_state_dict(
        {
            "free": torch.tensor([[2.0, 0.0], [1.0, 0.0]]),
            "inject.weight": torch.ones(2, 1),
            "inject.bias": torch.tensor([-0.5, -0.2]),
        }
    )
    network.layer.cell = cell
    network.layer.solve = lambda x: SimpleNamespace(matrix=(x > 0.25).double().expand(-1, 2))
    with pytest.raises(
        ValueError,
        match=r"at x = .*: there is more than one equilibrium, unless I - W is a P-matrix",
    ):
        equilibrium_pieces(network, -1.0, 0.4)


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (lambda: layered_pieces(mlp([1, 2, 1]), 1.0, 1.0), "low < high is needed"),
        (lambda: equilibrium_pieces(deq(2, 0), 0.0, float("inf")), "low < high is needed"),
        (lambda: sampled_regions(torch.abs, 1.0, 0.0), "low < high is needed"),
        (lambda: layered_pieces(mlp([2, 3, 1]), 0.0, 1.0), "layer 0 takes 2 numbers and gets 1"),
        (lambda: layered_pieces(mlp([1, 3, 2]), 0.0, 1.0), "must have one output, got 2"),
        (
            lambda: layered_pieces(mlp([1, 3, 1], activation=nn.Tanh), 0.0, 1.0),
            "layer 1 is Tanh, where regions are counted exactly for Linear and ReLU alone",
        ),
        (
            lambda: equilibrium_pieces(
                ReadoutDEQ(DEQ(DenseCell(1, 2, activation=torch.tanh)), nn.Linear(2, 1)), 0.0, 1.0
            ),
            "regions are counted exactly for ReLU",
        ),
        (
            lambda: equilibrium_pieces(ReadoutDEQ(DEQ(nn.Identity()), nn.Linear(2, 1)), 0.0, 1.0),
            "for DenseCell and MonotoneCell, got Identity",
        ),
        (
            lambda: equilibrium_pieces(ReadoutDEQ(DEQ(DenseCell(2, 2)), nn.Linear(2, 1)), 0.0, 1.0),
            "the cell must have one input, got 2",
        ),
        (
            lambda: equilibrium_pieces(ReadoutDEQ(DEQ(DenseCell(1, 2)), nn.Linear(2, 3)), 0.0, 1.0),
            "must have one output, got 3",
        ),
        (lambda: equilibrium_pieces(two_equilibria(), 0.6, 1.0), "no equilibrium was found at x"),
        (lambda: sampled_regions(torch.abs, 0.0, 1.0, num_points=1), "num_points must be at least"),
        (lambda: sampled_regions(torch.sum, 0.0, 1.0), r"must map \(n, 1\) to \(n, 1\)"),
        (lambda: sampled_regions(lambda x: x * torch.nan, 0.0, 1.0), "slope of f at x = .* is not"),
    ],
)
def test_what_cannot_be_counted_is_refused(count, sentence):
    with pytest.raises(ValueError, match=sentence):
        count()
