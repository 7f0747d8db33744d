"""The numbers of THEORY 1.5, and the identities that they obey."""

import pytest
import torch

from deqlab.activations import Erf, Identity, LeakyReLU, Polynomial, ReLU, Swish, Tanh
from deqlab.kernels import (
    ExplicitKernel,
    ImplicitKernel,
    empirical_tangent,
    equivalent,
    match_explicit,
)

FROZEN = "readout+recurrent"

# tau_*, gamma2, alpha1, alpha2, alpha3, alpha4, beta1, kappa2 at tau_0 = 1, sigma_a^2 = 0.2
TABLE = {
    ReLU(): (
        0.92656613, 0.29262393, 0.21052632, 0.03595749, 0.06919050, 0.85852479, 0.22160665,
        0.32513770,
    ),
    Tanh(): (
        0.93487161, 0.36992464, 0.34498763, 0.0, 0.0, 0.83434868, 0.37474175, 0.40999456,
    ),
    Erf(): (
        0.94255265, 0.44202749, 0.40385637, 0.0, 0.0, 0.83592378, 0.44463137, 0.50192370,
    ),
}  # fmt: skip


@pytest.mark.parametrize("phi", TABLE, ids=repr)
def test_the_coefficients_are_those_that_theory_lists(phi):
    c = ImplicitKernel(phi, 0.2).coefficients(1.0, trained=FROZEN)
    found = (c.taus[0], c.gamma2, c.alpha1, c.alpha2, c.alpha3, c.alpha4, c.beta1, c.kappa2)
    assert found == pytest.approx(TABLE[phi], abs=1e-8)


@pytest.mark.parametrize("sigma_a2", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("tau0", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("phi", [ReLU(), Tanh(), Swish(), LeakyReLU(0.1)], ids=repr)
def test_tau_solves_its_equation_and_gamma2_belongs_to_it(phi, tau0, sigma_a2):
    """tau_* solves its equation, and gamma2 belongs to it."""
    kernel = ImplicitKernel(activation=phi, sigma_a2=sigma_a2)
    c = kernel.coefficients(tau0)
    tau = c.taus[0]
    assert tau**2 == pytest.approx(sigma_a2 * c.gamma2 + (1 - sigma_a2) * tau0**2, rel=1e-12)
    assert c.gamma2 == pytest.approx(phi.moments(tau).gamma2, rel=1e-12)


@pytest.mark.parametrize("phi", [ReLU(), Tanh(), Erf()], ids=repr)
def test_without_recurrence_a_deq_is_one_explicit_layer(phi):
    implicit = ImplicitKernel(activation=phi, sigma_a2=0.0, sigma_b2=1.0)
    explicit = ExplicitKernel([phi]).coefficients(1.3)
    c, full = implicit.coefficients(1.3), implicit.coefficients(1.3, trained="all")
    assert c.conjugate == pytest.approx(explicit.conjugate, rel=1e-12, abs=1e-15)
    # All weights of one layer: the readout and B.
    assert full.tangent == pytest.approx(explicit.tangent, rel=1e-12, abs=1e-15)
    assert full.kappa2 == pytest.approx(explicit.kappa2, rel=1e-12)


def test_the_identity_has_the_geometric_series():
    """G = (s_b / (1 - s_a)) X'X = X'X, and K = G / (1 - s_a)."""
    c = ImplicitKernel(activation=Identity(), sigma_a2=0.2).coefficients(1.0, trained=FROZEN)
    assert c.conjugate == pytest.approx((1, 0, 0, 0), abs=1e-12)
    assert c.tangent == pytest.approx((1.25, 0, 0, 0), abs=1e-11)


def test_a_layer_of_the_identity_changes_nothing():
    one = ExplicitKernel([Tanh()]).coefficients(1.0)
    two = ExplicitKernel([Tanh(), Identity()]).coefficients(1.0)
    assert two.conjugate == pytest.approx(one.conjugate, abs=1e-12)


def test_step_sizes_scale_the_tangent_kernel_and_only_it():
    plain = ExplicitKernel([ReLU(), ReLU()]).coefficients(1.0)
    double = ExplicitKernel([ReLU(), ReLU()], step_sizes=(2.0, 2.0, 2.0)).coefficients(1.0)
    assert double.conjugate == plain.conjugate
    assert double.tangent == pytest.approx([2 * b for b in plain.tangent], rel=1e-12)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"sigma_a2": -0.1}, "sigma_a2 must be 0 or more"),
        ({"sigma_a2": 1.0}, "pass sigma_b2"),
        ({"sigma_a2": 0.2, "sigma_b2": 0.0}, "sigma_b2 must be more than 0"),
    ],
)
def test_variances_outside_their_domain_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        ImplicitKernel(activation=Tanh(), **settings)


def test_a_variance_that_exists_does_not_make_a_kernel():
    # Centred ReLU: tau^2 = 2.5 (1/2 - 1/2 pi) tau^2 + 1 has a solution, and 2.5 E[phi'^2] = 1.25.
    with pytest.raises(ValueError, match=r"E\[phi'\(tau xi\)\^2\] = 1.25 at tau"):
        ImplicitKernel(ReLU(), sigma_a2=2.5, sigma_b2=1.0).tau(1.0)


def test_weights_too_large_for_a_kernel_are_refused_with_the_slope():
    kernel = ImplicitKernel(activation=Polynomial((0, 1, 0, 1)), sigma_a2=0.9, sigma_b2=0.5)
    with pytest.raises(ValueError, match=r"sigma_a2 = 0.9 is too large .* must be below 1"):
        kernel.coefficients(1.0)


def test_which_weights_train_is_never_guessed():
    kernel = ImplicitKernel(activation=ReLU(), sigma_a2=0.2)
    c = kernel.coefficients(1.0)
    assert c.conjugate == kernel.coefficients(1.0, trained="all").conjugate
    with pytest.raises(ValueError, match=r"trained is .* got None"):
        _ = c.tangent
    with pytest.raises(ValueError, match=r"trained is .* got None"):
        match_explicit(kernel, 1.0, kind="tangent")
    x = torch.eye(6, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"trained is .* got None"):
        equivalent(kernel, x, torch.arange(6) % 2, kind="tangent")
    with pytest.raises(ValueError, match=r"trained is .* got None"):
        empirical_tangent(kernel, x, width=3, generator=torch.Generator())


def test_a_constant_activation_has_no_kernel():
    kernel = ImplicitKernel(activation=Polynomial((3.0,)), sigma_a2=0.2)
    with pytest.raises(ValueError, match="is constant: less its mean nothing"):
        kernel.coefficients(1.0)
    with pytest.raises(ValueError, match="is constant"):
        kernel.conjugate(torch.eye(3))
    with pytest.raises(ValueError, match="is constant"):
        match_explicit(kernel, 1.0)


@pytest.mark.parametrize("tau0", [0.0, -1.0, float("nan"), float("inf")])
def test_a_norm_of_data_is_above_0(tau0):
    with pytest.raises(ValueError, match="tau0, the root mean square norm of the data, must be"):
        ImplicitKernel(activation=ReLU(), sigma_a2=0.2).coefficients(tau0)


def test_an_uncentred_kernel_has_no_equivalent():
    with pytest.raises(ValueError, match="centred=True"):
        ImplicitKernel(activation=ReLU(), sigma_a2=0.2, centred=False).coefficients(1.0)
    with pytest.raises(ValueError, match="centred=True"):
        ExplicitKernel([ReLU()], centred=False).coefficients(1.0)
