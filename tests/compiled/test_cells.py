"""A cell compiled on its own runs compiled in a DEQ, and has the gradients of the loop.

Each case takes seconds, which torch needs to compile.
"""

import pytest
import torch
from torch import nn

from deqlab import DEQ, JacobianFree, Picard
from deqlab.nn import DenseCell
from tests.compiled.both import compiled
from tests.nn.loops import SOLVER, X, check_against_the_loop, dense
from tests.problems import normal

pytestmark = [
    pytest.mark.usefixtures("traceable"),
    # Of torch's own, when its compiler is imported.
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning"),
]


def in_place(backend):
    cell = dense()
    cell.compile(backend=backend)
    return cell


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.compile(dense(), backend="eager"),
        pytest.param(lambda: in_place("eager"), marks=pytest.mark.slow),
        pytest.param(lambda: in_place("inductor"), marks=pytest.mark.slow),
        pytest.param(lambda: torch.compile(dense()), marks=pytest.mark.slow),
        pytest.param(
            lambda: torch.compile(nn.DataParallel(dense()), backend="eager"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_compiled_cell_has_the_gradients_of_the_loop(make):
    check_against_the_loop(make)


def test_a_compiled_cell_runs_compiled():
    graphs = []

    def backend(graph, examples):
        graphs.append(graph)
        return graph.forward

    deq = DEQ(torch.compile(dense(), backend=backend), solver=SOLVER)
    assert deq.name == "DEQ(DenseCell)"
    with torch.no_grad():
        deq(X)
    assert graphs


@pytest.mark.slow
def test_a_layer_in_one_graph_remembers_its_verdicts_and_warns_by_its_name():
    torch.manual_seed(0)
    deq = DEQ(DenseCell(3, 5), gradient=JacobianFree(), name="encoder").double()
    call = compiled(deq)
    x = normal(2, 4, 3, seed=0)  # in float64, where no row is a rounding from its tolerance
    value = call(x)
    inside = deq.last
    torch.testing.assert_close(value, deq(x), rtol=1e-4, atol=1e-5)
    assert inside.steps.tolist() == deq.last.steps.tolist()
    assert len(inside.status) == 8
    deq.solver = Picard(max_steps=3)
    with pytest.warns(UserWarning, match="encoder: samples missed"):
        call(x)
    assert not deq.last.converged.any()
