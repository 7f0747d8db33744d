"""One network that trains with one learning rate, and what is known of it then."""

from collections.abc import Callable, Iterator
from statistics import fmean

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from deqlab.costs import num_parameters
from deqlab.experiments.base import Job, Row
from deqlab.experiments.resuming import checkpoint
from deqlab.recipes.config import ImageConfig
from deqlab.recipes.images import Images
from deqlab.training.batches import Shuffled
from deqlab.training.checkpoints.checkpoint import Stateful
from deqlab.training.convergence_log import ConvergenceLog
from deqlab.training.equilibrium import Labelled, tested
from deqlab.training.fit import fit_rows
from deqlab.training.layers import knob_of, layers_of
from deqlab.training.loop import Loop
from deqlab.training.policies import POLICIES
from deqlab.training.rate_control import RateControl
from deqlab.training.solver_changes import SolverChanges


class Attempt:
    """A network with its optimiser.

    Args:
        model: Images to scores.
        config: How it is trained.
        images: On what.
        learning_rate: The peak of the cycle.

    Attributes:
        rows: What was known at each evaluation.
        log: What its solves told; None if it has no DEQ layer.
        changes: What training changed of the solvers of its layers, by name.
        tune: Is called twice an epoch with the network and a batch of images, before the step.
    """

    def __init__(
        self, model: nn.Module, config: ImageConfig, images: Images, learning_rate: float
    ) -> None:
        self.model, self.config, self.images = model, config, images
        self.learning_rate = learning_rate
        self.rows: list[Row] = []
        self.log: ConvergenceLog | None = None
        self.changes = {name: SolverChanges(layer) for name, layer in layers_of(model).items()}
        self.tune: Callable[[nn.Module, Tensor], None] | None = None
        self._control: RateControl | None = None
        if self.changes:
            self.log = ConvergenceLog(model, policy=POLICIES[config.policy])
            self._control = RateControl(model, target=config.rate) if config.rate else None

    def train(self, job: Job) -> Iterator[Row]:
        """Train, and yield a row at each evaluation; a job that was interrupted goes on."""
        config, (x, y) = self.config, self.images.train
        generator = torch.Generator().manual_seed(job.seed)

        def take(part: Int64[Tensor, " B"]) -> Labelled:
            return (_flipped(x[part], generator) if config.flips else x[part]), y[part]

        batches: Shuffled[Labelled] = Shuffled(
            len(x), config.batch_size, epochs=config.epochs, generator=generator, take=take
        )
        steps = len(batches)
        every = -(-steps // config.num_evaluations)
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=self.learning_rate, weight_decay=config.weight_decay
        )
        half = -(-batches.per_epoch // 2)

        def loss(batch: Labelled) -> tuple[Tensor, None]:
            images, classes = batch
            if self.tune is not None and (batches.taken - 1) % half == 0:
                self.tune(self.model, images)
            return cross_entropy(self.model(images), classes), None

        loop: Loop[Labelled, None] = Loop(
            loss=loss,
            optimizer=optimizer,
            schedule=torch.optim.lr_scheduler.OneCycleLR(
                optimizer, self.learning_rate, total_steps=steps
            ),
            clip=config.clip or None,
        )
        parts: dict[str, Stateful] = {"model": self.model, **loop.parts, "batches": batches}
        if self.log is not None:
            parts["log"] = self.log
        with checkpoint(job, f"rate-{self.learning_rate:g}", parts) as file:
            rows = fit_rows(
                self.model,
                loop,
                batches,
                control=self._control,
                log=self.log,
                evaluate=lambda model: tested(model, self.images.test) | self._knobs(),
                every=every,
                count_flops={*range(every, steps, every), steps},
                checkpoint=file,
                progress=False,
            )
            for row in rows:
                self.rows.append(row)
                yield row

    def validation_loss(self) -> float:
        """Return the loss that decides between learning rates; nan loses against any number."""
        assert self.images.validation is not None
        loss: float = tested(self.model, self.images.validation)["test_loss"]
        return float("inf") if loss != loss else loss

    def summary(self) -> Row:
        """Return the last metrics, and what a step costs."""
        return {
            **self.rows[-1],
            "learning_rate": self.learning_rate,
            "flops_per_step": round(fmean(row["flops_per_step"] for row in self.rows)),
            "parameters": num_parameters(self.model),
        }

    def _knobs(self) -> Row:
        """Return the knob of the layer whose feedback is turned down most."""
        knobs = [
            knob.value.item()
            for layer in layers_of(self.model).values()
            if (knob := knob_of(layer)) is not None
        ]
        return {"knob": min(knobs)} if knobs else {}


def _flipped(x: Float[Tensor, "B C H W"], generator: torch.Generator) -> Float[Tensor, "B C H W"]:
    mirrored = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored, x.flip(3), x)
