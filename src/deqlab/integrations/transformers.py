"""Rate control and the convergence log in a training by the Trainer of Hugging Face."""

from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState
from typing_extensions import override

from deqlab.integrations.attached import Attached, MakesControl, MakesLog
from deqlab.training.convergence_log import ConvergenceLog


class EquilibriumCallback(TrainerCallback, ExportableState):  # type: ignore[misc]  # may be absent
    """Keeps the DEQ layers of a model at their equilibrium, and logs how their solves go.

    After each step of the optimiser, however many batches it accumulates, the rate is controlled
    and the policies of the log act; one that ends training sets `should_training_stop`. Whenever
    the Trainer logs its loss, the numbers of each layer are added to that, and to its history,
    under "layer/number", such as "encoder.0/train_converged", and those of the control under
    "layer/control/number". Checkpoints hold the log; the knobs are saved with the weights.

    The Trainer calls what `report_to` names before any callback of the user. So that a tracker
    gets these numbers, set `report_to="none"`, and pass its callback after this one.

    Args:
        control: Makes the rate control of the model that is trained: `RateControl`, or
            `partial(RateControl, target=0.4)`; None is none.
        log: Makes its log, likewise.

    Attributes:
        convergence: The log of the training, which stays when that has ended; None before.
    """

    def __init__(self, *, control: MakesControl | None, log: MakesLog | None) -> None:
        self._control, self._log = control, log
        self._attached: Attached | None = None

    @property
    def convergence(self) -> ConvergenceLog | None:
        """The log of the training."""
        return None if self._attached is None else self._attached.log

    @override
    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: nn.Module,
        **others: Any,
    ) -> None:
        if self._attached is not None:
            self._attached.close()  # of a training that raised
        # A training that is new has step 0; its state may hold what an earlier one left here.
        stored = state.stateful_callbacks.get(type(self).__name__) if state.global_step else None
        told = None if stored is None else stored["attributes"]
        self._attached = Attached(model, self._control, self._log, told)

    @override
    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **others: Any,
    ) -> None:
        if self._attached is not None and not self._attached.step():
            control.should_training_stop = control.should_log = True

    @override
    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        logs: dict[str, float],
        **others: Any,
    ) -> None:
        if self._attached is not None and logs.keys() & {"loss", "train_loss"}:  # no evaluation
            numbers = self._attached.numbers()
            logs |= numbers
            state.log_history[-1] |= numbers

    @override
    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **others: Any,
    ) -> None:
        if self._attached is not None:
            self._attached.close()

    @override
    def state(self) -> dict[str, Any]:
        attached = self._attached
        return {"args": {}, "attributes": {} if attached is None else attached.state_dict()}
