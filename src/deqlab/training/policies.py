"""What happens when a layer leaves its equilibrium while it trains: values, each a few lines.

A policy is any function of a `Slip` that returns whether training goes on. Several of them are
asked in their order.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from deqlab.arguments import check_count, check_number
from deqlab.errors import speak
from deqlab.nn.deq import DEQ
from deqlab.training.layers import knob_of

ADVICE = (
    "What is trained there is no DEQ any more: control its rate (training.RateControl), lower the "
    "learning rate, or allow more steps (training.MoreSteps)."
)


@dataclass(frozen=True, kw_only=True)
class Slip:
    """A layer that is off its equilibrium.

    Attributes:
        layer: The layer.
        name: Its dotted name in the model; "" for the model itself.
        step: The step of training, counted from 1.
        window: Over how many steps the numbers below are taken.
        converged: The share of samples at their equilibrium.
        wanted: What it should be at least.
        excess: The 90 % quantile of the residuals in units of their tolerances.
        rate: The median factor by which residuals fell in a step.
        times: How often this layer has slipped, this time included.
    """

    layer: DEQ[Any]
    name: str
    step: int
    window: int
    converged: float
    wanted: float
    excess: float
    rate: float
    times: int

    def __str__(self) -> str:
        converged, wanted = 100 * self.converged, 100 * self.wanted
        return (
            f"{self.layer.called} is off its equilibrium at step {self.step}: in the last "
            f"{self.window} steps {converged:.1f} % of the samples converged ({wanted:g} % are "
            f"wanted), residuals are up to {self.excess:.2g} times their tolerance (90 % quantile) "
            f"and fall by a factor of {self.rate:.2g} a step. {ADVICE}"
        )


Policy: TypeAlias = Callable[[Slip], bool]
"""Acts on a slip; returns whether training goes on."""


class OffEquilibriumError(RuntimeError):
    """A layer left its equilibrium, and the policy was to raise."""


@dataclass(frozen=True)
class Warn:
    """Warn once for each layer, and go on."""

    def __call__(self, slip: Slip) -> bool:
        """Act."""
        if slip.times == 1:
            speak(str(slip), str(slip), on_failure="warn")
        return True


@dataclass(frozen=True)
class Raise:
    """Raise `OffEquilibriumError`."""

    def __call__(self, slip: Slip) -> bool:
        """Act."""
        raise OffEquilibriumError(str(slip))


@dataclass(frozen=True)
class Stop:
    """End training: the log returns False, and `fit` returns what it has."""

    def __call__(self, slip: Slip) -> bool:
        """Act."""
        text = f"{slip} Training stops."
        speak(text, text, on_failure="warn")
        return False


@dataclass(frozen=True)
class MoreSteps:
    """Let the solver take more steps; warn once when it has as many as are allowed.

    Attributes:
        factor: By what the limit grows each time, a whole number of at least 2.
        most: The largest limit.
    """

    factor: int = 2
    most: int = 320

    def __post_init__(self) -> None:
        check_count("factor", self.factor)
        check_count("most", self.most)
        if self.factor < 2:
            raise ValueError(f"factor must be at least 2, got {self.factor}")

    def __call__(self, slip: Slip) -> bool:
        """Act."""
        solver = slip.layer.solver
        if solver.max_steps >= self.most:
            text = f"{slip.layer.called} may take {solver.max_steps} steps, and gets no more"
            speak(str(slip), f"{text}. {ADVICE}", on_failure="warn")
            return True
        steps = min(self.most, self.factor * solver.max_steps)
        slip.layer.solver = replace(solver, max_steps=steps)
        return True


@dataclass(frozen=True)
class Shrink:
    """Turn the knob of the cell down; see `nn.knob`.

    Attributes:
        factor: By what it is multiplied, between 0 and 1.
    """

    factor: float = 0.8

    def __post_init__(self) -> None:
        check_number("factor", self.factor)
        if not 0 < self.factor < 1:
            raise ValueError(f"factor must lie between 0 and 1, got {self.factor}")

    def __call__(self, slip: Slip) -> bool:
        """Act.

        Raises:
            OffEquilibriumError: The cell has no knob.
        """
        knob = knob_of(slip.layer)
        if knob is None:
            raise OffEquilibriumError(f"{slip} Its cell has no knob that could be turned down.")
        knob.value.mul_(self.factor)
        return True


POLICIES: dict[str, Policy] = {
    "warn": Warn(),
    "raise": Raise(),
    "more_steps": MoreSteps(),
    "shrink": Shrink(),
    "stop": Stop(),
}
"""The policies by the names that a command line knows them by."""
