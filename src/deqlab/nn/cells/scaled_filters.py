"""Filters of convolutions whose size is a number of its own, and the kernels that they make.

A free filter V stands for g V / |V|, with |V| its Frobenius norm and g learned: as Winston & Kolter
(2020) parametrise A and B of monotone convolutions.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d
from typing_extensions import override

from deqlab.arguments import check_positive


class ScaledFilter(nn.Module):
    """g V / |V|, where V is (outputs, inputs, size, size) and g is learned.

    Args:
        num_inputs: Channels of the input.
        num_outputs: Channels of the output.
        scale: What g starts at.
        size: Pixels of the filter each way.
    """

    def __init__(
        self, num_inputs: int, num_outputs: int, *, scale: float = 1.0, size: int = 3
    ) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.empty(num_outputs, num_inputs, size, size))
        self.scale = nn.Parameter(torch.tensor(float(scale)))
        nn.init.kaiming_uniform_(self.free, a=5**0.5)  # as nn.Conv2d starts

    @override
    def forward(self) -> Float[Tensor, "o i h w"]:
        v: Tensor = self.free
        scale: Tensor = self.scale
        if v.dtype in (torch.bfloat16, torch.float16):
            v, scale = v.float(), scale.float()
        norm = torch.linalg.vector_norm(v)
        # A zero filter stays zero, and has a gradient.
        filters: Tensor = v * (scale / norm.clamp_min(torch.finfo(v.dtype).tiny ** 0.5))
        return filters


def gram_kernel(a: Float[Tensor, "p i h w"]) -> Float[Tensor, "i i hh ww"]:
    """Return the kernel of A'A, of twice the size less one, given that of A."""
    columns = a.transpose(0, 1)  # what each input sends to the outputs
    high, wide = a.shape[2:]
    # Entry (i, o, d) correlates the columns of i and o at the offset d.
    return conv2d(columns, columns, padding=(high - 1, wide - 1)).transpose(0, 1)


def skew_kernel(b: Float[Tensor, "c c h w"]) -> Float[Tensor, "c c h w"]:
    """Return the kernel of B - B'."""
    return b - b.transpose(0, 1).flip(2, 3)


def monotone_kernel(
    a: Float[Tensor, "c c 3 3"], b: Float[Tensor, "c c 3 3"], margin: float
) -> Float[Tensor, "c c 5 5"]:
    """Return the kernel of W = (1 - m) I - A'A + B - B'."""
    kernel = nn.functional.pad(skew_kernel(b), (1, 1, 1, 1)) - gram_kernel(a)
    unit = torch.zeros_like(kernel)
    unit[:, :, 2, 2] = (1 - margin) * torch.eye(len(a), dtype=a.dtype, device=a.device)
    return kernel + unit


def check_margin(margin: float) -> None:
    """Raise unless the margin of a monotone cell is a finite number above 0."""
    check_positive("margin", margin)
