"""The adjoint equation: as robust as the forward solve, and no budget for what has failed."""

import warnings

import pytest
import torch
from torch.nn import functional as F  # noqa: N812, the customary name

from deqlab import Anderson, Auto, Implicit, Picard, Status, fixed_point
from deqlab.gradients import GMRES, Dense
from tests.problems import F64, affine_solution, matrix, normal


def rotations(dim, radius, seed):
    """Random planes turned by random angles, all shrunk by `radius`."""
    basis, _ = torch.linalg.qr(normal(dim, dim, seed=seed))
    angles = 2 * torch.pi * torch.rand(dim // 2, generator=torch.Generator().manual_seed(seed))
    c, s = torch.cos(angles).double(), torch.sin(angles).double()
    blocks = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1)
    return radius * basis @ torch.block_diag(*blocks) @ basis.T


def cycle(dim, radius, seed):
    """A cyclic shift: GMRES finds nothing at all before its basis is complete."""
    return radius * torch.roll(torch.eye(dim, dtype=F64), 1, 0)


@pytest.mark.parametrize("make", [rotations, cycle])
@pytest.mark.parametrize("dim", [64, 128, pytest.param(1024, marks=pytest.mark.slow)])
def test_the_adjoint_is_solved_where_auto_solves_forward(make, dim):
    w = make(dim, 0.99, seed=2)
    x = normal(4, dim, seed=3).requires_grad_()
    solver = Auto(max_steps=400)
    solution = fixed_point(lambda z, x: z @ w.T + x, torch.zeros_like(x), x, solver=solver)
    u = normal(4, dim, seed=4)
    solution.value.backward(u)
    assert solution.adjoint[0].converged.all()
    exact = affine_solution(w.T, u)
    # rtol = 1e-5 on the residual, amplified by 1 / (1 - 0.99).
    assert ((x.grad - exact).norm(dim=1) <= 1e-3 * exact.norm(dim=1)).all()


def test_a_fixed_restart_keeps_its_promise_of_memory():
    w, x = cycle(64, 0.99, 0), normal(2, 64, seed=5).requires_grad_()
    gradient = Implicit(solver=GMRES(restart=20))
    exact = affine_solution(w, x.detach())
    solution = fixed_point(
        lambda z, x: z @ w.T + x, exact, x, gradient=gradient, on_failure="ignore"
    )
    solution.value.backward(normal(2, 64, seed=6))
    assert not solution.adjoint[0].converged.any()


def half_expanding(z, x, rates):
    return rates[:, None] * z + x


RATES = torch.tensor([0.5, 1.0, 0.9, 2.0], dtype=F64)


@pytest.mark.parametrize("method", [GMRES(), Dense(), Picard(rtol=1e-9), Anderson(rtol=1e-9)])
def test_a_row_that_failed_forward_gets_no_adjoint_budget(method):
    x, u = normal(4, 3, seed=7).requires_grad_(), normal(4, 3, seed=8)
    gradient, solver = Implicit(solver=method), Picard(rtol=1e-9, max_steps=300)

    def run(rows):
        part = x.detach()[rows].requires_grad_()
        solution = fixed_point(
            lambda z, x: half_expanding(z, x, RATES[rows]),
            torch.zeros_like(part),
            part,
            solver=solver,
            gradient=gradient,
            on_failure="ignore",
        )
        solution.value.backward(u[rows])
        return solution, part.grad

    sound, failed = [0, 2], [1, 3]
    together, gradients = run([0, 1, 2, 3])
    alone, expected = run(sound)
    assert together.converged.tolist() == [True, False, True, False]
    count = lambda s: s.adjoint[0].products + s.adjoint[0].evaluations  # noqa: E731
    assert count(together) == count(alone)
    torch.testing.assert_close(gradients[sound], expected, rtol=1e-7, atol=1e-9)
    hopeless, one_step = run(failed)
    if not isinstance(method, Dense):  # which takes D products whatever comes
        assert count(hopeless) <= 2
        torch.testing.assert_close(one_step, u[failed])
    assert not hopeless.adjoint[0].converged.any() or not isinstance(method, GMRES)


