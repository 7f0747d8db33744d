"""One step of `Reversible` taken back: the pair before it, its cotangents, and what f's inputs get.

`gradients.reversible` has the formulas.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deqlab.gradients.captured import Gradients, pull
from deqlab.gradients.tape import Tape
from deqlab.linalg.arrays import Array, known_none
from deqlab.solvers.reversible import take

Pair: TypeAlias = tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]
"""y and z."""


@dataclass(frozen=True)
class Point:
    """The place that the reverse pass has reached.

    Attributes:
        y: The pair, with z.
        z: See y.
        of_y: The cotangent of y.
        of_z: The cotangent of z.
        gradients: Those of the inputs of f from the steps taken back so far; None before the first.
    """

    y: Float[Tensor, "B D"]
    z: Float[Tensor, "B D"]
    of_y: Float[Tensor, "B D"]
    of_z: Float[Tensor, "B D"]
    gradients: Gradients


def reverse_step(
    record: Callable[[Tensor], Tape],
    captured: Sequence[Tensor],
    point: Point,
    rows: Bool[Array, " B"],
    damping: float,
    before: Pair | None,
) -> tuple[Point, Float[Tensor, "B D"]]:
    """Return the point before a step of these rows, and f(z) - z at that z.

    Args:
        record: Evaluates f with a tape.
        captured: Tensors that f reaches by itself.
        point: After the step.
        rows: The others stay where they are.
        damping: b, below 1.
        before: The pair before the step; None to compute it from that after it.
    """
    b = damping
    tape = record(point.y)
    product, gradients = _pull(tape, captured, b * point.of_z, rows, point.gradients)
    of_y = point.of_y + product
    of_z = take(rows, (1 - b) * point.of_z, point.of_z)
    z = (point.z - b * tape.out.detach()) / (1 - b) if before is None else before[1]
    z = take(rows, z, point.z)
    del tape  # before the next is recorded: they may be large
    tape = record(z)
    product, gradients = _pull(tape, captured, b * of_y, rows, gradients)
    of_z = of_z + product
    of_y = take(rows, (1 - b) * of_y, of_y)
    y = (point.y - b * tape.out.detach()) / (1 - b) if before is None else before[0]
    difference = tape.out.detach() - z
    return Point(take(rows, y, point.y), z, of_y, of_z, gradients), difference


def _pull(
    tape: Tape,
    captured: Sequence[Tensor],
    v: Float[Tensor, "B D"],
    rows: Bool[Array, " B"],
    gradients: Gradients,
) -> tuple[Float[Tensor, "B D"], Gradients]:
    """Return J'v for these rows of v alone, and the gradients with v' df/dtheta added.

    J'v is zero in the other rows, unless f couples them: then these have an effect on those that
    still move.
    """
    zero = torch.zeros_like(v)
    if not tape.out.requires_grad:
        return zero, gradients
    v = take(rows, v, zero)
    product, *parts = pull(tape.out, (tape.leaf, *tape.sources, *captured), v)
    sums = tuple(
        part if known is None else known if part is None else known + part
        for known, part in zip(gradients, parts, strict=True)
    )
    if product is None:
        return zero, sums
    # A row that stands still may do so where its own derivative is 0 * inf.
    if not known_none(~rows):
        product = take(rows, product, product.nan_to_num(0.0, 0.0, 0.0))
    return product, sums
