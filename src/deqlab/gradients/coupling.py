"""Whether f couples the rows of a batch, as seen by products with its Jacobian.

If row i of f(z) depends on row i of z alone, a cotangent that is zero in some rows has a product
J'v that is zero there. Two rows are told apart by some bit of their numbers, so that two products
for each bit find every pair of coupled rows.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.errors import OnFailure, speak
from deqlab.linalg.products import Product

ROUNDING = 10.0
"""In units of eps |J'v|: what is below it is no sign of coupled rows."""

CAUSE = (
    "the rows of the batch depend on each other in f (batch norm in train mode, a mean over the "
    "batch, rows that are nodes of a graph or tokens of one sequence?)"
)

WAY_OUT = (
    "Pass batched=False, which makes the whole state one sample, or let f treat each row by itself "
    "(layer or group norm, batch norm in eval mode, the batch first)."
)


def has_coupled_rows(
    product: Product, like: Float[Tensor, "B D"], *, bits: int | None = None
) -> bool:
    """Return whether some row of J'v depends on other rows of v; a few products.

    Args:
        product: v -> J'v, or another map that is zero in every row where v is.
        like: A matrix of the shape, dtype and device of v.
        bits: How many bits of the rows' numbers to look at; None for all.
    """
    batch = len(like)
    random = torch.Generator().manual_seed(0)
    v = torch.randn(like.shape, generator=random, dtype=torch.float64).to(like)
    numbers = torch.arange(batch, device=like.device)
    needed = max(0, batch - 1).bit_length()
    for bit in range(needed if bits is None else min(bits, needed)):
        for kept in (numbers >> bit & 1 == 0, numbers >> bit & 1 == 1):
            image = product(torch.where(kept[:, None], v, 0.0)).nan_to_num(0.0, 0.0, 0.0)
            elsewhere = image[~kept].abs().sum()
            if bool(elsewhere > ROUNDING * torch.finfo(v.dtype).eps * image.abs().sum()):
                return True
    return False


def couples_rows(f: Product, z: Float[Tensor, "B D"], *, bits: int | None = None) -> bool:
    """Return whether some row of f(z) depends on other rows of z; a few evaluations.

    Args:
        f: The map.
        z: Where to look.
        bits: As in `has_coupled_rows`.
    """
    if len(z) < 2:
        return False
    with torch.no_grad():
        image = f(z)
        if not torch.equal(image.nan_to_num(), f(z).nan_to_num()):
            return False  # f is another map each time: nothing can be told
        size = z.abs().amax(dim=1, keepdim=True) if z.shape[1] else z.new_ones(len(z), 1)
        size = size.where(size.isfinite() & (size > 0), 1.0)
        return has_coupled_rows(lambda v: f(z + size * v) - image, z, bits=bits)


def report_coupled_value(what: str, *, on_failure: OnFailure) -> None:
    """Raise or warn because a solve failed whose rows are coupled; see `errors.speak`."""
    text = f"{what}: samples missed the tolerance, and {CAUSE}, while each is solved by itself."
    speak(f"{text} {WAY_OUT}", f"{text} {WAY_OUT}", on_failure=on_failure)


def report_coupled_gradient(what: str, *, on_failure: OnFailure) -> None:
    """Raise or warn because a gradient was found row by row, and rows are coupled."""
    text = f"{what}: {CAUSE}, so that a gradient found row by row is wrong."
    speak(f"{text} {WAY_OUT}", f"{text} {WAY_OUT}", on_failure=on_failure)
