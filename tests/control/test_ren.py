"""Recurrent equilibrium networks: the matrix inequality written anew, and trajectories."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deqlab import Newton
from deqlab.control import REN, RENCell, contraction
from deqlab.control.recurrent import EPS
from deqlab.solvers import PeacemanRachford

N, Q, M = 3, 7, 2
EXACT = Newton(rtol=1e-13)


def wild(rate, *, seed=0, scale=2.0, **options):
    """A network far from where it starts."""
    torch.manual_seed(seed)
    net = REN(M, N, Q, rate=rate, solver=EXACT, **options).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(scale * torch.randn_like(parameter))
    return net


def implicit_form(net):
    """E, F, P, B1, C1, D11 and Lambda by the paper's formulas, in numpy."""
    cell = net.cell
    x, y1, y2 = (p.detach().numpy() for p in (cell.free, net.skew_states, cell.skew_neurons))
    h = x.T @ x + EPS * np.eye(len(x))
    n, q = cell.num_states, cell.width
    p = h[n + q :, n + q :]
    e = 0.5 * (h[:n, :n] + p / cell.rate**2 + y1 - y1.T)
    lam = np.diag(np.exp(cell.log_multipliers.detach().numpy()))
    d11 = lam - 0.5 * (h[n : n + q, n : n + q] + y2 - y2.T)
    return e, h[n + q :, :n], p, h[n + q :, n : n + q], -h[n : n + q, :n], d11, lam


@pytest.mark.parametrize("rate", [1.0, 0.8])
def test_the_papers_inequality_and_the_explicit_one_hold_at_wild_weights(rate):
    for seed in range(5):
        net = wild(rate, seed=seed)
        e, f, p, b1, c1, d11, lam = implicit_form(net)
        w = 2 * lam - d11 - d11.T
        paper = np.block(
            [[e + e.T - p / rate**2, -c1.T, f.T], [-c1, w, b1.T], [f, b1, p]]  # their (23)
        )
        assert np.linalg.eigvalsh(paper)[0] > 0
        found = net.certificate()
        assert found.holds
        assert found.rate == rate
        # The quadratic form of the explicit network, from the definition, direction by direction.
        a, b = np.linalg.solve(e, f), np.linalg.solve(e, b1)
        metric = e.T @ np.linalg.solve(p, e)
        rng = np.random.default_rng(seed)
        for dx, dw in zip(rng.normal(size=(200, N)), rng.normal(size=(200, Q)), strict=True):
            after, supply = a @ dx + b @ dw, 2 * dw @ (c1 @ dx + d11 @ dw - lam @ dw)
            assert rate**2 * dx @ metric @ dx - after @ metric @ after - supply > 0


def test_trajectories_come_together_by_the_rate():
    net = wild(0.8)
    inputs = torch.randn(1, 30, M, dtype=torch.float64).expand(16, -1, -1)
    _, states = net(inputs, 10 * torch.randn(16, N, dtype=torch.float64))
    gaps = states[1:] - states[:1]
    metric = net.explicit().metric
    sizes = torch.einsum("bti,ij,btj->bt", gaps, metric, gaps).sqrt().detach()
    assert (sizes[:, 1:] <= 0.8 * sizes[:, :-1] * (1 + 1e-9) + 1e-11).all()
    assert (sizes[:, 0] > 1).all()


def test_a_network_that_does_not_contract_is_not_certified():
    net = wild(0.8)
    with torch.no_grad():
        explicit = net.explicit()
    radius = float(torch.linalg.eigvals(explicit.a).abs().max())
    assert radius < 0.8
    assert not contraction(explicit, 0.99 * radius).holds
    unstable = replace(explicit, a=explicit.a * 0.81 / radius)
    assert not contraction(unstable, 0.8).holds


def test_the_start_remembers_and_is_certified():
    torch.manual_seed(0)
    net = REN(M, N, Q, rate=0.9)
    found = net.explicit()
    torch.testing.assert_close(found.a, 0.855 * torch.eye(N), rtol=0, atol=1e-3)
    assert found.b.abs().max() < 1e-5
    assert net.certificate().holds
    assert net.cell.certificate().unique


def test_it_starts_at_a_linear_system_which_contracts_and_hears_no_neuron():
    torch.manual_seed(0)
    net = wild(0.9)
    a = torch.tensor([[0.8, 5.0, 0.0], [0.0, 0.7, 0.3], [0.0, -0.3, 0.7]]).double()
    b = torch.randn(N, M, dtype=torch.float64)
    net.start_at(a, b)
    x, u = torch.randn(4, N, dtype=torch.float64), torch.randn(4, M, dtype=torch.float64)
    torch.testing.assert_close(net.step(x, u)[0], x @ a.T + u @ b.T, rtol=1e-9, atol=1e-9)
    found = net.certificate()
    assert found.holds
    assert found.margin > 0.1
    assert net.explicit().c.abs().max() > 1  # the neurons hear the state
    with pytest.raises(ValueError, match=r"spectral radius below the rate 0\.9, .* got 0\.95"):
        net.start_at(0.95 * torch.eye(N), b)
    with pytest.raises(ValueError, match=r"must have the shapes \(3, 3\) and \(3, 2\), got"):
        net.start_at(a, b[:, :1])


def test_the_neurons_are_at_their_equilibrium_and_have_gradients():
    net = wild(1.0, num_outputs=2, scale=0.5, activation=torch.tanh)
    inputs = torch.randn(2, 3, M, dtype=torch.float64, requires_grad=True)

    def run(u, *_):
        return net(u)[0]

    assert torch.autograd.gradcheck(run, (inputs, *net.parameters()), atol=1e-7, fast_mode=True)
    cell = net.cell
    x = torch.randn(4, N + M, dtype=torch.float64)
    w = net.deq(x)
    c1, d11, lam = (torch.from_numpy(each) for each in implicit_form(net)[4:])
    drive = x[:, N:] @ cell.inject.weight.T + cell.inject.bias
    gold = torch.tanh((x[:, :N] @ c1.T + w @ d11.T) @ torch.linalg.inv(lam) + drive)
    torch.testing.assert_close(w, gold, rtol=0, atol=1e-10)


def test_splitting_finds_the_neurons_at_wild_weights():
    net = wild(1.0)
    x = torch.randn(4, N + M, dtype=torch.float64)
    gold = net.deq(x)
    net.deq.solver = PeacemanRachford(alpha=0.1, rtol=1e-12, max_steps=5000, patience=2000)
    # Residuals of 1e-12 are errors of up to 1e-12 |(I - J)^-1|, which is large here.
    torch.testing.assert_close(net.deq(x), gold, rtol=1e-6, atol=1e-6)
    assert net.deq.last.converged.all()


def test_steps_are_the_sequence():
    net = wild(1.0, num_outputs=1)
    inputs = torch.randn(4, 5, M, dtype=torch.float64)
    outputs, states = net(inputs)
    state = torch.zeros(4, N, dtype=torch.float64)
    for t in range(5):
        state, y = net.step(state, inputs[:, t])
        torch.testing.assert_close(y, outputs[:, t])
    torch.testing.assert_close(state, states[:, -1])


def test_bad_networks_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r"rate must be above 0, and at most 1, got 1\.5"):
        REN(1, 2, 3, rate=1.5)
    with pytest.raises(ValueError, match="gain must be 0 or more, and below 1"):
        RENCell(1, 2, 3, gain=1.0)
    with pytest.raises(ValueError, match=r"takes states and inputs side by side, \(..., 2 \+ 1\)"):
        REN(1, 2, 3).deq(torch.zeros(4, 2))
