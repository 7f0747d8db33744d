"""Cells whose state stands at the nodes of a graph: personalised PageRank and IGNN.

    PageRankCell         f(z, x) = g A z + (1 - g) h(x)           g = 1 - restart
    ImplicitGraphCell    f(z, x) = phi(A z W' + A x U' + b)       |W|_inf <= bound

Sources: Gasteiger, Bojchevski & Guennemann (2019), "Predict then propagate", eq. 2; Gu, Chang, Zhu,
Sojoudi & El Ghaoui (2020), "Implicit graph neural networks", eq. 2, where W is projected on
|W|_inf <= kappa / lambda(|A|): here rows of W are scaled, and an A whose `growth` is above 1 is
divided by that. With v the `scale` of the graph, both contract in max |z_ik| / v_i by g and by
|phi|_Lip |W|_inf, on every graph. One graph is one sample, of two dimensions: nodes and features.
Dimensions in front are other features on the same graph, each with a verdict of its own.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_number
from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.cells.constraints import InfinityNorm
from deqlab.nn.cells.vectors import check_activation, check_scale, check_width, gaussian
from deqlab.nn.graph import Graph, propagate
from deqlab.nn.knob import Knob
from deqlab.stability.certificate import Certificate, weights_not_finite
from deqlab.stability.certificates.norms import infinity_norm
from deqlab.stability.slopes import slope_of


class GraphCell(Cell[Tensor]):
    """A map of states (..., N, width) at nodes, called with features (..., N, n) and a `Graph`.

    Args:
        width: Numbers of the state at each node.
        knob: What scales the feedback, at the start.
        highest: At most.
    """

    sample_dims = 2
    feedback: Tensor

    def __init__(self, width: int, *, knob: float, highest: float) -> None:
        super().__init__()
        self.width = width
        self._highest = highest
        self.register_buffer("feedback", torch.tensor(knob))

    @property
    @override
    def knob(self) -> Knob:
        return Knob(name="feedback", value=self.feedback, highest=self._highest)

    @override
    def initial(self, x: Float[Tensor, "*B N n"], graph: Any) -> Float[Tensor, "*B N m"]:
        _check(graph, x)
        return x.new_zeros(*x.shape[:-1], self.width)

    @abstractmethod
    def prepare(self, x: Float[Tensor, "B N n"], graph: Graph) -> Prepared:
        """Return the adjacency that `update` takes, and what x injects at each node."""


class PageRankCell(GraphCell):
    """f(z, x) = g A z + (1 - g) h(x): personalised PageRank, whose knob is g = 1 - restart.

    Args:
        predict: h, a module from features (..., n) to (..., width); it is called once a solve.
        width: Size of the state at a node.
        restart: The share of h in each step, in (0, 1].

    Raises:
        ValueError: `restart` is not in (0, 1].
    """

    def __init__(self, predict: nn.Module, width: int, *, restart: float = 0.1) -> None:
        check_number("restart", restart)
        if not 0 < restart <= 1:
            raise ValueError(f"restart must be in (0, 1], got {restart}: at 0 h(x) does not count")
        check_width(1, width)
        super().__init__(width, knob=1 - restart, highest=1 - restart)
        self.predict = predict

    @override
    def prepare(self, x: Float[Tensor, "B N n"], graph: Graph) -> Prepared:
        h = self.predict(x)
        feedback = self.feedback.to(h.dtype)
        return Prepared(shared=feedback * adjacency_of(graph, x), rows=(1 - feedback) * h)

    @override
    def update(
        self,
        z: Float[Tensor, "B N m"],
        shared: Tensor,
        rows: Float[Tensor, "B N m"],
    ) -> Float[Tensor, "B N m"]:
        return rows + propagate(shared, z)

    @override
    def certificate(self) -> Certificate:
        """Return that f contracts by g on every graph."""
        if (unknown := weights_not_finite(self)) is not None:
            return unknown
        rate = float(self.feedback)
        return on_every_graph(rate, f"g = {rate:.4g}", source="Gasteiger et al. 2019")


class ImplicitGraphCell(GraphCell):
    """f(z, x) = phi(A z W' + A x U' + b), with |W|_inf at most `bound`: IGNN.

    Args:
        num_inputs: Size of the features of a node.
        width: Size of its state.
        activation: phi, elementwise; the theorem needs it 1-Lipschitz.
        bound: The largest infinity norm of W, in (0, 1].
        gain: Initial scale of W before it is bounded, 0 or more.
        bias: Whether there is b. Without it a node that no feature reaches stays at phi(0).
    """

    def __init__(
        self,
        num_inputs: int,
        width: int,
        *,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        bound: float = 0.9,
        gain: float = 0.5,
        bias: bool = True,
    ) -> None:
        check_width(num_inputs, width)
        check_scale("gain", gain)
        check_activation(activation)
        super().__init__(width, knob=1.0, highest=1.0)
        self.activation = activation
        self.constraint = InfinityNorm(bound)
        self.inject = nn.Linear(num_inputs, width, bias=bias)
        self.free = gaussian(width, gain)

    @property
    def weight(self) -> Float[Tensor, "m m"]:
        """W, bounded, times the knob."""
        w: Tensor = self.feedback * self.constraint(self.free)
        return w

    @override
    def prepare(self, x: Float[Tensor, "B N n"], graph: Graph) -> Prepared:
        adjacency = adjacency_of(graph, x)
        q = propagate(adjacency, nn.functional.linear(x, self.inject.weight))
        if self.inject.bias is not None:
            q = q + self.inject.bias
        return Prepared(shared=(adjacency, self.weight.mT), rows=q)

    @override
    def update(
        self,
        z: Float[Tensor, "B N m"],
        shared: tuple[Tensor, Float[Tensor, "m m"]],
        rows: Float[Tensor, "B N m"],
    ) -> Float[Tensor, "B N m"]:
        adjacency, weight = shared
        return self.activation(rows + propagate(adjacency, z @ weight))

    @override
    def certificate(self) -> Certificate:
        """Return that f contracts by L |W|_inf on every graph, if that is below 1."""
        if (unknown := weights_not_finite(self)) is not None:
            return unknown
        slope = slope_of(self.activation)
        if slope is None:
            return Certificate.unknown(
                f"the Lipschitz constant of {self.activation!r} is not known: use an activation "
                "that stability.slope_of knows"
            )
        with torch.no_grad():
            found = infinity_norm(self.weight, slope=slope.lipschitz)
        rate = 1 - found.margin
        return on_every_graph(rate, f"L |W|_inf = {rate:.4g}", source="Gu et al. 2020, thm 3.1")


def adjacency_of(graph: Any, x: Float[Tensor, "*B N n"]) -> Tensor:  # noqa: ANN401
    """Return A in the dtype of x, divided by its growth if that is above 1.

    Raises:
        TypeError: `graph` is no `Graph`.
        ValueError: x has features of another number of nodes.
    """
    _check(graph, x)
    adjacency: Tensor = graph.adjacency.to(x.dtype)
    return adjacency * graph.growth.to(x.dtype).reciprocal() if graph.grows else adjacency


def on_every_graph(rate: float, how: str, *, source: str, norm: str = "infinity") -> Certificate:
    """Return the certificate of a map that contracts by `rate` whatever the graph is.

    Args:
        rate: The bound on the Lipschitz constant.
        how: What it is made of, as a formula.
        source: Who has the theorem.
        norm: The norm of the state of a node; the largest of them, each over v_i, is that of z.
    """
    if not rate < 1:
        return Certificate.unknown(f"contraction on every graph: {how} is not below 1", 1 - rate)
    return Certificate(
        theorem=f"weighted {norm}-norm contraction on every graph: {how} < 1 ({source})",
        holds=True,
        margin=1 - rate,
        exists=True,
        unique=True,
        rate=rate,
    )


def _check(graph: object, x: Tensor) -> None:
    if not isinstance(graph, Graph):
        raise TypeError(
            f"a graph cell is called with features and a Graph, got {type(graph).__name__}: make "
            "one by Graph.of(edges, num_nodes)"
        )
    if x.ndim < 2 or x.shape[-2] != graph.num_nodes:
        raise ValueError(
            f"the graph has {graph.num_nodes} nodes, so that x must have the shape (..., "
            f"{graph.num_nodes}, features), got {tuple(x.shape)}"
        )
