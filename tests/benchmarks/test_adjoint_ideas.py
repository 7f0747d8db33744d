"""The ideas for the adjoint are what they are called: one that loses does not lose by a mistake."""

from itertools import islice

import pytest
import torch

from benchmarks.adjoint_ideas import IDEAS, Known, products_to
from deqlab.solvers import Anderson, Broyden
from tests.problems import F64, matrix, normal

DIM = 6
W = matrix(DIM, norm=0.9, seed=0)
U = normal(3, DIM, seed=1)
V = torch.linalg.solve(torch.eye(DIM, dtype=F64) - W.T, U.T).T
product = lambda v: v @ W  # noqa: E731, J'v of f(z) = z W' + x


def known(solver, **others):
    f = lambda z: z @ W.T + normal(3, DIM, seed=2)  # noqa: E731
    solution, memory = solver.run(f, torch.zeros(3, DIM, dtype=F64))
    return Known(solver, memory, solution.matrix, f(solution.matrix), **others)


def pairs_of_a_whole_space():
    """Pairs of nearly all directions, in exact arithmetic a whole inverse."""
    return known(Anderson(memory=DIM, rtol=1e-9, ridge=0.0))


def test_pairs_of_anderson_are_kept_by_the_inverse_and_those_of_all_directions_are_all_of_it():
    found = pairs_of_a_whole_space()
    torch.testing.assert_close(found.inverse()(U), V, rtol=1e-4, atol=1e-5)
    few = known(Anderson(memory=2, rtol=1e-3))
    window = few.memory.window
    dg, df = (torch.as_tensor(each) for each in (window.dg, window.df))
    closed = [i for i in range(window.used) if i != window.open]
    for i in closed:  # <dg, -H'u> = -<dz, u>
        dz = df[:, i] - dg[:, i]
        left, right = (dg[:, i] * few.inverse()(U)).sum(dim=1), -(dz * U).sum(dim=1)
        torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-9)


def test_an_inverse_that_is_right_takes_one_product():
    found = pairs_of_a_whole_space()
    for name in ("inverse as preconditioner", "inverse as start"):
        assert products_to((1e-3,), IDEAS[name](product, U, found), V, None) == {1e-3: 1}


def test_that_of_broyden_brings_v_nearer():
    v = known(Broyden(memory=20, rtol=1e-9)).inverse()(U)
    assert ((v - V).norm(dim=1) < (U - V).norm(dim=1)).all()


@pytest.mark.parametrize("solver", [Anderson(rtol=1e-4), Broyden(rtol=1e-4)])
@pytest.mark.parametrize("idea", IDEAS)
def test_every_idea_ends_at_v(idea, solver):
    some = {"previous": V + 0.1 * normal(3, DIM, seed=3), "mean": normal(3, DIM, seed=4)}
    for count, v in islice(IDEAS[idea](product, U, known(solver, **some)), DIM + 1):
        if count == DIM + 1:
            torch.testing.assert_close(v, V, rtol=1e-7, atol=1e-8)


def test_the_right_v_of_any_size_takes_one_product():
    for factor, ideas in ((1, ["v of last step"]), (-50, ["its best multiple", "its span"])):
        for idea in ideas:
            iterates = IDEAS[idea](product, U, known(Anderson(), previous=factor * V))
            assert products_to((1e-9,), iterates, V, None) == {1e-9: 1}
