"""The sawtooth with 2^k linear regions: easy for depth, hard for width.

The tent map T folds the unit interval in two, and k folds make a sawtooth:

    T(x) = min(2 x, 2 - 2 x),    s_k = T o ... o T  (k times),    x in [0, 1]

s_k has exactly 2^k linear regions, each of width 2^-k and slope +-2^k, and maps the
uniform distribution to itself. Its closed form is one tent on each tooth,

    s_k(x) = T(frac(2^(k-1) x)).

A power of two scales a floating-point number without rounding, and every later step
loses only leading bits, so the closed form is exact in any floating-point dtype.

Source: Telgarsky (2015), "Representation Benefits of Deep Feedforward Networks",
arXiv:1509.08101, Lemma 2.4: a network of depth 2k computes s_k, and a shallow one needs
exponentially many units.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

# A float with d significant bits has 2^(d-k) evenly spaced inputs per region near x = 1.
# Below 2^4 of them a region is a handful of points, and its slope is not in the data.
_MIN_BITS_PER_REGION = 4


def evaluate(x: Float[Tensor, "*shape"], *, log2_regions: int) -> Float[Tensor, "*shape"]:
    """Compute s_k(x) exactly, element by element.

    Args:
        x: Points in [0, 1], of any shape. The result has its shape, dtype and device.
        log2_regions: k, at least 1; at most 20 in float32 and 49 in float64.

    Returns:
        s_k(x), in [0, 1].

    Raises:
        ValueError: `x` leaves [0, 1] or is NaN, or `log2_regions` is out of its domain.

    Example:
        >>> import torch
        >>> evaluate(torch.tensor([0.0, 0.125, 0.25, 0.5]), log2_regions=2)
        tensor([0.0000, 0.5000, 1.0000, 0.0000])
    """
    _check_regions(log2_regions, x.dtype)
    outside = ~((x >= 0) & (x <= 1))  # true for nan
    if outside.any():
        raise ValueError(
            f"the sawtooth lives on [0, 1], got {x[outside][0].item():g} among "
            f"{int(outside.sum())} points outside of it; rescale x first"
        )
    phase = torch.frac(x * 2.0 ** (log2_regions - 1))
    return torch.minimum(2 * phase, 2 - 2 * phase)


def sample(
    num_samples: int,
    *,
    log2_regions: int,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n 1"]]:
    """Draw points x uniformly from [0, 1) and return them with their targets s_k(x).

    The targets belong to the x that is returned, after it was rounded to `dtype`, and
    are exact there.

    Args:
        num_samples: n, at least 1.
        log2_regions: k, at least 1; at most 20 in float32 and 49 in float64.
        generator: The source of randomness; the samples live on its device.
        dtype: A floating-point dtype. The same seed gives the same points, rounded, in
            every dtype.

    Returns:
        x and s_k(x), each of shape (n, 1).

    Raises:
        ValueError: `num_samples` or `log2_regions` is out of its domain.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    _check_regions(log2_regions, dtype)
    uniform = torch.rand(
        num_samples, 1, generator=generator, device=generator.device, dtype=torch.float64
    )
    # Rounding to a shorter dtype can reach 1.0, which [0, 1) leaves out.
    x = uniform.to(dtype).clamp(max=1 - torch.finfo(dtype).eps / 2)
    return x, evaluate(x, log2_regions=log2_regions)


def _check_regions(log2_regions: int, dtype: torch.dtype) -> None:
    digits = 1 - round(math.log2(torch.finfo(dtype).eps))  # 24 in float32, 53 in float64
    largest = digits - _MIN_BITS_PER_REGION
    if not 1 <= log2_regions <= largest:
        raise ValueError(
            f"log2_regions must be from 1 to {largest} in {dtype}, got {log2_regions}: x has "
            f"{digits} significant bits, and {_MIN_BITS_PER_REGION} must remain within a region"
        )
