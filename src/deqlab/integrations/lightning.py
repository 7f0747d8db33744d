"""Rate control and the convergence log in a training by Lightning."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

from deqlab.integrations.attached import Attached, MakesControl, MakesLog
from deqlab.training.convergence_log import ConvergenceLog


class EquilibriumCallback(Callback):  # type: ignore[misc]  # Lightning may be absent
    """Keeps the DEQ layers of a LightningModule at their equilibrium, and logs how their solves go.

    After each step of an optimiser, however many batches it accumulates, the rate is controlled
    and the policies of the log act; one that ends training sets `trainer.should_stop`. Every
    `log_every_n_steps` steps the numbers of each layer are logged by `log_dict` under
    "layer/number", such as "net.0/train_converged", and those of the control under
    "layer/control/number". Checkpoints hold the log; the knobs are saved with the weights.

    Args:
        control: Makes the rate control of the module that is trained: `RateControl`, or
            `partial(RateControl, target=0.4)`; None is none.
        log: Makes its log, likewise.

    Attributes:
        convergence: The log of the training, which stays when that has ended; None before.
    """

    def __init__(self, *, control: MakesControl | None, log: MakesLog | None) -> None:
        self._control, self._log = control, log
        self._attached: Attached | None = None
        self._state: dict[str, Any] | None = None
        self._global_step = 0
        self._steps = 0

    @property
    def convergence(self) -> ConvergenceLog | None:
        """The log of the training."""
        return None if self._attached is None else self._attached.log

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_end(trainer, pl_module)  # of a training that raised
        self._attached = Attached(pl_module, self._control, self._log, self._state)
        self._state = None
        self._global_step = self._steps = trainer.global_step

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if trainer.global_step == self._global_step or self._attached is None:
            return  # gradients accumulate
        self._global_step, self._steps = trainer.global_step, self._steps + 1
        if not trainer.strategy.reduce_boolean_decision(self._attached.step()):
            trainer.should_stop = True  # of all processes, if one of them says so
        if trainer.should_stop or self._steps % trainer.log_every_n_steps == 0:
            pl_module.log_dict(self._attached.numbers(), on_step=True, on_epoch=False)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._attached is not None:
            self._attached.close()

    @override
    def state_dict(self) -> dict[str, Any]:
        return {} if self._attached is None else self._attached.state_dict()

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._state = state_dict
