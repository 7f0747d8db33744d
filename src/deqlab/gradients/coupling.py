"""Whether f couples the rows of a batch, as seen by products with its Jacobian.

If row i of f(z) depends on row i of z alone, a cotangent that is zero in some rows has a product
J'v that is zero there. Two rows are told apart by some bit of their numbers, so that two products
for each bit find every pair of coupled rows.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.errors import OnFailure, speak
from deqlab.operators import Product

ROUNDING = 10.0
"""In units of eps |J'v|: what is below it is no sign of coupled rows."""

SENTENCE = (
    "the rows of the batch depend on each other in f (batch norm in train mode, a "
    "mean over the batch, rows that are nodes of a graph or tokens of one sequence?), so that a "
    "gradient found row by row is wrong. Pass batched=False, which makes the whole state one "
    "sample, or let f treat each row by itself (layer or group norm, batch norm in eval mode, the "
    "batch first)."
)


def has_coupled_rows(product: Product, like: Float[Tensor, "B D"]) -> bool:
    """Return whether some row of J'v depends on other rows of v; a few products.

    Args:
        product: v -> J'v.
        like: A matrix of the shape, dtype and device of v.
    """
    batch = len(like)
    random = torch.Generator().manual_seed(0)
    v = torch.randn(like.shape, generator=random, dtype=torch.float64).to(like)
    numbers = torch.arange(batch, device=like.device)
    for bit in range(max(1, batch - 1).bit_length()):
        for kept in (numbers >> bit & 1 == 0, numbers >> bit & 1 == 1):
            image = product(torch.where(kept[:, None], v, 0.0)).nan_to_num(0.0, 0.0, 0.0)
            elsewhere = image[~kept].abs().sum()
            if bool(elsewhere > ROUNDING * torch.finfo(v.dtype).eps * image.abs().sum()):
                return True
    return False


def report_coupling(what: str, on_failure: OnFailure) -> None:
    """Raise, warn or stay silent about coupled rows in a solve of that name.

    Raises:
        ConvergenceError: `on_failure` is "raise".
    """
    sentence = f"{what}: {SENTENCE}"
    speak(sentence, sentence, on_failure=on_failure)
