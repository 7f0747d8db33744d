"""What a regulariser of the Jacobian is: a term of the loss, evaluated at an equilibrium.

The penalty is a function of J = df/dz at z*, one number a sample and their mean over the batch. z*
is taken as it is: no gradient flows through it, as in Bai, Koltun & Kolter (2021), "Stabilizing
Equilibrium Models by Jacobian Regularization", whose term this generalises. Gradients flow to the
parameters of f, and to its inputs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.arguments import SettingsByName, check_number
from deqlab.containers import State
from deqlab.maps.flat_map import FlatMap
from deqlab.state import Layout

Schedule: TypeAlias = Callable[[int], float]
"""The factor of a penalty at a step of training, 0 or more."""


@dataclass(frozen=True, kw_only=True)
class Regularizer(SettingsByName, ABC):
    """weight * schedule(step) * the mean over samples of a penalty.

    Attributes:
        weight: The factor of the penalty, 0 or more.
        probability: How often it is evaluated, in (0, 1]. Where it is, it is divided by this
            number: its mean does not depend on it, only its cost and its noise. (The weight gamma
            and the frequency p of Bai et al. are a weight of gamma p.)
        schedule: A function of the step that multiplies the weight; None for 1.
    """

    weight: float = 1.0
    probability: float = 1.0
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        check_number("weight", self.weight)
        check_number("probability", self.probability)
        if not 0 <= self.weight < float("inf"):
            raise ValueError(f"weight must be 0 or more, and finite, got {self.weight}")
        if not 0 < self.probability <= 1:
            raise ValueError(f"probability must be in (0, 1], got {self.probability}")

    def __call__(
        self,
        f: Callable[..., Any],
        z_star: State,
        *inputs: object,
        step: int = 0,
        generator: torch.Generator | None = None,
        batched: bool = True,
        **keywords: object,
    ) -> Float[Tensor, ""]:
        """Return the penalty, to be added to a loss; 0 where it is not evaluated.

        Args:
            f: A map, called as f(z, *inputs); or a `DEQ`, whose map at these inputs is taken.
            z_star: Its equilibrium; any other point is as good, and another J.
            inputs: What f takes beside z; of a DEQ what it was called with.
            step: The number of the training step, for the schedule.
            generator: Source of the random numbers; None is torch's global one. On several
                processes each draws its own.
            batched: False if the whole state is one sample, as in `fixed_point`; a DEQ knows.
            keywords: Inputs of a DEQ by their names.

        Raises:
            NotImplementedError: The penalty differentiates twice, and f has no second derivative.
            ValueError: The schedule is negative or not finite, or f does not keep the state.
        """
        factor = self._factor(step)
        args: tuple[object, ...] = inputs
        equation = getattr(f, "equation", None)
        if callable(equation):
            found = equation(z_star, *inputs, **keywords)
            batched = bool(getattr(f, "batched", True)) and not found.is_vector
            f, z_star, args = found.f, found.z0, found.args
        layout = Layout.of(z_star, batched=batched)
        z = layout.flatten(z_star).detach()
        if factor == 0 or self._skips(z, generator):
            return z.new_zeros(())
        flat = FlatMap(cast("Callable[..., State]", f), layout, z.device)
        penalties = self.penalties(flat, z, args, generator)
        return factor / self.probability * penalties.mean()

    @abstractmethod
    def penalties(
        self,
        f: FlatMap,
        z: Float[Tensor, "B D"],
        args: tuple[object, ...],
        generator: torch.Generator | None,
    ) -> Float[Tensor, " B"]:
        """Return the penalty of each sample, differentiable in the parameters of f and in args."""

    def _factor(self, step: int) -> float:
        scale = 1.0 if self.schedule is None else float(self.schedule(step))
        if not 0 <= scale < float("inf"):
            raise ValueError(f"schedule must be 0 or more, and finite, got {scale} at step {step}")
        return self.weight * scale

    def _skips(self, z: Tensor, generator: torch.Generator | None) -> bool:
        if z.numel() == 0:
            return True
        if self.probability == 1:
            return False
        device = "cpu" if generator is None else generator.device
        return bool(torch.rand((), generator=generator, device=device) >= self.probability)


def signs(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return independent random signs: of all v with E[vv'] = I those of least variance."""
    device = like.device if generator is None else generator.device
    coins = torch.empty(like.shape, dtype=like.dtype, device=device)
    return coins.bernoulli_(0.5, generator=generator).mul_(2).sub_(1).to(like.device)


def gaussian(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return independent random numbers of mean 0 and variance 1."""
    device = like.device if generator is None else generator.device
    numbers = torch.randn(like.shape, dtype=like.dtype, device=device, generator=generator)
    return numbers.to(like.device)


def sizes(z: Float[Tensor, "B D"]) -> Float[Tensor, "B 1"]:
    """Return the root mean square of each sample; 1 for one that is zero."""
    rms = z.square().mean(dim=1, keepdim=True).sqrt()
    return torch.where(rms > 0, rms, 1.0)
