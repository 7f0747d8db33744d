"""What a solve returns: the value, and a verdict for each sample."""

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import TypeVar

from deqlab.residual_plot import draw_residuals

if TYPE_CHECKING:
    from matplotlib.axes import Axes

StateT = TypeVar("StateT", default=Tensor)
"""The type of a state: that of z0, and so that of the value."""


class Status(IntEnum):
    """How the solve of one sample ended."""

    CONVERGED = 0
    """|f(value) - value| is within the tolerance."""
    MAX_STEPS = 1
    """The steps ran out before anything else was certain."""
    STAGNATED = 2
    """For `patience` steps the residual did not fall, and the iterate came no farther."""
    DIVERGED = 3
    """The residual grew by 29 orders over many steps, and grew on."""
    NONFINITE = 4
    """f returned inf or nan for this sample."""


@dataclass(frozen=True, kw_only=True)
class Solution(Generic[StateT]):
    """A fixed point per sample, and how far it can be trusted.

    Its type names that of the value: `Solution[Tensor]`, or `Solution[tuple[Tensor, Tensor]]`.

    Attributes:
        value: The iterate at which the sample converged, else its iterate of least residual; it
            has the structure of z0 and carries the gradient.
        residual: |f(value) - value|, the Euclidean norm at exactly that iterate, also where rows
            depend on each other.
        tolerance: What `residual` was allowed to be: atol + rtol min(max(|f(value)|, eps s), 10 s)
            with s = max(|z0|, |f(z0)|), see `solvers.loop.criterion`. In a state of several tensors
            each is held to its own; this is then the root of the sum of their squares.
        status: A `Status` code per sample.
        steps: Iterations until the sample's verdict fell.
        evaluations: Calls of f, for the whole batch.
        products: Products with the Jacobian of f that the method took beside.
        trace: |f(z) - z| at every iterate, one row a step; a finished sample stands still.
        error: An estimate of |value - z*| / |value|, in the worst block, if an accuracy was asked
            for; see `solvers.loop.error_control`. nan for samples that have not converged.
        correction: An estimate of z* - value, likewise; zero for samples that have not converged.
        states: The iterates that the solver's `record` names, in its order; a finished sample
            stands still. Each carries the gradient of one evaluation of f at it, for losses on
            intermediate states.
        aux: What f returned beside the state at `value`, with `has_aux`; else None.
        adjoint: One `Solution` of the adjoint system for each backward pass that went through
            `value`, and for each tangent of it; empty before the first, and for gradients that
            solve none. Under `torch.func.vmap` each has the rows of all problems.
    """

    value: StateT
    residual: Float[Tensor, " B"]
    tolerance: Float[Tensor, " B"]
    status: Int[Tensor, " B"]
    steps: Int[Tensor, " B"]
    evaluations: int
    trace: Float[Tensor, "T B"]
    products: int = 0
    error: Float[Tensor, " B"] | None = None
    correction: StateT | None = None
    states: tuple[StateT, ...] = ()
    aux: Any = None
    adjoint: "list[Solution[Tensor]]" = field(default_factory=list, compare=False, repr=False)

    @property
    def converged(self) -> Bool[Tensor, " B"]:
        """True for each sample whose residual is within its tolerance."""
        return self.status == Status.CONVERGED

    @property
    def rate(self) -> Float[Tensor, " B"]:
        """The mean factor by which the residual of each sample fell in a step, until its verdict.

        That of the method, not of f: acceleration hides how slowly f itself contracts. 0 where
        there was one iterate only; nan where the trace is empty, as in a compiled region.
        """
        if not len(self.trace):
            return torch.full_like(self.trace.sum(dim=0), torch.nan)
        last = (self.steps.to(self.trace.device) - 1).clamp(0, len(self.trace) - 1)
        fell = self.trace.gather(0, last[None])[0] / self.trace[0]
        return torch.where(last > 0, fell.pow(1 / last.clamp_min(1)), 0.0)

    @property
    def gradient_error(self) -> Float[Tensor, " B"] | None:
        """Estimated relative error of the last gradient that went through `value`, per sample.

        That of z* and that of the adjoint there, added in squares; None before the first backward
        pass, and unless the gradient was asked for an accuracy.
        """
        return self.adjoint[-1].error if self.adjoint else None

    def plot(self, axes: "Axes | None" = None) -> "Axes":
        """Draw the residual of each sample against steps, and what it may be.

        Samples that missed their tolerance are dashed, and of more than 50 samples those of the
        largest residuals are drawn. Tolerances differ by sample: a line stands at the largest, and
        a shade reaches down to the least.

        Args:
            axes: Where to draw, of matplotlib; None makes a figure.

        Returns:
            The axes.

        Raises:
            ValueError: There is no trace, as in a compiled region.
        """
        return draw_residuals(
            self.trace.detach().cpu(),
            steps=self.steps.cpu(),
            tolerance=self.tolerance.detach().cpu(),
            converged=self.converged.cpu(),
            axes=axes,
        )

    def verdicts(self) -> "Solution[None]":
        """Return a copy without the value, the correction, the recorded states and aux.

        What is left holds no graph; `adjoint` is the same list, which backward passes add to.
        """
        left_out: dict[str, Any] = {"value": None, "correction": None, "states": (), "aux": None}
        kept = {name: each for name, each in vars(self).items() if name not in left_out}
        copied = {name: each.clone() for name, each in kept.items() if isinstance(each, Tensor)}
        return cast("Solution[None]", replace(cast("Solution[Any]", self), **left_out | copied))

    @property
    def matrix(self) -> Float[Tensor, "B D"]:
        """The value as the one matrix that solvers work on; before `fixed_point` unfolds it."""
        assert isinstance(self.value, Tensor)
        return self.value

    @property
    def correction_matrix(self) -> Float[Tensor, "B D"]:
        """The correction, likewise."""
        assert isinstance(self.correction, Tensor)
        return self.correction

    @property
    def state_matrices(self) -> list[Float[Tensor, "B D"]]:
        """The recorded states, likewise."""
        return [state for state in self.states if isinstance(state, Tensor)]

    def __repr__(self) -> str:
        counts = torch.bincount(self.status.cpu(), minlength=len(Status)).tolist()
        verdicts = ", ".join(
            f"{count} {status.name}" for status, count in zip(Status, counts, strict=True) if count
        )
        worst = f"{self.residual.max().item():.1e}" if len(self.residual) else "none"
        return (
            f"Solution({verdicts or 'no samples'}; worst residual {worst}; "
            f"{self.evaluations} evaluations)"
        )
