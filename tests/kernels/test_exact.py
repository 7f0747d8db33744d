"""Exact kernels on data, against brute force and finite networks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deqlab.activations import ELU, Erf, Identity, ReLU, Swish, Tanh
from deqlab.kernels import (
    ExplicitKernel,
    ImplicitKernel,
    empirical_conjugate,
    empirical_tangent,
)
from deqlab.kernels.kinds import check_kind, check_trained
from tests.kernels.problems import F64, draw, published_mixture

FROZEN = "readout+recurrent"


def data(n=12, p=6, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, p, generator=rng, dtype=F64) / p**0.5
    return x * torch.linspace(0.5, 1.5, n, dtype=F64)[:, None]


def brute_force(phi, x, *, sigma_a2, tau0):
    """G and D by plain iteration of duals, 40 times, entry by entry: a fifth is left each time."""
    s_b = 1 - sigma_a2
    tau = tau0
    for _ in range(40):
        tau = (sigma_a2 * phi.moments(tau).gamma2 + s_b * tau0**2) ** 0.5
    centred = phi.centred(phi.mean(tau**2))
    inner = x @ x.T
    g = torch.zeros_like(inner)
    for _ in range(40):
        s = sigma_a2 * g + s_b * inner
        a = s.diagonal()
        limit = torch.sqrt(a[:, None]) * torch.sqrt(a)
        limit.diagonal().copy_(a)
        s = torch.minimum(torch.maximum(s, -limit), limit)
        g = centred.dual(a[:, None], a[None], s)
    return g, centred.dual_derivative(a[:, None], a[None], s)


SLOW = [pytest.param(phi, marks=pytest.mark.slow) for phi in (Tanh(), Swish(), ELU())]


@pytest.mark.parametrize("phi", [ReLU(), Erf(), *SLOW], ids=repr)
def test_both_kernels_are_those_of_brute_force(phi):
    x = data(5)
    kernel = ImplicitKernel(activation=phi, sigma_a2=0.2)
    g, d = brute_force(phi, x, sigma_a2=0.2, tau0=float((x * x).sum(1).mean().sqrt()))
    torch.testing.assert_close(kernel.conjugate(x), g, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(
        kernel.tangent(x, trained=FROZEN), g / (1 - 0.2 * d), rtol=1e-9, atol=1e-10
    )
    full = (g + 0.8 * d * (x @ x.T)) / (1 - 0.2 * d)
    torch.testing.assert_close(kernel.tangent(x, trained="all"), full, rtol=1e-9, atol=1e-10)


def test_the_identity_is_solved_by_hand():
    x = data()
    kernel = ImplicitKernel(activation=Identity(), sigma_a2=0.3)
    torch.testing.assert_close(kernel.conjugate(x), x @ x.T, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(
        kernel.tangent(x, trained=FROZEN), x @ x.T / 0.7, rtol=1e-11, atol=1e-11
    )


@pytest.mark.parametrize("phi", [ReLU(), Tanh()], ids=repr)
def test_kernels_of_one_explicit_layer_are_the_duals(phi):
    x = data()
    a, inner = (x * x).sum(dim=1), x @ x.T
    inner.diagonal().copy_(a)
    kernel = ExplicitKernel([phi], centred=False)
    g = phi.dual(a[:, None], a[None], inner)
    d = phi.dual_derivative(a[:, None], a[None], inner)
    torch.testing.assert_close(kernel.conjugate(x), g, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(kernel.tangent(x), g + inner * d, rtol=1e-10, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("of", "phi"), [("conjugate", ReLU()), ("tangent", ReLU()), ("tangent", Tanh())]
)
def test_kernels_are_symmetric_positive_and_invariant_under_rotation(phi, of):
    x = data(20)
    kernel = ImplicitKernel(activation=phi, sigma_a2=0.2)
    options = {"trained": FROZEN} if of == "tangent" else {}
    matrix = getattr(kernel, of)(x, **options)
    assert torch.equal(matrix, matrix.T)
    assert torch.linalg.eigvalsh(matrix)[0] >= -1e-10
    rng = torch.Generator().manual_seed(1)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=rng, dtype=F64))
    turned = getattr(kernel, of)(x @ rotation, **options)
    torch.testing.assert_close(turned, matrix, rtol=0, atol=1e-10)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_blocks_and_second_arguments_are_parts_of_the_whole(seed):
    x = data(9, seed=seed)
    kernel = ImplicitKernel(activation=ReLU(), sigma_a2=0.2)
    whole = kernel.conjugate(x, tau0=1.0)
    part = kernel.conjugate(x[:4], x[4:], tau0=1.0)
    torch.testing.assert_close(part, whole[:4, 4:], rtol=1e-11, atol=1e-11)


def test_small_blocks_change_nothing(monkeypatch):
    x = data(23)
    kernel = ImplicitKernel(activation=ReLU(), sigma_a2=0.2)
    whole = kernel.tangent(x, trained=FROZEN)
    monkeypatch.setattr("deqlab.kernels.pairs.BLOCK", 25)
    torch.testing.assert_close(kernel.tangent(x, trained=FROZEN), whole, rtol=1e-11, atol=1e-12)


def test_data_with_a_zero_row_and_twins_are_ordinary():
    x = data()
    x[0] = 0.0
    x[1] = x[2]
    for phi in (ReLU(), Tanh()):
        matrix = ImplicitKernel(activation=phi, sigma_a2=0.2).conjugate(x)
        assert bool(matrix.isfinite().all())
        torch.testing.assert_close(matrix[1], matrix[2], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["readout+recurrent", "all"])
def test_wide_networks_tend_to_the_kernels(trained):
    """Within four standard errors and the bias of a finite width, which falls like 1/m."""
    x = draw(published_mixture(20))[:6]
    kernel = ImplicitKernel(activation=ReLU(), sigma_a2=0.2)
    rng = torch.Generator().manual_seed(0)
    conjugate = empirical_conjugate(kernel, x, width=400, draws=12, generator=rng)
    tangent = empirical_tangent(kernel, x, width=400, draws=12, generator=rng, trained=trained)
    for found, exact in (
        (conjugate, kernel.conjugate(x)),
        (tangent, kernel.tangent(x, trained=trained)),
    ):
        gap = (found.mean - exact).abs()
        assert bool((gap <= 4 * found.standard_error + 0.02 * exact.abs().max()).all())


@pytest.mark.slow
def test_finite_explicit_networks_tend_to_theirs():
    x = draw(published_mixture(20))[:6]
    kernel = ExplicitKernel([Tanh(), ReLU()], step_sizes=(0.5, 1.0, 2.0))
    rng = torch.Generator().manual_seed(0)
    found = empirical_tangent(kernel, x, width=500, draws=12, generator=rng)
    exact = kernel.tangent(x)
    gap = (found.mean - exact).abs()
    assert bool((gap <= 4 * found.standard_error + 0.02 * exact.abs().max()).all())


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (torch.zeros(3), "one sample a row"),
        (torch.zeros(0, 3), "one sample a row"),
        (torch.tensor([[1.0, float("nan")], [1.0, 2.0]]), "nan or inf in 1 of 2 rows"),
        (torch.zeros(3, 2), "every row of x is zero"),
        (torch.ones(3, 2, dtype=torch.complex64), "real numbers, got torch.complex64"),
        (np.array([["a", "b"]]), "real numbers, got <U1"),
    ],
)
def test_bad_data_is_refused(x, sentence):
    with pytest.raises(ValueError, match=sentence):
        ImplicitKernel(activation=ReLU(), sigma_a2=0.2).conjugate(x)


def test_other_bad_arguments_are_refused():
    kernel = ImplicitKernel(activation=ReLU(), sigma_a2=0.2)
    x = data(3)
    with pytest.raises(ValueError, match="6 columns"):
        kernel.conjugate(x, x[:, :2])
    with pytest.raises(ValueError, match="trained is"):
        check_trained("some")
    with pytest.raises(ValueError, match="kind is"):
        check_kind("both")
    with pytest.raises(ValueError, match="must be above 0 and finite, got -1"):
        kernel.conjugate(x, tau0=-1.0)


def test_arrays_of_numpy_are_data():
    x = data(4)
    kernel = ImplicitKernel(activation=ReLU(), sigma_a2=0.2)
    assert torch.equal(kernel.conjugate(np.asarray(x)), kernel.conjugate(x))
