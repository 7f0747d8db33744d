"""Networks whose weights are written down, not learnt, and that are exact.

The sawtooth s_k of `tasks.sawtooth` on [0, 1], as z = relu(W z + U x + b) with a linear readout.
With T(t) = 2 relu(t) - 4 relu(t - 1/2) on [0, 1], and t_0 = x:

    wide, 2k      p_i = relu(t_(i-1)),  q_i = relu(t_(i-1) - 1/2),  t_i = 2 p_i - 4 q_i,  s_k = t_k
    narrow, k     z_i = relu(x - 2 sum_(j<i) z_j - 2^-i),  s_k = 2^k (x - 2 sum_i z_i)

All entries of W are at most 4. The narrow one needs x itself in its readout, a skip. W is strictly
lower triangular, so that z is unique, and k + 1 evaluations of a Picard iteration from 0 reach it;
wherever relu is not 0, all sums are of multiples of the last bit of x, so that nothing is rounded.
The ramp clip(x / delta, 0, 1) of `tasks.steep`, with all infinity norms at most 2:

    z_1 = relu((1 - delta) z_1 + x),    z_2 = relu(z_1 - 1),    y = z_1 - z_2

Picard iteration takes about 1 / delta steps there, semismooth Newton a few. The feed-forward
sawtooth applies T once a layer, k hidden layers of width 2.

All of them are derived; that DEQs of small size and weights have such functions, and that some
FNNs do not, is published: Wu et al. (2024), "Separation and Bias of Deep Equilibrium Models on
Expressivity and Learning Dynamics". The feed-forward one is Telgarsky's (2015, arXiv:1509.08101).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.nn.cells.dense import DenseCell
from deqlab.nn.deq import DEQ
from deqlab.nn.models.mlp import mlp
from deqlab.solution import Solution
from deqlab.solvers.newton import Newton
from deqlab.solvers.picard import Picard
from deqlab.tasks import sawtooth

LARGEST_GROWTH = 2.0**24
"""How far a state may outgrow f(0): the rtol of its solve grows with it, in float64 to 4e-9."""

POLISH = 8
"""Evaluations at least for the ramp. Close to z* all residuals are rounding, and count the same;
a Newton step from there still makes z_2 what z_1 - 1 is, to the last bit. Measured: 6 do."""


class ReadoutDEQ(nn.Module):
    """y = v' z* + c + s' x: a DEQ layer, a linear readout of its state, perhaps a skip from x.

    Args:
        layer: From x (B, n) to z* (B, m).
        readout: From z* to y (B, p), with bias c.
        skip: From x to y, without a bias; None for no skip.
    """

    def __init__(self, layer: DEQ, readout: nn.Linear, skip: nn.Linear | None = None) -> None:
        super().__init__()
        if skip is not None and len(list(skip.parameters())) > 1:
            raise ValueError("skip must have no bias: readout has one")
        self.layer = layer
        self.readout = readout
        self.skip = skip

    @override
    def forward(self, x: Float[Tensor, "B n"]) -> Float[Tensor, "B p"]:
        return self.output(x, self.layer.solve(x))

    def output(self, x: Float[Tensor, "B n"], solution: Solution) -> Float[Tensor, "B p"]:
        """Return y from a solve of `layer` at x, for those who want its verdict too."""
        y: Tensor = self.readout(solution.value)
        return y if self.skip is None else y + self.skip(x)


def wide_sawtooth(log2_regions: int, *, dtype: torch.dtype = torch.float64) -> ReadoutDEQ:
    """Return the ReLU DEQ of width 2k that is s_k on [0, 1]; its state is (p_1, q_1, p_2, ...).

    Args:
        log2_regions: k, at least 1; at most 20 in float32 and 24 in float64.
        dtype: The dtype of its weights, and of the x it takes.

    Raises:
        ValueError: `log2_regions` is out of its domain.

    Example:
        >>> wide_sawtooth(2)(torch.tensor([[0.25], [0.375]], dtype=torch.float64)).tolist()
        [[1.0], [0.5]]
    """
    sawtooth.check_regions(log2_regions, dtype)
    growth = 2.0**log2_regions
    if growth > LARGEST_GROWTH:
        raise ValueError(
            f"log2_regions must be at most {math.log2(LARGEST_GROWTH):.0f} here, got "
            f"{log2_regions}: near 0 the state is 2^k x, and a solve resolves it less and less; "
            "use narrow_sawtooth"
        )
    width = 2 * log2_regions
    tent = torch.tensor([2.0, -4.0], dtype=dtype)
    w = torch.zeros(width, width, dtype=dtype)
    for row in range(2, width, 2):
        w[row : row + 2, row - 2 : row] = tent
    u, b, v = torch.zeros(3, width, dtype=dtype)
    u[:2] = 1
    b[1::2] = -0.5
    v[-2:] = tent
    # Where the state outgrows f(0), its residual counts as no less than its rounding.
    solver = _substitution(log2_regions, rtol=torch.finfo(dtype).eps * growth)
    return _network(_cell(w, u, b), v, solver)


def narrow_sawtooth(log2_regions: int, *, dtype: torch.dtype = torch.float64) -> ReadoutDEQ:
    """Return the ReLU DEQ of width k, with a skip, that is s_k on [0, 1].

    Args:
        log2_regions: k, at least 1; at most 20 in float32 and 49 in float64.
        dtype: The dtype of its weights, and of the x it takes.

    Raises:
        ValueError: `log2_regions` is out of its domain.

    Example:
        >>> narrow_sawtooth(2)(torch.tensor([[0.25], [0.375]], dtype=torch.float64)).tolist()
        [[1.0], [0.5]]
    """
    sawtooth.check_regions(log2_regions, dtype)
    width, scale = log2_regions, 2.0**log2_regions
    w = torch.full((width, width), -2.0, dtype=dtype).tril(-1)
    b = -(0.5 ** torch.arange(1, width + 1, dtype=dtype))
    v = torch.full((width,), -2 * scale, dtype=dtype)
    return _network(
        _cell(w, torch.ones_like(b), b), v, _substitution(log2_regions, rtol=0.0), skip=scale
    )


def steep_ramp(delta: float, *, dtype: torch.dtype = torch.float64) -> ReadoutDEQ:
    """Return the ReLU DEQ of width 2 that is clip(x / delta, 0, 1) at every x.

    It is exact where delta is a power of two, and right to rounding elsewhere.

    Args:
        delta: Width of the step, at most 1; at least 2^-9.5 in float32 and 2^-24 in float64.
        dtype: The dtype of its weights, and of the x it takes.

    Raises:
        ValueError: `delta` is out of its domain.

    Example:
        >>> steep_ramp(2.0**-20)(torch.tensor([[-1.0], [2.0**-21], [1.0]]).double()).tolist()
        [[0.0], [0.5], [1.0]]
    """
    eps = torch.finfo(dtype).eps
    # Newton's line search ends a root of eps beyond a kink, and z_1 moves 1 / delta times as far.
    least = 4 * eps**0.5
    if not least <= delta <= 1:
        raise ValueError(f"delta must be from {least:.3g} to 1 in {dtype}, got {delta:.3g}")
    w = torch.tensor([[1 - delta, 0.0], [1.0, 0.0]], dtype=dtype)
    u, b, v = torch.tensor([[1.0, 0.0], [0.0, -1.0], [1.0, -1.0]], dtype=dtype)
    # The state outgrows f(0) by 1 / delta, and is known to its own rounding.
    solver = Newton(rtol=4 * eps / delta, min_steps=POLISH, max_steps=50)
    return _network(_cell(w, u, b), v, solver)


def sawtooth_fnn(log2_regions: int, *, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Return the ReLU network of k hidden layers of width 2 that is s_k on [0, 1].

    Args:
        log2_regions: k, at least 1; at most 20 in float32 and 49 in float64.
        dtype: The dtype of its weights, and of the x it takes.

    Raises:
        ValueError: `log2_regions` is out of its domain.
    """
    sawtooth.check_regions(log2_regions, dtype)
    tent = torch.tensor([[2.0, -4.0]], dtype=dtype)
    b = torch.tensor([0.0, -0.5], dtype=dtype)
    with torch.device("meta"):
        network = mlp([1, *[2] * log2_regions, 1])
    linear = [module for module in network if isinstance(module, nn.Linear)]
    linear[0].load_state_dict({"weight": torch.ones(2, 1, dtype=dtype), "bias": b}, assign=True)
    for layer in linear[1:-1]:
        state = {"weight": tent.expand(2, 2).clone(), "bias": b.clone()}
        layer.load_state_dict(state, assign=True)
    linear[-1].load_state_dict({"weight": tent, "bias": b[:1].clone()}, assign=True)
    return network


