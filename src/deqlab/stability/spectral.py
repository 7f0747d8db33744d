"""The spectral radius of the Jacobian of a map, measured.

Picard iteration converges near z* exactly if the radius of J = df/dz at z* is below 1, and the
gradient of z* exists if 1 is not an eigenvalue. A Rayleigh quotient |v'Jv| does not measure it:
it reads 0 on a rotation, whose radius is 1. Here it is the largest Ritz value of an Arnoldi
process on J', which has the eigenvalues of J and costs one walk of the tape per step.
Source: Saad (2011), "Numerical Methods for Large Eigenvalue Problems", ch. 6.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Complex128, Float
from torch import Tensor

from deqlab.containers import State
from deqlab.linalg.arnoldi import hessenberg
from deqlab.linalg.products import linearize
from deqlab.solution import Solution
from deqlab.state import Layout


def leading_eigenvalue(
    f: Callable[..., State],
    z: State,
    *args: object,
    steps: int = 40,
    generator: torch.Generator | None = None,
    batched: bool = True,
) -> Complex128[Tensor, " B"]:
    """Return the eigenvalue of df/dz at z that has the largest modulus, for each sample.

    Its modulus is the spectral radius, and its angle says how iterates near a fixed point move: at
    0 they come from one side, at pi from both in turn, and between they turn around it. Of a pair
    of conjugates it is either.

    Args:
        f: The map; `f(z, *args)` has the structure of z, row i from row i.
        z: Where to linearise, usually a fixed point; rows of shape (B, ...).
        args: Passed on to f.
        steps: Products with J' per sample, at least 1; see `spectral_radius`.
        generator: Source of the random start; None is torch's global one.
        batched: False if the whole state is one sample, as in `fixed_point`.

    Returns:
        The eigenvalues; nan for a row where f is not finite.

    Raises:
        ValueError: `steps` is below 1.

    Example:
        >>> import torch
        >>> turn = torch.tensor([[0.0, -0.5], [0.5, 0.0]])
        >>> leading_eigenvalue(lambda z: z @ turn.T, torch.zeros(1, 2)).imag.abs()
        tensor([0.5000], dtype=torch.float64)
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    layout = Layout.of(z, batched=batched)
    matrix = layout.flatten(z).detach()
    if matrix.numel() == 0:
        return matrix.new_zeros(matrix.shape[0], dtype=torch.complex128)
    _, out, product = linearize(lambda s: layout.flatten(f(layout.unflatten(s), *args)), matrix)
    start = torch.randn(matrix.shape, dtype=matrix.dtype, device=matrix.device, generator=generator)
    projected, _ = hessenberg(product, start, steps)
    finite = projected.isfinite().all(dim=(1, 2)) & out.detach().isfinite().all(dim=1)
    projected = torch.where(finite[:, None, None], projected, 0.0)
    values = torch.linalg.eigvals(projected.double())
    leading = values.gather(1, values.abs().argmax(dim=1, keepdim=True))[:, 0]
    return torch.where(finite, leading, complex(torch.nan, 0.0))


def spectral_radius(
    f: Callable[..., State],
    z: State,
    *args: object,
    steps: int = 40,
    generator: torch.Generator | None = None,
    batched: bool = True,
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
        batched: False if the whole state is one sample, as in `fixed_point`.

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
    leading = leading_eigenvalue(f, z, *args, steps=steps, generator=generator, batched=batched)
    return leading.abs().to(Layout.of(z, batched=batched).dtype)


def is_attracting(
    f: Callable[..., State],
    z: State | Solution,
    *args: object,
    steps: int = 40,
    generator: torch.Generator | None = None,
    batched: bool = True,
) -> Bool[Tensor, " B"]:
    """Return whether plain iteration of f comes back to z from nearby, for each sample.

    It does if the spectral radius of df/dz at z is below 1. A map may have several fixed points,
    and methods that extrapolate (Anderson, Broyden, Newton) find those as well that repel: ask
    where only an attracting one means anything, as in control, dynamics and energies.

    Args:
        f: The map; `f(z, *args)` has the structure of z.
        z: A fixed point, or the solution whose value it is.
        args: Passed on to f.
        steps: Products with J' per sample; as many as a sample has numbers make it exact. With
            fewer, a sample may be called attracting that is not: see `spectral_radius`.
        generator: Source of the random start; None is torch's global one.
        batched: False if the whole state is one sample, as in `fixed_point`.

    Returns:
        One bool for each sample; False where f is not finite.

    Raises:
        ValueError: `steps` is below 1.

    Example:
        >>> import torch
        >>> from deqlab import Newton, fixed_point
        >>> f = lambda z: z**2  # fixed points 0, which attracts, and 1, which does not
        >>> solution = fixed_point(f, torch.tensor([[0.1], [0.9]]), solver=Newton())
        >>> is_attracting(f, solution)
        tensor([ True, False])
    """
    value = z.value if isinstance(z, Solution) else z
    radius = spectral_radius(f, value, *args, steps=steps, generator=generator, batched=batched)
    return radius < 1  # false for nan
