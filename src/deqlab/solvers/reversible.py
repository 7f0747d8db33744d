"""A coupled iteration whose steps can be taken back: the solver of reversible DEQs.

Two states, which start together at z_0:

    y_{k+1} = (1 - b) y_k + b f(z_k)
    z_{k+1} = (1 - b) z_k + b f(y_{k+1})

Source: McCallum, Arora & Foster (2025), "Reversible Deep Equilibrium Models", arXiv:2509.12917. If
f has the Lipschitz constant L < 1, a step shrinks max(|y - z*|, |z - z*|) to at most 1 - b (1 - L)
of it. For b < 1 the pair (y, z) after a step determines the pair before it,

    z_k = (z_{k+1} - b f(y_{k+1})) / (1 - b),    y_k = (y_{k+1} - b f(z_k)) / (1 - b),

so that `gradients.Reversed` needs to keep few of them. With b = 1 a step is two of Picard
iteration.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from deqlab.linalg.arrays import (
    Array,
    as_tensor,
    choose_rows,
    filled,
    known_none,
    of_rows,
    rows_of,
    where,
)
from deqlab.maps.matrix_map import MatrixMap
from deqlab.solution import Solution
from deqlab.solvers.base import Solver
from deqlab.solvers.loop.evaluation import CountedMap, Iterate
from deqlab.solvers.picard import check_damping


@dataclass(frozen=True)
class Partner:
    """The state y that goes with z, and each row's best pair so far."""

    y: Float[Tensor, "B D"]
    best_y: Float[Tensor, "B D"]
    best_z: Float[Tensor, "B D"]
    best_at: Array  # (B,), the iteration of the best pair, counted from 1
    least: Array  # (B,), how good it is
    count: int = 0  # iterations
    kept: tuple[tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]], ...] = ()  # see `keep_every`

    def beside(self, solution: Solution) -> tuple[Float[Tensor, "B D"], Int[Tensor, " B"]]:
        """Return the y that goes with each row's value, and the iteration that the pair is of.

        The value of a row is its last iterate, which no step has seen, or the best of those before.
        """
        moved = (solution.matrix != self.best_z).any(dim=1)
        last = solution.converged | moved
        at = torch.where(last, solution.steps, as_tensor(self.best_at).to(last.device))
        return take(of_rows(last), self.y, self.best_y), at


@dataclass(frozen=True, kw_only=True)
class Reversible(Solver[Partner]):
    """The reversible coupled iteration: two evaluations of f a step.

    Memory: 4 states, and 2 more for each kept pair. It is there for the sake of its gradient,
    `Reversed`; Picard iteration takes fewer evaluations.

    Attributes:
        damping: b, in (0, 1]; the gradient needs it below 1.
        keep_every: Keep the pair (y, z) of every so many steps, 1 or more, for the reverse pass to
            start from. None lets `Reversed` choose the number, and keeps none without it.
    """

    damping: float = 0.5
    keep_every: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_damping(self.damping)
        if self.keep_every is not None and self.keep_every < 1:
            raise ValueError(f"keep_every must be at least 1, or None, got {self.keep_every}")

    @override
    def init(self, z: Float[Tensor, "B D"]) -> Partner:
        rows = rows_of(z)
        return Partner(z, z, z, filled(1, rows), filled(float("inf"), rows))

    @override
    def step(
        self, f: CountedMap, iterate: Iterate, memory: Partner
    ) -> tuple[Float[Tensor, "B D"], Partner]:
        assert iterate.look is not None
        z, measure, count = iterate.z, iterate.look.measure, memory.count + 1
        gained = measure < memory.least  # false for nan
        kept = memory.kept
        if self.keep_every is not None and memory.count and memory.count % self.keep_every == 0:
            kept = (*kept, (memory.y.detach(), z.detach()))
        # A finished row keeps its y, for it belongs to the z that the row has ended at.
        y, z_next = advance(f, memory.y, z, iterate.fz, self.damping, iterate.running)
        return z_next, Partner(
            y=y,
            best_y=take(gained, memory.y.detach(), memory.best_y),
            best_z=take(gained, z.detach(), memory.best_z),
            best_at=where(gained, count, memory.best_at),
            least=where(gained, measure, memory.least),
            count=count,
            kept=kept,
        )


def advance(
    f: MatrixMap,
    y: Float[Tensor, "B D"],
    z: Float[Tensor, "B D"],
    fz: Float[Tensor, "B D"],
    damping: float,
    rows: Bool[Array, " B"],
) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
    """Return the pair after (y, z), given f(z) = fz; of other rows than these only y stays."""
    y = take(rows, torch.lerp(y, fz, damping), y)
    return y, torch.lerp(z, f(y), damping)


def take(
    mask: Bool[Array, " B"], yes: Float[Tensor, "B D"], no: Float[Tensor, "B D"]
) -> Float[Tensor, "B D"]:
    """`choose_rows`, and no copy where all rows are known to be chosen."""
    return yes if known_none(~mask) else choose_rows(mask, yes, no)
