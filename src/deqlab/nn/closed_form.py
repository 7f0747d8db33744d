"""The equilibrium of a `LinearGraphCell` in closed form, whatever the graph is.

    z - A z W = q,    W = V diag(w) V' symmetric:    (I - w_k A) (z V)_k = (q V)_k,    k = 1, ..., m

A is made triangular once a graph, component by component, and each k is a substitution with
I - w_k T (Bartels & Stewart 1972, of whose two Schur forms the second is diagonal here). EIGNN
(Liu et al. 2021, eq. 7) takes an orthogonal eigenbasis of A, which a directed graph does not have,
and a directed chain has no eigenbasis at all.

- A component without cycles (but for loops at a node) is triangular in the order of its edges.
  Substitution is then accurate relative to the state of each node, however far it is from where
  the features stand; this is no matter of digits: after 200 hops a state is 1e-36 of the first.
- Any other has a complex Schur form, A = U T U^H, accurate relative to the largest state.

The backward pass solves the transposed equation in the same way: the gradient is exact as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.linalg import schur
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from typing_extensions import override

from deqlab.errors import OnFailure
from deqlab.nn.cells.graph import adjacency_of
from deqlab.nn.cells.linear_graph import LinearGraphCell
from deqlab.nn.deq import DEQ
from deqlab.nn.graph import Graph
from deqlab.solvers.picard import Picard

MOST_NODES = 4000
"""Of a component with a cycle: its Schur form takes some 25 n^3 operations."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Triangular:
    """Components of one size n, each as U T U^H.

    Attributes:
        nodes: Their nodes, (C, n).
        basis: U, (C, n, n); None where it only brings the nodes into order.
        upper: T, (C, n, n), upper triangular.
    """

    nodes: Int64[Tensor, "C n"]
    basis: Tensor | None
    upper: Tensor

    def solve(self, w: float, q: Tensor, *, adjoint: bool) -> Tensor:
        """Return (I - w A)^-1 q, or (I - w A')^-1 q, for q (C, n)."""
        right = q.to(self.upper.dtype)[..., None]
        if self.basis is not None:
            right = self.basis.mH @ right
        matrix = torch.eye(self.upper.shape[-1], dtype=self.upper.dtype) - w * self.upper
        matrix = matrix.mH if adjoint else matrix
        y = torch.linalg.solve_triangular(matrix, right, upper=not adjoint)
        if self.basis is not None:
            y = (self.basis @ y).real
        solution: Tensor = y[..., 0]
        return solution


def triangular(graph: Graph) -> list[Triangular]:
    """Return the components of a graph, in the form that `equilibrium` takes; once a graph.

    Raises:
        ValueError: A component with a cycle has more than `MOST_NODES` nodes.
    """
    unit = torch.ones(graph.num_nodes, 1, dtype=torch.float64)
    sparse = adjacency_of(graph, unit).detach().cpu()
    sparse = (sparse if sparse.layout == torch.sparse_coo else sparse.to_sparse_coo()).coalesce()
    (rows, columns), values = sparse.indices().numpy(), sparse.values().numpy()
    size = (graph.num_nodes, graph.num_nodes)
    matrix = coo_matrix((values, (rows, columns)), shape=size).tocsr()
    _, component = connected_components(matrix, directed=False)
    _, strong = connected_components(matrix, connection="strong")
    found: dict[tuple[int, bool], list[tuple[Any, ...]]] = {}
    for nodes in _by_label(component):
        ordered = nodes[np.argsort(strong[nodes], kind="stable")]
        acyclic = len(np.unique(strong[nodes])) == len(nodes)
        if not acyclic and len(nodes) > MOST_NODES:
            raise ValueError(
                f"a component of the graph has {len(nodes)} nodes and a cycle, and the closed form "
                f"takes {MOST_NODES} at most: solve with DEQ(LinearGraphCell(...))"
            )
        found.setdefault((len(nodes), acyclic), []).append(_one(matrix, ordered, acyclic))
    return [_stacked(parts) for parts in found.values()]


