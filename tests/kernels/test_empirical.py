"""Kernels of one finite network against gradients by every single weight."""

import pytest
import torch

from deqlab.activations import Erf, ReLU, Tanh
from deqlab.kernels import ExplicitKernel, ImplicitKernel, empirical_conjugate, empirical_tangent
from tests.problems import F64

WIDTH, SAMPLES, P = 7, 4, 3


def data():
    rng = torch.Generator().manual_seed(3)
    return torch.randn(SAMPLES, P, generator=rng, dtype=F64) / P**0.5


def gram(f, weights):
    """J J', where J holds the derivatives of f(weights) = (SAMPLES,) by all weights."""
    rows = torch.func.jacrev(f)(weights)
    flat = torch.cat([row.reshape(SAMPLES, -1) for row in rows], dim=1)
    return flat @ flat.T


@pytest.mark.parametrize("phi", [Tanh(), Erf(), ReLU()], ids=repr)
@pytest.mark.parametrize("trained", ["readout+recurrent", "all"])
def test_a_deq(phi, trained):
    """Every weight of the DEQ, by differentiating two hundred plain iterations."""
    x = data()
    kernel = ImplicitKernel(activation=phi, sigma_a2=0.15)
    tau0 = float((x * x).sum(dim=1).mean().sqrt())
    rng = torch.Generator().manual_seed(5)
    network = kernel.network(P, WIDTH, tau0=tau0, generator=rng, dtype=F64)
    v = torch.randn(WIDTH, generator=rng, dtype=F64)
    a, b = network.recurrent / 0.15**0.5, network.inward / 0.85**0.5
    centred = kernel.centred_activation(tau0)

    def outputs(weights):
        readout, a, *rest = weights
        driven = 0.85**0.5 * x @ (rest[0] if rest else b).T
        z = torch.zeros(SAMPLES, WIDTH, dtype=F64)
        for _ in range(200):
            z = centred(0.15**0.5 * z @ a.T + driven) / WIDTH**0.5
        return z @ readout

    weights = (v, a, b) if trained == "all" else (v, a)
    found = empirical_tangent(
        kernel, x, width=WIDTH, generator=torch.Generator().manual_seed(5), trained=trained
    )
    torch.testing.assert_close(found.mean, gram(outputs, weights), rtol=1e-8, atol=1e-9)
    conjugate = empirical_conjugate(
        kernel, x, width=WIDTH, generator=torch.Generator().manual_seed(5)
    )
    readout_only = gram(lambda weights: outputs((*weights, a)), (v,))
    torch.testing.assert_close(conjugate.mean, readout_only, rtol=1e-8, atol=1e-9)


def test_an_explicit_network_with_step_sizes():
    x, etas = data(), (0.5, 2.0, 3.0)
    kernel = ExplicitKernel([Tanh(), ReLU()], step_sizes=etas)
    tau0 = float((x * x).sum(dim=1).mean().sqrt())
    rng = torch.Generator().manual_seed(5)
    network = kernel.network(P, WIDTH, tau0=tau0, generator=rng, dtype=F64)
    v = torch.randn(WIDTH, generator=rng, dtype=F64)
    phis = kernel.centred_activations(tau0)

    def outputs(weights):
        first, second, readout = weights
        h = phis[0](x @ first.T) / WIDTH**0.5
        return phis[1](h @ second.T) / WIDTH**0.5 @ readout

    # A step size is the square of what a weight is multiplied by.
    roots = [eta**0.5 for eta in etas]
    scaled = tuple(w / r for w, r in zip((*network.weights, v), roots, strict=True))
    stretched = lambda weights: outputs(  # noqa: E731
        tuple(w * r for w, r in zip(weights, roots, strict=True))
    )
    found = empirical_tangent(kernel, x, width=WIDTH, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(found.mean, gram(stretched, scaled), rtol=1e-10, atol=1e-10)


def test_means_and_standard_errors_are_those_of_the_draws():
    x, kernel = data(), ExplicitKernel([Tanh()])
    rng = torch.Generator().manual_seed(5)
    found = empirical_conjugate(kernel, x, width=WIDTH, draws=9, generator=rng)
    rng = torch.Generator().manual_seed(5)
    draws = torch.stack(
        [empirical_conjugate(kernel, x, width=WIDTH, generator=rng).mean for _ in range(9)]
    )
    torch.testing.assert_close(found.mean, draws.mean(dim=0))
    torch.testing.assert_close(found.standard_error, draws.std(dim=0) / 3)
    assert found.draws == 9
    alone = empirical_conjugate(kernel, x, width=WIDTH, generator=rng)
    assert alone.standard_error.isnan().all()
    with pytest.raises(ValueError, match="draws must be at least 1"):
        empirical_conjugate(kernel, x, width=WIDTH, draws=0, generator=rng)
