"""Fixed-point problems whose answers are known by an independent route, and judges of answers.

Nothing here calls a deqlab solver: gold comes from dense linear algebra, from closed forms, or
from plain iteration of a contraction until it stands still.
"""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd.function import once_differentiable

F64 = torch.float64


def generator(seed):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed):
    return torch.randn(*shape, generator=generator(seed), dtype=F64)


def matrix(dim, *, norm, seed, symmetric=False):
    """A matrix of spectral norm `norm`; if symmetric, that is its spectral radius as well."""
    w = normal(dim, dim, seed=seed)
    if symmetric:
        w = w + w.T
    return norm * w / torch.linalg.matrix_norm(w, ord=2)


def symmetric_with(eigenvalues, *, seed):
    """A symmetric matrix with these eigenvalues, in a random basis."""
    basis, _ = torch.linalg.qr(normal(len(eigenvalues), len(eigenvalues), seed=seed))
    return basis @ torch.diag(torch.as_tensor(eigenvalues, dtype=F64)) @ basis.T


def rotation(angle, *, scale):
    c, s = torch.cos(torch.tensor(angle, dtype=F64)), torch.sin(torch.tensor(angle, dtype=F64))
    return scale * torch.stack([torch.stack([c, -s]), torch.stack([s, c])])


def affine_solution(w, x):
    """The z with z = z W' + x, row by row: (I - W)^-1 x by a dense solve."""
    return torch.linalg.solve(torch.eye(len(w), dtype=F64) - w.double(), x.double().T).T


@dataclass(frozen=True)
class Contraction:
    """z -> tanh(z W' + x), with Lipschitz constant |W|_2 = lipschitz < 1."""

    w: Tensor
    x: Tensor
    lipschitz: float

    def __call__(self, z):
        return torch.tanh(z @ self.w.T + self.x)

    @property
    def z0(self):
        return torch.zeros_like(self.x)

    def exact(self):
        """Plain iteration; 400 steps shrink the error by at least 0.9^400 < 1e-18."""
        assert self.lipschitz <= 0.9
        z = self.z0
        for _ in range(400):
            z = self(z)
        return z


@st.composite
def contractions(draw, max_dim=6, max_batch=4):
    """Any small problem with constant at most 0.8, half of them with a symmetric W."""
    dim, batch = draw(st.integers(1, max_dim)), draw(st.integers(1, max_batch))
    lipschitz, seed = draw(st.floats(0.0, 0.8)), draw(st.integers(0, 2**31))
    w = matrix(dim, norm=lipschitz, seed=seed, symmetric=draw(st.booleans()))
    return Contraction(w, 3 * normal(batch, dim, seed=seed + 1), lipschitz)


def blocks_of(state):
    """The tensors of a state, each as a (B, n) matrix in float64."""
    tensors = (state,) if isinstance(state, Tensor) else state
    tensors = tensors.values() if isinstance(tensors, dict) else tensors
    return [t.detach().double().flatten(1) for t in tensors]


def recompute(f, z0, value, solver):
    """Residual and tolerance of `value`, (B, blocks) each: the contract, written once more.

    |f(v) - v| <= atol + rtol min(max(|f(v)|, eps s), 10 s) with s = max(|z0|, |f(z0)|), block by
    block. What a block that is zero at z0 and at f(z0) may miss follows from how it moved, and is
    no more than atol + rtol |f(v)|.
    """
    with torch.no_grad():
        fv, f0 = blocks_of(f(value)), blocks_of(f(z0))
    norms = lambda blocks: torch.stack([b.square().sum(1).sqrt() for b in blocks], dim=1)  # noqa: E731
    residual = norms([a - b for a, b in zip(fv, blocks_of(value), strict=True)])
    start = torch.maximum(norms(blocks_of(z0)), norms(f0))
    sizes = torch.maximum(norms(fv), _eps(z0) * start)
    scale = torch.where(start > 0, torch.minimum(sizes, 10 * start), sizes)
    return residual, solver.atol + solver.rtol * scale


def _eps(state):
    """That of the widest dtype of the state."""
    tensors = (state,) if isinstance(state, Tensor) else state
    tensors = tensors.values() if isinstance(tensors, dict) else tensors
    return min(torch.finfo(t.dtype).eps for t in tensors)


def assert_verdicts_hold(solution, f, z0, solver):
    """What `solution` says of its value is what anyone finds who evaluates f there."""
    residual, tolerance = recompute(f, z0, solution.value, solver)
    # Rounding only: f is evaluated at the same point, perhaps summed in another order.
    slack = 1e-9 * tolerance + 4e-16 * residual.new_tensor(1.0)
    within = (residual <= tolerance + slack).all(dim=1)
    assert (within | ~solution.converged).all()
    outside = (residual > tolerance + slack).any(dim=1)
    assert not (outside & solution.converged).any()
    finite = residual.isfinite().all(dim=1)
    total = residual.square().sum(dim=1).sqrt()
    size = torch.stack([b.square().sum(1) for b in blocks_of(solution.value)], 1).sum(1).sqrt()
    gap = (total - solution.residual)[finite].abs()
    eps = torch.finfo(solution.value.dtype if isinstance(solution.value, Tensor) else F64).eps
    assert (gap <= 1e-6 * total[finite] + 4 * eps * size[finite]).all()


class Sine(torch.autograd.Function):
    """A sine whose backward pass has no derivative; nor has it forward mode."""

    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z.sin()

    @staticmethod
    @once_differentiable
    def backward(ctx, cotangent):
        (z,) = ctx.saved_tensors
        return cotangent * z.cos()
