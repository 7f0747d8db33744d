"""The explicit network with the kernel of a DEQ."""

import pytest
import torch

from deqlab.activations import (
    Erf,
    HardTanh,
    Identity,
    LeakyReLU,
    Polynomial,
    ReLU,
    Swish,
    Tanh,
    from_callable,
)
from deqlab.kernels import ExplicitKernel, ImplicitKernel, NoMatchError, match_explicit, mismatch
from tests.kernels.problems import draw, published_mixture, relative_error


def kernel_of(phi):
    return ImplicitKernel(activation=phi, sigma_a2=0.2)


def test_the_layer_for_tanh_is_the_one_that_theory_lists():
    (layer,) = match_explicit(kernel_of(Tanh()), 1.0).layers
    assert isinstance(layer, HardTanh)
    assert (layer.a, layer.c) == pytest.approx((0.764296679, 1.196485325), abs=1e-8)


def test_the_layers_for_relu_are_those_that_theory_lists():
    """Up to the gauge that moves scale between layers, and which slope comes first."""
    first, second = match_explicit(kernel_of(ReLU()), 1.0).layers
    ratios = []
    for layer in (first, second):
        large, small = sorted(layer.slopes, key=abs, reverse=True)
        ratios.append((small / large, abs(large)))
    assert ratios[0][0] == pytest.approx(0.0039594, abs=1e-6)
    assert ratios[1][0] == pytest.approx(0.592553, abs=1e-6)
    assert ratios[0][1] * ratios[1][1] == pytest.approx(1.147898, abs=1e-6)


@pytest.mark.parametrize(
    "phi",
    [
        ReLU(),
        Tanh(),
        Erf(),
        LeakyReLU(0.1),
        Identity(),
        pytest.param(Swish(), marks=pytest.mark.slow),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    ("kind", "trained"),
    [
        ("conjugate", "readout+recurrent"),
        ("tangent", "readout+recurrent"),
        ("tangent", "all"),
    ],
)
def test_every_kernel_has_its_network(phi, kind, trained):
    kernel = kernel_of(phi)
    explicit = match_explicit(kernel, 1.2, kind=kind, trained=trained)
    target = kernel.coefficients(1.2, trained=trained)
    assert mismatch(target, explicit.coefficients(1.2), kind) <= 1e-8


@pytest.mark.parametrize("p", [500, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_matched_relu_network_has_the_kernel_and_the_plain_one_has_not(p):
    x = draw(published_mixture(p))
    tau0 = float((x * x).sum(dim=1).mean().sqrt())
    kernel = kernel_of(ReLU())
    exact = kernel.conjugate(x)
    matched = match_explicit(kernel, tau0).conjugate(x)
    plain = ExplicitKernel([ReLU(), ReLU()]).conjugate(x)
    assert relative_error(matched, exact) < 5e-5
    assert relative_error(plain, exact) == pytest.approx(0.67, rel=0.05)


@pytest.mark.slow
def test_the_matched_tanh_network_has_the_kernel_and_the_plain_one_has_not():
    x = draw(published_mixture(1000))
    tau0 = float((x * x).sum(dim=1).mean().sqrt())
    kernel = kernel_of(Tanh())
    exact = kernel.conjugate(x)
    assert relative_error(match_explicit(kernel, tau0).conjugate(x), exact) < 3e-3
    plain = ExplicitKernel([Tanh()]).conjugate(x)
    assert relative_error(plain, exact) == pytest.approx(0.063, rel=0.05)


def test_a_kernel_that_no_family_has_is_refused_with_the_nearest(monkeypatch):
    # No activation was found that cubics do not match: without them there is one.
    monkeypatch.setattr("deqlab.kernels.matching.STARTS", 0)
    kernel = ImplicitKernel(activation=from_callable(lambda u: torch.cos(5 * u)), sigma_a2=0.01)
    with pytest.raises(
        NoMatchError, match=r"no network of one H-Tanh.*; the nearest, .* is off by"
    ):
        match_explicit(kernel, 1.0)


@pytest.mark.parametrize(
    "phi", [Polynomial((0.0, 0.0, 1.0)), from_callable(torch.nn.functional.gelu)], ids=repr
)
def test_any_other_activation_has_two_cubic_layers(phi):
    """Even ones too, whose alpha1 is 0."""
    kernel = ImplicitKernel(activation=phi, sigma_a2=0.1)
    explicit = match_explicit(kernel, 1.0)
    assert {type(layer) for layer in explicit.layers} == {Polynomial}
    assert mismatch(kernel.coefficients(1.0), explicit.coefficients(1.0)) <= 1e-8


def test_a_difference_of_kernels_is_seen():
    kernel = kernel_of(ReLU())
    other = ImplicitKernel(activation=ReLU(), sigma_a2=0.21)
    assert mismatch(kernel.coefficients(1.0), other.coefficients(1.0)) > 1e-3


def test_the_networks_are_modules_side_by_side():
    kernel = kernel_of(ReLU())
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(7, 5, generator=rng) / 5**0.5
    deq = kernel.network(5, 64, 3, tau0=1.0, generator=rng)
    explicit = match_explicit(kernel, 1.0).network(5, 64, 3, tau0=1.0, generator=rng)
    for network in (deq, explicit):
        assert network(x).shape == (7, 3)
        assert network.features(x).shape == (7, 64)
        assert [name for name, _ in network.named_parameters()] == [
            "readout.weight",
            "readout.bias",
        ]
    with pytest.raises(ValueError, match="width must be at least 1"):
        kernel.network(5, 0, tau0=1.0)
