"""Compiled to machine code: a few tests, for each takes seconds."""

import re
from pathlib import Path

import pytest
import torch

from deqlab import (
    Anderson,
    ConvergenceError,
    ConvergenceWarning,
    JacobianFree,
    Picard,
    Status,
    fixed_point,
)
from tests.compiled.both import assert_same, both, compiled
from tests.problems import matrix, normal

pytestmark = [
    pytest.mark.usefixtures("traceable"),
    # The compiler imports parts of torch that define what torch has given up.
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
    # What torch says of itself as it copies a graph with a loop.
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"),
]

W, X = matrix(8, norm=0.9, seed=0).float(), normal(6, 8, seed=1).float()


@pytest.mark.slow
def test_a_solve_in_machine_code_is_the_solve_outside():
    x = X.clone()
    x[2], x[4] = torch.nan, 1e-20
    f = lambda z, x: torch.tanh(z @ W.T + x)  # noqa: E731
    solver = Anderson(rtol=1e-4)
    outside, inside = both(f, torch.zeros_like(x), x, solver=solver, backend="inductor")
    assert inside.status[2] == Status.NONFINITE
    # Sums of 8 numbers in another order, amplified by 1 / (1 - 0.9).
    assert_same(inside, outside, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4))
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor")
def test_the_examples_of_the_docs(number):
    page = Path(__file__).parents[2] / "docs" / "compile.md"
    examples = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 4
    exec(compile(examples[number], page, "exec"), {})


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("needs_grad", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_failure_is_told_when_it_runs(backend, needs_grad):
    def one_more(on_failure):
        options = {"solver": Picard(max_steps=8), "gradient": JacobianFree()}
        f = lambda z, rate: rate * z + 1  # noqa: E731
        # Nothing of the solution is used, and still it speaks.
        call = lambda z0, rate: (  # noqa: E731
            fixed_point(f, z0, rate, on_failure=on_failure, **options) and z0 + 1
        )
        return compiled(call, backend)

    z0 = torch.zeros(3, 1)
    good = torch.tensor([[0.1], [0.0], [0.1]], requires_grad=needs_grad)
    bad = torch.tensor([[0.1], [0.9], [0.1]], requires_grad=needs_grad)
    told = r"1 of 3 samples .* sample 1, residual 4.8e-01 .* 8 steps; .*\n.* raise max_steps"
    warns, raises = one_more("warn"), one_more("raise")
    assert torch.equal(warns(z0, good), z0 + 1)
    assert torch.equal(raises(z0, good), z0 + 1)
    with pytest.warns(ConvergenceWarning, match="missed .* raise max_steps") as caught:
        assert torch.equal(warns(z0, bad), z0 + 1)
    assert re.match(f".*{told}", caught[0].message.details)
    with pytest.raises(ConvergenceError, match=told):
        raises(z0, bad)
    assert torch.equal(one_more("ignore")(z0, bad), z0 + 1)


@pytest.mark.slow
def test_a_training_step_in_machine_code():
    def loss(w, x):
        f = lambda z, w, x: torch.tanh(z @ w.T + x)  # noqa: E731
        options = {"solver": Picard(), "gradient": JacobianFree()}
        return fixed_point(f, torch.zeros_like(x), w, x, **options).value.square().sum()

    found, expected = (
        torch.autograd.grad(call(w, X), w)[0]
        for call in (compiled(loss, "inductor"), loss)
        for w in [W.clone().requires_grad_()]
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
