"""Networks as torch modules, and modules as networks.

The module of a dense network is a DEQ: `nn.DEQ` solves z = relu(W z + U x + b) from z = 0. Where W
is strictly lower triangular it does so by Picard iteration: n evaluations reach the equilibrium and
one more sees that it repeats itself; none fewer are made, whatever the tolerance. With loops, on
its diagonal, that would take about 1 / (1 - w) evaluations, and semismooth Newton takes few: I - W
is a P-matrix. A solve that fails is not raised: it is in the `Solution` of `layer.solve(x)`.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deqlab.expressivity.constructions import POLISH, ReadoutDEQ
from deqlab.expressivity.search.network import Architecture, Network
from deqlab.nn.cells.dense import DenseCell
from deqlab.nn.deq import DEQ
from deqlab.nn.models.mlp import mlp
from deqlab.solvers.newton import Newton
from deqlab.solvers.picard import Picard

TOLERANCE = 1e-12
"""Relative to f(0). A state that outgrows it by 4e4 is not known as well, and has not converged."""

LOOSEST = 1e-7
"""The largest tolerance with loops, whatever a state may outgrow f(0) by."""

PATIENCE = 200
"""The largest number of Newton steps."""


def as_module(network: Network) -> nn.Module:
    """Return a `ReadoutDEQ` for a dense network, an `nn.Sequential` for an FNN."""
    return as_deq(network) if network.architecture.dense else as_fnn(network)


def as_deq(network: Network) -> ReadoutDEQ:
    """Return the DEQ that a dense network is: from x (B, 1) to y (B, 1), in its dtype."""
    n, a = network.architecture.num_neurons, network.matrix
    # On the meta device no weights are drawn, so that no generator moves.
    with torch.device("meta"):
        cell, readout, skip = DenseCell(1, n), nn.Linear(n, 1), nn.Linear(1, 1, bias=False)
    w, u, b = a[:n, :n].clone(), a[:n, n : n + 1].clone(), a[:n, -1].clone()
    cell.load_state_dict({"free": w, "inject.weight": u, "inject.bias": b}, assign=True)
    v, c = a[-1:, :n].clone(), a[-1, -1:].clone()
    readout.load_state_dict({"weight": v, "bias": c}, assign=True)
    skip.load_state_dict({"weight": a[-1:, n : n + 1].clone()}, assign=True)
    solver = _newton(w) if network.architecture.loops else _picard(n)
    layer = DEQ(cell, solver=solver, on_failure="ignore")
    return ReadoutDEQ(layer, readout, skip if network.architecture.skip else None)


def as_fnn(network: Network) -> nn.Sequential:
    """Return the feed-forward module that a network of levels is: from x (B, 1) to y (B, 1)."""
    n, a = network.architecture.num_neurons, network.matrix
    with torch.device("meta"):
        module = mlp([1, *network.architecture.levels, 1])
    columns = slice(n, n + 1)
    bounds = (*network.architecture.bounds, (n, n + 1))
    for layer, (start, end) in zip(_linear(module), bounds, strict=True):
        weight, bias = a[start:end, columns].clone(), a[start:end, -1].clone()
        layer.load_state_dict({"weight": weight, "bias": bias}, assign=True)
        columns = slice(start, end)
    return module


@torch.no_grad()
def from_deq(module: ReadoutDEQ, *, width: int | None = None) -> Network:
    """Return a DEQ as a dense network, with a level for each neuron.

    Args:
        module: A DEQ of one input and one output, whose cell is a `DenseCell` with relu and a lower
            triangular W.
        width: The number of neurons, at least those of the module and by default as many; the
            others have no effect.

    Raises:
        ValueError: The cell is of another kind, or W is not lower triangular.

    Example:
        >>> from deqlab.expressivity import narrow_sawtooth
        >>> from_deq(narrow_sawtooth(2)).matrix
        tensor([[ 0.0000,  0.0000,  1.0000, -0.5000],
                [-2.0000,  0.0000,  1.0000, -0.2500],
                [-8.0000, -8.0000,  4.0000,  0.0000]], dtype=torch.float64)
    """
    cell = module.layer.cell
    if not isinstance(cell, DenseCell) or cell.activation is not torch.relu:
        raise ValueError(f"a network comes from a DenseCell with relu, got {type(cell).__name__}")
    w, skip = cell.weight, module.skip
    if not torch.equal(w, w.tril()):
        raise ValueError("W must be lower triangular: no neuron may read a later one")
    own = len(w)
    n = own if width is None else width
    a = w.new_zeros(n + 1, n + 2)
    a[:own, :own] = w
    a[:own, -2:] = torch.stack([cell.inject.weight[:, 0], cell.inject.bias], dim=1)
    a[-1, :own], a[-1, -1] = module.readout.weight[0], module.readout.bias[0]
    if skip is not None:
        a[-1, -2] = skip.weight[0, 0]
    loops = bool(w.diagonal().any())
    return Network(Architecture((1,) * n, dense=True, loops=loops, skip=skip is not None), a)


@torch.no_grad()
def from_fnn(module: nn.Sequential) -> Network:
    """Return a ReLU network of one input and one output, as `mlp` makes it, as a `Network`."""
    layers = _linear(module)
    architecture = Architecture(tuple(layer.out_features for layer in layers[:-1]), dense=False)
    n = architecture.num_neurons
    a = layers[0].weight.new_zeros(n + 1, n + 2)
    columns = slice(n, n + 1)
    for layer, (start, end) in zip(layers, (*architecture.bounds, (n, n + 1)), strict=True):
        a[start:end, columns], a[start:end, -1] = layer.weight, layer.bias
        columns = slice(start, end)
    return Network(architecture, a)


def _linear(module: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in module if isinstance(layer, nn.Linear)]


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
