"""Kernels have no scale of their own: rows of any size, also side by side, are right relatively."""

import math

import numpy as np
import pytest
import torch
from scipy.special import erf, expit

from deqlab.activations import (
    ELU,
    Erf,
    HardTanh,
    Identity,
    LeakyReLU,
    LReLU,
    Polynomial,
    ReLU,
    Swish,
    Tanh,
    from_callable,
)
from deqlab.kernels import ExplicitKernel, ImplicitKernel, match_explicit, mismatch
from deqlab.kernels.coefficients import Coefficients
from deqlab.kernels.estimator import DEQCovariance, DEQKernel
from tests.kernels.problems import F64
from tests.problems import normal

NUMERIC = pytest.param(from_callable(torch.abs, name="abs"), marks=pytest.mark.slow)
HOMOGENEOUS = [ReLU(), LeakyReLU(0.1), LReLU(0.9, -0.3), Identity(), NUMERIC]
SIZES = torch.tensor([1.0, 1.0, 1.0, 1e-6, 1e12, 1e-6], dtype=F64)[:, None]


def data():
    """Six rows, the second and third the same."""
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=F64) / 2
    x[2] = x[1]
    return x


def gap(found, exact):
    """The largest difference, relative to sqrt(K_ii K_jj)."""
    found, exact = (torch.as_tensor(part) for part in (found, exact))
    root = exact.diagonal().sqrt()
    return float(((found - exact).abs() / (root[:, None] * root)).max())


def both(kernel, x, **options):
    trained = {"trained": "all"} if isinstance(kernel, ImplicitKernel) else {}
    return kernel.conjugate(x, **options), kernel.tangent(x, **trained, **options)


def relu_by_hand(x, s_a):
    """CK and NTK of all weights of the plain ReLU, entry by entry in floats (Cho & Saul 2009)."""
    s_b, n = 1 - s_a, len(x)
    g, k = np.zeros((n, n)), np.zeros((n, n))
    sizes = [s_b * math.fsum(v * v for v in row) / (1 - s_a / 2) for row in x]  # S on the diagonal
    for i in range(n):
        for j in range(n):
            size, inner = math.sqrt(sizes[i]) * math.sqrt(sizes[j]), math.fsum(x[i] * x[j])
            cosine = 0.0
            for _ in range(200):
                theta = math.acos(max(-1.0, min(1.0, cosine)))
                g[i, j] = (math.sin(theta) + (math.pi - theta) * math.cos(theta)) / 2 / math.pi
                g[i, j] *= size
                cosine = (s_a * g[i, j] + s_b * inner) / size
            slope = (math.pi - theta) / (2 * math.pi) if i != j else 0.5
            k[i, j] = (g[i, j] + s_b * slope * inner) / (1 - s_a * slope)
    return g, k


def test_rows_of_1_and_1e_minus_6_beside_an_outlier_of_1e12_are_those_by_hand():
    x = (SIZES * data())[[0, 1, 3, 4, 5]]
    kernel = ImplicitKernel(ReLU(), 0.3, centred=False)
    for found, exact in zip(both(kernel, x), relu_by_hand(x.numpy(), 0.3), strict=True):
        assert gap(found, exact) < 1e-12


@pytest.mark.parametrize("scale", [1e-120, 1e-7, 1e-3, 1e7, 1e100])
@pytest.mark.parametrize("phi", HOMOGENEOUS, ids=repr)
def test_kernels_of_homogeneous_activations_are_homogeneous(phi, scale):
    for kernel in (ImplicitKernel(phi, 0.2), ExplicitKernel([phi, phi])):
        for found, exact in zip(both(kernel, scale * data()), both(kernel, data()), strict=True):
            assert gap(found / scale / scale, exact) < 1e-11


@pytest.mark.parametrize("phi", HOMOGENEOUS, ids=repr)
def test_they_are_homogeneous_in_each_row(phi):
    x = data()
    for centred in (False,) if phi.moments(1.0).mean else (False, True):
        for kernel in (
            ImplicitKernel(phi, 0.4, centred=centred),
            ExplicitKernel([phi, phi], centred=centred),
        ):
            for found, exact in zip(both(kernel, SIZES * x), both(kernel, x), strict=True):
                assert gap(found / (SIZES * SIZES.T), exact) < 1e-11


