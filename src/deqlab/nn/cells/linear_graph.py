"""The linear graph cell, whose equilibrium has a closed form.

    f(z, x) = gamma A z G + h(x),    G = F'F / (|F'F|_F + eps)

G is symmetric, of norm below 1, so that f contracts by gamma |G|_2 in max_i |z_i|_2 / v_i on every
graph, and gradients of all lengths reach F. Source: Liu, Kawaguchi, Hooi, Wang & Xiao (2021),
"EIGNN: efficient infinite-depth graph neural networks", eq. 4. `ClosedForm` computes z* exactly;
a `DEQ` of this cell solves without a matrix of N x N numbers.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_number
from deqlab.nn.cells.base import Prepared
from deqlab.nn.cells.constraints import full_precision
from deqlab.nn.cells.graph import GraphCell, adjacency_of, on_every_graph
from deqlab.nn.cells.vectors import check_width, injected
from deqlab.nn.graph import Graph, propagate
from deqlab.stability.certificate import Certificate, weights_not_finite

EPS = 1e-12
"""Keeps G finite at F = 0."""


class LinearGraphCell(GraphCell):
    """f(z, x) = gamma A z G + U x, whose knob is gamma.

    Args:
        num_inputs: Size of the features of a node.
        width: Size of its state.
        gamma: In (0, 1).
        bias: Whether U x has a bias. Without it a node that no feature reaches stays at 0.

    Raises:
        ValueError: `gamma` is not in (0, 1).
    """

    def __init__(
        self, num_inputs: int, width: int, *, gamma: float = 0.8, bias: bool = True
    ) -> None:
        check_width(num_inputs, width)
        check_number("gamma", gamma)
        if not 0 < gamma < 1:
            raise ValueError(f"gamma must be in (0, 1), got {gamma}: at 1 f need not contract")
        super().__init__(width, knob=gamma, highest=gamma)
        self.inject = nn.Linear(num_inputs, width, bias=bias)
        self.free = nn.Parameter(torch.randn(width, width) / width**0.5)

    @property
    def weight(self) -> Float[Tensor, "m m"]:
        """Gamma G, symmetric."""
        with full_precision(self.free) as (free,):
            square = free.mT @ free
            w: Tensor = square * (self.feedback / (torch.linalg.vector_norm(square) + EPS))
        return w.to(self.free.dtype)

    @override
    def prepare(self, x: Float[Tensor, "B N n"], graph: Graph) -> Prepared:
        adjacency = adjacency_of(graph, x)
        return Prepared(shared=(adjacency, self.weight), rows=injected(self, self.inject, x))

    @override
    def update(
        self,
        z: Float[Tensor, "B N m"],
        shared: tuple[Tensor, Float[Tensor, "m m"]],
        rows: Float[Tensor, "B N m"],
    ) -> Float[Tensor, "B N m"]:
        adjacency, weight = shared
        return rows + propagate(adjacency, z @ weight)

    @override
    def certificate(self) -> Certificate:
        """Return that f contracts by gamma |G|_2 on every graph."""
        if (unknown := weights_not_finite(self)) is not None:
            return unknown
        with torch.no_grad():
            rate = float(torch.linalg.eigvalsh(self.weight.double())[-1])
        return on_every_graph(rate, f"gamma |G|_2 = {rate:.4g}", source="Liu et al. 2021", norm="2")
