"""Cells of coordinates and the explicit networks beside them, by closed forms."""

import math

import pytest
import torch

from deqlab import DEQ, Picard
from deqlab.nn import Field, FilterCell, SineCell, sinusoidal_net
from deqlab.nn.cells.coordinates import Phases
from deqlab.stability import certify

X = torch.rand(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def made(cell, **options):
    torch.manual_seed(0)
    return cell(2, 5, scale=7.0, **options).double()


def phases(cell):
    return 7 * (X @ cell.inject.weight.T + cell.inject.bias)


def test_a_filter_network_is_solved_by_one_linear_system_a_point():
    cell = made(FilterCell)
    field = Field(cell, 3, solver=Picard(rtol=1e-14, max_steps=2000)).double()
    values, z = field.with_states(X)
    for point, s in enumerate(torch.sin(phases(cell))):
        # (I - D W) z = D c with D = diag(s).
        exact = torch.linalg.solve(torch.eye(5) - s[:, None] * cell.weight, s * cell.constant)
        torch.testing.assert_close(z[point], exact, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(values, field.readout(z))
    assert values.shape == (6, 3)


def test_a_sine_cell_of_no_feedback_is_one_sinusoidal_layer():
    cell = made(SineCell, gain=0.0)
    field = Field(cell, 1).double()
    torch.testing.assert_close(field(X), field.readout(torch.sin(phases(cell))))
    with torch.no_grad():
        cell.knob.value.fill_(0.5)
    z = torch.randn(6, 5, dtype=torch.float64)
    norm = torch.linalg.svdvals(cell.free)[0]
    expected = torch.sin(z @ (0.5 * cell.free / norm.clamp_min(1)).T + phases(cell))
    torch.testing.assert_close(cell(z, X), expected)


@pytest.mark.parametrize("cell", [SineCell, FilterCell])
def test_the_certificate_ends_where_the_norm_of_the_feedback_reaches_one(cell):
    wide = made(cell, gain=0.5, cap=3.0)
    (proved,) = certify(DEQ(wide)).values()
    assert proved.unique
    with torch.no_grad():
        wide.free.mul_(100)  # W has the norm of its gain
        assert wide.certificate().margin == pytest.approx(0.5)
        wide.knob.value.fill_(1.5)
    assert not wide.certificate().holds
    assert wide.knob.highest == 3.0


def test_first_weights_are_those_of_sitzmann_and_keep_the_size_of_layers():
    torch.manual_seed(0)
    net = sinusoidal_net(2, 400, 1, layers=4, scale=20.0)
    linear = [each for each in net if isinstance(each, Phases)]
    assert [each.scale for each in linear] == [20, 30, 30, 30]
    assert linear[0].weight.abs().max().item() == pytest.approx(0.5, rel=0.01)
    assert linear[2].weight.abs().max().item() == pytest.approx(math.sqrt(6 / 400) / 30, rel=0.01)
    h, sizes = torch.rand(500, 2), []
    for each in net[:-1]:
        h = each(h)
        if not isinstance(each, Phases):
            sizes.append(h.square().mean().item())
    # That of a sine whose phase is spread over many turns.
    assert sizes == pytest.approx([0.5] * 4, abs=0.02)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: SineCell(0, 5), "num_inputs must be at least 1, got 0"),
        (lambda: SineCell(2, 5, scale=0.0), "scale must be"),
        (lambda: SineCell(2, 5, gain=1.5), r"gain must be between 0 and highest = 0.97, got 1.5"),
        (lambda: Field(SineCell(2, 5), 0), "num_outputs must be at least 1, got 0"),
        (lambda: sinusoidal_net(2, 5, 1, layers=0), "layers must be at least 1, got 0"),
        (
            lambda: SineCell(2, 5)(torch.zeros(3, 5), torch.zeros(3, 4)),
            "SineCell takes x of shape",
        ),
    ],
)
def test_arguments_outside_of_their_domain_are_refused(make, named):
    with pytest.raises(ValueError, match=named):
        make()
