"""A bound on the operator norm of a convolution with zero padding, for certificates.

The convolution of feature maps of H x W pixels with filters of odd size k, padded by p = (k - 1)/2
zeros, is a matrix A. Put the maps into a torus of (H + p) x (W + p) pixels, the rest of it zero:
there the same filters act without padding, as a circular convolution C, and A is C between two
restrictions to the H x W pixels, since no filter reaches around the torus from one of them to
another. So |A|_2 <= |C|_2, and C is block diagonal in the Fourier basis:

    |C|_2 = max over frequencies w of |sum_s W_s exp(-i w.s)|_2.

Source of the last line: Sedghi, Gupta & Long (2019), "The Singular Values of Convolutional Layers".
Power iteration ends below |A|_2 and proves nothing; this ends above it, by a few per cent at 8 x 8
pixels and less at more. Without a size the triangle inequality bounds |A|_2 <= sum_s |W_s|_2 at all
of them. A smaller image leaves rows and columns of A out, so that its norm is no larger.

With stride s, every s-th pixel of C v is kept on a torus whose sides are multiples of s. Then the
s^2 frequencies that become one stand side by side, [C(w_1) ... C(w_s^2)] / s.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from deqlab.arguments import check_count

ROUNDING = 1e-12
"""What float64 may lose in a transform and a singular value, relative; both lose far less."""


@torch.no_grad()
def convolution_bound(
    filters: Float[Tensor, "m n k k"],
    size: tuple[int, int] | None = None,
    *,
    stride: int = 1,
    groups: int = 1,
) -> float:
    """Return a number that the operator norm of the zero-padded convolution does not exceed.

    Args:
        filters: As `torch.nn.functional.conv2d` takes them, with k odd and padding (k - 1)/2.
        size: The height and the width of the largest feature map; None bounds every size, and
            less closely.
        stride: The stride of the convolution, at least 1; it counts only where there is a size.
        groups: The number of groups of channels that do not see each other.

    Returns:
        The bound; nan where a filter is not finite.

    Raises:
        ValueError: The filters have an even size, or a size is below 1.

    Example:
        >>> import torch
        >>> blur = torch.full((1, 1, 3, 3), 1 / 9)
        >>> round(convolution_bound(blur, (8, 8)), 6), round(convolution_bound(blur), 6)
        (1.0, 1.0)
    """
    kernel = filters.shape[-1]
    if kernel % 2 == 0:
        raise ValueError(f"filters must have an odd size, got {kernel} x {kernel}")
    check_count("stride", stride)
    if size is not None and min(size) < 1:
        raise ValueError(f"size must be at least 1 x 1, got {tuple(size)}")
    # One block of channels for each group: A is block diagonal, and its norm the largest of theirs.
    w = filters.double().unflatten(0, (groups, -1))
    if not bool(w.isfinite().all()):
        return float("nan")
    if size is None:
        taps = torch.linalg.matrix_norm(w.permute(0, 3, 4, 1, 2), ord=2)
        bound = taps.sum(dim=(1, 2)).max()
    else:
        bound = torch.linalg.matrix_norm(_symbol(w, size, stride), ord=2).max() / stride
    return float(bound) * (1 + ROUNDING)


def _symbol(
    w: Float[Tensor, "G m n k k"], size: tuple[int, int], stride: int
) -> Complex[Tensor, "G h w m a"]:
    """Return for each frequency of the output the matrices of those that it comes from, abreast."""
    kernel = w.shape[-1]
    sides = [max(pixels + kernel // 2, kernel) for pixels in size]
    torus = [-(-side // stride) * stride for side in sides]
    if stride == 1:
        # The other half of the frequencies has the conjugate matrices.
        half: Tensor = torch.fft.rfft2(w, s=torus)
        return half.permute(0, 3, 4, 1, 2)
    symbol: Tensor = torch.fft.fft2(w, s=torus)
    # (G, m, n, s, h, s, w)
    aliases: Tensor = symbol.unflatten(4, (stride, -1)).unflatten(3, (stride, -1))
    return aliases.permute(0, 4, 6, 1, 2, 3, 5).flatten(4)
