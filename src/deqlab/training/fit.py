"""Training a network with DEQ layers from the first step to the last, and no framework.

`fit` puts together what stands beside it: the loop (`loop`), what keeps a DEQ at its equilibrium
(`rate_control`), what its solves tell (`convergence_log`), a moving average of the weights, and a
bar that says how far it is. Optimisers, schedules and data loaders are torch's own.
"""

import time
import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Sized
from dataclasses import asdict, dataclass, field
from math import isfinite
from statistics import fmean
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from deqlab.arguments import check_count, check_function
from deqlab.training.checkpoints.checkpoint import SHORT, Checkpoint
from deqlab.training.convergence_log import ConvergenceLog
from deqlab.training.early_stop import EarlyStop
from deqlab.training.loop import BatchT, Loop, Step
from deqlab.training.progress import Bar
from deqlab.training.rate_control import RateControl

Row: TypeAlias = dict[str, Any]
"""What is known at an evaluation: plain numbers by name."""


def fit(
    model: nn.Module,
    loss: Callable[[BatchT], Tensor],
    batches: Iterable[BatchT],
    *,
    optimizer: Optimizer,
    schedule: LRScheduler | None = None,
    clip: float | None = None,
    accumulate: int = 1,
    autocast: torch.dtype | None = None,
    **options: Any,  # noqa: ANN401
) -> list[Row]:
    """Train a network, and return a row for each evaluation.

    Args:
        model: The network, trained in place.
        loss: Returns the loss of a batch, ().
        batches: A data loader, or any iterable of batches.
        optimizer: The optimiser, which holds the parameters.
        schedule: As in `Loop`, as are `clip`, `accumulate` and `autocast`.
        clip: Likewise.
        accumulate: Likewise.
        autocast: Likewise.
        options: Those of `fit_rows`.

    Raises:
        TypeError: The loss is no function or returns no tensor, the optimiser is none of torch's,
            or `evaluate` returns no dict.
        ValueError: The optimiser holds no parameter of the model, or there is no batch.

    Example:
        >>> import torch
        >>> from deqlab import DEQ
        >>> from deqlab.nn import DenseCell
        >>> model = torch.nn.Sequential(DEQ(DenseCell(2, 8)), torch.nn.Linear(8, 1))
        >>> x = torch.randn(64, 2)
        >>> rows = fit(
        ...     model,
        ...     lambda x: (model(x) - x.prod(dim=1, keepdim=True)).square().mean(),
        ...     [x] * 20,
        ...     optimizer=torch.optim.Adam(model.parameters(), lr=1e-2),
        ...     log=ConvergenceLog(model),
        ...     every=10,
        ...     progress=False,
        ... )
        >>> [row["step"] for row in rows], rows[-1]["train_converged"]
        ([10, 20], 1.0)
    """
    check_function("loss", loss, example="lambda batch: model(batch).square().mean()")
    loop: Loop[BatchT, None] = Loop(
        loss=lambda batch: (loss(batch), None),
        optimizer=optimizer,
        schedule=schedule,
        clip=clip,
        accumulate=accumulate,
        autocast=autocast,
    )
    held = {id(each) for group in optimizer.param_groups for each in group["params"]}
    if held.isdisjoint(map(id, model.parameters())):
        raise ValueError("optimizer holds no parameter of the model: make it of model.parameters()")
    return list(fit_rows(model, loop, batches, **options))


