"""The reverse pass through the steps of `Reversible`, in pieces, and how far it can be trusted.

A step back amplifies rounding: along an eigenvector of J with the eigenvalue j by 1 / m and 1 / M,
where m and M, |m| <= |M|, are the roots s of

    s^2 - (2 (1 - b) + b^2 j^2) s + (1 - b)^2 = 0,    so that m M = (1 - b)^2.

|M| is also what a step leaves of the error of the value, and of the cotangents. So k steps back the
states are off by 1e-16 / |m|^k, and the gradient by 1e-16 |M / m|^k. At b = j = 1/2 the roots are
0.71 and 0.35: after 35 steps nothing is known of the states, and 0.71^35 = 6e-6 of the cotangents
is left, so that five digits of the gradient can be had, and no more. (Derived here, and tested.)

Where |j| <= 1 no root is above 1, so that |M / m| = M^2 / (1 - b)^2 is at most 1 / (1 - b)^2. Hence
the forward solve keeps the pair of every k-th step, with k the most steps for which 1e-16 of
rounding, so amplified, stays below what is allowed; the reverse pass starts again from each. There
it also sees how far off it came. Where that is too much (f expands, or is rounded itself), it takes
the k steps forward again from the kept pair, holding the k pairs, and differentiates at those.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deqlab.errors import OnFailure, speak
from deqlab.gradients.captured import Gradients
from deqlab.gradients.coupling import has_coupled_rows
from deqlab.gradients.reverse_step import Pair, Point, reverse_step
from deqlab.gradients.tape import Arguments, Tape
from deqlab.linalg.arrays import (
    Array,
    filled,
    hypotenuse,
    is_finite,
    larger,
    on_host,
    row_max,
    same_kind,
    where,
    zeros_like,
)
from deqlab.linalg.norms import norms_in_place
from deqlab.linalg.products import Product, vjp
from deqlab.linalg.scaled_norms import norm_of
from deqlab.maps.matrix_map import MapWithArgs
from deqlab.solvers.reversible import advance, take

LOST = 0.01
"""A residual that comes back with an error this large, relative to the state, is another one."""


def steps_between_pairs(damping: float, allowed: float) -> int:
    """Return after how many steps back rounding may have grown to `allowed`, 1 at least."""
    digits = math.log(max(min(allowed, 1.0) / torch.finfo(torch.float64).eps, 1.0))
    return max(1, int(digits / (-2 * math.log1p(-damping))))


@dataclass(frozen=True, kw_only=True)
class Route:
    """What leads from the last pair back to the start, beside the states."""

    f: MapWithArgs
    args: Arguments  # without the differentiable tensors in them, which are saved
    captured: tuple[Tensor, ...]  # tensors that f reaches by itself
    damping: float
    every: int  # steps from one kept pair to the next
    updates: np.ndarray  # (B,), the steps that lead from the start to each row's value
    trace: Array  # (T, B), |f(z) - z| after 0, 1, ... steps
    blocks: Sequence[int]
    allowed: float
    on_failure: OnFailure
    what: str  # the name of the solve


class ReversePass:
    """The states of a solve in reverse, their cotangents, and the gradients of the inputs of f.

    Args:
        route: What leads back.
        pairs: The start, the kept pairs, and the pair of the value.
        inputs: The tensors that get a gradient: those in the args of f, and the captured ones.
        cotangent: That of the value.
    """

    def __init__(
        self,
        route: Route,
        pairs: Sequence[Pair],
        inputs: Sequence[Tensor],
        cotangent: Float[Tensor, "B D"],
    ) -> None:
        self.route, self.cotangent = route, cotangent
        *self.pairs, (y, z) = pairs
        self.point = Point(y, z, torch.zeros_like(cotangent), cotangent, (None,) * len(inputs))
        self.args = route.args.filled(inputs[: len(route.args.positions)])
        self.updates, seen = route.updates, (cotangent != 0).any(dim=1).cpu().numpy()
        # A row that the loss does not see need not be walked, unless it has an effect on another.
        if not seen.all() and not has_coupled_rows(self._product(z), z):
            self.updates = np.where(seen, route.updates, 0)
        self.steps = int(self.updates.max(initial=0))
        sizes = larger(self._sizes(pairs[0][0]), self._sizes(z))
        self.scale = where(sizes > 0, sizes, 1.0)  # (B, K), of each block of the state
        self.error = filled(0.0, sizes)  # (B,), estimated and relative, of each row's gradient
        # A cotangent that is not finite is nobody's drift.
        self.judged = is_finite(self._sizes(cotangent)).all(1)

    def walk(self) -> Gradients:
        """Go back to the start; return the gradients of the inputs, None for what f ignores."""
        firsts = range(0, self.steps, self.route.every)
        for first in reversed(firsts):
            self._piece(first, self.route.allowed / math.sqrt(len(firsts)))
        self._report()
        return self.point.gradients

    def _piece(self, first: int, allowed: float) -> None:
        """Go back to the pair that was kept after `first` steps.

        The error that this leaves in the gradient is how far off that pair it came, times the
        share of the cotangent that is left; within the piece that product is smaller. Each piece
        begins at an exact pair, so that their errors are independent and add in squares.
        """
        last, rows = min(first + self.route.every, self.steps), self._beyond(first)
        end, kept = self.point, self.pairs[first // self.route.every]
        point, lost = self._reversed(end, first, last)
        if point is not None:
            error = self._gap(rows, (point.y, point.z), kept) * self._share(point)
            # A derivative that is not finite is no better for being computed twice.
            judged = rows & self.judged & (self.error == self.error)
            lost = lost | (judged & ~(error <= allowed))
        if point is None or bool(lost.any()):
            point, error = self._repeated(end, first, last)
        self.error = where(rows, hypotenuse(self.error, error), self.error)
        self.point = replace(point, y=take(rows, kept[0], point.y), z=take(rows, kept[1], point.z))

    def _beyond(self, step: int) -> Bool[Array, " B"]:
        """Return the rows that have taken more steps than that."""
        return same_kind(self.updates > step, self.judged)

    def _reversed(self, point: Point, first: int, last: int) -> tuple[Point | None, Array]:
        """Take the steps after `first` back; return also the rows whose states are lost.

        On the host nothing is taken back from there: f need not be defined where it leads. A device
        is not asked on the way.
        """
        size, lost = norm_of(self.scale), zeros_like(self.judged)
        for step in range(last, first, -1):
            point, residual = self._back(point, step, None)
            with np.errstate(all="ignore"):
                found = abs(residual - self.route.trace[step - 1]) <= LOST * size
            lost = lost | (self.judged & self._beyond(step - 1) & ~found)
            if isinstance(lost, np.ndarray) and lost.any():
                return None, lost
        return point, lost

    def _repeated(self, end: Point, first: int, last: int) -> tuple[Point, Array]:
        """Differentiate the steps after `first` at pairs that are computed as the solver did.

        Also returns the error, which is zero if f returns what it returned then.
        """
        rows, point = self._beyond(first), end
        kept = self.pairs[first // self.route.every]
        pairs = [(take(rows, kept[0], end.y), take(rows, kept[1], end.z))]
        for step in range(first + 1, last + 1):
            moving = self._beyond(step - 1)
            y, z = pairs[-1]
            y, moved = advance(self._evaluate, y, z, self._evaluate(z), self.route.damping, moving)
            pairs.append((y, take(moving, moved, z)))
        error = self._gap(rows, pairs.pop(), (end.y, end.z)) * self._share(end)
        for step in range(last, first, -1):
            point, _ = self._back(point, step, pairs.pop())
        return point, where(is_finite(self._share(point)), error, float("nan"))

    def _report(self) -> None:
        """Warn or raise if the gradient of a sample may be too far off."""
        missed = self.judged & ~(self.error <= self.route.allowed)
        if self.route.on_failure == "ignore" or not bool(missed.any()):
            return
        missed, error = on_host(missed), on_host(self.error)
        worst = int(np.where(missed, np.nan_to_num(error, nan=np.inf), -1.0).argmax())
        name = f"the gradient of {self.route.what} by Reversed"
        measured = (
            f"{name}: {int(missed.sum())} of {len(missed)} samples missed the accuracy (worst: "
            f"sample {worst}, estimated relative error {error[worst]:.1e} where "
            f"{self.route.allowed:.1e} is allowed, after {self.updates[worst]} steps back)."
        )
        advice = (
            "f did not return in the reverse pass what it returned in the solve: make f "
            "deterministic, and change nothing that it uses before the backward pass; Implicit() "
            "and Unrolled() do not compute the steps again."
        )
        if not np.isfinite(error[worst]):
            advice = "The derivative of f is inf or nan there: a root or a norm at zero?"
        text = f"{name}: samples missed the accuracy. {advice}\nThe numbers are in `details`."
        speak(f"{measured}\n{advice}", text, on_failure=self.route.on_failure)

    def _back(self, point: Point, step: int, before: Pair | None) -> tuple[Point, Array]:
        """Take back a step, counted from 1, of every row that has taken as many."""
        rows, b = self._beyond(step - 1), self.route.damping
        point, difference = reverse_step(self._record, self.route.captured, point, rows, b, before)
        return point, norm_of(self._sizes(difference))

    def _product(self, z: Float[Tensor, "B D"]) -> Product:
        tape = self._record(z)
        return vjp(tape.out, tape.leaf)

    def _record(self, z: Float[Tensor, "B D"]) -> Tape:
        return Tape.record(self.route.f, z, self.args)

    def _evaluate(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return self.route.f(z, *self.args)

    def _gap(self, rows: Array, one: Pair, other: Pair) -> Array:
        """Return how far two pairs are apart, relative to the state; zero outside of `rows`."""
        with np.errstate(all="ignore"):
            gaps = [self._sizes(a - b) / self.scale for a, b in zip(one, other, strict=True)]
            return where(rows, row_max(larger(*gaps)), 0.0)

    def _share(self, point: Point) -> Array:
        """Return how much of the cotangent no step has got yet, per row."""
        rest = self._sizes(point.of_y) + self._sizes(point.of_z)
        whole = row_max(self.scale * self._sizes(self.cotangent))
        # Of a row that the loss sees through others only, it is a share of theirs.
        whole = where(whole > 0, whole, row_max(whole[None]))
        with np.errstate(all="ignore"):
            return row_max(self.scale * rest) / whole

    def _sizes(self, matrix: Float[Tensor, "B D"]) -> Float[Array, "B K"]:
        return norms_in_place(matrix, self.route.blocks)
