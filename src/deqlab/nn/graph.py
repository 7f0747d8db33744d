"""Graphs as the adjacency that states travel along, whatever they are given as.

A[i, j] is the weight with which node i takes from node j, so that A z is what the nodes hear of
their neighbours; an edge (source, target) stands in A[target, source]. Normalised are

    symmetric    D^-1/2 (A + I) D^-1/2    (Kipf & Welling 2017, "Semi-supervised classification
                                           with graph convolutional networks", eq. 2)
    row          D^-1 (A + I)

with D the sums of the rows of A + I, directed graphs included. Both are similar to D^-1 (A + I),
whose rows sum to 1, so that no eigenvalue is above 1. What is known of any A is

    growth = max_i (|A| v)_i / v_i >= the largest modulus of an eigenvalue of |A|    for every v > 0

(Collatz 1942, Wielandt 1950); v = D^1/2 makes it 1 for the symmetric normalisation.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.nn.adjacency import as_coo, diagonal, is_sparse, matrix_of, normalised, sparse

NORMALISATIONS = ("symmetric", "row", "none")


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A graph, made by `Graph.of` or `blocks`.

    Attributes:
        adjacency: A, (N, N): dense, or sparse; CSR where no gradient of its values is asked for.
        scale: v, (N,), in whose weighted norm A is known.
        growth: max_i (|A| v)_i / v_i, ().
        grows: Whether that is above 1, by more than the rounding of a normalisation.
    """

    adjacency: Tensor
    scale: Float[Tensor, " N"]
    growth: Float[Tensor, ""]
    grows: bool

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.scale)

    @classmethod
    def of(
        cls,
        graph: Any,  # noqa: ANN401, edges, a matrix, or data of another package
        num_nodes: int | None = None,
        *,
        weights: Float[Tensor, " E"] | None = None,
        normalise: str = "symmetric",
        self_loops: bool = True,
    ) -> "Graph":
        """Return a graph.

        Args:
            graph: Edges (2, E) as whole numbers, sources first; or an adjacency (N, N) of floats,
                dense, COO or CSR; or an object with `edge_index` and `num_nodes`, as PyTorch
                Geometric has. An edge that is named twice counts twice.
            num_nodes: N; None is that of the adjacency, or the largest node that an edge names
                plus 1.
            weights: Of the edges; None is `edge_weight` of the object, or 1 for each, in float64:
                cells take the adjacency in the dtype of the features.
            normalise: "symmetric", "row" or "none".
            self_loops: Whether each node takes from itself, with weight 1 before normalisation.

        Raises:
            TypeError: It is none of these.
            ValueError: An edge is out of range; a node has no edge, so that its degree cannot be
                normalised; or a weight is negative or not finite.

        Example:
            >>> path = Graph.of(torch.tensor([[0, 1], [1, 2]]))
            >>> path.adjacency.to_dense()
            tensor([[1.0000, 0.0000, 0.0000],
                    [0.7071, 0.5000, 0.0000],
                    [0.0000, 0.5000, 0.5000]], dtype=torch.float64)
        """
        if normalise not in NORMALISATIONS:
            raise ValueError(
                f"normalise must be one of {', '.join(NORMALISATIONS)}, got {normalise!r}"
            )
        if hasattr(graph, "edge_index"):
            num_nodes = graph.num_nodes if num_nodes is None else num_nodes
            weights = getattr(graph, "edge_weight", None) if weights is None else weights
            graph = graph.edge_index
        dense = isinstance(graph, Tensor) and graph.is_floating_point() and not is_sparse(graph)
        matrix = matrix_of(graph, num_nodes, weights)
        if self_loops:
            matrix = (matrix + diagonal(matrix)).coalesce()
        scale = matrix.values().new_ones(len(matrix))
        if normalise != "none":
            matrix, scale = normalised(matrix, normalise)
        return _graph(matrix, scale, dense=dense)

    def __deepcopy__(self, memo: object) -> "Graph":
        """Return itself: nothing changes a graph, and torch does not copy CSR tensors."""
        return self

    def to(self, *args: Any, **keywords: Any) -> "Graph":  # noqa: ANN401
        """Return it on another device or in another dtype, as `Tensor.to` does."""
        parts = (self.adjacency, self.scale, self.growth)
        adjacency, scale, growth = (part.to(*args, **keywords) for part in parts)
        return Graph(adjacency=adjacency, scale=scale, growth=growth, grows=self.grows)


def blocks(graphs: Sequence[Graph]) -> Graph:
    """Return several graphs as one without edges between them: the batch of graphs.

    Nodes are numbered on, graph by graph, so that their features are stacked: torch.cat([x1, x2]).

    Raises:
        ValueError: There is none.
    """
    if not graphs:
        raise ValueError("blocks needs at least one graph")
    starts = torch.tensor([0, *(g.num_nodes for g in graphs)]).cumsum(0).tolist()
    parts = [as_coo(g.adjacency) for g in graphs]
    places = torch.cat([p.indices() + at for p, at in zip(parts, starts, strict=False)], dim=1)
    values = torch.cat([p.values() for p in parts])
    return Graph(
        adjacency=_fastest(sparse(places, values, starts[-1]).coalesce()),
        scale=torch.cat([g.scale for g in graphs]),
        growth=torch.stack([g.growth.to(values.dtype) for g in graphs]).max(),
        grows=any(g.grows for g in graphs),
    )


def propagate(adjacency: Tensor, z: Float[Tensor, "B N d"]) -> Float[Tensor, "B N d"]:
    """Return A z for each of the states z; a sparse A is used as it is."""
    if not is_sparse(adjacency):
        return adjacency @ z
    with torch.autocast(z.device.type, enabled=False):  # sparse products know no half precision
        if len(z) == 1:
            return (adjacency @ z[0].to(adjacency.dtype))[None]
        side = z.transpose(0, 1).to(adjacency.dtype)
        return (adjacency @ side.flatten(1)).view_as(side).transpose(0, 1)


def _graph(matrix: Tensor, scale: Tensor, *, dense: bool) -> Graph:
    rows, values = matrix.indices(), matrix.values()
    reached = values.abs() * scale[rows[1]]
    growth = (torch.zeros_like(scale).index_add(0, rows[0], reached) / scale).max()
    rounding = 8 * torch.finfo(scale.dtype).eps * len(scale)
    return Graph(
        adjacency=matrix.to_dense() if dense else _fastest(matrix),
        scale=scale,
        growth=growth,
        grows=float(growth.detach()) > 1 + rounding,
    )


def _fastest(matrix: Tensor) -> Tensor:
    """Return a sparse matrix as CSR, whose products are the faster ones, or as it is for a tape."""
    if matrix.requires_grad:
        return matrix
    with warnings.catch_warnings():  # that CSR may change
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return matrix.to_sparse_csr()