@pytest.mark.parametrize("scale", [1e-7, 1e6])
@pytest.mark.parametrize("kind", ["conjugate", "tangent"])
def test_so_are_the_kernels_of_scikit_learn(kind, scale):
    x = data().numpy()
    options = {"kind": kind, "trained": "all"}
    for make in (
        lambda s: DEQKernel(**options)(s * x),
        lambda s: DEQKernel(**options).fit_transform(s * x),
        lambda s: DEQCovariance(s * 0.9, **options)(s * x),
        lambda s: np.diag(DEQCovariance(s * 0.9, **options).diag(s * x)),
    ):
        np.testing.assert_allclose(make(scale) / scale**2, make(1.0), rtol=1e-11, atol=0)


@pytest.mark.parametrize("tau0", [1e-7, 1e-3, 1e6])
@pytest.mark.parametrize("phi", [ReLU(), LReLU(0.9, -0.3)], ids=repr)
def test_coefficients_follow_the_scale_of_the_data(phi, tau0):
    kernels = ImplicitKernel(phi, 0.2), ExplicitKernel([phi, phi])
    for kernel, options in zip(kernels, ({"trained": "all"}, {}), strict=True):
        one, found = (kernel.coefficients(t, **options) for t in (1.0, tau0))
        units = np.array([1, tau0**-2, tau0**-2, tau0**2])
        assert found.taus == pytest.approx([tau0 * tau for tau in one.taus], rel=1e-12)
        assert found.conjugate == pytest.approx(units * one.conjugate, rel=1e-11)
        assert found.tangent == pytest.approx(units * one.tangent, rel=1e-11)
    # E[phi^2] of a centred ReLU is tau^2 (1/2 - 1/(2 pi)).
    square = 0.8 * tau0**2 / (1 - 0.2 * (0.5 - 0.5 / math.pi))
    assert ImplicitKernel(ReLU(), 0.2).tau(tau0) == pytest.approx(math.sqrt(square), rel=1e-12)


@pytest.mark.parametrize("tau0", [0.3, 1.0, 2.0])
def test_the_identity_in_the_tangent_kernel_counts_tau0_squared(tau0):
    """Kernels of the identity are X'X, and X'X / (1 - s_a): nothing is left for I."""
    c = ImplicitKernel(Identity(), 0.2).coefficients(tau0, trained="readout+recurrent")
    assert c.conjugate == pytest.approx((1, 0, 0, 0), abs=1e-11)
    assert c.tangent == pytest.approx((1.25, 0, 0, 0), abs=1e-11)
    # By hand: kappa2 - tau0^2 beta1 of any other.
    known = {"tau0": tau0, "taus": (1.0,), "alpha1": 0.5, "alpha2": 0.0, "alpha3": 0.0}
    c = Coefficients(**known, alpha4=1.0, gamma2=7.0, beta1=0.25, beta2=0.0, beta3=0.0, kappa2=9.0)
    assert c.conjugate[3] == pytest.approx(7.0 - 0.5 * tau0**2, rel=1e-14)
    assert c.tangent[3] == pytest.approx(9.0 - 0.25 * tau0**2, rel=1e-14)


N, W = np.polynomial.hermite_e.hermegauss(60)
W = W / W.sum()


def by_gauss_hermite(phi, slope, x, s_a, *, centred):
    """CK and NTK of all weights by a product rule, which is right where phi is smooth on x."""
    s_b, n, inner = 1 - s_a, len(x), x @ x.T
    square, m = s_b * inner.trace() / n, 0.0
    tau2 = square
    for _ in range(60 if centred else 0):
        m = W @ phi(math.sqrt(tau2) * N)
        tau2 = s_a * W @ (phi(math.sqrt(tau2) * N) - m) ** 2 + square

    def mean(f, a, b, c):
        rho = min(1.0, c / math.sqrt(a * b)) if a * b else 0.0
        v = math.sqrt(b) * (rho * N[:, None] + math.sqrt(1 - rho * rho) * N)
        return W @ (f(math.sqrt(a) * N)[:, None] * f(v)) @ W

    def centred_phi(u):
        return phi(u) - m

    s, g = s_b * inner, np.zeros((n, n))
    for _ in range(40):
        for i, j in np.ndindex(n, n):
            g[i, j] = mean(centred_phi, s[i, i], s[j, j], s[i, j])
        s = s_a * g + s_b * inner
    d = np.array([[mean(slope, s[i, i], s[j, j], s[i, j]) for j in range(n)] for i in range(n)])
    return g, (g + s_b * d * inner) / (1 - s_a * d)


