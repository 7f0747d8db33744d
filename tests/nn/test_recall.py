"""The recall cell: its formula by hand, and that no weight knows how long an input is."""

import pytest
import torch
from torch.nn.functional import conv1d, relu

from deqlab import DEQ, Picard
from deqlab.costs import num_parameters
from deqlab.gradients import Loops
from deqlab.nn import RecallCell, explicit_recall_net, recall_net


def rms(h):
    return h / (h.square().mean(dim=1, keepdim=True) + 1e-6).sqrt()


def test_f_is_its_formula():
    torch.manual_seed(0)
    cell = RecallCell(2, 5, gain=0.7).double()
    x, z = torch.randn(3, 2, 9).double(), torch.randn(3, 5, 9).double()
    h = conv1d(x, cell.injection.weight, cell.injection.bias, padding=1)
    h = h + 0.7 * conv1d(z, cell.recurrence.weight, padding=1)
    for block in cell.blocks:
        inner = conv1d(rms(h), block.inner.weight, block.inner.bias, padding=1)
        h = h + conv1d(relu(inner), block.outer.weight, block.outer.bias, padding=1)
    torch.testing.assert_close(cell(z, x), rms(h))


def test_what_is_far_is_reached_by_more_loops_only():
    torch.manual_seed(0)
    layer = DEQ(RecallCell(1, 16, blocks=1).double(), solver=Picard(rtol=1e-3))
    x = torch.randn(1, 1, 40).double()
    other = x.clone()
    other[..., 0] += 1
    # A loop passes V, A and B: three positions further each time, one of them by U at the start.
    for steps in (1, 2, 5):
        layer.gradient = Loops(steps=steps)
        moved = (layer(x) - layer(other)).abs().amax(dim=(0, 1)) > 0
        assert int(moved.nonzero().max()) == 1 + 2 + 3 * (steps - 1)


@pytest.mark.parametrize("dims", [1, 2])
def test_a_network_takes_any_size_and_answers_at_every_position(dims):
    net = recall_net(2, 4, 3, dims=dims, solver=Picard(rtol=1e-1), on_failure="ignore")
    explicit = explicit_recall_net(2, 4, 3, dims=dims, blocks=3)
    for size in (3, 8):
        x = torch.randn(2, 2, *[size] * dims)
        for each in (net, explicit):
            assert each(x).shape == (2, *[size] * dims, 3)
    assert num_parameters(explicit_recall_net(2, 4, 3, dims=dims, blocks=2)) == (
        num_parameters(net) - 4 * 4 * 3**dims
    )


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: RecallCell(1, 4, dims=3), "dims must be 1 or 2, got 3"),
        (lambda: RecallCell(1, 4, gain=1.5), "gain must be from 0 to 1, got 1.5"),
        (lambda: RecallCell(0, 4), "inputs"),
        (lambda: RecallCell(1, 4, blocks=0), "blocks"),
        (lambda: DEQ(RecallCell(2, 4))(torch.randn(1, 3, 7)), r"\(..., 2, length\)"),
        (lambda: DEQ(RecallCell(2, 4, dims=2))(torch.randn(2, 7)), r"\(..., 2, height, width\)"),
    ],
)
def test_what_is_wrong_is_named(make, named):
    with pytest.raises(ValueError, match=named):
        make()
