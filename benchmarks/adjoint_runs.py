"""Networks in training, whose adjoint equations are looked at.

Recipes are taken as they are but for the gradient, which is that of the equilibrium. `conv-fashion`
is trained on few images over many epochs, without flips, so that samples come again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from typing_extensions import override

from deqlab.gradients.adjoint import Adjoint
from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import GMRES
from deqlab.nn.deq import DEQ
from deqlab.recipes.base import Recipe
from deqlab.recipes.registry import RECIPES
from deqlab.recipes.task import Task
from deqlab.solution import Solution
from deqlab.solvers.anderson import Anderson, Recent
from deqlab.training.batches import Shuffled
from deqlab.training.layers import layers_of
from deqlab.training.rate_control import RateControl
from deqlab.training.warm_starts import WarmStarts

RTOL = 1e-2
"""What the adjoint is solved to: |J'v + u - v| over |u|."""

STEPS = 160
"""Steps of a training."""


@dataclass(frozen=True, kw_only=True)
class Watched(GMRES):
    """GMRES whose last equation can be looked at."""

    seen: list[Adjoint] = field(default_factory=list, compare=False, repr=False)

    @override
    def solve(self, equation: Adjoint, rtol: float) -> Solution:
        self.seen[:] = [equation]
        return super().solve(equation, rtol)


@dataclass(frozen=True, kw_only=True)
class Remembering(Anderson):
    """Anderson acceleration whose last window can be looked at."""

    windows: list[Recent] = field(default_factory=list, compare=False, repr=False)

    @override
    def init(self, z: Tensor) -> Recent:
        self.windows[:] = [super().init(z)]
        return self.windows[0]


class Training:
    """A network, and what a step of it takes.

    Args:
        task: What it is trained on.
        model: The network.
        loss: Returns the loss of the model on a batch.
        batches: The batches in order; the numbers of samples, if samples have numbers.
        num_samples: How many samples there are; None if they have no numbers.
        warm: Whether the adjoint starts at the best multiple of the v of the same samples.
    """

    def __init__(
        self,
        task: Task[Any],
        model: nn.Module,
        loss: Callable[[nn.Module, Any], Tensor],
        batches: Iterable[Any],
        *,
        num_samples: int | None = None,
        warm: bool = False,
    ) -> None:
        self.model, self.loss, self.batches, self.warm = model, loss, iter(batches), warm
        (layer,) = layers_of(model).values()
        self.layer: DEQ[Any] = layer
        self.method, old = Watched(rtol=RTOL), layer.solver
        self.solver = Remembering(rtol=old.rtol, max_steps=old.max_steps)
        layer.solver = self.solver
        rate = task.config.learning_rates[0]
        self.optimizer: Optimizer = task.optimizer(model, rate)
        self.schedule: LRScheduler = task.schedule(self.optimizer, rate, STEPS)
        target = task.config.rate
        self.control = RateControl(model, target=target) if target else None
        self.clip = task.config.clip or float("inf")
        self.kept = None if num_samples is None else WarmStarts(num_samples)
        self.mean: Tensor | None = None

    def backward(self) -> None:
        """Compute the gradients of the next batch."""
        self.samples = next(self.batches)
        start = self.previous()
        self.layer.gradient = Implicit(solver=self.method, warm_start=start if self.warm else None)
        self.optimizer.zero_grad()
        self.loss(self.model, self.samples).backward()

    def previous(self) -> Tensor | None:
        """Return the v of these samples from before; None if none is known."""
        if self.kept is None or self.mean is None:
            return None
        return self.kept.of(self.samples, torch.zeros(len(self.samples), self.mean.shape[1]))

    @property
    def adjoint(self) -> Solution:
        """The verdicts on the last v, and v."""
        assert self.layer.last is not None
        return self.layer.last.adjoint[-1]

    def update(self) -> None:
        """Keep v, and move the weights."""
        v = self.adjoint.matrix
        if self.kept is not None:
            self.kept.keep(self.samples, v)
        self.mean = v.mean(dim=0, keepdim=True)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.schedule.step()
        if self.control is not None:
            self.control.step()


def conv_fashion(*, warm: bool = False, count: int = 640, batch: int = 64) -> Training:
    """Return `conv-fashion` on few images."""
    recipe = RECIPES["conv-fashion"]
    config = replace(recipe.presets["quick"], train_size=count, flips=False)
    task = recipe.task(config)
    x, y = task.data.train
    batches = Shuffled(
        count,
        batch,
        epochs=-(-STEPS * batch // count),
        generator=torch.Generator().manual_seed(0),
        take=lambda rows: rows,
    )
    return Training(
        task,
        _made(recipe, config, task),
        lambda model, rows: cross_entropy(model(x[rows]), y[rows]),
        batches,
        num_samples=count,
        warm=warm,
    )


def full_batch(*, warm: bool = False) -> Training:
    """Return `conv-fashion` on 128 images, all in every step."""
    return conv_fashion(warm=warm, count=128, batch=128)


def picture(*, warm: bool = False) -> Training:
    """Return `picture`, whose pixels come again every four steps."""
    recipe = RECIPES["picture"]
    config = recipe.presets["quick"]
    task = recipe.task(config)
    batches = task.batches(torch.Generator().manual_seed(0))
    model = _made(recipe, config, task)
    return Training(task, model, task.loss, batches, num_samples=config.size**2, warm=warm)


def citeseer(*, warm: bool = False) -> Training:
    """Return `citeseer`, one sample that is all of a graph."""
    recipe = RECIPES["citeseer"]
    config = recipe.presets["quick"]
    task = recipe.task(config)
    model = _made(recipe, config, task)
    batches = cycle([torch.zeros(1, dtype=torch.int64)])
    loss = lambda model, rows: task.loss(model, None)  # noqa: E731
    return Training(task, model, loss, batches, num_samples=1, warm=warm)


def language() -> Training:
    """Return `language`, whose samples are new in every step."""
    recipe = RECIPES["language"]
    config = recipe.presets["quick"]
    task = recipe.task(config)
    batches = task.batches(torch.Generator().manual_seed(0))
    return Training(task, _made(recipe, config, task), task.loss, batches)


def _made(recipe: Recipe, config: Any, task: Task[Any]) -> nn.Module:  # noqa: ANN401
    torch.manual_seed(0)
    return recipe.arms["deq"].make(config, task.data).train()


AGAIN: dict[str, Callable[..., Training]] = {
    "citeseer, the graph in every step": citeseer,
    "picture, pixels every 4th step": picture,
    "conv-fashion, images every 10th step": conv_fashion,
    "conv-fashion, images in every step": full_batch,
}
"""Trainings whose samples come again."""

RUNS: dict[str, Callable[..., Training]] = {**AGAIN, "language, new samples": language}
