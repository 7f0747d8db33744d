"""Functions on the cube {-1, 1}^n that are learned on a part of it and tested on the rest.

A learner sees points where a condition holds, uniformly, and none of the unseen part U where it
does not. How it does there, its GOTU error (generalisation on the unseen), is the mean loss

    GOTU = 1 / |U| sum_{x in U} loss(f(x), target(x)).

Source: Abbe, Bengio, Lotfi & Rizk (2023), "Generalization on the Unseen, Logic Reasoning and
Degree Curriculum", definition 1. `gotu` has their tasks, and others.

Points are numbered: bit i of point k is 1 where k has the i-th binary digit, else -1.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import mse_loss

from deqlab.tasks.expressions import Expression, parse_condition, parse_number

MOST_BITS = 20
"""The whole cube is enumerated: about a million points then."""

MOST_POINTS = 2**16
"""Unseen points at most; of more, this many are drawn, the same ones every time."""

_BLOCK = 2**16  # points evaluated at once, to bound the memory


class BooleanTaskError(ValueError):
    """A boolean task has nothing to learn from, nothing to test on, or too many bits."""


@dataclass(frozen=True, kw_only=True)
class BooleanTask:
    """A function on the cube and the part of the cube that is seen.

    Attributes:
        target: Formula of the function, see `expressions`: "x0*x1 - 1.25*x1*x2".
        seen: Condition under which a point is seen: "x0 == 1 or x1 == 1".
        num_bits: n, from 1 to 20.

    Raises:
        ExpressionError: A text does not parse, or names a bit that is absent.
        BooleanTaskError: Every point is seen or none is, or n is out of its domain.

    Example:
        >>> task = BooleanTask(target="x0*x1", seen="x0 == 1 or x1 == 1", num_bits=3)
        >>> task.num_seen, task.num_unseen
        (6, 2)
    """

    target: str
    seen: str
    num_bits: int = 15

    def __post_init__(self) -> None:
        if not 1 <= self.num_bits <= MOST_BITS:
            raise BooleanTaskError(
                f"num_bits must be from 1 to {MOST_BITS}, got {self.num_bits}: the whole cube is "
                "enumerated"
            )
        parse_number(self.target, num_bits=self.num_bits)  # a wrong text is told at once
        if self.num_unseen == 0:
            raise BooleanTaskError(
                f"the seen condition {self.seen!r} holds on all {2**self.num_bits} points of the "
                "cube, which leaves nothing unseen; narrow it"
            )
        if self.num_seen == 0:
            raise BooleanTaskError(
                f"the seen condition {self.seen!r} holds on none of the {2**self.num_bits} points "
                "of the cube, which leaves nothing to learn from; widen it"
            )

    @property
    def num_seen(self) -> int:
        """Points of the cube that are seen."""
        return len(self._split[0])

    @property
    def num_unseen(self) -> int:
        """Points of the cube that are not: |U|."""
        return len(self._split[1])

    def sample(
        self,
        num_samples: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> tuple[Float[Tensor, "N n"], Float[Tensor, " N"]]:
        """Draw seen points uniformly, with replacement, and return them with their targets.

        Raises:
            ValueError: `num_samples` is below 1.
        """
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        seen = self._split[0]
        drawn = torch.randint(
            len(seen), (num_samples,), generator=generator, device=generator.device
        )
        return self._labelled(seen.to(drawn.device)[drawn], dtype)

    def unseen(
        self, *, dtype: torch.dtype = torch.float32
    ) -> tuple[Float[Tensor, "N n"], Float[Tensor, " N"]]:
        """Return the points of U in ascending order, with their targets.

        Of more than 2^16, that many are drawn without replacement: the same ones every time.
        """
        unseen = self._split[1]
        if len(unseen) > MOST_POINTS:
            order = torch.randperm(len(unseen), generator=torch.Generator().manual_seed(0))
            unseen = unseen[order[:MOST_POINTS].sort().values]
        return self._labelled(unseen, dtype)

    def evaluate(self, x: Float[Tensor, "N n"]) -> Float[Tensor, " N"]:
        """Return the target at the rows of x, computed in float64."""
        values = self._target(x.double())
        return values.to(x.dtype)

    @cached_property
    def _target(self) -> Expression:
        return parse_number(self.target, num_bits=self.num_bits)

    @cached_property
    def _seen(self) -> Expression:
        return parse_condition(self.seen, num_bits=self.num_bits)

    @cached_property
    def _split(self) -> tuple[Int64[Tensor, " seen"], Int64[Tensor, " unseen"]]:
        """Numbers of the seen and of the unseen points."""
        every = torch.arange(2**self.num_bits)
        blocks = (self._seen(bits_of(block, self.num_bits)) for block in every.split(_BLOCK))
        seen = torch.cat(list(blocks))
        return every[seen], every[~seen]

    def _labelled(
        self, points: Int64[Tensor, " N"], dtype: torch.dtype
    ) -> tuple[Float[Tensor, "N n"], Float[Tensor, " N"]]:
        x = bits_of(points, self.num_bits).to(dtype)
        return x, self.evaluate(x)


def bits_of(points: Int64[Tensor, " N"], num_bits: int) -> Float[Tensor, "N n"]:
    """Return the bits, -1 or 1, of numbered points of the cube, in float64.

    Example:
        >>> bits_of(torch.tensor([0, 1, 2]), 2).tolist()
        [[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]
    """
    digits = torch.arange(num_bits, device=points.device)
    return ((points[:, None] >> digits) & 1).double() * 2 - 1


def gotu_error(
    model: Callable[[Tensor], Tensor],
    task: BooleanTask,
    *,
    loss: Callable[[Tensor, Tensor], Tensor] = mse_loss,
    dtype: torch.dtype = torch.float32,
) -> float:
    """Return the mean loss of `model` over the unseen points of `task`.

    Args:
        model: Maps points (N, n) to values (N,) or (N, 1). It is called without gradients.
        task: What it should have learned.
        loss: Mean loss of a batch, of outputs and targets.
        dtype: The dtype of the points.

    Raises:
        ValueError: The model returns another shape.
    """
    total, count = 0.0, 0
    with torch.no_grad():
        for x, y in _batches(*task.unseen(dtype=dtype)):
            output = model(x)
            if output.shape not in ((len(x),), (len(x), 1)):
                raise ValueError(
                    f"the model must return one value per point, {tuple(x.shape)} became "
                    f"{tuple(output.shape)}"
                )
            total += float(loss(output.reshape(len(x)), y)) * len(x)
            count += len(x)
    return total / count


def _batches(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(x.split(4096), y.split(4096), strict=True)