SMOOTH = {
    "tanh": (Tanh(), np.tanh, lambda u: 1 / np.cosh(u) ** 2),
    "erf": (Erf(), erf, lambda u: 2 / math.sqrt(math.pi) * np.exp(-u * u)),
    "swish": (Swish(), lambda u: u * expit(u), lambda u: expit(u) * (1 + u * expit(-u))),
    "hard tanh": (HardTanh(), lambda u: np.clip(u, -1, 1), lambda u: 1.0 * (np.abs(u) < 1)),
    "sine": (from_callable(torch.sin, name="sine"), np.sin, np.cos),
    # Less the constant, which the kernel does not have, and which would cost the gold its digits.
    "1 + u + ...": (
        Polynomial((1.0, 1.0, 0.3)),
        lambda u: u + 0.3 * u**2,
        lambda u: 1 + 0.6 * u,
    ),
}


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        *((name, [1e-6, 1e-6, 1e-7]) for name in SMOOTH),
        *((name, [0.1, 0.0, 1e-6]) for name in ("erf", "hard tanh", "1 + u + ...")),
        *(
            pytest.param(name, [0.1, size, 1e-9], marks=pytest.mark.slow)
            for name in ("tanh", "swish", "sine")
            for size in (0.0, 1e-4)
        ),
    ],
)
def test_small_rows_of_other_activations_keep_their_digits(name, sizes):
    phi, *route = SMOOTH[name]
    x = data()[3:] * torch.tensor(sizes, dtype=F64)[:, None]
    kernel = ImplicitKernel(phi, 0.2)
    for found, exact in zip(
        both(kernel, x), by_gauss_hermite(*route, x.numpy(), 0.2, centred=True), strict=True
    ):
        kept = np.diag(exact) > 1e-30  # the mean of an odd function in the gold is rounding
        assert gap(found[kept][:, kept], exact[np.ix_(kept, kept)]) < 2e-10
        assert bool((found[~torch.from_numpy(kept)] == 0).all())


SLOW = [pytest.param(phi, marks=pytest.mark.slow) for phi in (Tanh(), Swish(), ELU())]


@pytest.mark.parametrize("phi", [Erf(), ReLU(), HardTanh(), *SLOW], ids=repr)
def test_explicit_networks_of_small_rows_are_linear(phi):
    """Of rows so small that phi is its tangents at 0, the kernels are those of the tangents."""
    left, right = phi.derivative(torch.tensor([-1e-9, 1e-9], dtype=F64)).tolist()
    linear = LReLU(left, right)
    x = 1e-8 * data()
    for layers in ([phi], [phi, phi]):
        pair = (ExplicitKernel(of, centred=False) for of in (layers, [linear] * len(layers)))
        for found, exact in zip(*(both(kernel, x) for kernel in pair), strict=True):
            assert gap(found, exact) < 1e-6


@pytest.mark.parametrize(
    "phi",
    [
        ReLU(),
        Erf(),
        pytest.param(Tanh(), marks=pytest.mark.slow),
        pytest.param(from_callable(torch.relu), marks=pytest.mark.slow),
    ],
    ids=repr,
)
def test_a_row_of_zeros_has_the_kernel_0(phi):
    for kernel in (ImplicitKernel(phi, 0.2, centred=False), ExplicitKernel([phi], centred=False)):
        for rows in (torch.zeros(2, 2), torch.tensor([[0.0, 0], [0.3, -1]])):
            for matrix in both(kernel, rows, tau0=1.0):
                assert float(matrix[0].abs().max()) < 1e-140
                assert bool(matrix.isfinite().all())


def test_rows_of_zeros_alone_have_a_kernel_where_tau0_is_given():
    kernel = ImplicitKernel(Tanh(), 0.2)
    assert torch.equal(kernel.conjugate(torch.zeros(2, 2), tau0=1.0), torch.zeros(2, 2, dtype=F64))
    with pytest.raises(ValueError, match="every row of x is zero: such data have no kernel"):
        kernel.conjugate(torch.zeros(2, 2))


def test_a_centred_row_of_zeros_has_the_kernel_of_the_constant():
    # phi(0) = -m, with m = tau / sqrt(2 pi); G_00 = E[(phi(u) - m)^2] with Var u = s_a G_00.
    kernel = ImplicitKernel(ReLU(), 0.2)
    m = kernel.tau(1.0) / math.sqrt(2 * math.pi)
    g = m * m
    for _ in range(100):
        g = 0.1 * g - 2 * m * math.sqrt(0.2 * g / (2 * math.pi)) + m * m
    assert float(kernel.conjugate(torch.zeros(1, 2), tau0=1.0)) == pytest.approx(g, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-7, 1.0, 1e7])
