"""W as splitting methods need it: products with W and W', and solves with I + alpha (I - W).

An operator is a way to read weights: w is tensors, in containers or not, that gradients flow to,
and W(w) a linear map of states. The dense one reads a matrix; others never make one.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class LinearOperator(ABC):
    """How weights w stand for a linear map W of states, which may be tuples of tensors.

    Attributes:
        per_row: Whether w has a row for each sample, which leaves a batch with it.
    """

    per_row: ClassVar[bool] = False

    @abstractmethod
    def affine(self, w: Any, z: Any, q: Any) -> Any:  # noqa: ANN401
        """Return W z + q."""

    @abstractmethod
    def transpose(self, w: Any) -> Any:  # noqa: ANN401
        """Return the weights of W'."""

    @abstractmethod
    def resolvent(self, w: Any, alpha: float) -> Callable[[Any], Any]:  # noqa: ANN401
        """Return z -> (I + alpha (I - W))^-1 z, whose factors are found here, once."""

    @abstractmethod
    def contracting_alpha(self, w: Any) -> float:  # noqa: ANN401
        """Return a step of forward-backward splitting at which it contracts.

        Raises:
            ValueError: I - W is not strongly monotone, or this operator does not know its norm.
        """


@dataclass(frozen=True)
class DenseOperator(LinearOperator):
    """W is the matrix w, (D, D), and a state is (B, D)."""

    @override
    def affine(
        self, w: Float[Tensor, "D D"], z: Float[Tensor, "B D"], q: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        return torch.addmm(q, z, w.mT)

    @override
    def transpose(self, w: Float[Tensor, "D D"]) -> Float[Tensor, "D D"]:
        return w.mT

    @override
    def resolvent(self, w: Float[Tensor, "D D"], alpha: float) -> Callable[[Tensor], Tensor]:
        # One inverse, in float64, and not factors: a product is several times faster than two
        # triangular solves, and I + alpha (I - W) >= (1 + alpha m) I is well conditioned.
        inverse = resolvent(w, alpha).mT
        return lambda z: z @ inverse

    @override
    def contracting_alpha(self, w: Float[Tensor, "D D"]) -> float:
        return contracting_alpha(w)


DENSE = DenseOperator()
"""The operator that reads a matrix."""


def resolvent(w: Float[Tensor, "*F D D"], alpha: float) -> Float[Tensor, "*F D D"]:
    """Return (I + alpha (I - W))^-1 of each matrix, computed in float64."""
    eye = torch.eye(w.shape[-1], dtype=torch.float64, device=w.device)
    inverse: Tensor = torch.linalg.inv(eye + alpha * (eye - w.double()))
    return inverse.to(w.dtype)


def contracting_alpha(w: Float[Tensor, "D D"]) -> float:
    """Return the alpha at which |I - alpha A| is least, to a percent; A = I - W.

    It is `safe_alpha` for a skew A - m I and several times that in general. The square of the norm
    is the largest eigenvalue of I - alpha (A + A') + alpha^2 A'A, a convex function of alpha, which
    golden sections narrow down.

    Raises:
        ValueError: I - W is not strongly monotone.
    """
    low = safe_alpha(w)
    if not len(w):
        return low
    eye = torch.eye(len(w), dtype=torch.float64, device=w.device)
    a = eye - w.detach().double()
    both, square = a + a.mT, a.mT @ a

    def norm(alpha: float) -> float:
        return float(torch.linalg.eigvalsh(eye - alpha * both + alpha**2 * square)[-1])

    # Where alpha L = 2, alpha A maps some vector to twice its length: the norm is 1 or more.
    high = 2 / math.sqrt(float(torch.linalg.eigvalsh(square)[-1]))
    inner, outer = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_inner, at_outer = norm(inner), norm(outer)
    while high - low > 0.01 * low:
        if at_inner < at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - GOLDEN * (high - low)
            at_inner = norm(inner)
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + GOLDEN * (high - low)
            at_outer = norm(outer)
    return (low + high) / 2


def safe_alpha(w: Float[Tensor, "*F D D"]) -> float:
    """Return m / L^2: half the bound of forward-backward, where what it promises contracts most.

    Many matrices are the blocks of one.

    Raises:
        ValueError: I - W is not strongly monotone.
    """
    if not w.numel():
        return 1.0
    a = torch.eye(w.shape[-1], dtype=torch.float64, device=w.device) - w.detach().double()
    margin = float(torch.linalg.eigvalsh((a + a.mT) / 2).min())
    if not margin > 0:
        raise ValueError(
            f"ForwardBackward needs I - W >= m I with m > 0, got m = {margin:.3g}: bound W as "
            "nn.MonotoneCell does, or take Anderson(), which asks nothing of W"
        )
    norm = float(torch.linalg.matrix_norm(a, ord=2).max())
    return margin / norm**2
