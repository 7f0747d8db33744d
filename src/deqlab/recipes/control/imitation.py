"""An expert's inputs at states, and how near a learned controller comes to them.

All controllers map states (S, N, n) of S systems to inputs (S, N, k), one controller a system with
weights of its own: they learn in one run, and their losses are added up.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.costs import num_parameters
from deqlab.experiments.base import Row
from deqlab.nn.models.twins import size_of_equal_flops, size_of_equal_parameters
from deqlab.recipes.by_steps import StepsTask
from deqlab.recipes.control.config import ControlConfig
from deqlab.recipes.task import Metric
from deqlab.training.batches import Drawn
from deqlab.training.equilibrium import verdicts
from deqlab.training.fit import evaluated


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """States and inputs.

    Attributes:
        x: States, (S, N, n).
        u: What the expert does there, (S, N, k).
    """

    x: Tensor
    u: Tensor

    def errors(self, found: Float[Tensor, "S N k"]) -> Float[Tensor, " S"]:
        """Return the relative error of inputs, in root mean square, system by system."""
        off: Tensor = torch.linalg.matrix_norm(found - self.u) / torch.linalg.matrix_norm(self.u)
        return off


class ImitationTask(StepsTask[Shown]):
    """What an expert shows, learned by its mean square error.

    Attributes:
        train: What is shown.
        choice: What decides between learning rates.
        test: What the expert does at other states.
    """

    metric: Metric = Metric(
        field="imitation_error",
        name="a relative error of its inputs",
        higher=False,
        show=lambda error: f"{100 * error:.3g}",
        unit=" %",
        show_gap=lambda gap: f"{100 * gap:+.3g}",
        gap_unit=" points",
    )
    train: Shown
    choice: Shown
    test: Shown

    def __init__(self, config: ControlConfig) -> None:
        super().__init__(config)
        self.config: ControlConfig = config
        self.data: None = None

    @abstractmethod
    def known(self, model: nn.Module) -> dict[str, Tensor]:
        """Return what is known of each system's controller beside its inputs, (S,) by name."""

    @override
    def batches(self, generator: torch.Generator) -> Drawn[Shown]:
        return Drawn(self.config.steps, generator, self._draw)

    @override
    def loss(self, model: nn.Module, batch: Shown) -> Tensor:
        size = self.train.u.square().mean(dim=(1, 2))
        off: Tensor = (model(batch.x) - batch.u).square().mean(dim=(1, 2)) / size
        return off.sum()

    @override
    def inputs(self, batch: Shown) -> Tensor:
        return batch.x

    @override
    def tested(self, model: nn.Module) -> Row:
        found = evaluated(model, lambda model: {"known": self.known(model)})["known"]
        return self._on(model, self.test) | {
            name: each.median().item() for name, each in found.items()
        }

    @override
    def validated(self, model: nn.Module) -> float:
        return float(self._on(model, self.choice)["imitation_error"])

    @override
    def examined(self, model: nn.Module) -> Iterator[Row]:
        yield from super().examined(model)
        found = evaluated(
            model,
            lambda model: {
                "imitation_error": self.test.errors(model(self.test.x)),
                **self.known(model),
            },
        )
        for system in range(len(self.test.x)):
            row = {name: each[system].item() for name, each in found.items()}
            yield {"kind": "system", "system": system, **row}

    @override
    def about(self) -> dict[str, Any]:
        return {}

    def _draw(self, generator: torch.Generator) -> Shown:
        total = self.train.x.shape[1]
        if self.config.batch_size >= total:
            return self.train
        rows = torch.randperm(total, generator=generator)[: self.config.batch_size]
        return Shown(x=self.train.x[:, rows], u=self.train.u[:, rows])

    def _on(self, model: nn.Module, shown: Shown) -> Row:
        def told(model: nn.Module) -> Row:
            errors = shown.errors(model(shown.x))
            return {"imitation_error": errors.median().item(), **verdicts(model)}

        return evaluated(model, told)


class Plain(nn.Module):
    """Explicit controllers: phi(x V') W', or linear ones, without a bias: at 0 they do nothing.

    Args:
        systems: S.
        num_states: n.
        width: Of the hidden layer.
        num_outputs: k.
        linear: Whether phi is the identity, or else tanh.
        bounds: What outputs are clamped to; None leaves them.
    """

    def __init__(
        self,
        systems: int,
        num_states: int,
        width: int,
        num_outputs: int,
        *,
        linear: bool = False,
        bounds: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.linear, self.bounds = linear, bounds
        self.first = nn.Parameter(torch.randn(systems, width, num_states) / num_states**0.5)
        self.second = nn.Parameter(torch.randn(systems, num_outputs, width) / width**0.5)
        self.double()

    @override
    def forward(self, x: Float[Tensor, "S N n"]) -> Float[Tensor, "S N k"]:
        hidden = x @ self.first.mT
        u = (hidden if self.linear else hidden.tanh()) @ self.second.mT
        return u if self.bounds is None else u.clamp(*self.bounds)

    def gain(self) -> Float[Tensor, "S k n"]:
        """Return K of u = -K x, to first order at 0."""
        return -self.second @ self.first


def of_parameters(like: nn.Module, **sizes: Any) -> Plain:  # noqa: ANN401
    """Return the explicit controllers of most nearly the parameters of a network.

    Args:
        like: The network.
        sizes: Arguments of `Plain` but the width.
    """
    width = size_of_equal_parameters(
        lambda width: Plain(width=width, **sizes), num_parameters(like), count(1)
    )
    return Plain(width=width, **sizes)


def of_flops(flops: float, batch: int, **sizes: Any) -> Plain:  # noqa: ANN401
    """Return the explicit controllers whose training step takes most nearly so many FLOPs.

    Args:
        flops: How many.
        batch: States of each system in a step.
        sizes: Arguments of `Plain` but the width.
    """
    shape = (sizes["systems"], batch)
    x = torch.zeros(*shape, sizes["num_states"], dtype=torch.float64)
    classes = torch.zeros(shape, dtype=torch.int64)  # a loss takes no FLOPs that are counted
    width = size_of_equal_flops(
        lambda width: Plain(width=width, **sizes), round(flops), count(1), x, classes
    )
    return Plain(width=width, **sizes)


def without_state(about: dict[str, Any]) -> None:
    """Return what a network is made again for: nothing, for its sizes are in the config."""
