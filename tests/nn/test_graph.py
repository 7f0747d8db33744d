"""Graphs, the cells on them, and the closed form, against dense linear algebra."""

import pickle
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from deqlab import DEQ, Anderson, Implicit, Picard
from deqlab.gradients import Dense
from deqlab.nn import (
    ClosedForm,
    Graph,
    ImplicitGraphCell,
    LinearGraphCell,
    PageRankCell,
    blocks,
)
from deqlab.nn.closed_form import triangular

EXACT = {
    "solver": Anderson(rtol=1e-12, max_steps=400),
    "gradient": Implicit(solver=Dense()),
    "on_failure": "raise",
}
EDGES = torch.tensor([[0, 1, 1, 2, 3, 4, 4, 0], [1, 0, 2, 1, 4, 3, 5, 5]])
CHAIN = torch.stack([torch.arange(5), torch.arange(1, 6)])


def features(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense_of(edges, nodes, kind="symmetric"):
    """The formula, entry by entry."""
    a = torch.eye(nodes, dtype=torch.float64)
    for source, target in edges.T.tolist():
        a[target, source] += 1
    degree = a.sum(dim=1)
    if kind == "row":
        return torch.diag(1 / degree) @ a
    return torch.diag(degree**-0.5) @ a @ torch.diag(degree**-0.5)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")  # of the test's own
@pytest.mark.parametrize("kind", ["symmetric", "row"])
def test_all_that_describes_a_graph_is_the_same_graph(kind):
    expected = dense_of(EDGES, 6, kind)
    plain = torch.zeros(6, 6, dtype=torch.float64)
    plain[EDGES[1], EDGES[0]] = 1
    data = SimpleNamespace(edge_index=EDGES, num_nodes=6, edge_weight=torch.ones(8))
    coo = plain.to_sparse_coo()
    for given in (EDGES, plain, coo, coo.to_sparse_csr(), data, EDGES.int()):
        graph = Graph.of(given, normalise=kind)
        dense = graph.adjacency if given is plain else graph.adjacency.to_dense()
        torch.testing.assert_close(dense.double(), expected, rtol=1e-6, atol=1e-7)
        assert graph.num_nodes == 6
        assert float(graph.growth) == pytest.approx(1, abs=1e-6)
    assert Graph.of(EDGES).adjacency.layout == torch.sparse_csr
    assert Graph.of(plain).adjacency.layout == torch.strided


def test_an_edge_named_twice_counts_twice_and_weights_are_taken():
    twice = Graph.of(torch.cat([EDGES, EDGES[:, :1]], dim=1), normalise="none", self_loops=False)
    weights = torch.ones(8, dtype=torch.float64)
    weights[0] = 2
    once = Graph.of(EDGES, weights=weights, normalise="none", self_loops=False)
    torch.testing.assert_close(twice.adjacency.to_dense(), once.adjacency.to_dense())
    assert once.adjacency.to_dense()[1, 0] == 2


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        (EDGES, {"num_nodes": 5}, "edges name node 5, but the 5 nodes are numbered 0 to 4"),
        (EDGES - 1, {}, "edges name node -1, but the 5 nodes are numbered 0 to 4"),
        (CHAIN, {"self_loops": False}, "1 of 6 nodes take from none, node 0 for one, and a degree"),
        (EDGES.T, {}, r"edges must be whole numbers of shape \(2, E\), sources first, got"),
        (torch.ones(2, 3), {}, r"an adjacency must be square, got the shape \(2, 3\)"),
        (EDGES, {"weights": torch.ones(3)}, "weights must have one number for each of the 8 edges"),
        (EDGES, {"weights": -torch.ones(8)}, "normalisation needs weights of 0 or more"),
        (EDGES, {"weights": torch.full((8,), torch.nan)}, "weights of the edges must be finite"),
        (EDGES, {"normalise": "left"}, "normalise must be one of symmetric, row, none"),
        (EDGES[:, :0], {}, "there is no edge, so that num_nodes must say"),
        (torch.eye(3), {"num_nodes": 4}, "an adjacency has its own weights and number of nodes"),
    ],
)
def test_what_is_no_graph_is_refused_in_a_sentence(given, settings, message):
    with pytest.raises(ValueError, match=message):
        Graph.of(given, **settings)


def test_other_things_are_no_graph():
    with pytest.raises(TypeError, match=r"a graph is a tensor of edges \(2, E\).*got str"):
        Graph.of("cora")
    with pytest.raises(TypeError, match=r"called with features and a Graph, got Tensor: make one"):
        DEQ(LinearGraphCell(2, 3))(torch.zeros(6, 2), EDGES)
    with pytest.raises(ValueError, match=r"the graph has 6 nodes, so that x must have the shape"):
        DEQ(LinearGraphCell(2, 3))(torch.zeros(5, 2), Graph.of(EDGES))


