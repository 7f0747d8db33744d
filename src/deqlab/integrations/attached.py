"""What keeps a DEQ at its equilibrium, attached to a model that another package trains."""

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import nn

from deqlab.integrations.scalars import scalars
from deqlab.training.convergence_log import ConvergenceLog
from deqlab.training.rate_control import RateControl

MakesControl: TypeAlias = Callable[[nn.Module], RateControl]
"""Returns the rate control of the model that is trained: `RateControl`, or with settings."""

MakesLog: TypeAlias = Callable[[nn.Module], ConvergenceLog]
"""Returns the log of the model that is trained: `ConvergenceLog`, or with settings."""


class Attached:
    """The rate control and the log of a model, from the first step of a training to the last.

    They are made when training starts, of the model as it is then: frameworks move models to
    devices, wrap them, and send them to other processes before.

    Args:
        model: The model that is trained.
        control: Makes its rate control; None is none.
        log: Makes its log; None is none.
        state: What `state_dict` returned in a training that goes on here; None where it is new.

    Raises:
        ValueError: There is neither; or the model has no DEQ layer, or one without a knob.
    """

    def __init__(
        self,
        model: nn.Module,
        control: MakesControl | None,
        log: MakesLog | None,
        state: dict[str, Any] | None,
    ) -> None:
        if control is None and log is None:
            raise ValueError("control and log are both None: the callback would do nothing")
        self.control = None if control is None else control(model)
        self.log = None if log is None else log(model)
        if state and self.log is not None:
            self.log.load_state_dict(state)

    def step(self) -> bool:
        """Act after a step of the optimiser; return whether training goes on."""
        if self.control is not None:
            self.control.step()
        return self.log is None or self.log.step()

    def numbers(self) -> dict[str, float]:
        """Return what the log holds since the last call, and the rate and the knob as they are."""
        found: dict[str, float] = {}
        if self.log is not None:
            seen = len(self.log.rows)
            self.log.row()
            for row in self.log.rows[seen:]:
                found |= scalars(row)
        if self.control is not None:
            for name, numbers in self.control.log().items():
                named = {f"control/{key}": value for key, value in numbers.items()}
                found |= scalars({"layer": name, **named})
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps beside the weights, in which the knobs are."""
        return {} if self.log is None else self.log.state_dict()

    def close(self) -> None:
        """Leave the layers as they were, their knobs where they are."""
        for each in (self.control, self.log):
            if each is not None:
                each.close()
