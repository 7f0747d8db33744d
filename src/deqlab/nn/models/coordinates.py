"""Networks from coordinates to values: a DEQ of one layer, and sinusoidal layers in a row.

    Field             y = C z + d,    z = f(z, x)                          f of `cells.coordinates`
    sinusoidal_net    h_1 = sin(s (U x + b)),    h_k = sin(w (W_k h_(k-1) + b_k))
    InjectedLayers    h_0 = sin(p_0(x)),    h_k = sin(W_k h_(k-1) + c_k + p_k(x))

with a linear readout of the last h. Sources: the first and the last are the implicit and the
explicit network of Huang, Bai & Kolter (2021), "(Implicit)^2: Implicit Layers for Implicit
Representations"; the second is that of Sitzmann et al. (2020), "Implicit Neural Representations
with Periodic Activation Functions". Its W_k start uniform within sqrt(6 / width) / w, which keeps
the distribution of phases from layer to layer, and learn w times as fast.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from deqlab.arguments import check_count
from deqlab.nn.cells.coordinates import CoordinateCell, Phases
from deqlab.nn.deq import DEQ
from deqlab.nn.equation import unwrapped
from deqlab.nn.start import start


class Field(nn.Module):
    """Values read off the equilibrium at each point: y = C z*(x) + d.

    Shapes: x (..., num_inputs) to (..., num_outputs).

    Args:
        cell: Has the states of points.
        num_outputs: Values at a point.
        options: Those of the `DEQ`: solver, gradient and others.

    Example:
        >>> from deqlab.nn import SineCell
        >>> field = Field(SineCell(2, 16), 1)
        >>> x = torch.rand(5, 2)
        >>> values, states = field.with_states(x)
        >>> nearby, _ = field.with_states(x + 1e-3, z0=states.detach())  # a warm start
    """

    def __init__(self, cell: CoordinateCell, num_outputs: int, **options: Any) -> None:  # noqa: ANN401
        super().__init__()
        check_count("num_outputs", num_outputs)
        self.states: DEQ[Tensor] = DEQ(cell, **options)
        self.readout = _readout(cell.width, num_outputs, 1.0)

    @override
    def forward(
        self, x: Float[Tensor, "*B n"], z0: Float[Tensor, "*B m"] | None = None
    ) -> Float[Tensor, "*B k"]:
        return self.with_states(x, z0)[0]

    def with_states(
        self, x: Float[Tensor, "*B n"], z0: Float[Tensor, "*B m"] | None = None
    ) -> tuple[Float[Tensor, "*B k"], Float[Tensor, "*B m"]]:
        """Return the values, and the states that they are read off.

        Args:
            x: The points.
            z0: Where their solves start, such as at states of these points from before; None is
                where the cell starts.
        """
        z = self.states(x, z0=z0)
        return self.readout(z), z

    def initial(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        """Return where the solves of these points start if nothing is known of them."""
        z0: Tensor = start(unwrapped(self.states.cell), [x], {})
        return z0


class Sine(nn.Module):
    """The sine of each number."""

    @override
    def forward(self, x: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
        return torch.sin(x)


class InjectedLayers(nn.Module):
    """Layers of a `SineCell` in a row, each with weights of its own that no norm bounds.

    Args:
        num_inputs: Size of x.
        width: Numbers in each layer.
        num_outputs: Values at a point.
        layers: How many layers behind the first sine, at least 1.
        scale: s of their phases.
    """

    def __init__(
        self,
        num_inputs: int,
        width: int,
        num_outputs: int,
        *,
        layers: int = 4,
        scale: float = 30.0,
    ) -> None:
        super().__init__()
        check_count("layers", layers)
        check_count("num_outputs", num_outputs)
        self.phases = nn.ModuleList(
            Phases(num_inputs, width, scale=scale) for _ in range(layers + 1)
        )
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.readout = _readout(width, num_outputs, 1.0)

    @override
    def forward(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B k"]:
        first, *others = self.phases
        h = torch.sin(first(x))
        for layer, phases in zip(self.layers, others, strict=True):
            h = torch.sin(layer(h) + phases(x))
        values: Tensor = self.readout(h)
        return values


def sinusoidal_net(
    num_inputs: int,
    width: int,
    num_outputs: int,
    *,
    layers: int = 4,
    scale: float = 30.0,
    omega: float = 30.0,
) -> nn.Sequential:
    """Return a network of sinusoidal layers with a linear readout.

    Args:
        num_inputs: Size of x.
        width: Numbers in each layer.
        num_outputs: Values at a point.
        layers: How many sines, at least 1.
        scale: s, that of the first layer.
        omega: w, that of the others.

    Example:
        >>> sinusoidal_net(2, 16, 1)(torch.rand(5, 2)).shape
        torch.Size([5, 1])
    """
    check_count("layers", layers)
    check_count("num_outputs", num_outputs)
    found: list[nn.Module] = [Phases(num_inputs, width, scale=scale), Sine()]
    bound = (6 / width) ** 0.5 / omega
    for _ in range(layers - 1):
        found += [Phases(width, width, scale=omega, bound=bound), Sine()]
    return nn.Sequential(*found, _readout(width, num_outputs, omega))


def _readout(width: int, num_outputs: int, omega: float) -> nn.Linear:
    """Return a linear map that starts as the weights of a layer do, and with no bias."""
    readout = nn.Linear(width, num_outputs)
    bound = (6 / width) ** 0.5 / omega
    nn.init.uniform_(readout.weight, -bound, bound)
    nn.init.zeros_(readout.bias)
    return readout
