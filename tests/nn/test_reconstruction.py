"""Cells that reconstruct pictures: closed forms, rates, and what they refuse."""

import pytest
import torch

from deqlab import DEQ, Anderson, Picard
from deqlab.nn import (
    Blur,
    DataConsistencyCell,
    Denoiser,
    GradientStepCell,
    Mask,
    ProximalGradientCell,
    gaussian_kernel,
)
from deqlab.stability import certify
from tests.nn.operators import exact_norm

every_kind = pytest.mark.parametrize(
    "kind", [GradientStepCell, ProximalGradientCell, DataConsistencyCell]
)

KERNEL = gaussian_kernel(3, 1.0).double()


def denoiser(size=(5, 4), **options):
    torch.manual_seed(0)
    return Denoiser(1, size, width=3, layers=3, **options).double()


def dense(a, height, width):
    units = torch.eye(height * width, dtype=torch.float64).view(-1, height, width)
    return a(units).flatten(1).T


def picture(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 1, 5, 4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("kind", "a"),
    [
        (GradientStepCell, Blur(KERNEL)),
        (GradientStepCell, Blur(KERNEL, boundary="zero")),
        (GradientStepCell, Mask(torch.eye(5, 4).double())),
        (DataConsistencyCell, Blur(KERNEL)),
        (DataConsistencyCell, Mask(torch.eye(5, 4).double())),
    ],
)
def test_without_its_residual_a_cell_solves_the_normal_equations(kind, a):
    cell = kind(a, denoiser(), weight=0.05).double()
    with torch.no_grad():
        cell.denoiser.strength.zero_()
    y, matrix = picture(), dense(a, 5, 4)
    weight = cell.log_weight.detach().exp()
    normal = matrix.T @ matrix + weight * torch.eye(20, dtype=torch.float64)
    expected = torch.linalg.solve(normal, matrix.T @ y.view(2, 20).T).T
    z = DEQ(cell, solver=Anderson(rtol=1e-12, max_steps=300), on_failure="raise")(y)
    torch.testing.assert_close(z.detach().view(2, 20), expected, rtol=1e-9, atol=1e-10)


def fixed_point(kind, a=None, **options):
    cell = kind(Blur(KERNEL) if a is None else a, denoiser(cap=0.9), weight=0.3, **options).double()
    solver = Picard(rtol=1e-12, max_steps=5000)
    return cell, DEQ(cell, solver=solver, on_failure="raise")(picture()).detach()


@pytest.mark.parametrize("a", [Blur(KERNEL), Mask(torch.eye(5, 4).double())])
def test_gradient_steps_and_data_consistency_end_at_the_same_picture(a):
    cell, z = fixed_point(GradientStepCell, a)
    other, same = fixed_point(DataConsistencyCell, a)
    torch.testing.assert_close(z, same, rtol=1e-8, atol=1e-9)
    data = cell.measurement.normal(z) - cell.measurement.adjoint(picture())
    torch.testing.assert_close(-data, cell.log_weight.exp() * cell.denoiser(z))
    assert other.certificate().rate < cell.certificate().rate


def test_proximal_gradient_ends_where_its_operator_undoes_a_step_on_the_data():
    cell, z = fixed_point(ProximalGradientCell)
    slope = cell.measurement.normal(z) - cell.measurement.adjoint(picture())
    v, weight = z - slope / cell.eigenvalues[1], cell.log_weight.exp()
    torch.testing.assert_close(v - z, weight * (z + cell.denoiser(v) - v))


@every_kind
@pytest.mark.parametrize("gain", [1.0, 0.7])
def test_plain_iteration_comes_closer_by_its_certified_rate(kind, gain):
    a = Mask(torch.eye(5, 4).double())
    cell = kind(a, denoiser(cap=0.7), weight=0.5, gain=gain).double()
    rate = cell.certificate().rate
    assert rate < 1
    a, b, y = picture(1), 10 * picture(2), picture(3)
    with torch.no_grad():
        for _ in range(5):
            before, (a, b) = (a - b).norm(), (cell(a, y), cell(b, y))
            assert (a - b).norm() <= rate * before