def fit_rows(
    model: nn.Module,
    loop: Loop[BatchT, Any],
    batches: Iterable[BatchT],
    *,
    steps: int | None = None,
    control: RateControl | None = None,
    log: ConvergenceLog | None = None,
    average: AveragedModel | None = None,
    evaluate: Callable[[nn.Module], Row] | None = None,
    every: int | None = None,
    early_stop: EarlyStop | None = None,
    count_flops: Container[int] = (),
    checkpoint: Checkpoint | None = None,
    progress: bool = True,
) -> Iterator[Row]:
    """Train a network, and yield a row at each evaluation; the network is then as the row says.

    Nothing is trained before the first row is asked for.

    Args:
        model: The network, trained in place.
        loop: The steps.
        batches: The batches of the steps in order; training ends with them.
        steps: The number of steps after which it ends before; None is no such number.
        control: Keeps its layers at their equilibrium.
        log: Keeps what their solves tell; its policies may end training. Of missed samples each
            layer warns once, and the end of training says in how many steps there were some.
        average: A moving average of the weights, which is then what is evaluated.
        evaluate: Returns metrics of a network, called in eval mode and without a tape.
        every: Steps from one evaluation to the next; None is one evaluation, at the end.
        early_stop: Ends training where a metric no longer improves.
        count_flops: The numbers of steps whose floating-point operations are counted.
        checkpoint: Is written now and then, and where there is one training goes on from it: its
            parts are the model, `loop.parts`, the batches, the log, the average and the generators
            (see `Checkpoint`). The rows from before come first.
        progress: Whether a bar is shown on a terminal.

    Yields:
        "step", "train_loss" (the mean since the last row), what the log and `evaluate` tell,
        "flops_per_step" where they were counted, and "seconds" of training, without evaluations.
    """
    if every is not None:
        check_count("every", every)
    trained = model if average is None else average
    total = len(batches) // loop.accumulate if isinstance(batches, Sized) else None
    state = _State.of(checkpoint, total if steps is None else steps)
    going_on = all([early_stop is None or early_stop(row) for row in state.rows])
    yield from list(state.rows)

    def row() -> Row:
        told = {"step": state.step, **state.row(), **({} if log is None else log.row())}
        told |= {} if evaluate is None else evaluated(trained, evaluate)
        state.rows.append(told | {"seconds": state.seconds})
        return state.rows[-1]

    model.train()
    with Bar(state.num_steps, shown=progress) as bar:
        for taken in (
            loop.run(batches, count_flops=count_flops, taken=state.step) if going_on else ()
        ):
            start = time.perf_counter()
            if control is not None:
                control.step()
            if average is not None:
                average.update_parameters(model)
            ends = log is not None and not log.step()
            state.add(taken, time.perf_counter() - start)
            if not isfinite(state.losses[-1]) and state.was_finite:
                state.was_finite = False
                warnings.warn(
                    f"the loss is {state.losses[-1]} at step {taken.index}, and so may be the "
                    "weights now: lower the learning rate, or clip gradients",
                    stacklevel=2,
                )
            bar.step(taken.index, taken.loss, log)
            ends = ends or taken.index == steps
            if not ends and every is not None and taken.index % every == 0:
                yield row()
                ends = early_stop is not None and not early_stop(state.rows[-1])
            if checkpoint is not None and checkpoint.due:
                checkpoint.save(asdict(state))
            if ends:
                break
        if not state.step:
            raise ValueError(
                "batches held not one step, and nothing was trained: is the data set smaller than "
                "a batch, or the iterator used up?"
            )
        if state.losses:
            yield row()
    if log is not None:
        log.say_missed()
    if checkpoint is not None and checkpoint.unsaved >= SHORT:
        checkpoint.save(asdict(state))


@dataclass
class _State:
    """Where a training is: what a checkpoint keeps beside its parts."""

    num_steps: int | None
    step: int = 0
    losses: list[float] = field(default_factory=list)  # since the last row, as are the FLOPs
    flops: list[int] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    was_finite: bool = True

    @classmethod
    def of(cls, checkpoint: Checkpoint | None, num_steps: int | None) -> "_State":
        found = None if checkpoint is None else checkpoint.load()
        return cls(num_steps) if found is None else cls(**found)

    def add(self, taken: Step[Any], seconds: float) -> None:
        """Count a step, and what followed it."""
        self.step = taken.index
        self.losses.append(taken.loss.item())
        self.flops += [] if taken.flops is None else [taken.flops]
        self.seconds += taken.seconds + seconds

    def row(self) -> Row:
        """Return what is known of the steps since the last row, and forget it."""
        told: Row = {"train_loss": fmean(self.losses)}
        told |= {"flops_per_step": round(fmean(self.flops))} if self.flops else {}
        self.losses, self.flops = [], []
        return told


def evaluated(model: nn.Module, evaluate: Callable[[nn.Module], Row]) -> Row:
    """Return what `evaluate` tells of a model in eval mode, which is left in the mode it was in."""
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            told = evaluate(model)
    finally:
        for part, training in modes.items():
            part.training = training
    if not isinstance(told, dict):
        raise TypeError(f"evaluate must return a dict of metrics by name, got {told!r}")
    return told
