"""Published and derived numbers of deep equilibrium kernels (Ling et al. 2024; THEORY.md 1.4, 1.5).

The moments of an L-ReLU and an H-Tanh in closed form, and gamma2 at the fixed point tau_* of
tau^2 = s_a gamma2(tau) + s_b, s_a = 0.2.
"""

import math

import pytest

from deqlab.activations import Erf, HardTanh, LReLU, ReLU, Tanh

S_A, S_B = 0.2, 0.8


@pytest.mark.parametrize(
    ("phi", "tau", "gamma2", "alpha1", "alpha4"),
    [
        (ReLU(), 0.92656613, 0.29262393, 0.21052632, 0.85852479),
        (Tanh(), 0.93487161, 0.36992464, 0.34498763, 0.83434868),
        (Erf(), 0.94255265, 0.44202749, 0.40385637, 0.83592378),
    ],
    ids=["ReLU", "Tanh", "Erf"],
)
def test_the_four_nonlinear_equations(phi, tau, gamma2, alpha1, alpha4):
    at = 1.0
    for _ in range(60):  # contracts by s_a q / 2 < 0.2
        at = math.sqrt(S_A * phi.moments(at).gamma2 + S_B)
    m = phi.moments(at)
    assert at == pytest.approx(tau, abs=1e-8)
    assert m.gamma2 == pytest.approx(gamma2, abs=1e-8)
    assert S_B * m.g1 / (1 - S_A * m.g1) == pytest.approx(alpha1, abs=1e-8)
    assert S_B / (1 - S_A * m.q / 2) == pytest.approx(alpha4, abs=1e-8)


def test_kernels_of_relu_beyond_the_first_coefficient():
    m = ReLU().moments(0.92656613)
    alpha1 = S_B * m.g1 / (1 - S_A * m.g1)
    alpha4 = S_B / (1 - S_A * m.q / 2)
    alpha2 = m.g2 * alpha4**2 / (4 * (1 - S_A * m.g1))
    alpha3 = m.g2 * (S_A * alpha1 + S_B) ** 2 / (2 * (1 - S_A * m.g1))
    assert alpha2 == pytest.approx(0.03595749, abs=1e-8)
    assert alpha3 == pytest.approx(0.06919050, abs=1e-8)
    assert m.gamma2 / (1 - S_A * m.d) == pytest.approx(0.32513770, abs=1e-8)


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.9, -0.3), (0.2, 0.7)])
@pytest.mark.parametrize("tau", [0.3, 1.7])
def test_moments_of_l_relu(a, b, tau):
    m = LReLU(a, b).moments(tau)
    q = ((a * a + b * b) * (math.pi - 1) + 2 * a * b) / math.pi
    assert m.mean == pytest.approx(abs(a - b) * tau / math.sqrt(2 * math.pi), rel=1e-12)
    assert m.g1 == pytest.approx((a + b) ** 2 / 4, rel=1e-12)
    assert m.g2 == pytest.approx((a - b) ** 2 / (2 * math.pi * tau**2), rel=1e-12)
    assert m.q == pytest.approx(q, rel=1e-12)
    assert m.gamma2 == pytest.approx(tau**2 * q / 2, rel=1e-12)
    assert m.d == pytest.approx((a * a + b * b) / 2, rel=1e-12)


@pytest.mark.parametrize(("a", "c", "tau"), [(0.764296679, 1.196485325, 1.0), (1.3, 0.4, 2.0)])
def test_moments_of_h_tanh(a, c, tau):
    m, u = HardTanh(a, c).moments(tau), c / tau
    e, density = math.erf(u / math.sqrt(2)), math.sqrt(2 / math.pi) * math.exp(-u * u / 2)
    gamma2 = a * a * tau * tau * (e + u * u * math.erfc(u / math.sqrt(2)) - u * density)
    assert m.g1 == pytest.approx((a * e) ** 2, rel=1e-12)
    assert m.gamma2 == pytest.approx(gamma2, rel=1e-12)
    assert m.d == pytest.approx(a * a * e, rel=1e-12)


def test_h_tanh_matches_the_kernel_of_a_tanh_deq():
    m = HardTanh(0.764296679, 1.196485325).moments(1.0)
    assert m.g1 == pytest.approx(0.34498763, abs=1e-8)
    assert m.gamma2 == pytest.approx(0.36992464, abs=1e-8)
