"""The sawtooth with 2^k linear regions: easy for depth, hard for width.

The tent map T folds the unit interval in two, and k folds make a sawtooth:

    T(x) = min(2 x, 2 - 2 x),    s_k = T o ... o T  (k times),    x in [0, 1]

s_k has exactly 2^k linear regions, each of width 2^-k and slope +-2^k, and maps the
uniform distribution to itself. Its closed form is one tent on each tooth,

    s_k(x) = T(frac(2^(k-1) x)).

A power of two scales a floating-point number without rounding, and every later step
loses only leading bits, so the closed form is exact in any floating-point dtype.

Other intervals: x is first brought to t = (x - a) / (b - a), and s_k(t) to c + (d - c) s_k(t). t is
computed in float64, which is exact where a and b - a are sums of few powers of two and x is
float32; else it is rounded by 2^-53, which moves s_k by at most 2^(k - 52).

Source: Telgarsky (2015), "Representation Benefits of Deep Feedforward Networks",
arXiv:1509.08101, Lemma 2.4: a network of depth 2k computes s_k, and a shallow one needs
exponentially many units.
"""

import math
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

Interval: TypeAlias = tuple[float, float]

UNIT: Interval = (0.0, 1.0)

# A float with d significant bits has 2^(d-k) evenly spaced inputs per region near x = 1.
# Below 2^4 of them a region is a handful of points, and its slope is not in the data.
_MIN_BITS_PER_REGION = 4


def evaluate(
    x: Float[Tensor, "*shape"],
    *,
    log2_regions: int,
    inputs: Interval = UNIT,
    outputs: Interval = UNIT,
) -> Float[Tensor, "*shape"]:
    """Compute s_k(x), element by element; exactly, where both intervals are [0, 1].

    Args:
        x: Points in `inputs`, of any shape. The result has its shape, dtype and device.
        log2_regions: k, at least 1; on [0, 1] at most 20 in float32 and 49 in float64.
        inputs: (a, b) with a < b, rounded to the dtype of x: where the sawtooth lives.
        outputs: (c, d): what 0 and 1 become; c > d turns the teeth over.

    Returns:
        s_k(x), between c and d.

    Raises:
        ValueError: `x` leaves `inputs` or is NaN, or a number is out of its domain.

    Example:
        >>> import torch
        >>> evaluate(torch.tensor([0.0, 0.125, 0.25, 0.5]), log2_regions=2)
        tensor([0.0000, 0.5000, 1.0000, 0.0000])
        >>> evaluate(torch.tensor([-1.0, -0.5, 0.0]), log2_regions=1, inputs=(-1.0, 1.0))
        tensor([0.0000, 0.5000, 1.0000])
    """
    low, high = _rounded(inputs, x.dtype)
    _check_outputs(outputs)
    check_regions(log2_regions, x.dtype, (low, high))
    outside = ~((x >= low) & (x <= high))  # true for nan
    if outside.any():
        raise ValueError(
            f"the sawtooth lives on [{low:g}, {high:g}], got {x[outside][0].item():g} among "
            f"{int(outside.sum())} points outside of it; rescale x first"
        )
    t = x if (low, high) == UNIT else (x.double() - low) / (high - low)
    phase = torch.frac(t * 2.0 ** (log2_regions - 1))
    y = torch.minimum(2 * phase, 2 - 2 * phase)
    if outputs != UNIT:
        y = outputs[0] + (outputs[1] - outputs[0]) * y
    return y.to(x.dtype)


def sample(
    num_samples: int,
    *,
    log2_regions: int,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    inputs: Interval = UNIT,
    outputs: Interval = UNIT,
) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n 1"]]:
    """Draw points x uniformly from [a, b) and return them with their targets s_k(x).

    The targets belong to the x that is returned, after it was rounded to `dtype`.

    Args:
        num_samples: n, at least 1.
        log2_regions: k, at least 1; on [0, 1] at most 20 in float32 and 49 in float64.
        generator: The source of randomness; the samples live on its device.
        dtype: A floating-point dtype. The same seed gives the same points, rounded, in
            every dtype.
        inputs: (a, b) with a < b, rounded to `dtype`.
        outputs: (c, d): what 0 and 1 become.

    Returns:
        x and s_k(x), each of shape (n, 1).

    Raises:
        ValueError: A number is out of its domain.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    low, high = _rounded(inputs, dtype)
    check_regions(log2_regions, dtype, (low, high))
    uniform = torch.rand(
        num_samples, 1, generator=generator, device=generator.device, dtype=torch.float64
    )
    # Rounding to a shorter dtype can reach b, which [a, b) leaves out.
    ends = torch.tensor([high, low], dtype=dtype)
    below = torch.nextafter(ends[0], ends[1]).item()
    x = (low + (high - low) * uniform).to(dtype).clamp(min=low, max=below)
    return x, evaluate(x, log2_regions=log2_regions, inputs=(low, high), outputs=outputs)


def _rounded(inputs: Interval, dtype: torch.dtype) -> Interval:
    """Return the ends as numbers of `dtype`, so that points rounded to it stay between them."""
    low, high = torch.tensor(inputs, dtype=torch.float64).to(dtype).tolist()
    if not -math.inf < low < high < math.inf:
        raise ValueError(
            f"inputs must be two finite numbers (a, b) with a < b in {dtype}, got {inputs}"
        )
    return low, high


def _check_outputs(outputs: Interval) -> None:
    if not all(math.isfinite(value) for value in outputs) or outputs[0] == outputs[1]:
        raise ValueError(f"outputs must be two different finite numbers (c, d), got {outputs}")


def check_regions(log2_regions: int, dtype: torch.dtype, inputs: Interval = UNIT) -> None:
    """Raise ValueError unless x in `inputs`, as numbers of `dtype`, resolve 2^k regions."""
    low, high = inputs
    digits = 1 - round(math.log2(torch.finfo(dtype).eps))  # 24 in float32, 53 in float64
    # Leading bits that all points share, as on [1000, 1001], tell none of them apart.
    digits -= max(0, math.ceil(math.log2(max(-low, high) / (high - low))))
    largest = digits - _MIN_BITS_PER_REGION
    where = "" if inputs == UNIT else f" on [{low:g}, {high:g}]"
    if not 1 <= log2_regions <= largest:
        raise ValueError(
            f"log2_regions must be from 1 to {largest} in {dtype}{where}, got {log2_regions}: x "
            f"has {digits} significant bits{where}, and {_MIN_BITS_PER_REGION} must remain within "
            "a region"
        )