def test_growth_bounds_the_perron_eigenvalue_and_large_ones_are_taken_off():
    a = features(6, 6)
    graph = Graph.of(a, normalise="none", self_loops=False)
    radius = torch.linalg.eigvals(a.abs()).abs().max()
    assert float(graph.growth) >= float(radius) > 1
    cell = PageRankCell(nn.Linear(2, 3), 3, restart=0.1).double()
    shared = cell.prepare(features(1, 6, 2), graph).shared
    torch.testing.assert_close(shared, cell.feedback * a / a.abs().sum(dim=1).max())


CELLS = {
    "pagerank": lambda: PageRankCell(nn.Linear(2, 3), 3),
    "implicit": lambda: ImplicitGraphCell(2, 3, activation=torch.tanh, gain=3.0),
    "linear": lambda: LinearGraphCell(2, 3),
}


def dense_map(name, cell, a):
    """F with z = phi(F(z)), from the formulas, for x of (N, n)."""
    if name == "pagerank":
        g = cell.feedback
        return lambda z, x: g * a @ z + (1 - g) * cell.predict(x)
    if name == "implicit":
        w, u, b = cell.weight, cell.inject.weight, cell.inject.bias
        return lambda z, x: torch.tanh(a @ z @ w.T + a @ x @ u.T + b)
    gram = cell.free.T @ cell.free
    return lambda z, x: cell.feedback * a @ z @ gram / gram.norm() + cell.inject(x)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("edges", [EDGES, CHAIN], ids=["cyclic", "chain"])