@pytest.mark.parametrize(("phi", "share"), [(Identity(), 1.0), (ReLU(), 0.5)], ids=repr)
def test_recurrent_weights_near_their_limit_have_the_kernel_of_the_series(phi, share, scale):
    """G_ii = share S_ii and S_ii = s_a G_ii + s_b |x_i|^2: a few hundred times its first term."""
    x, s_a = scale * data(), 0.998 / share
    kernel = ImplicitKernel(phi, s_a, 0.002, centred=False)
    exact = share * 0.002 * (x * x).sum(dim=1) / (1 - share * s_a)
    torch.testing.assert_close(kernel.diagonal(x), exact, rtol=1e-10, atol=0)
    # tau_*, of an activation that has no mean.
    tau2 = 0.002 * scale**2 / (1 - share * s_a)
    assert kernel.tau(scale) == pytest.approx(math.sqrt(tau2), rel=1e-10)


@pytest.mark.parametrize("scale", [1e-160, 1e160])
def test_what_float64_cannot_square_is_refused(scale):
    with pytest.raises(ValueError, match=r"row 1 of x .* leaves the range of float64; scale the"):
        ImplicitKernel(ReLU(), 0.2).conjugate(torch.tensor([[1.0], [scale]], dtype=F64))
    with pytest.raises(ValueError, match=r"square of tau0 = .* leaves the range of float64"):
        ImplicitKernel(ReLU(), 0.2).coefficients(scale)


def coefficients(tau0, alpha3):
    rest = {"alpha4": 1.0, "beta1": 1.0, "beta2": 1.0, "beta3": 1.0, "kappa2": 1.0}
    return Coefficients(
        tau0=tau0,
        taus=(tau0,),
        alpha1=0.5,
        alpha2=0.0,
        alpha3=alpha3 / tau0**2,
        gamma2=0.7 * tau0**2,
        **rest,
    )


@pytest.mark.parametrize("tau0", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(
    ("alpha3", "other", "expected"),
    [
        (0.02, 0.021, 0.05),  # relative to itself
        (0.004, 0.005, 0.25),
        (0.0, 1e-5, 0.02),  # to a thousandth of alpha1, 5e-4
        (0.0, 0.1, 200.0),
    ],
)
def test_each_number_counts_relative_to_itself_in_units_of_the_data(tau0, alpha3, other, expected):
    found = mismatch(coefficients(tau0, alpha3), coefficients(tau0, other))
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("tau0", [1e-3, 1e3])
def test_the_matched_network_has_the_kernel_at_any_scale(tau0):
    # A family whose alpha2 and alpha3 are wrong would pass for data of norm 1e3 without units.
    kernel = ImplicitKernel(LeakyReLU(0.5), 0.2)
    target = kernel.coefficients(tau0)
    found = match_explicit(kernel, tau0).coefficients(tau0)
    assert found.conjugate == pytest.approx(target.conjugate, rel=1e-7)


@pytest.mark.parametrize("scale", [1e-60, 1e-90, 1e-130])
def test_a_smooth_activation_is_its_tangent_line_at_variances_that_small(scale):
    # tanh(u) = u to rounding.
    a = torch.tensor([1.0, 4.0, 2.0], dtype=F64) * scale**2
    torch.testing.assert_close(Tanh().dual(a, 4 * a, 0.3 * a), 0.3 * a, rtol=1e-10, atol=0)
    slopes = Tanh().dual_derivative(a, 4 * a, 0.3 * a)
    torch.testing.assert_close(slopes, torch.ones_like(a), rtol=1e-10, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-90, 1e-130])
def test_a_kernel_of_a_smooth_activation_is_that_of_its_tangent_line(scale):
    x = normal(2, 4, seed=0)
    tanh, line = ImplicitKernel(Tanh(), sigma_a2=0.3), ImplicitKernel(Identity(), sigma_a2=0.3)
    expected = line.conjugate(x) * scale**2
    torch.testing.assert_close(tanh.conjugate(scale * x), expected, rtol=1e-10, atol=0)
    expected = line.tangent(x, trained="all") * scale**2
    torch.testing.assert_close(tanh.tangent(scale * x, trained="all"), expected, rtol=1e-10, atol=0)