def test_only_the_forward_solve_speaks_of_rows_that_failed_there():
    x = normal(4, 3, seed=7).requires_grad_()
    with pytest.warns(UserWarning, match="samples missed the tolerance"):
        solution = fixed_point(
            lambda z, x: half_expanding(z, x, RATES),
            torch.zeros_like(x),
            x,
            solver=Picard(max_steps=300),
            on_failure="warn",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution.value.sum().backward()
    assert x.grad.isfinite().all()


def test_the_verdict_on_v_is_that_of_its_measured_residual():
    # A product that is another at every call: the recurrence of GMRES cannot know it.
    calls = []

    class Wobbly(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            return 0.5 * z

        @staticmethod
        def backward(ctx, g):
            calls.append(1)
            return (0.5 + 0.01 * (-1) ** len(calls)) * g

    w = matrix(6, norm=0.5, seed=9)
    x = normal(3, 6, seed=10).requires_grad_()
    solution = fixed_point(
        lambda z, x: Wobbly.apply(z) @ w.T + x, torch.zeros_like(x), x, on_failure="ignore"
    )
    solution.value.backward(normal(3, 6, seed=11))
    assert solution.adjoint[0].status.tolist() == [Status.STAGNATED] * 3
    assert (solution.adjoint[0].residual > 10 * solution.adjoint[0].tolerance).all()


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**-100, 2.0**40])
@pytest.mark.parametrize("method", [GMRES(), Dense(), Picard(), Anderson()])
def test_a_loss_of_any_scale_has_the_gradient_of_that_scale(method, scale):
    # Default settings: no absolute tolerance may reach the adjoint.
    w, x = matrix(6, norm=0.9, seed=12), normal(3, 6, seed=13)
    u = normal(3, 6, seed=14)

    def gradient(scale):
        leaf = x.clone().requires_grad_()
        solution = fixed_point(
            lambda z, x: torch.tanh(z @ w.T + x),
            torch.zeros_like(x),
            leaf,
            gradient=Implicit(solver=method),
        )
        (scale * solution.value).backward(u)
        return leaf.grad / scale

    torch.testing.assert_close(gradient(scale), gradient(1.0), rtol=1e-12, atol=0)


def attention_block(z, x, qkv, out, up, down):
    """A post-norm block of one-headed attention, with relu: errors of a value cross its kinks."""
    q, k, v = (z @ qkv).split(z.shape[-1], dim=-1)
    a = torch.softmax(q @ k.mT / z.shape[-1] ** 0.5, dim=-1) @ v @ out
    h = F.layer_norm(z + a + x, (z.shape[-1],))
    return F.layer_norm(h + torch.relu(h @ up) @ down, (z.shape[-1],))


@pytest.mark.parametrize(
    ("tokens", "width", "batch"), [(32, 64, 2), pytest.param(64, 128, 4, marks=pytest.mark.slow)]
)
def test_accuracy_is_delivered_on_an_attention_block_and_nothing_is_said(tokens, width, batch):
    std = 0.05 * (128 / width) ** 0.5
    shapes = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    weights = [std * normal(*shape, seed=20 + i) for i, shape in enumerate(shapes)]
    x, u = normal(batch, tokens, width, seed=30), normal(batch, tokens, width, seed=31)

    def gradients(dtype, gradient, solver):
        leaves = [t.to(dtype).requires_grad_() for t in (x, *weights)]
        z0 = torch.zeros_like(leaves[0])
        value = fixed_point(attention_block, z0, *leaves, solver=solver, gradient=gradient).value
        return torch.autograd.grad(value, leaves, u.to(dtype))

    exact = gradients(F64, Implicit(), Anderson(rtol=1e-12, max_steps=500))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = gradients(torch.float32, Implicit(accuracy=1e-3), Anderson())
    errors = [(a.double() - b).norm() / b.norm() for a, b in zip(got, exact, strict=True)]
    assert max(errors) <= 1e-3
