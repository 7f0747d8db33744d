"""One step of `Reversible` taken back: the pair before it, its cotangents, and what f's inputs get.

`gradients.reversible` has the formulas.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deqlab.gradients.captured import Gradients, pull
from deqlab.gradients.tape import Tape
from deqlab.solvers.reversible import take

Pair: TypeAlias = tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]
"""y and z."""


@dataclass(frozen=True)
class Point:
    """Where the way back has come to.

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


def step_back(
    record: Callable[[Tensor], Tape],
    captured: Sequence[Tensor],
    point: Point,
    rows: Bool[np.ndarray, " B"],
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
    product, gradients = _pull(tape, captured, _or_zero(rows, b * point.of_z), point.gradients)
    of_y = take(rows, point.of_y + product, point.of_y)
    of_z = take(rows, (1 - b) * point.of_z, point.of_z)
    z = (point.z - b * tape.out.detach()) / (1 - b) if before is None else before[1]
    z = take(rows, z, point.z)
    del tape  # before the next is recorded: they may be large
    tape = record(z)
    product, gradients = _pull(tape, captured, _or_zero(rows, b * of_y), gradients)
    of_z = take(rows, of_z + product, of_z)
    of_y = take(rows, (1 - b) * of_y, of_y)
    y = (point.y - b * tape.out.detach()) / (1 - b) if before is None else before[0]
    difference = tape.out.detach() - z
    return Point(take(rows, y, point.y), z, of_y, of_z, gradients), difference


def _or_zero(rows: Bool[np.ndarray, " B"], matrix: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    """Return the matrix with zeros in all rows but these."""
    return take(rows, matrix, torch.zeros_like(matrix))


def _pull(
    tape: Tape,
    captured: Sequence[Tensor],
    v: Float[Tensor, "B D"],
    gradients: Gradients,
) -> tuple[Float[Tensor, "B D"], Gradients]:
    """Return J'v, and the gradients with v' df/dtheta added."""
    if not tape.out.requires_grad:
        return torch.zeros_like(v), gradients
    product, *parts = pull(tape.out, (tape.leaf, *tape.sources, *captured), v)
    sums = tuple(
        part if known is None else known if part is None else known + part
        for known, part in zip(gradients, parts, strict=True)
    )
    return torch.zeros_like(v) if product is None else product, sums
