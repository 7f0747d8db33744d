"""Prefix sums modulo 2: whether an odd number of bits was 1 so far.

    s_i = b_1 + ... + b_i  mod 2,    i = 1, ..., n

Every sum depends on all bits before it, so that a network with a finite receptive field must take
more steps on longer strings: trained on short strings and tested on long ones, it shows whether it
has learned the algorithm. The sums are linear modulo 2: those of x xor y are the sums of x xor
those of y.

Source: Schwarzschild et al. (2021), "Can You Learn an Algorithm? Generalizing from Easy to Hard
Problems with Recurrent Networks", arXiv:2106.04537: 10,000 strings of each length, trained on 32
bits. There, strings of fewer than 24 bits are drawn without replacement; here all are drawn with
replacement.
"""

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from deqlab.arguments import check_count


def evaluate(bits: Shaped[Tensor, "*shape n"]) -> Int64[Tensor, "*shape n"]:
    """Compute the prefix sums modulo 2 along the last dimension.

    Args:
        bits: 0 or 1 each, of any dtype; n is at least 1.

    Raises:
        ValueError: A bit is neither 0 nor 1, or there is none.

    Example:
        >>> evaluate(torch.tensor([[1, 0, 1, 1], [0, 0, 1, 0]])).tolist()
        [[1, 1, 0, 1], [0, 0, 1, 1]]
    """
    if bits.ndim < 1 or bits.shape[-1] < 1:
        raise ValueError(
            f"bits must have at least one bit in the last dimension, got shape {tuple(bits.shape)}"
        )
    other = (bits != 0) & (bits != 1)  # true for nan
    if other.any():
        raise ValueError(
            f"bits must be 0 or 1, but {int(other.sum())} of {bits.numel()} are others, such as "
            f"{bits[other][0].item()}"
        )
    return bits.long().cumsum(dim=-1) % 2


def sample(
    num_samples: int, *, num_bits: int = 32, generator: torch.Generator
) -> tuple[Int64[Tensor, "N n"], Int64[Tensor, "N n"]]:
    """Draw strings of bits uniformly, with replacement, and return them with their prefix sums.

    Args:
        num_samples: N, at least 1.
        num_bits: n, at least 1.
        generator: The source of randomness; the strings live on its device.

    Raises:
        TypeError: A number is not whole.
        ValueError: A number is below 1.
    """
    check_count("num_samples", num_samples)
    check_count("num_bits", num_bits)
    shape = (num_samples, num_bits)
    bits = torch.randint(2, shape, generator=generator, device=generator.device)
    return bits, evaluate(bits)
