"""The operator norm of a zero-padded convolution, followed by power iteration while W changes.

At a given resolution the convolution with filters W is a matrix A, whose norm is that of no
reshaped W: it depends on the resolution. Power iteration needs A as a function only,

    v <- A'A v / |A'A v|,    sigma(W) = |A v|,    d sigma = (A v / |A v|)' dA v,

and stays close to the largest singular value of filters that change a little between two solves,
since it goes on from the v before. sigma never exceeds |A|_2, and no step lowers it: what proves
something is `stability.convolution_bound`, from above. Source: Gouk, Frank, Pfahringer & Cree
(2021), "Regularisation of neural networks by enforcing Lipschitz continuity"; one step for each
step of training, and the gradient at fixed v: Miyato et al. (2018), "Spectral Normalization for
Generative Adversarial Networks".
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.nn.grad import conv2d_input
from typing_extensions import override

from deqlab.arguments import check_count, check_sequence
from deqlab.linalg.singular_vectors import largest_singular_vector
from deqlab.nn.cells.constraints import full_precision

DIMENSIONS = 40
"""Of the Krylov space from which v comes at first."""

MOST_STEPS = 100
"""The most power steps that follow a change of the filters."""

ENOUGH = 3e-3
"""Relative growth of sigma in a power step at which no other follows."""


class OperatorNorm(nn.Module):
    """sigma(W), the operator norm of the convolution with zero padding at one resolution.

    Calls at the same filters return the same number, in training and in evaluation: power steps
    are made where sigma has changed since the last call, until one no longer raises it by
    `ENOUGH`. After a step of training that is mostly one. Under torch.compile it is always one, so
    that nothing depends on values. Each group of channels has an iteration of its own: in a common
    one the smaller would vanish, and not be seen when it grows.

    Args:
        filters: W, (outputs, inputs / groups, k, k) with k odd, as they are at first.
        size: The height and the width of the feature maps. The norm at a smaller size is no
            larger.
        stride: The stride of the convolution.
        groups: Its groups of channels.

    Attributes:
        vector: v, of norm 1 in each group.
        values: |A v| of each group at the last call.
    """

    vector: Float[Tensor, "1 n H W"]
    values: Float[Tensor, " groups"]

    def __init__(
        self,
        filters: Float[Tensor, "m n k k"],
        size: Sequence[int],
        *,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        check_size(size)
        self.size, self.stride, self.groups = (size[0], size[1]), stride, groups
        w = filters.detach()
        vector = torch.randn(1, w.shape[1] * groups, *size, dtype=w.dtype, device=w.device)
        self.register_buffer("vector", vector)
        self.register_buffer("values", w.new_full((groups,), -1.0))  # norms that no filters have
        if not w.is_meta:
            self._start(w)

    @override
    def forward(self, filters: Float[Tensor, "m n k k"]) -> Float[Tensor, ""]:
        with full_precision(filters) as (w,):
            norms = self._norms(w)
            changed = (norms.detach().to(self.values.dtype) != self.values).any()
            if torch.compiler.is_compiling():
                self._step_where(changed, w)
            elif bool(changed):
                self._follow(w)
            else:
                return norms.amax().to(filters.dtype)
            norms = self._norms(w)
            with torch.no_grad():
                self.values.copy_(norms)
        return norms.amax().to(filters.dtype)

    def normalised(self, filters: Float[Tensor, "m n k k"]) -> Float[Tensor, "m n k k"]:
        """Return W / sigma(W), which is W where that is 0."""
        norm = self(filters)
        return filters / torch.where(norm > 0, norm, 1.0)

    def _norms(self, w: Tensor) -> Tensor:
        """Return |A v| / |v| of each group, at the present v."""
        # A copy: a later call writes to the buffer, and the tape of this one keeps v.
        v = self.vector.to(w.dtype, copy=True)
        # In half precision the buffer is no unit vector.
        return self._sizes(self._image(w, v)) / self._sizes(v)

    @torch.no_grad()
    def _start(self, w: Tensor) -> None:
        """Set v to the largest singular vector in a Krylov space, of each group."""
        with full_precision(w, self.vector) as (w, v):
            image = self._image(w, v)
            found = largest_singular_vector(
                lambda v: self._rows(self._image(w, v.view_as(self.vector))),
                lambda u: self._rows(self._transposed(w, u.view_as(image))),
                self._rows(v),
                DIMENSIONS,
            )
            self.vector.copy_(found.view_as(v))

    @torch.no_grad()
    def _follow(self, w: Tensor) -> None:
        """Make power steps until one raises no norm by more than the share `ENOUGH`."""
        with full_precision(w, self.vector) as (w, v):
            before: Tensor | None = None
            for _ in range(MOST_STEPS):
                image = self._image(w, v)
                sizes = self._sizes(image)
                if before is not None and not bool((sizes > (1 + ENOUGH) * before).any()):
                    break
                v, before = self._stepped(w, image), sizes
            self.vector.copy_(v)

    @torch.no_grad()
    def _step_where(self, changed: Tensor, w: Tensor) -> None:
        v = self.vector.to(w.dtype)
        stepped = self._stepped(w, self._image(w, v))
        self.vector.copy_(torch.where(changed, stepped, v))

    def _stepped(self, w: Tensor, image: Tensor) -> Tensor:
        """Return A' image / |A' image|, of norm 1 in each group."""
        v = self._rows(self._transposed(w, image))
        size = torch.linalg.vector_norm(v, dim=1, keepdim=True)
        # A group whose filters are all zero goes on from a constant.
        unit = torch.where(size > 0, v / torch.where(size > 0, size, 1.0), v.shape[1] ** -0.5)
        return unit.view_as(self.vector)

    def _image(self, w: Tensor, v: Tensor) -> Tensor:
        """Return A v."""
        return conv2d(v, w, None, self.stride, w.shape[-1] // 2, 1, self.groups)

    def _transposed(self, w: Tensor, u: Tensor) -> Tensor:
        """Return A'u."""
        padding = w.shape[-1] // 2
        v: Tensor = conv2d_input(self.vector.shape, w, u, self.stride, padding, groups=self.groups)
        return v

    def _rows(self, maps: Tensor) -> Tensor:
        return maps.reshape(self.groups, -1)

    def _sizes(self, maps: Tensor) -> Tensor:
        """Return the norm of each group of channels, (groups,)."""
        sizes: Tensor = torch.linalg.vector_norm(self._rows(maps), dim=1)
        return sizes

    @override
    def extra_repr(self) -> str:
        return f"size={self.size}, stride={self.stride}, groups={self.groups}"


def check_size(size: Sequence[int]) -> None:
    """Raise unless `size` is a height and a width of at least 1.

    Raises:
        TypeError: It is no sequence of whole numbers.
        ValueError: It is not two of them, or one is below 1.
    """
    check_sequence("size", size)
    if len(size) != 2:
        raise ValueError(f"size must be a height and a width, got {size}")
    for pixels in size:
        check_count("each of size", pixels)
