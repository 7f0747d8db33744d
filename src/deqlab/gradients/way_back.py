"""The way back through the steps of `Reversible`, and how far it can be trusted.

A step back amplifies rounding: along an eigenvector of J with the eigenvalue j by 1 / m and 1 / M,
where m and M, |m| <= |M|, are the roots s of

    s^2 - (2 (1 - b) + b^2 j^2) s + (1 - b)^2 = 0,    so that m M = (1 - b)^2.

|M| is also what a step leaves of the error of the value, and of the cotangents. So k steps back the
states are off by 1e-16 / |m|^k, and the gradient by 1e-16 |M / m|^k. At b = j = 1/2 the roots are
0.71 and 0.35: after 35 steps nothing is known of the states, and 0.71^35 = 6e-6 of the cotangents
is left, so that five digits of the gradient can be had, and no more. (Derived here, and tested.)

Hence the states are kept in float64, whatever the precision of f. Every residual on the way back is
compared with that on the way there, and the end of the way with the start: so it is known where a
row is lost, and about how wrong its gradient is.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.errors import ConvergenceError, ConvergenceWarning, OnFailure
from deqlab.gradients.base import MapWithArgs
from deqlab.gradients.tape import Tape
from deqlab.solvers.reversible import take
from deqlab.state import block_norms

LOST = 0.01
"""A residual that comes back with an error this large, relative to the state, is another one."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """What leads from the last pair back to the start, beside the states."""

    f: MapWithArgs
    args: tuple[object, ...]
    positions: tuple[int, ...]  # of the differentiable tensors in args
    captured: tuple[Tensor, ...]  # leaves that f reaches by itself
    damping: float
    updates: np.ndarray  # (B,), the steps that lead from the start to each row's value
    trace: np.ndarray  # (T, B), |f(z) - z| after 0, 1, ... steps
    blocks: Sequence[int]
    allowed: float
    on_failure: OnFailure


class WayBack:
    """The states of a solve in reverse, their cotangents, and what the inputs of f got so far."""

    def __init__(
        self,
        route: Route,
        y: Float[Tensor, "B D"],
        z: Float[Tensor, "B D"],
        start: Float[Tensor, "B D"],
        inputs: Sequence[Tensor],
        cotangent: Float[Tensor, "B D"],
    ) -> None:
        self.route, self.start, self.cotangent = route, start, cotangent
        self.y, self.z = y, z
        self.of_y, self.of_z = torch.zeros_like(cotangent), cotangent
        self.args = list(route.args)
        for position, tensor in zip(route.positions, inputs, strict=False):
            self.args[position] = tensor
        self.gradients: list[Tensor | None] = [None] * len(inputs)
        # A row that the loss does not see need not be walked.
        seen = np.asarray((cotangent != 0).any(dim=1).cpu().numpy())
        self.updates = np.where(seen, route.updates, 0)
        sizes = np.maximum(self._sizes(start), self._sizes(z))
        self.scale = np.where(sizes > 0, sizes, 1.0)  # (B, K), of each block of the state
        self.left = np.zeros(len(start))  # (B,), the share of the cotangent left with lost rows

    def back(self, step: int) -> None:
        """Take back one step, of every row that has taken as many."""
        b, known = self.route.damping, self.z
        tape, rows = self._arrive(lambda: self.y, self.updates >= step, known, None)
        of_y, of_z = self.of_y + self._pull(tape, b * self.of_z, rows), (1 - b) * self.of_z
        self.of_y, self.of_z = take(rows, of_y, self.of_y), take(rows, of_z, self.of_z)
        self.z = take(rows, (self.z - b * tape.out.detach()) / (1 - b), self.z)
        del tape  # before the next is recorded: they may be large
        tape, rows = self._arrive(lambda: self.z, rows, known, self.route.trace[step - 1])
        of_y, of_z = (1 - b) * self.of_y, self.of_z + self._pull(tape, b * self.of_y, rows)
        self.of_y, self.of_z = take(rows, of_y, self.of_y), take(rows, of_z, self.of_z)
        self.y = take(rows, (self.y - b * tape.out.detach()) / (1 - b), self.y)

    def errors(self) -> np.ndarray:
        """Return the estimated relative error of each row's gradient, once the way is walked.

        Of a row that is back at its start: how far off it came, times the share of the cotangent
        that is left; further up the way that product is smaller. Of a row that was lost: the share
        of the cotangent that was left then.
        """
        with np.errstate(all="ignore"):
            gaps = [self._sizes(state - self.start) / self.scale for state in (self.y, self.z)]
            drift = np.maximum(*gaps).max(axis=1, initial=0.0)
            back = np.where(self.updates > 0, drift * self._share(), 0.0)
        return np.maximum(self.left, back)

    def report(self) -> None:
        """Warn or raise if the gradient of a sample may be too far off."""
        route = self.route
        if route.on_failure == "ignore":
            return
        # A cotangent that is not finite is nobody's drift.
        known, error = np.isfinite(self._sizes(self.cotangent)).all(axis=1), self.errors()
        missed = known & ~(error <= route.allowed)
        if not missed.any():
            return
        message = self._describe(missed, error)
        if route.on_failure == "raise":
            raise ConvergenceError(message)
        warnings.warn(message, ConvergenceWarning, stacklevel=3)

    def _describe(self, missed: np.ndarray, error: np.ndarray) -> str:
        worst = int(np.where(missed, np.nan_to_num(error, nan=np.inf), -1.0).argmax())
        how = "lost on the way through" if self.left[worst] > 0 else "back at its start after"
        measured = (
            f"the gradient of fixed_point by Reversed: {int(missed.sum())} of {len(missed)} "
            f"samples drifted while their steps were taken back (worst: sample {worst}, {how} "
            f"{self.route.updates[worst]} steps, with an estimated relative error of "
            f"{error[worst]:.1e} in its gradient where {self.route.allowed:.1e} is allowed)."
        )
        if not np.isfinite(error[worst]):
            return f"{measured}\nThe derivative of f is inf or nan there: a root or a norm at zero?"
        amplified = 1 / (1 - self.route.damping)
        return (
            f"{measured}\nA step back amplifies rounding, by {amplified:.3g} or more: take fewer "
            "steps (max_steps, or a larger rtol of the solver), lower its damping, make f contract "
            "more, or evaluate f in float64; Implicit() and Unrolled() have no such limit."
        )

    def _arrive(
        self,
        state: Callable[[], Tensor],
        rows: np.ndarray,
        known: Float[Tensor, "B D"],
        residual: np.ndarray | None,
    ) -> tuple[Tape, np.ndarray]:
        """Evaluate f at a state; return the tape, and which of the rows have not been lost.

        Args:
            state: Returns the state, with rows that were lost in a safe place.
            rows: Those that have just been moved.
            known: Where f is known to be finite.
            residual: What |f(z) - z| was at this state; None if only its being finite is known.
        """
        tape = Tape.record(self.route.f, state(), self.args)
        found = np.linalg.norm(self._sizes(tape.out - tape.leaf), axis=1)
        with np.errstate(all="ignore"):
            gap = np.abs(found - (found if residual is None else residual))
            lost = rows & ~(gap <= LOST * np.linalg.norm(self.scale, axis=1))
        if not lost.any():
            return tape, rows
        self.left = np.where(lost, self._share(), self.left)
        self.updates = np.where(lost, 0, self.updates)
        self.y, self.z = take(lost, known, self.y), take(lost, known, self.z)
        return Tape.record(self.route.f, state(), self.args), rows & ~lost

    def _pull(self, tape: Tape, v: Float[Tensor, "B D"], rows: np.ndarray) -> Float[Tensor, "B D"]:
        """Return J'v for these rows of v alone, and add v' df/dtheta to the gradients."""
        zero = torch.zeros_like(v)
        if not tape.out.requires_grad:
            return zero
        v = take(rows, v, zero)
        sources = (tape.leaf, *tape.sources, *self.route.captured)
        product, *parts = torch.autograd.grad(
            tape.out, sources, v, retain_graph=True, allow_unused=True
        )
        for i, part in enumerate(parts):
            if part is not None:
                known = self.gradients[i]
                self.gradients[i] = part if known is None else known + part
        return zero if product is None else product

    def _share(self) -> np.ndarray:
        """Return how much of the cotangent no step has got yet, per row."""
        rest = self._sizes(self.of_y) + self._sizes(self.of_z)
        whole = (self.scale * self._sizes(self.cotangent)).max(axis=1, initial=0.0)
        with np.errstate(all="ignore"):
            share: np.ndarray = (self.scale * rest).max(axis=1, initial=0.0) / whole
        return share

    def _sizes(self, matrix: Float[Tensor, "B D"]) -> np.ndarray:
        return block_norms(matrix, self.route.blocks)
