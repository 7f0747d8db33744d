"""The norms of torchdeq as parametrisations of a weight: W follows from V and g at every reading.

    weight_norm      W = V min(c, g / |V|)         each row by itself, with its own g
    spectral_norm    W = V min(c, g / sigma)       sigma = u'Vv, about |V|_2

u and v begin at the singular vectors themselves, and follow by power iteration.
"""

from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_count


class WeightNorm(nn.Module):
    """W = V min(c, g / |V|), each row by itself; see the module.

    Args:
        weight: The weight at first.
        row: The dimension that counts rows.
        learn_scale: Whether g is a parameter, or `target_norm`.
        target_norm: As said; more than 0.
        clip_value: c, or None for no limit.
    """

    def __init__(
        self,
        weight: Tensor,
        row: int,
        *,
        learn_scale: bool,
        target_norm: float,
        clip_value: float | None,
    ) -> None:
        super().__init__()
        self.row, self.learn_scale = row, learn_scale
        self.target_norm, self.clip_value = target_norm, clip_value
        self._others = [dim for dim in range(weight.ndim) if dim != row]

    @override
    def forward(self, free: Tensor, scale: Tensor | None = None) -> Tensor:
        factor = (self.target_norm if scale is None else scale) / self.size(free)
        if self.clip_value is not None:
            factor = factor.clamp_max(self.clip_value)
        return free * factor

    def right_inverse(self, weight: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return V, and g if it is learned."""
        return (weight, self.first_scale(weight)) if self.learn_scale else weight

    def size(self, free: Tensor) -> Tensor:
        """Return what g is divided by."""
        norms: Tensor = torch.linalg.vector_norm(free, dim=self._others, keepdim=True)
        return norms

    def first_scale(self, weight: Tensor) -> Tensor:
        """Return g at first."""
        return self.size(weight)

    def reset(self, free: Tensor) -> None:
        """Take note of V before a training step."""


class SpectralNorm(WeightNorm):
    """W = V min(c, g / sigma) with sigma = u'Vv; see the module.

    Args:
        weight: As in `WeightNorm`.
        row: Likewise.
        power_steps: Steps of power iteration in a reset, at least 1.
        settings: Those of `WeightNorm`.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, row: int, *, power_steps: int, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(weight, row, **settings)
        check_count("n_power_iterations", power_steps)
        self.power_steps = power_steps
        left, _, right = torch.linalg.svd(self._matrix(weight.detach()), full_matrices=False)
        self.register_buffer("u", left[:, 0].contiguous())
        self.register_buffer("v", right[0].contiguous())

    @override
    def size(self, free: Tensor) -> Tensor:
        return torch.dot(self.u, self._matrix(free) @ self.v)

    @override
    def first_scale(self, weight: Tensor) -> Tensor:
        shape = [size if dim == self.row else 1 for dim, size in enumerate(weight.shape)]
        return weight.new_full(shape, self.target_norm)

    @override
    @torch.no_grad()
    def reset(self, free: Tensor) -> None:
        if not self.training:
            return
        matrix = self._matrix(free)
        for _ in range(self.power_steps):
            self.v = nn.functional.normalize(matrix.T @ self.u, dim=0, eps=1e-12)
            self.u = nn.functional.normalize(matrix @ self.v, dim=0, eps=1e-12)

    def _matrix(self, weight: Tensor) -> Tensor:
        return weight.movedim(self.row, 0).flatten(1)
