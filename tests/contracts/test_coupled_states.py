"""States that are one sample: graphs, batch norm, attention, where every number feeds every other.

Gold: the same map on one flat vector, iterated in float64 until it stands still; its Jacobian by
torch's own `jacobian`, and v = (I - J')^-1 u by a dense solve of the whole state.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from deqlab import DEQ, Anderson, Implicit, Phantom, Picard, Unrolled, fixed_point
from tests.contracts.gradients import exact_gradients
from tests.contracts.solvers import every_solver
from tests.problems import F64, matrix, normal

NODES, WIDTH = 7, 3
W = matrix(WIDTH, norm=0.8, seed=0)


def ring(nodes):
    """The mean over a node and its two neighbours: symmetric, of norm 1."""
    eye = torch.eye(nodes, dtype=F64)
    return (eye + eye.roll(1, 0) + eye.roll(-1, 0)) / 3


@dataclass(frozen=True)
class Coupled:
    """A map f(z, x), of which no first dimension counts samples."""

    f: Callable
    z0: Tensor | dict
    x: Tensor

    def flat(self, state):
        tensors = state.values() if isinstance(state, dict) else (state,)
        return torch.cat([t.reshape(-1) for t in tensors])

    def unflat(self, vector):
        if isinstance(self.z0, Tensor):
            return vector.reshape(self.z0.shape)
        parts = vector.split([t.numel() for t in self.z0.values()])
        return {k: v.reshape(t.shape) for (k, t), v in zip(self.z0.items(), parts, strict=True)}

    def on_vectors(self, z, x):
        return self.flat(self.f(self.unflat(z), x))

    def value(self):
        z = self.flat(self.z0)
        for _ in range(300):
            z = self.on_vectors(z, self.x)
        return z

    def gradient(self, u):
        """dL/dx for u = dL/dz*, by one dense solve."""
        j_z, j_x = torch.autograd.functional.jacobian(self.on_vectors, (self.value(), self.x))
        v = torch.linalg.solve((torch.eye(len(u), dtype=F64) - j_z).T, u)
        return torch.einsum("i,i...->...", v, j_x)


def graph(z, x):
    return torch.tanh(ring(NODES) @ z @ W.T + x)


def batch_norm(z, x):
    return torch.tanh(0.4 * nn.functional.batch_norm(z + x, None, None, training=True) @ W.T)


def attention(z, x):  # (tokens, batch, width)
    weights = torch.softmax(torch.einsum("ibd,jbd->bij", z, z), dim=2)
    return 0.3 * torch.einsum("bij,jbd->ibd", weights, z) + x


def mail(state, x):
    """Nodes, and one number that all of them read and write."""
    nodes, whole = state["nodes"], state["whole"]
    return {
        "nodes": torch.tanh(ring(NODES) @ nodes @ W.T + 0.2 * whole + x),
        "whole": 0.3 * torch.cos(nodes.mean() + whole),
    }


X = normal(NODES, WIDTH, seed=1)
PROBLEMS = {
    "number": Coupled(lambda z, x: 0.5 * torch.cos(z) + x, torch.zeros((), dtype=F64), X[0, 0]),
    "graph": Coupled(graph, torch.zeros_like(X), X),
    "flip": Coupled(lambda z, x: 0.5 * z.flip(0) + x, torch.zeros_like(X), X),
    "batch norm": Coupled(batch_norm, torch.zeros_like(X), X),
    "attention": Coupled(attention, torch.zeros(4, 2, 3, dtype=F64), normal(4, 2, 3, seed=2)),
    "tree": Coupled(mail, {"nodes": torch.zeros_like(X), "whole": torch.zeros((), dtype=F64)}, X),
}
every_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


@every_solver
@every_problem
def test_the_value_is_that_of_the_whole_state_with_one_verdict(solver, problem):
    solver = replace(solver, rtol=1e-10, max_steps=500)
    solution = fixed_point(problem.f, problem.z0, problem.x, solver=solver, batched=False)
    assert solution.converged.tolist() == [True]
    assert solution.steps.shape == solution.residual.shape == (1,)
    assert solution.trace.shape[1] == 1
    # 1e-10 in each block, amplified by 1 / (1 - 0.9) at most.
    found = problem.flat(solution.value)
    torch.testing.assert_close(found, problem.value(), rtol=1e-8, atol=1e-8)


@exact_gradients
@every_problem
def test_the_gradient_is_the_dense_solution_for_the_whole_state(case, problem):
    x = problem.x.clone().requires_grad_()
    solution = fixed_point(
        problem.f, problem.z0, x, solver=case.solver, gradient=case.gradient, batched=False
    )
    u = normal(len(problem.flat(problem.z0)), seed=3)
    (problem.flat(solution.value) * u).sum().backward()
    torch.testing.assert_close(x.grad, problem.gradient(u), rtol=1e-8, atol=1e-8)


def test_second_derivatives_of_a_coupled_state():
    problem = PROBLEMS["graph"]

    def value(x):
        solver, gradient = Anderson(rtol=1e-13, max_steps=500), Implicit()
        options = {"solver": solver, "gradient": gradient, "batched": False}
        return fixed_point(problem.f, problem.z0, x, **options).value.square().sum()

    x = (0.3 * X).requires_grad_()
    (first,) = torch.autograd.grad(value(x), x, create_graph=True)
    direction = normal(*X.shape, seed=4)
    (second,) = torch.autograd.grad((first * direction).sum(), x)
    # Central differences of the dense gradient, which no solver of ours had a part in.
    step = 1e-5

    def dense(x):
        moved = replace(problem, x=x.detach())
        return moved.gradient(2 * moved.value())

    expected = (dense(x + step * direction) - dense(x - step * direction)) / (2 * step)
    torch.testing.assert_close(second, expected, rtol=1e-6, atol=1e-7)


SPARSE = {"coo": Tensor.to_sparse, "csr": Tensor.to_sparse_csr}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@exact_gradients
@pytest.mark.parametrize("pack", SPARSE.values(), ids=SPARSE)
def test_a_sparse_adjacency_gives_the_values_and_gradients_of_a_dense_one(case, pack):
    x, u, dense = X.clone().requires_grad_(), normal(NODES, WIDTH, seed=5), ring(NODES)
    edges = pack(dense).requires_grad_()
    f = lambda z, edges, x: torch.tanh(torch.sparse.mm(edges, z) @ W.T + x)  # noqa: E731
    solution = fixed_point(
        f, torch.zeros_like(X), edges, x, solver=case.solver, gradient=case.gradient, batched=False
    )
    (solution.value * u).sum().backward()
    problem = PROBLEMS["graph"]
    torch.testing.assert_close(x.grad, problem.gradient(u.flatten()), rtol=1e-8, atol=1e-8)
    # dL/dA = (S v) (z W)', with S v = dL/dx: that of a dense A, at the edges that there are.
    value = problem.unflat(problem.value())
    expected = problem.gradient(u.flatten()) @ (value @ W.T).T
    assert edges.grad.layout == edges.layout
    found = edges.grad.to_dense()
    torch.testing.assert_close(found[dense != 0], expected[dense != 0], rtol=1e-8, atol=1e-8)


@every_solver
@pytest.mark.parametrize("pack", SPARSE.values(), ids=SPARSE)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_every_solver_takes_a_sparse_adjacency(solver, pack):
    f = lambda z, edges, x: torch.tanh(torch.sparse.mm(edges, z) @ W.T + x)  # noqa: E731
    solver = replace(solver, rtol=1e-10, max_steps=500)
    args = pack(ring(NODES)), X
    with torch.no_grad():
        solution = fixed_point(f, torch.zeros_like(X), *args, solver=solver, batched=False)
    expected = PROBLEMS["graph"].value().reshape(X.shape)
    torch.testing.assert_close(solution.value, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "gradient", [Implicit(), Phantom(steps=60), Unrolled()], ids=["implicit", "phantom", "unrolled"]
)
def test_a_layer_on_a_graph(gradient):
    class Cell(nn.Module):
        def forward(self, z, x):
            return graph(z, x)

    x, u = X.clone().requires_grad_(), normal(NODES, WIDTH, seed=6)
    deq = DEQ(Cell(), solver=Picard(rtol=1e-12), gradient=gradient, batched=False)
    (deq(x) * u).sum().backward()
    expected = PROBLEMS["graph"].gradient(u.flatten())
    # 0.9^60 of a Neumann series is left out.
    torch.testing.assert_close(x.grad, expected, rtol=1e-4, atol=1e-4)
    assert "batched=False" in repr(deq)


def test_rows_cannot_leave_a_state_that_has_none():
    sentence = "with batched=False the whole state is one sample: leave out one of the two"
    for rows in (True, (True,)):
        with pytest.raises(ValueError, match=sentence):
            fixed_point(graph, torch.zeros_like(X), X, rows_independent=rows, batched=False)
    with pytest.raises(ValueError, match=sentence):
        DEQ(nn.Identity(), rows_independent=True, batched=False)
