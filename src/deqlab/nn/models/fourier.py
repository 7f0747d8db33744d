"""Neural operators, from fields to fields: one Fourier layer at its equilibrium, or many in a row.

Both lift each point, with its coordinates, to some channels, and read the answer off the channels
of each point at the end. Between stands the fixed point of a `FourierCell`, or Fourier layers in a
row, each with weights of its own, the last without an activation. Sources: Li et al. (2021),
"Fourier Neural Operator for Parametric Partial Differential Equations", and Marwah et al. (2023),
"Deep Equilibrium Based Neural Operators for Steady-State PDEs", FNO-DEQ.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu
from typing_extensions import override

from deqlab.arguments import check_count
from deqlab.errors import OnFailure
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.nn.cells.fourier import FourierCell
from deqlab.nn.deq import DEQ
from deqlab.nn.fourier import FourierLayer, check_fields
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver

HIDDEN = 4
"""Channels from which the answer is read, for each of the body."""


class NeuralOperator(nn.Module):
    """A network from fields on the unit square to others on the same points.

    Shapes: (B, inputs, H, W) to (B, outputs, H, W); H and W are 2 modes - 1 or more.

    Args:
        body: Maps (B, channels, H, W) to the same.
        inputs: Channels of the input.
        outputs: Those of the answer.
        channels: Those of the body.
        modes: The modes each way that the body needs.
    """

    def __init__(
        self, body: nn.Module, inputs: int, outputs: int, *, channels: int, modes: int
    ) -> None:
        super().__init__()
        for name, count in (("inputs", inputs), ("outputs", outputs), ("channels", channels)):
            check_count(name, count)
        self.inputs, self.modes = inputs, modes
        self.lift = nn.Conv2d(inputs + 2, channels, 1)
        self.body = body
        self.hidden = nn.Conv2d(channels, HIDDEN * channels, 1)
        self.readout = nn.Conv2d(HIDDEN * channels, outputs, 1)

    @override
    def forward(self, x: Float[Tensor, "B n H W"]) -> Float[Tensor, "B o H W"]:
        check_fields(self, x, self.inputs, self.modes)
        down, across = (
            torch.linspace(0, 1, points, dtype=x.dtype, device=x.device) for points in x.shape[-2:]
        )
        place = torch.stack(torch.meshgrid(down, across, indexing="ij"))
        lifted = gelu(self.lift(torch.cat([x, place.expand(len(x), -1, -1, -1)], dim=1)))
        answer: Tensor = self.readout(gelu(self.hidden(self.body(lifted))))
        return answer


def fourier_deq(
    inputs: int,
    outputs: int,
    channels: int,
    modes: int,
    *,
    layers: int = 1,
    activation: Callable[[Tensor], Tensor] = torch.relu,
    gain: float = 0.9,
    highest: float = 1.0,
    solver: Solver[Any] = Anderson(rtol=1e-3, max_steps=40),
    gradient: Gradient = Implicit(),
    on_failure: OnFailure = "warn",
) -> NeuralOperator:
    """Return the operator whose body is a `FourierCell` at its equilibrium.

    Args:
        inputs: Channels of the input.
        outputs: Those of the answer.
        channels: Those of the state.
        modes: See `FourierCell`.
        layers: Likewise.
        activation: Likewise.
        gain: Likewise.
        highest: Likewise.
        solver: The solver of the DEQ.
        gradient: Likewise.
        on_failure: Likewise.

    Example:
        >>> import torch
        >>> operator = fourier_deq(1, 1, 8, modes=5)
        >>> operator(torch.randn(2, 1, 16, 16)).shape, operator(torch.randn(2, 1, 24, 24)).shape
        (torch.Size([2, 1, 16, 16]), torch.Size([2, 1, 24, 24]))
    """
    cell = FourierCell(
        channels,
        channels,
        modes,
        layers=layers,
        activation=activation,
        gain=gain,
        highest=highest,
    )
    deq = DEQ(cell, solver=solver, gradient=gradient, on_failure=on_failure)
    return NeuralOperator(deq, inputs, outputs, channels=channels, modes=modes)


def fourier_net(
    inputs: int,
    outputs: int,
    channels: int,
    modes: int,
    *,
    activation: Callable[[Tensor], Tensor] = gelu,
    layers: int = 4,
) -> NeuralOperator:
    """Return the explicit operator of so many Fourier layers: an FNO.

    Args:
        inputs: Channels of the input.
        outputs: Those of the answer.
        channels: Those of the layers.
        modes: See `FourierLayer`.
        activation: Between the layers.
        layers: How many, at least 1.
    """
    check_count("layers", layers)
    activations: list[Callable[[Tensor], Tensor]] = [*[activation] * (layers - 1), nn.Identity()]
    body = nn.Sequential(
        nn.Conv2d(channels, channels, 1),
        *(FourierLayer(channels, modes, activation=each) for each in activations),
    )
    return NeuralOperator(body, inputs, outputs, channels=channels, modes=modes)
