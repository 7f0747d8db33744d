"""The spectral radius of the Jacobian of a map, measured.

Picard iteration converges near z* exactly if the radius of J = df/dz at z* is below 1, and the
gradient of z* exists if 1 is not an eigenvalue. A Rayleigh quotient |v'Jv| does not measure it:
it reads 0 on a rotation, whose radius is 1. Here it is the largest Ritz value of an Arnoldi
process on J', which has the eigenvalues of J and costs one walk of the tape per step.
Source: Saad (2011), "Numerical Methods for Large Eigenvalue Problems", ch. 6.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.operators import arnoldi, linearize
from deqlab.state import Layout, State


def spectral_radius(
    f: Callable[..., State],
    z: State,
    *args: object,
    steps: int = 40,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " B"]:
    """Return the spectral radius of df/dz at z, for each sample.

    Exact to rounding when `steps` reaches the state's dimension. Below that it is an estimate,
    close for the outermost eigenvalues; for strongly non-normal J it can be off either way.

    Args:
        f: The map; `f(z, *args)` has the structure of z, row i from row i.
        z: Where to linearise, usually a fixed point; rows of shape (B, ...).
        args: Passed on to f.
        steps: Products with J' per sample, at least 1.
        generator: Source of the random start; None is torch's global one.

    Returns:
        The radii, in the dtype of z; nan for a row where f is not finite.

    Raises:
        ValueError: `steps` is below 1.

    Example:
        >>> import torch
        >>> rotation = torch.tensor([[0.0, -0.9], [0.9, 0.0]])
        >>> spectral_radius(lambda z: z @ rotation.T, torch.zeros(1, 2))
        tensor([0.9000])
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    layout = Layout.of(z)
    matrix = layout.flatten(z).detach()
    if matrix.numel() == 0:
        return matrix.new_zeros(matrix.shape[0])
    _, out, product = linearize(lambda s: layout.flatten(f(layout.unflatten(s), *args)), matrix)
    start = torch.randn(matrix.shape, dtype=matrix.dtype, device=matrix.device, generator=generator)
    hessenberg, _ = arnoldi(product, start, steps)
    finite = hessenberg.isfinite().all(dim=(1, 2)) & out.detach().isfinite().all(dim=1)
    hessenberg = torch.where(finite[:, None, None], hessenberg, 0.0)
    radius = torch.linalg.eigvals(hessenberg.double()).abs().amax(dim=1)
    return torch.where(finite, radius, torch.nan).to(matrix.dtype)
