"""Rows that f couples under batched=True: the gradient is right, or a sentence names the cause.

The gold is one dense solve of the whole state, in float64.
"""

import warnings
from functools import partial

import pytest
import torch
from torch import nn

from deqlab import Anderson, ConvergenceError, ConvergenceWarning, Implicit, fixed_point
from deqlab.gradients import GMRES, Dense
from deqlab.gradients.coupling import has_coupled_rows
from tests.contracts.gradients import exact_gradients, gradients
from tests.problems import F64, matrix, normal

SENTENCE = "rows of the batch depend on each other"
W = matrix(3, norm=0.8, seed=0)


def flip(z, x):
    return 0.5 * z.flip(0) + x


def graph(z, x):
    eye = torch.eye(len(z), dtype=z.dtype)
    adjacency = (eye + eye.roll(1, 0) + eye.roll(-1, 0)) / 3
    return torch.tanh(adjacency @ z @ W.to(z) + x)


def mean(z, x):
    return torch.tanh(z @ W.to(z) / 2 + 0.3 * z.mean(dim=0) + x)


def weak(z, x):
    return torch.tanh(z @ W.to(z) + 1e-3 * z.sum(dim=0) + x)


def far_apart(z, x):  # the first row feeds the last, and no others meet
    feed = torch.zeros_like(z)
    feed[-1] = 0.5 * z[0]
    return 0.5 * torch.tanh(z) + feed + x


NORM = nn.BatchNorm1d(3, dtype=F64, track_running_stats=False)


def batch_norm(z, x):
    return torch.tanh(0.8 * NORM(z + x))


def relu_graph(z, x):
    return torch.relu(graph(z, x))


def tokens_first(z, x):
    weights = torch.softmax(z @ z.mT, dim=1)
    return 0.4 * weights @ z + x


COUPLED = [flip, graph, mean, weak, far_apart, batch_norm, relu_graph, tokens_first]
every_coupled_map = pytest.mark.parametrize("f", COUPLED)


def dense_gradient(f, z, x, u):
    jacobian = torch.autograd.functional.jacobian(lambda v: f(v.reshape(z.shape), x), z)
    jacobian = jacobian.reshape(z.numel(), z.numel())
    v = torch.linalg.solve(torch.eye(z.numel(), dtype=F64) - jacobian.T, u.flatten())
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(f(z, leaf), leaf, v.reshape(z.shape))[0]


def solve(f, case, on_failure, batched=True, rows=6):
    x = normal(rows, 3, seed=1).requires_grad_()
    options = {"solver": case.solver, "gradient": case.gradient, "batched": batched}
    return x, fixed_point(f, torch.zeros_like(x), x, on_failure=on_failure, **options)


untaped_exact = gradients(lambda case: case.exact and not case.taped)


@every_coupled_map
@untaped_exact
def test_coupled_rows_are_right_or_refused(f, case):
    u = torch.linspace(-1, 2, 18, dtype=F64).reshape(6, 3)
    sentence = None
    try:
        x, solution = solve(f, case, "raise")
        solution.value.backward(u)
    except ConvergenceError as error:
        sentence = str(error)
    if sentence is not None:
        # Where a row has stopped, the pairs of others may not settle: that is the solve's to say.
        if not (case.follows_path and "missed the tolerance" in sentence):
            assert SENTENCE in sentence
            assert "batched=False" in sentence
    else:
        expected = dense_gradient(f, solution.value.detach(), x.detach(), u)
        torch.testing.assert_close(x.grad, expected, rtol=1e-6, atol=1e-8)


@every_coupled_map
def test_the_default_gradient_refuses_all_of_them(f):
    x = normal(6, 3, seed=1).requires_grad_()
    solution = fixed_point(f, torch.zeros_like(x), x, solver=Anderson(max_steps=500))
    with pytest.raises(ConvergenceError, match=SENTENCE):
        (solution.value * torch.linspace(-1, 2, 18, dtype=F64).reshape(6, 3)).sum().backward()


@every_coupled_map
@exact_gradients
def test_one_sample_that_is_the_whole_state_has_the_exact_gradient(f, case):
    x, solution = solve(f, case, "raise", batched=False)
    u = torch.linspace(-1, 2, x.numel(), dtype=F64).reshape(x.shape)
    solution.value.backward(u)
    expected = dense_gradient(f, solution.value.detach(), x.detach(), u)
    torch.testing.assert_close(x.grad, expected, rtol=1e-6, atol=1e-8)


def test_coupling_warns_as_on_failure_says_and_always_in_the_same_words():
    texts = []
    for scale in (1.0, 3.0):
        x = normal(6, 3, seed=1).requires_grad_()
        solution = fixed_point(graph, torch.zeros_like(x), x, on_failure="warn")
        with pytest.warns(ConvergenceWarning, match=SENTENCE) as caught:
            (scale * solution.value[0]).sum().backward()
        texts.append([str(w.message) for w in caught])
    assert texts[0] == texts[1]
    assert len(texts[0]) == 1


@pytest.mark.parametrize("method", [GMRES(), Dense()])
def test_accuracy_does_not_blame_kinks_for_coupled_rows(method):
    x = normal(6, 3, seed=1).requires_grad_()
    gradient = Implicit(accuracy=1e-4, solver=method)
    solver = Anderson(max_steps=500)
    solution = fixed_point(
        relu_graph, torch.zeros_like(x), x, solver=solver, gradient=gradient, on_failure="warn"
    )
    with pytest.warns(ConvergenceWarning) as caught:
        solution.value[0].sum().backward()
    assert [SENTENCE in str(w.message) for w in caught] == [True]


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.bfloat16])
def test_rows_that_are_independent_are_never_called_coupled(dtype):
    # Products of all kinds and of any conditioning: a false alarm at every step is read by nobody.
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    layer.requires_grad_(False)
    attention = lambda z, x: 0.5 * layer.float()(z.float() + x.float()).to(dtype)  # noqa: E731
    convolution = nn.Conv1d(5, 5, 3, padding=1).to(dtype)
    maps = [attention, lambda z, x: 0.3 * torch.relu(convolution(z + x))]
    rtol = {torch.float32: 1e-5, F64: 1e-5, torch.bfloat16: 5e-2}[dtype]
    for f in maps:
        x = normal(7, 5, 8, seed=2).to(dtype).requires_grad_()
        solver = Anderson(rtol=rtol, max_steps=500)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            value = fixed_point(f, torch.zeros_like(x), x, solver=solver).value
            value.backward(normal(7, 5, 8, seed=3).to(dtype))


@pytest.mark.parametrize("rows", [2, 3, 8, 13])
def test_any_pair_of_rows_is_told_apart(rows):
    v, places = torch.zeros(rows, 4, dtype=F64), torch.arange(rows)[:, None]
    assert not has_coupled_rows(lambda v: 0.5 * v, v)
    for i in range(rows):
        for j in range(rows):
            if i != j:
                assert has_coupled_rows(partial(feeds, i, places == j), v)


def feeds(i, j, v):
    """A product in which row i of v has a part in row j."""
    return 0.5 * v + v[i] * j
