"""Whether autograd sees how f depends on z, by difference quotients; and whether f depends on z.

Where a part of f is hidden from autograd (detach, no_grad, .data, numpy) or has a wrong backward,
J by autograd is not the derivative of f. So u'Jv by autograd is compared with the central quotient
u'(f(z + hv) - f(z - hv)) / 2h, for random u and v. An entry of f has a say only where its quotients
to both sides and of two step sizes agree, as they do not at a kink.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deqlab.diagnosis.subject import Problem
from deqlab.linalg.products import linearize

DIRECTIONS = 3

WRONG = 0.05
"""The relative difference from which J by autograd is called wrong."""

AGREE = 0.02
"""The relative difference up to which two quotients are one; four times as much to both sides."""

NOISE = 30.0
"""What an entry of f may be off by rounding, in units of eps and of the size of f."""

FAR = (1.0, 10.0)
"""How far from z states are at which f is compared with f(z), relative to the size of z."""


@dataclass(frozen=True, kw_only=True)
class Derivatives:
    """J by autograd against difference quotients, and f at several z.

    Attributes:
        error: Their relative difference in each sample, the median over directions; nan where no
            quotient can be trusted.
        ignores_z: Whether f is the same, number by number, at z and at states far from it.
    """

    error: Float[Tensor, " B"]
    ignores_z: bool

    @property
    def wrong(self) -> Bool[Tensor, " B"]:
        """In which samples autograd does not give the derivative of f."""
        return self.error > WRONG


def derivatives(problem: Problem, z: Float[Tensor, "B D"], seed: int) -> Derivatives:
    """Compare at z, the fixed points where there are any.

    Args:
        problem: The problem.
        z: Finite states.
        seed: Of the directions.
    """
    random = torch.Generator().manual_seed(seed)

    def drawn() -> Tensor:
        return torch.randn(z.shape, generator=random, dtype=torch.float64).to(z)

    _, image, product = linearize(problem.map, z)
    image = image.detach()
    size = torch.maximum(rms(z), rms(image).nan_to_num(0, 0, 0))[:, None]
    size = torch.where(size > 0, size, 1.0)
    errors = []
    for _ in range(DIRECTIONS):
        v, u = drawn(), drawn()
        eps = torch.finfo(problem.f.lowered or z.dtype).eps
        along = partial(_moved, problem, z, v)
        quotient, trusted, noise = quotients(along, image, eps ** (1 / 3) * size, eps * size)
        u = torch.where(trusted, u, 0.0)
        by_autograd = (product(u) * v).double()
        by_quotient = (u * torch.where(trusted, quotient, 0.0)).double()
        off = (by_autograd.sum(dim=1) - by_quotient.sum(dim=1)).abs()
        off = (off - (u.double() * noise).norm(dim=1)).clamp_min(0)
        scale = torch.maximum(by_autograd.norm(dim=1), by_quotient.norm(dim=1))
        relative = off / torch.where(scale > 0, scale, 1.0)
        errors.append(torch.where(trusted.any(dim=1), relative, torch.nan))
    same = [torch.equal(problem.at(z + far * size * drawn()), image) for far in FAR]
    return Derivatives(
        error=torch.stack(errors).nanmedian(dim=0).values.cpu(),
        ignores_z=all(same) and bool(image.isfinite().all()),
    )


def quotients(
    along: Callable[[Tensor], Tensor],
    image: Float[Tensor, "B D"],
    h: Float[Tensor, "B 1"],
    rounding: Float[Tensor, "B 1"],
) -> tuple[Float[Tensor, "B D"], Bool[Tensor, "B D"], Float[Tensor, "B 1"]]:
    """Return central quotients of f, which entries to trust, and what rounding does to them.

    Args:
        along: Returns f where its argument has moved by so much, (B, 1), along some direction.
        image: f where it has not moved.
        h: The step.
        rounding: What an entry of f is off by.
    """
    wide, _ = _both_sides(along, image, h)
    narrow, apart = _both_sides(along, image, h / 4)
    noise = NOISE * rounding / (h / 4)
    trusted = (wide - narrow).abs() <= AGREE * narrow.abs() + noise
    trusted &= apart <= 4 * AGREE * narrow.abs() + noise
    return narrow, trusted, noise


def _both_sides(
    along: Callable[[Tensor], Tensor], image: Float[Tensor, "B D"], h: Float[Tensor, "B 1"]
) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
    """Return the central quotient, and how far apart those to both sides are."""
    ahead, behind = along(h), along(-h)
    return (ahead - behind) / (2 * h), (ahead - 2 * image + behind).abs() / h


def _moved(
    problem: Problem, z: Float[Tensor, "B D"], v: Float[Tensor, "B D"], h: Float[Tensor, "B 1"]
) -> Float[Tensor, "B D"]:
    return problem.at(z + h * v)


def rms(matrix: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """Return the root mean square of each row."""
    return matrix.square().mean(dim=1).sqrt()