@every_kind
def test_a_rate_is_attained_by_a_linear_network(kind):
    # M = -e I, a filter of one pixel between two linear layers, is the worst that a cap allows.
    cell = kind(Mask(torch.eye(5, 4).double()), denoiser(cap=None), weight=0.5, gain=0.9).double()
    with torch.no_grad():
        for filters in cell.denoiser.filters:
            filters.zero_()[0, 0, 1, 1] = 1
        cell.denoiser.strength.fill_(-0.6)
        cell.denoiser.biases[0].fill_(100.0)  # within the line of the rectifiers
        one = torch.zeros(1, 1, 5, 4, dtype=torch.float64)
        other, y = one.clone(), torch.zeros_like(one)
        other[0, 0, 0, 1] = 1.0  # a pixel that is not measured
        steepness = (cell(other, y) - cell(one, y)).norm().item()
    assert cell.certificate().rate == pytest.approx(steepness, rel=1e-9)


@every_kind
def test_certificates_hold_with_a_cap_whatever_the_measurement_and_not_without(kind):
    for a in (Blur(KERNEL), Mask(torch.eye(5, 4))):
        cell = kind(a, denoiser(cap=0.7))
        (found,) = certify(DEQ(cell)).values()  # who overrides a method of f is not believed
        assert found == cell.certificate()
        assert found.unique
    free = kind(Blur(KERNEL), denoiser(cap=None))
    with torch.no_grad():
        free.denoiser.strength.fill_(10.0)
    assert not free.certificate().holds
    assert "is not below 1" in free.certificate().theorem


@every_kind
def test_at_no_gain_f_does_not_depend_on_its_state(kind):
    cell = kind(Blur(KERNEL), denoiser(cap=None)).double()
    assert cell.knob.highest == 1
    cell.knob.value.zero_()
    y = picture()
    assert torch.equal(cell(picture(1), y), cell(picture(2), y))


def test_a_residual_is_no_steeper_than_its_bound_and_the_bound_than_its_cap():
    net = denoiser(cap=0.7)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(5).add_(0.1)
    product = 1.0
    for filters, _ in net.prepared():
        product *= exact_norm(filters, net.size)
    assert product <= net.lipschitz() <= 0.7 * 1.2**3  # a torus of 6 x 5 for maps of 5 x 4
    u, v = picture(1), picture(2)
    layers = net.prepared()
    steepness = (net.residual(u, layers) - net.residual(v, layers)).norm() / (u - v).norm()
    assert steepness <= net.lipschitz()


def test_what_does_not_fit_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="blur of 9 x 9 pixels is larger than the picture of 5 x"):
        ProximalGradientCell(Blur(gaussian_kernel(9, 2.0)), denoiser())
    with pytest.raises(ValueError, match="measurement is zero"):
        GradientStepCell(Mask(torch.zeros(5, 4)), denoiser())
    with pytest.raises(ValueError, match="weight must be more than 0"):
        GradientStepCell(Blur(KERNEL), denoiser(), weight=0.0)
    with pytest.raises(ValueError, match="A'A of this Blur is diagonal in no known basis"):
        DataConsistencyCell(Blur(KERNEL, boundary="zero"), denoiser())
    with pytest.raises(ValueError, match="gain must be between 0 and highest = 1"):
        ProximalGradientCell(Blur(KERNEL), denoiser(), gain=1.5)
    with pytest.raises(ValueError, match="layers must be 2 or more, got 1"):
        Denoiser(1, (4, 4), layers=1)
    cell = ProximalGradientCell(Blur(KERNEL), denoiser())
    with pytest.raises(ValueError, match=r"takes measurements of shape \(\.\.\., 1, 5, 4\).*6, 4"):
        DEQ(cell)(torch.zeros(2, 1, 6, 4).double())