def _substitution(layers: int, *, rtol: float) -> Picard:
    """Return the iteration that makes one layer after another exact, for strictly triangular W."""
    steps = layers + 1
    least = 1 if rtol == 0 else steps
    return Picard(rtol=rtol, atol=0.0, min_steps=least, max_steps=steps, patience=steps)


def _cell(w: Float[Tensor, "m m"], u: Float[Tensor, " m"], b: Float[Tensor, " m"]) -> DenseCell:
    # On the meta device no weights are drawn, so that no generator moves.
    with torch.device("meta"):
        cell = DenseCell(1, len(w))
    state = {"free": w, "inject.weight": u[:, None].clone(), "inject.bias": b.clone()}
    cell.load_state_dict(state, assign=True)
    return cell


def _network(
    cell: DenseCell, v: Float[Tensor, " m"], solver: Picard | Newton, *, skip: float | None = None
) -> ReadoutDEQ:
    with torch.device("meta"):
        readout, past = nn.Linear(len(v), 1), nn.Linear(1, 1, bias=False)
    readout.load_state_dict({"weight": v[None].clone(), "bias": v.new_zeros(1)}, assign=True)
    layer = DEQ(cell, solver=solver)
    if skip is None:
        return ReadoutDEQ(layer, readout)
    past.load_state_dict({"weight": v.new_full((1, 1), skip)}, assign=True)
    return ReadoutDEQ(layer, readout, past)
