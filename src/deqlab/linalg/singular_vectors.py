"""The largest singular vector of a linear map that is known by its products only.

With V an orthonormal basis of the Krylov space of A'A from a start, the right singular vector of
A V for its largest singular value gives v = V y, which maximises |A v| over the space. It comes
closer with the dimension much faster than as many power steps. Source: Golub & Kahan (1965),
"Calculating the Singular Values and Pseudo-Inverse of a Matrix", here with full orthogonalisation.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def largest_singular_vector(
    apply: Callable[[Tensor], Tensor],
    transposed: Callable[[Tensor], Tensor],
    start: Float[Tensor, "G D"],
    dimensions: int,
) -> Float[Tensor, "G D"]:
    """Return for each row the v of norm 1 in a Krylov space for which |A v| is largest.

    Args:
        apply: The map v -> A v, (G, D) to (G, E), each row its own.
        transposed: The map u -> A'u.
        start: The first vector of each row, not zero.
        dimensions: The most that the space has, at least 1; with D of them the answer is exact.
    """
    v = start / torch.linalg.vector_norm(start, dim=1, keepdim=True)
    basis, images = [v], [apply(v)]
    for _ in range(min(dimensions, start.shape[1]) - 1):
        w = transposed(images[-1])
        size = torch.linalg.vector_norm(w, dim=1, keepdim=True)
        known = torch.stack(basis, dim=1)  # (G, k, D)
        for _ in range(2):  # once more for what rounding left
            w = w - torch.einsum("gk,gkd->gd", torch.einsum("gkd,gd->gk", known, w), known)
        rest = torch.linalg.vector_norm(w, dim=1, keepdim=True)
        # Of a row whose space is exhausted only rounding is left: it gets zeros from there on.
        more = rest > 100 * torch.finfo(w.dtype).eps * size
        v = torch.where(more, w / torch.where(more, rest, 1.0), 0.0)
        basis.append(v)
        images.append(apply(v))
    right = torch.linalg.svd(torch.stack(images, dim=2), full_matrices=False)[2]
    found = torch.einsum("gk,gkd->gd", right[:, 0], torch.stack(basis, dim=1))
    # Where A is 0 any vector will do, and a combination of the zeros would be none.
    size = torch.linalg.vector_norm(found, dim=1, keepdim=True)
    return torch.where(size > 0.5, found / torch.where(size > 0.5, size, 1.0), basis[0])
