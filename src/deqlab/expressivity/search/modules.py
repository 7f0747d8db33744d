"""Trained networks as deqlab's modules, and how those are tested.

A DEQ is tested as one: `nn.DEQ` solves z = relu(W z + U x + b) from z = 0. Where W is strictly
lower triangular it does so by Picard iteration: n evaluations reach the equilibrium and one more
sees that it repeats itself; none fewer are made, whatever the tolerance. With loops, on its
diagonal, that would take about 1 / (1 - w) evaluations, and semismooth Newton takes few: I - W is a
P-matrix. What the solve reaches is what is reported.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deqlab.expressivity.constructions import POLISH, ReadoutDEQ
from deqlab.expressivity.search.network import Network
from deqlab.nn import DEQ, DenseCell, mlp
from deqlab.solvers import Newton, Picard

TOLERANCE = 1e-12
"""Relative to f(0). A state that outgrows it by 4e4 is not known as well, and has not converged."""

LOOSEST = 1e-7
"""Tolerance with loops at most, whatever a state may outgrow f(0) by."""

PATIENCE = 200
"""Newton steps at most."""


def as_module(network: Network) -> nn.Module:
    """Return a `ReadoutDEQ` for a dense network, an `nn.Sequential` for an FNN."""
    return as_deq(network) if network.wiring.dense else as_fnn(network)


def as_deq(network: Network) -> ReadoutDEQ:
    """Return the DEQ that a dense network is."""
    n, a = network.wiring.num_neurons, network.matrix
    cell, readout, skip = DenseCell(1, n), nn.Linear(n, 1), nn.Linear(1, 1, bias=False)
    w, u, b = a[:n, :n].clone(), a[:n, n : n + 1].clone(), a[:n, -1].clone()
    cell.load_state_dict({"free": w, "inject.weight": u, "inject.bias": b}, assign=True)
    v, c = a[-1:, :n].clone(), a[-1, -1:].clone()
    readout.load_state_dict({"weight": v, "bias": c}, assign=True)
    skip.load_state_dict({"weight": a[-1:, n : n + 1].clone()}, assign=True)
    solver = _newton(w) if network.wiring.loops else _picard(n)
    layer = DEQ(cell, solver=solver, on_failure="ignore")
    return ReadoutDEQ(layer, readout, skip if network.wiring.skip else None)


def _picard(n: int) -> Picard:
    return Picard(rtol=TOLERANCE, atol=0.0, min_steps=n + 1, max_steps=n + 1, patience=n + 1)


def _newton(w: Float[Tensor, "n n"]) -> Newton:
    """Return the solver whose tolerance is the rounding of the state.

    z <= max(W, 0) z + f(0), so that z outgrows f(0) by |(I - max(W, 0))^-1|_inf at most.
    """
    unit = torch.eye(len(w), dtype=w.dtype)
    growth = torch.linalg.inv(unit - w.clamp_min(0)).abs().sum(dim=1).amax().item()
    rtol = min(max(TOLERANCE, 4 * torch.finfo(w.dtype).eps * growth), LOOSEST)
    return Newton(rtol=rtol, atol=0.0, min_steps=POLISH, max_steps=PATIENCE)


def as_fnn(network: Network) -> nn.Sequential:
    """Return the feed-forward network that a network of levels is."""
    n, a = network.wiring.num_neurons, network.matrix
    module = mlp([1, *network.wiring.levels, 1])
    columns = slice(n, n + 1)
    linear = [layer for layer in module if isinstance(layer, nn.Linear)]
    for layer, (start, end) in zip(linear, (*network.wiring.bounds, (n, n + 1)), strict=True):
        weight, bias = a[start:end, columns].clone(), a[start:end, -1].clone()
        layer.load_state_dict({"weight": weight, "bias": bias}, assign=True)
        columns = slice(start, end)
    return module
