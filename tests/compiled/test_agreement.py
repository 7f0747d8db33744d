"""A compiled solve is the solve outside: values to rounding, verdicts exactly."""

import pytest
import torch

from deqlab import Anderson, Picard, Status, fixed_point
from tests.compiled.both import assert_same, both, compiled
from tests.problems import F64, assert_verdicts_hold, matrix, normal

pytestmark = pytest.mark.usefixtures("traceable")

W, X = matrix(6, norm=0.8, seed=0), 2 * normal(5, 6, seed=1)


def cell(z, w, x):
    return torch.tanh(z @ w.T + x)


@pytest.mark.parametrize(
    ("solver", "dtype"),
    [
        pytest.param(Picard(rtol=1e-4), torch.float32, id="Picard"),
        pytest.param(Anderson(rtol=1e-4), torch.float32, id="Anderson"),
        pytest.param(
            Picard(damping=0.7, rtol=1e-9), F64, id="Picard-damped", marks=pytest.mark.slow
        ),
        pytest.param(
            Anderson(memory=1, ridge=0.0, rtol=1e-9), F64, id="Anderson-1", marks=pytest.mark.slow
        ),
        pytest.param(
            Anderson(memory=3, damping=0.7, rtol=1e-9),
            F64,
            id="Anderson-damped",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_values_verdicts_and_counts_are_those_of_the_solve_outside(solver, dtype):
    w, x, z0 = W.to(dtype), X.to(dtype), torch.zeros(5, 6, dtype=dtype)
    outside, inside = both(cell, z0, w, x, solver=solver)
    assert inside.converged.all()
    assert_same(inside, outside, rtol=100 * torch.finfo(dtype).eps)
    assert_verdicts_hold(inside, lambda z: cell(z, w, x), z0, solver)


@pytest.mark.slow
@pytest.mark.parametrize("solver", [Picard(rtol=1e-6), Anderson(rtol=1e-6)], ids=["P", "A"])
def test_blocks_of_all_shapes_scales_and_dtypes(solver):
    # Blocks in units of 1e3 and 1e-3 that feed each other, and one that starts at rest.
    def f(state, x):
        large, small = state["large"] / 1e3, state["small"].double().mean(dim=2) / 1e-3
        tiny = 1e-3 * torch.sin(0.3 * small + 0.2 * large - x)[:, :, None]
        return {
            "large": 1e3 * torch.tanh(large @ W.T + 0.2 * small + x),
            "small": tiny.expand(-1, -1, 2).to(state["small"].dtype),
            "rest": 0.5 * state["rest"] + 0.1 * large[:, :1],
        }

    shapes = {"large": (5, 6), "small": (5, 6, 2), "rest": (5, 1)}
    z0 = {key: torch.zeros(shape, dtype=F64) for key, shape in shapes.items()}
    z0["small"] = z0["small"].float()
    outside, inside = both(f, z0, X, solver=solver)
    assert inside.converged.all()
    assert list(inside.value) == list(z0)
    assert inside.steps.tolist() == outside.steps.tolist()
    for key, block in inside.value.items():
        assert (block.shape, block.dtype) == (z0[key].shape, z0[key].dtype)
        # To the rounding of the block in float32.
        torch.testing.assert_close(block, outside.value[key], rtol=1e-6, atol=0)
    assert_verdicts_hold(inside, lambda z: f(z, X), z0, solver)


@pytest.mark.slow
def test_autocast_and_half_precision_keep_the_dtype_of_the_state():
    f = lambda z, x: torch.nn.functional.linear(z, 0.5 * W.to(z.dtype)).to(x.dtype) + x  # noqa: E731
    x, solver = X.float(), Anderson(rtol=2e-2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outside, inside = both(f, torch.zeros(5, 6), x, solver=solver)
    assert inside.value.dtype == torch.float32
    assert inside.converged.all()
    assert inside.steps.tolist() == outside.steps.tolist()
    outside, inside = both(f, torch.zeros(5, 6).bfloat16(), x.bfloat16(), solver=solver)
    assert inside.value.dtype == torch.bfloat16
    assert inside.status.tolist() == outside.status.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(0, 3), (2, 3, 4, 1), (5,)])
def test_states_of_any_shape(shape):
    outside, inside = both(lambda z: 0.5 * z.cos(), torch.ones(shape), solver=Picard())
    assert_same(inside, outside, rtol=1e-6)


@pytest.mark.slow
def test_a_state_that_is_one_sample():
    # Two rows that feed each other, and a number.
    f = lambda s, x: {"rows": 0.5 * s["rows"].flip(0) + x, "number": s["number"].cos() / 2}  # noqa: E731
    z0 = {"rows": torch.zeros(2, 1, dtype=F64), "number": torch.zeros((), dtype=F64)}
    x = torch.tensor([[1.0], [2.0]], dtype=F64)
    outside, inside = both(f, z0, x, solver=Anderson(rtol=1e-10), batched=False)
    assert inside.status.tolist() == [Status.CONVERGED]
    assert inside.steps.tolist() == outside.steps.tolist()
    expected = torch.tensor([[8.0], [10.0]], dtype=F64) / 3
    torch.testing.assert_close(inside.value["rows"], expected, rtol=1e-9, atol=0)


@pytest.mark.slow
def test_containers_nested_at_will_and_aux():
    def f(s, x):
        return [0.5 * s[0] + x, {"b": (torch.tanh(s[1]["b"][0] + s[0]),)}], s[0] - x

    z0 = [torch.zeros(3, 2, dtype=F64), {"b": (torch.zeros(3, 2, dtype=F64),)}]
    outside, inside = both(f, z0, normal(3, 2, seed=0), solver=Picard(), has_aux=True)
    assert inside.evaluations == outside.evaluations
    torch.testing.assert_close(inside.value, outside.value)
    torch.testing.assert_close(inside.aux, outside.aux)


@pytest.mark.slow
def test_f_may_return_its_argument_or_one_of_its_args_or_write():
    x = normal(3, 2, seed=0)
    for f in (lambda z, x: z, lambda z, x: x, lambda z, x: z.mul_(0.5).add_(x)):
        start = torch.ones(3, 2, dtype=F64)
        call = lambda z0, x, f=f: fixed_point(f, z0, x, solver=Picard())  # noqa: E731
        solution = compiled(call)(start, x)
        assert solution.converged.all()
        torch.testing.assert_close(f(solution.value.clone(), x), solution.value, rtol=1e-4, atol=0)
        assert (start == 1).all()


@pytest.mark.slow
def test_new_values_are_not_traced_anew():
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def call(x):
        f = lambda z: torch.tanh(0.3 * z + x)  # noqa: E731
        return fixed_point(f, torch.zeros_like(x), solver=Picard(), on_failure="ignore").status

    solve = compiled(call, backend)
    assert (solve(normal(4, 2, seed=0)) == Status.CONVERGED).all()
    assert (solve(torch.full((4, 2), torch.nan, dtype=F64)) == Status.NONFINITE).all()
    assert len(graphs) == 1
    assert solve(normal(5, 2, seed=0)).tolist() == [Status.CONVERGED] * 5
