"""How many features carry a model.

The participation ratio of coefficients or magnitudes b_1 .. b_n, as a share of n:

    (sum_i |b_i|)^2 / (n sum_i b_i^2),

1 if all are equally large, k / n if k are and the others are 0. It does not see the scale of b.
"""

from jaxtyping import Float
from torch import Tensor


def participation_ratio(b: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """Return the share of the n numbers that carries b, in [1/n, 1], along the last axis.

    Raises:
        ValueError: b has no numbers, is 0 everywhere, or is not finite.

    Example:
        >>> import torch
        >>> participation_ratio(torch.tensor([3.0, -3.0, 0.0, 0.0]))
        tensor(0.5000)
    """
    size = b.abs()
    largest = size.amax(dim=-1, keepdim=True) if b.shape[-1] else size.new_zeros(1)
    if not ((largest > 0) & largest.isfinite()).all():
        raise ValueError(
            "the participation ratio needs finite numbers that are not all 0, got "
            f"{b.shape[-1]} of at most {largest.min().item():g} in absolute value"
        )
    size = size / largest  # squares of very large or small numbers leave the range of floats
    share: Tensor = size.sum(dim=-1) ** 2 / (b.shape[-1] * (size**2).sum(dim=-1))
    return share
