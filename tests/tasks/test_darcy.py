"""Darcy flow against series, manufactured solutions, dense minimisation and balances."""

import math
from itertools import pairwise

import pytest
import torch
from scipy.fft import dstn, idstn

from deqlab.tasks import darcy
from deqlab.tasks.darcy import gaussian_field, sample, solve


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def points(n):
    line = torch.linspace(0, 1, n, dtype=torch.float64)
    return torch.meshgrid(line, line, indexing="ij")


def error(n, a, u, f):
    x, y = points(n)
    return float((solve(a(x, y), f(x, y)) - u(x, y)).abs().max())


def test_a_manufactured_solution_is_met_to_second_order():
    """u = sin(pi x) sin(2 pi y) at a = exp(x) (2 + y), whose source is known."""
    pi = math.pi

    def a(x, y):
        return x.exp() * (2 + y)

    def u(x, y):
        return torch.sin(pi * x) * torch.sin(2 * pi * y)

    def f(x, y):
        across = x.exp() * (2 + y) * pi * torch.cos(pi * x) * torch.sin(2 * pi * y)
        up = x.exp() * 2 * pi * torch.sin(pi * x) * torch.cos(2 * pi * y)
        return 5 * pi**2 * a(x, y) * u(x, y) - across - up

    errors = [error(n, a, u, f) for n in (15, 29, 57)]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(2, abs=0.05)


def test_a_jump_half_way_between_points_is_met_to_second_order():
    """Two layers: a u' is continuous, and the harmonic mean is the exact one across the jump."""
    pi = math.pi

    def a(x, y):
        return torch.where(x < 0.5, 3.0, 12.0).double()

    def u(x, y):
        # 12 u' = 3 u' times 4 on the left: both sides meet at x = 1/2, where sin(2 pi x) is 0.
        return torch.sin(2 * pi * x) / a(x, y) * torch.sin(pi * y)

    def f(x, y):
        return 5 * pi**2 * a(x, y) * u(x, y)

    errors = [error(n, a, u, f) for n in (14, 28, 56)]  # no point at 1/2
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) > 1.85


