"""Edges and adjacencies of any layout as one kind of sparse matrix, checked and normalised."""

import torch
from jaxtyping import Int64
from torch import Tensor

from deqlab.arguments import check_count


def matrix_of(graph: object, num_nodes: int | None, weights: Tensor | None) -> Tensor:
    """Return edges (2, E) or an adjacency as a coalesced COO matrix; see `Graph.of`.

    Raises:
        TypeError: It is no tensor.
        ValueError: It describes no graph.
    """
    if not isinstance(graph, Tensor):
        raise TypeError(
            "a graph is a tensor of edges (2, E), an adjacency (N, N), or has edge_index and "
            f"num_nodes, got {type(graph).__name__}"
        )
    if num_nodes is not None:
        check_count("num_nodes", num_nodes)
    if graph.is_floating_point():
        if graph.ndim != 2 or graph.shape[0] != graph.shape[1] or not len(graph):
            raise ValueError(f"an adjacency must be square, got the shape {tuple(graph.shape)}")
        if num_nodes not in (None, len(graph)) or weights is not None:
            raise ValueError(
                "an adjacency has its own weights and number of nodes: leave out num_nodes and "
                "weights, or pass edges (2, E) as whole numbers"
            )
        matrix = as_coo(graph)
    else:
        matrix = _from_edges(graph, num_nodes, weights)
    if not bool(matrix.values().isfinite().all()):
        raise ValueError("the weights of the edges must be finite, and some are inf or nan")
    return matrix


def _from_edges(edges: Tensor, num_nodes: int | None, weights: Tensor | None) -> Tensor:
    if edges.dtype == torch.bool or edges.ndim != 2 or len(edges) != 2:
        raise ValueError(
            "edges must be whole numbers of shape (2, E), sources first, got "
            f"{edges.dtype} of shape {tuple(edges.shape)}"
        )
    places: Int64[Tensor, "2 E"] = edges.long().flip(0)
    largest = int(places.max()) if places.numel() else -1
    size = largest + 1 if num_nodes is None else num_nodes
    if size < 1:
        raise ValueError("there is no edge, so that num_nodes must say how many nodes there are")
    if largest >= size or (places.numel() and int(places.min()) < 0):
        wrong = largest if largest >= size else int(places.min())
        raise ValueError(
            f"edges name node {wrong}, but the {size} nodes are numbered 0 to {size - 1}: number "
            "nodes from 0, or pass a larger num_nodes"
        )
    if weights is None:
        weights = torch.ones(places.shape[1], device=edges.device, dtype=torch.float64)
    if weights.shape != places.shape[1:]:
        raise ValueError(
            f"weights must have one number for each of the {places.shape[1]} edges, got the shape "
            f"{tuple(weights.shape)}"
        )
    return sparse(places, weights, size).coalesce()


def normalised(matrix: Tensor, normalise: str) -> tuple[Tensor, Tensor]:
    """Return the normalised matrix, and the v in whose weighted norm it does not grow.

    Raises:
        ValueError: A weight is negative, or a node takes from none.
    """
    places, values = matrix.indices(), matrix.values()
    if bool((values < 0).any()):
        raise ValueError(
            "normalisation needs weights of 0 or more, and some are negative: pass "
            'normalise="none", and cells scale the adjacency by its growth'
        )
    degrees = values.new_zeros(len(matrix)).index_add(0, places[0], values)
    isolated = (degrees == 0).nonzero().flatten()
    if len(isolated):
        raise ValueError(
            f"{len(isolated)} of {len(matrix)} nodes take from none, node {int(isolated[0])} for "
            "one, and a degree of 0 cannot be normalised: pass self_loops=True, or leave them out"
        )
    if normalise == "row":
        return _with(matrix, values / degrees[places[0]]), torch.ones_like(degrees)
    root = degrees.sqrt()
    return _with(matrix, values / (root[places[0]] * root[places[1]])), root


def sparse(places: Int64[Tensor, "2 E"], values: Tensor, size: int) -> Tensor:
    """Return a COO matrix whose indices are known to be in range."""
    shape = (size, size)  # indices were checked, or come from a matrix
    return torch.sparse_coo_tensor(places, values, shape, check_invariants=False)


def _with(matrix: Tensor, values: Tensor) -> Tensor:
    return torch.sparse_coo_tensor(
        matrix.indices(), values, matrix.shape, is_coalesced=True, check_invariants=False
    )


def diagonal(like: Tensor) -> Tensor:
    """Return the identity of the size of a COO matrix, in its dtype."""
    places = torch.arange(len(like), device=like.device).expand(2, -1)
    return sparse(places, like.values().new_ones(len(like)), len(like))


def as_coo(matrix: Tensor) -> Tensor:
    """Return a matrix of any layout as a coalesced COO matrix."""
    sparse = matrix if matrix.layout == torch.sparse_coo else matrix.to_sparse_coo()
    return sparse.coalesce()


def is_sparse(matrix: Tensor) -> bool:
    """Whether a matrix has a sparse layout, COO or CSR."""
    return matrix.layout != torch.strided
