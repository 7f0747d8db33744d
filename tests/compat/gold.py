"""A map whose equilibrium and gradients are known by dense algebra, in float64."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

with warnings.catch_warnings():
    # Python's own word on escapes in its docstrings, where nobody has compiled it before.
    warnings.simplefilter("ignore")
    import torchdeq as torchdeq


@dataclass
class Tanh:
    """f(z) = tanh(W z + x), with |W|_2 as asked, and the loss <u, z*>."""

    weight: Tensor
    x: Tensor
    u: Tensor

    @classmethod
    def draw(cls, *, norm: float = 0.8, rows: int = 3, dim: int = 5) -> "Tanh":
        weight = torch.randn(dim, dim, dtype=torch.float64)
        weight *= norm / torch.linalg.matrix_norm(weight, 2)
        x = torch.randn(rows, dim, dtype=torch.float64, requires_grad=True)
        u = torch.randn(rows, dim, dtype=torch.float64)
        return cls(weight.requires_grad_(), x, u)

    @property
    def z0(self) -> Tensor:
        return torch.zeros_like(self.x)

    def __call__(self, z: Tensor) -> Tensor:
        return torch.tanh(z @ self.weight.T + self.x)

    def equilibrium(self) -> Tensor:
        """Newton's method with the dense Jacobian, row by row."""
        with torch.no_grad():
            z, unit = self.z0, torch.eye(self.z0.shape[1], dtype=torch.float64)
            for _ in range(50):
                fz = self(z)
                jacobian = (1 - fz**2)[:, :, None] * self.weight
                z = z + torch.linalg.solve(unit - jacobian, (fz - z)[:, :, None])[:, :, 0]
            assert (self(z) - z).abs().max() < 1e-14
        return z

    def exact_gradient(self) -> tuple[Tensor, Tensor]:
        """dL/dW and dL/dx by the dense adjoint equation."""
        z = self.equilibrium()
        slope, unit = 1 - z**2, torch.eye(z.shape[1], dtype=torch.float64)
        with torch.no_grad():
            jacobian = slope[:, :, None] * self.weight
            v = torch.linalg.solve((unit - jacobian).mT, self.u[:, :, None])[:, :, 0]
            return (v * slope).T @ z, v * slope

    def phantom_gradient(self, steps: int, tau: float) -> tuple[Tensor, Tensor]:
        """The same of so many damped steps from the equilibrium."""
        z = self.equilibrium()
        for _ in range(steps):
            z = (1 - tau) * z + tau * self(z)
        return torch.autograd.grad((self.u * z).sum(), (self.weight, self.x), retain_graph=True)

    def gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.autograd.grad((self.u * z).sum(), (self.weight, self.x), retain_graph=True)


def worst(found: tuple[Tensor, ...], gold: tuple[Tensor, ...]) -> float:
    """The largest error, relative to the largest number."""
    return max(
        float((one - other).detach().abs().max() / other.detach().abs().max())
        for one, other in zip(found, gold, strict=True)
    )