def test_one_graph_is_one_sample_with_the_gradient_of_the_dense_equation(name, edges):
    torch.manual_seed(0)
    cell, x = CELLS[name]().double(), features(6, 2).requires_grad_()
    deq = DEQ(cell, **EXACT)
    z = deq(x, Graph.of(edges, 6))
    assert z.shape == (6, 3)
    assert deq.last.status.shape == (1,)
    f = dense_map(name, cell, dense_of(edges, 6))
    gold = torch.zeros(6, 3, dtype=torch.float64)
    for _ in range(600):  # of Picard, through whose tape the gold gradient comes
        gold = f(gold, x)
    torch.testing.assert_close(z, gold, rtol=1e-9, atol=1e-10)
    u, inputs = features(6, 3, seed=1), [x, *cell.parameters()]
    ours = torch.autograd.grad((u * z).sum(), inputs)
    theirs = torch.autograd.grad((u * gold).sum(), inputs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("layout", ["coo", "dense"])
def test_gradients_reach_the_weights_of_edges(layout):
    torch.manual_seed(0)
    weights = torch.rand(8, dtype=torch.float64, requires_grad=True)
    deq = DEQ(ImplicitGraphCell(2, 3, gain=2.0).double(), **EXACT)
    x = features(6, 2)

    def loss(w):
        given = (
            EDGES if layout == "coo" else torch.zeros(6, 6).double().index_put(tuple(EDGES), w).T
        )
        graph = Graph.of(given, 6, weights=w) if layout == "coo" else Graph.of(given)
        return deq(x, graph).square().sum()

    (found,) = torch.autograd.grad(loss(weights), weights)
    for edge in range(8):
        step = torch.zeros(8, dtype=torch.float64)
        step[edge] = 1e-5
        with torch.no_grad():
            slope = (loss(weights + step) - loss(weights - step)) / 2e-5
        torch.testing.assert_close(found[edge], slope, rtol=1e-5, atol=1e-8)


def test_a_batch_of_graphs_is_its_blocks():
    torch.manual_seed(0)
    graphs = [Graph.of(EDGES), Graph.of(CHAIN), Graph.of(torch.eye(2))]
    xs = [features(g.num_nodes, 2, seed=i) for i, g in enumerate(graphs)]
    deq = DEQ(ImplicitGraphCell(2, 3).double(), **EXACT)
    whole = deq(torch.cat(xs), blocks(graphs))
    alone = torch.cat([deq(x, graph) for x, graph in zip(xs, graphs, strict=True)])
    torch.testing.assert_close(whole, alone, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="blocks needs at least one graph"):
        blocks([])


def test_features_in_front_are_samples_of_their_own_on_a_sparse_graph():
    torch.manual_seed(0)
    deq, graph = DEQ(LinearGraphCell(2, 3).double(), **EXACT), Graph.of(EDGES)
    x = features(2, 4, 6, 2)
    z = deq(x, graph)
    assert deq.last.status.shape == (8,)
    torch.testing.assert_close(z[1, 2], deq(x[1, 2], graph), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("edges", [EDGES, CHAIN, torch.cat([CHAIN, EDGES + 6], dim=1)])
def test_the_closed_form_is_the_solution_of_the_dense_system_and_so_is_its_gradient(edges):
    torch.manual_seed(0)
    cell = LinearGraphCell(2, 3, gamma=0.95).double()
    nodes = int(edges.max()) + 1
    x = features(nodes, 2).requires_grad_()
    layer = ClosedForm(cell, rtol=1e-12, on_failure="raise")
    graph = Graph.of(edges)
    z = layer(x, graph)
    assert layer.deq.last.converged.all()
    a = graph.adjacency.to_dense()
    gram = cell.free.T @ cell.free
    whole = torch.eye(3 * nodes).double() - torch.kron(a, cell.feedback * gram / gram.norm())
    gold = torch.linalg.solve(whole, cell.inject(x).flatten()).view(nodes, 3)
    torch.testing.assert_close(z, gold, rtol=1e-11, atol=1e-12)
    u, inputs = features(nodes, 3, seed=1), [x, *cell.parameters()]
    ours = torch.autograd.grad((u * z).sum(), inputs)
    theirs = torch.autograd.grad((u * gold).sum(), inputs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_on_a_chain_the_closed_form_is_exact_at_the_far_end_where_eigenvectors_are_none():
    """z_j = z_0 (s A_10) (s / 2 / (1 - s / 2))^(j-1) / (1 - s / 2), a state of one number."""
    length = 300
    graph = Graph.of(torch.stack([torch.arange(length - 1), torch.arange(1, length)]))
    cell = LinearGraphCell(1, 1, gamma=0.8, bias=False).double()
    x = torch.zeros(length, 1, dtype=torch.float64)
    x[0] = 1
    z = ClosedForm(cell)(x, graph)[:, 0].detach()
    s = float(cell.weight.detach())
    first = float(cell.inject.weight.detach()) / (1 - s)
    hop = s / 2 / (1 - s / 2)
    second = first * s / 2**0.5 / (1 - s / 2)
    gold = torch.tensor([first, *(second * hop**j for j in range(length - 1))], dtype=torch.float64)
    assert abs(gold[-1]) < 1e-50
    torch.testing.assert_close(z, gold, rtol=1e-12, atol=0)
    values = torch.linalg.eigvals(graph.adjacency.to_dense())
    assert (
        values.real.sub(0.5).abs().lt(1e-9).sum() == length - 1
    )  # 1/2, 299 times, with a single eigenvector


def test_components_are_put_together_by_size_and_kind():
    chains = torch.cat([CHAIN + 6 * i for i in range(4)], dim=1)
    ring = torch.stack([torch.arange(6), (torch.arange(6) + 1) % 6]) + 24
    parts = triangular(Graph.of(torch.cat([chains, ring], dim=1)))
    assert [(part.nodes.shape, part.basis is None) for part in parts] == [
        ((4, 6), True),
        ((1, 6), False),
    ]
    for part in parts:
        torch.testing.assert_close(part.upper, part.upper.triu(), rtol=0, atol=1e-12)


def test_it_is_pickled_and_refuses_a_batch_and_what_is_too_large(monkeypatch):
    layer, x = ClosedForm(LinearGraphCell(2, 3)), torch.randn(6, 2)
    expected = layer(x, Graph.of(EDGES))
    torch.testing.assert_close(pickle.loads(pickle.dumps(layer))(x, Graph.of(EDGES)), expected)
    with pytest.raises(ValueError, match=r"ClosedForm takes x of one graph, \(N, n\), got"):
        layer(x[None], Graph.of(EDGES))
    monkeypatch.setattr("deqlab.nn.closed_form.MOST_NODES", 2)
    with pytest.raises(ValueError, match="has 6 nodes and a cycle, and the closed form takes 2"):
        layer(x, Graph.of(EDGES))
    with pytest.raises(ValueError, match=r"gamma must be in \(0, 1\), got 1.0"):
        LinearGraphCell(2, 3, gamma=1.0)
    with pytest.raises(ValueError, match=r"restart must be in \(0, 1\], got 0.0"):
        PageRankCell(nn.Identity(), 3, restart=0.0)


def test_the_knob_turns_the_feedback_off():
    graph, x = Graph.of(EDGES), features(1, 6, 2)
    for make in CELLS.values():
        cell = make().double()
        cell.knob.value.fill_(0)
        a, b = (cell(features(1, 6, 3, seed=seed), x, graph) for seed in (1, 2))
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_picard_converges_at_the_rate_that_is_certified():
    torch.manual_seed(0)
    deq = DEQ(PageRankCell(nn.Linear(2, 3), 3, restart=0.3), solver=Picard(rtol=1e-5, max_steps=99))
    deq(torch.randn(6, 2), Graph.of(EDGES))
    assert deq.last.converged.all()
    assert deq.last.rate.item() <= deq.cell.certificate().rate + 1e-3