def test_constant_permeability_is_solved_by_sines():
    """The differences are diagonal in sines; the sum of their series comes near the exact one."""
    n = 29
    inner = n - 2
    k = torch.arange(1, inner + 1, dtype=torch.float64)
    eigenvalues = (2 * (n - 1) * torch.sin(math.pi * k / (2 * (n - 1)))) ** 2
    f = torch.randn(n, n, generator=drawn(), dtype=torch.float64)
    a = torch.full((n, n), 7.0, dtype=torch.float64)
    coefficients = torch.from_numpy(dstn(f[1:-1, 1:-1].numpy(), type=1))
    expected = idstn((coefficients / (7 * (eigenvalues[:, None] + eigenvalues))).numpy(), type=1)
    found = solve(a, f)[1:-1, 1:-1]
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-11, atol=1e-15)
    # u(1/2, 1/2) of -Laplace u = 1 is 0.0736713532..., by the double series of sines.
    odd = torch.arange(1, 401, 2, dtype=torch.float64)
    signs = torch.where(odd % 4 == 1, 1.0, -1.0).double() / odd
    middle = 16 / math.pi**4 * (signs[:, None] * signs / (odd[:, None] ** 2 + odd**2)).sum()
    assert 7 * solve(a)[n // 2, n // 2] == pytest.approx(float(middle), rel=1 / (n - 1) ** 2)


def test_any_permeability_is_that_of_the_least_energy():
    """The dense Hessian of 1/2 sum c (u_p - u_q)^2 - h^2 sum u, by autograd, and a dense solve."""
    n = 6
    a = torch.rand(2, n, n, generator=drawn(), dtype=torch.float64) + 0.1
    for each, found in zip(a, solve(a), strict=True):

        def energy(inner, each=each):
            u = torch.nn.functional.pad(inner.view(n - 2, n - 2), (1, 1, 1, 1))
            total = -inner.sum() / (n - 1) ** 2
            for axis in (0, 1):
                one, other = (part.narrow(axis, s, n - 1) for part in (each,) for s in (0, 1))
                total = total + (u.diff(dim=axis) ** 2 / (1 / one + 1 / other)).sum()
            return total

        zero = torch.zeros((n - 2) ** 2, dtype=torch.float64)
        hessian = torch.autograd.functional.hessian(energy, zero)
        gradient = torch.autograd.functional.jacobian(energy, zero)
        expected = torch.linalg.solve(hessian, -gradient).view(n - 2, n - 2)
        torch.testing.assert_close(found[1:-1, 1:-1], expected, rtol=1e-11, atol=1e-15)


def test_the_field_has_the_covariance_of_its_operator():
    """(-Laplace + tau^2)^2 of the covariance is white: its variance, from a sum over all modes."""
    n, tau = 9, 3.0
    field = gaussian_field(4000, size=n, generator=drawn())
    x, y = points(n)
    expected = torch.zeros(n * n, n * n, dtype=torch.float64)
    for j in range(n):
        for k in range(n):
            if (j, k) != (0, 0):
                wave = torch.cos(math.pi * j * x) * torch.cos(math.pi * k * y)
                wave = wave.flatten() * 2 ** (((j > 0) + (k > 0)) / 2)
                expected += wave.outer(wave) / (math.pi**2 * (j**2 + k**2) + tau**2) ** 2
    measured = torch.cov(field.flatten(1).T)
    # 4000 draws: a standard error of 1/sqrt(2000) of a variance.
    torch.testing.assert_close(measured, expected, rtol=0, atol=0.1 * float(expected.max()))
    assert float((measured.diagonal() / expected.diagonal()).mean()) == pytest.approx(1, abs=0.05)


def test_samples_have_two_values_positive_pressures_and_hang_on_their_generator_alone():
    a, u = sample(40, generator=drawn())
    assert a.shape == u.shape == (40, 29, 29)
    assert a.dtype == u.dtype == torch.float32
    assert a.unique().tolist() == [darcy.LOW, darcy.HIGH]
    share = (a == darcy.HIGH).double().mean(dim=(1, 2))
    assert 0.2 < share.min() < share.max() < 0.8
    assert float(share.mean()) == pytest.approx(0.5, abs=0.03)
    inner = torch.zeros(29, 29, dtype=torch.bool)
    inner[1:-1, 1:-1] = True
    assert (u[:, inner] > 0).all()
    assert (u[:, ~inner] == 0).all()
    again, _ = sample(40, generator=drawn())
    other, _ = sample(40, generator=drawn(1))
    assert torch.equal(a, again)
    assert not torch.equal(a, other)


def test_what_it_takes_and_what_it_gives():
    a = 1 + torch.rand(2, 3, 5, 5, generator=drawn())
    u = solve(a, 2.0)
    assert u.dtype == a.dtype
    torch.testing.assert_close(u[1, 2], 2 * solve(a[1, 2]))
    torch.testing.assert_close(solve(a.mT).mT, u / 2)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: solve(torch.ones(4, 5)), r"\(\.\.\., n, n\) with n at least 3, got .* \(4, 5\)"),
        (lambda: solve(torch.ones(2, 2)), "n at least 3"),
        (lambda: solve(torch.ones(5)), r"got the shape \(5,\)"),
        (lambda: solve(torch.zeros(4, 4)), "a must be positive and finite everywhere, got values"),
        (lambda: solve(torch.full((4, 4), torch.nan)), "a must be positive and finite"),
        (lambda: solve(torch.ones(4, 4), torch.ones(3, 3)), r"fit a of shape \(4, 4\), got .*3, 3"),
        (lambda: sample(0, generator=drawn()), "count must be at least 1, got 0"),
        (lambda: sample(1, size=2, generator=drawn()), "size must be 3 or more, so that there are"),
        (lambda: gaussian_field(1, size=4, generator=drawn(), tau=0.0), "tau must be more than 0"),
    ],
)
def test_what_is_no_field_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()