def _by_label(labels: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _one(matrix: Any, nodes: np.ndarray, acyclic: bool) -> tuple[Any, ...]:  # noqa: ANN401
    dense = matrix[nodes][:, nodes].toarray()
    if not acyclic:
        upper, basis = schur(dense, output="complex")
        return nodes, basis, upper
    if np.any(np.tril(dense, -1)):  # strong components are numbered along the edges, or against
        nodes, dense = nodes[::-1].copy(), dense[::-1, ::-1].copy()
    return nodes, None, dense


def _stacked(parts: Sequence[tuple[Any, ...]]) -> Triangular:
    nodes, bases, uppers = zip(*parts, strict=True)
    return Triangular(
        nodes=torch.from_numpy(np.stack(nodes)).long(),
        basis=None if bases[0] is None else torch.from_numpy(np.stack(bases)),
        upper=torch.from_numpy(np.stack(uppers)),
    )


class _Equilibrium(torch.autograd.Function):
    """z of z - A z W = q, and its derivatives in q and W; A is constant."""

    @staticmethod
    @override
    def forward(ctx: Any, q: Tensor, w: Tensor, parts: Sequence[Triangular]) -> Tensor:
        w, basis = torch.linalg.eigh(w)
        z = _solved(q, w, basis, parts, adjoint=False)
        ctx.parts = parts
        ctx.save_for_backward(z, w, basis)
        return z

    @staticmethod
    @override
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        z, w, basis = ctx.saved_tensors
        # v - A' v W = u, and dL = <v, A z dW>, in which A' v is looked up: W is symmetric.
        v = _solved(grads[0], w, basis, ctx.parts, adjoint=True)
        return v, _times_adjacency(z, ctx.parts).mT @ v, None


def _solved(
    q: Float[Tensor, "N m"], w: Tensor, basis: Tensor, parts: Sequence[Triangular], *, adjoint: bool
) -> Float[Tensor, "N m"]:
    right, y = q @ basis, torch.zeros_like(q)
    for part in parts:
        for k, weight in enumerate(w.tolist()):
            y[part.nodes, k] = part.solve(weight, right[part.nodes, k], adjoint=adjoint)
    return y @ basis.mT


def _times_adjacency(z: Float[Tensor, "N m"], parts: Sequence[Triangular]) -> Tensor:
    out = torch.zeros_like(z)
    for part in parts:
        if part.basis is None:
            out[part.nodes] = part.upper @ z[part.nodes]
        else:
            inner = part.basis.mH @ z[part.nodes].to(part.upper.dtype)
            out[part.nodes] = (part.basis @ (part.upper @ inner)).real
    return out


class ClosedForm(nn.Module):
    """z* of a `LinearGraphCell` in closed form, with the exact gradient in x and the weights.

    The verdict is measured and not assumed: f is evaluated once at the result. The layer `deq` has
    it in `deq.last`, so that logs see this module as they see a DEQ. The result is computed on the
    CPU in float64; no gradient reaches the values of the adjacency.

    Args:
        cell: The cell.
        rtol: What the result is held to.
        on_failure: See `DEQ`.

    Example:
        >>> layer = ClosedForm(LinearGraphCell(2, 3))
        >>> layer(torch.randn(4, 2), Graph.of(torch.tensor([[0, 1, 2], [1, 2, 3]]))).shape
        torch.Size([4, 3])
        >>> layer.deq.last.evaluations
        1
    """

    def __init__(
        self, cell: LinearGraphCell, *, rtol: float = 1e-4, on_failure: OnFailure = "warn"
    ) -> None:
        super().__init__()
        self.deq = DEQ(cell, solver=Picard(rtol=rtol, max_steps=1), on_failure=on_failure)
        self._known: tuple[Graph, list[Triangular]] | None = None

    @override
    def forward(self, x: Float[Tensor, "*N n"], graph: Graph) -> Float[Tensor, "*N m"]:
        """Return z* of one graph.

        Raises:
            ValueError: x is not (N, n); see also `triangular`.
        """
        if x.ndim != 2:
            raise ValueError(f"ClosedForm takes x of one graph, (N, n), got {tuple(x.shape)}")
        if self._known is None or self._known[0] is not graph:
            self._known = graph, triangular(graph)
        cell: Any = self.deq.cell
        q, w = cell.prepare(x[None], graph).rows[0], cell.weight
        z: Tensor = _Equilibrium.apply(q.cpu().double(), w.cpu().double(), self._known[1]).to(x)
        with torch.no_grad():
            self.deq(x, graph, z0=z.detach())
        return z

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": None}
