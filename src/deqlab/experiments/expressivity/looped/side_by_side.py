"""Networks of one shape that train at once: same inputs, other weights, targets and rates.

A network of width 10 costs a processor next to nothing, and Python all the more. So S of them are
one module whose weights have S in front, and each operation serves all: their numbers are those
that each would have alone, to rounding. A row of `flat` is one network.
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from typing_extensions import override

from deqlab.nn.cells.base import Cell, Prepared
from deqlab.nn.cells.dense import DenseCell
from deqlab.nn.deq import DEQ
from deqlab.solution import Solution


class SideBySide(nn.Module):
    """S networks that begin with the same weights.

    Args:
        network: A DEQ or a loop of a `DenseCell` with a linear readout, or an `mlp` of ReLUs: what
            each network is, with the weights that it begins with.
        count: S, at least 1.
    """

    def __init__(self, network: nn.Sequential, count: int) -> None:
        super().__init__()
        self._network = [network]  # in a list: its parameters are not those of this module
        start = parameters_to_vector(network.parameters()).detach()
        self.flat = nn.Parameter(start.repeat(count, 1))
        layer = network[0]
        self.layer = _together(layer) if isinstance(layer, DEQ) else None

    @override
    def forward(
        self, x: Float[Tensor, "B p"], count: int | None = None
    ) -> tuple[Float[Tensor, "S B q"], Solution | None]:
        """Return the outputs of the first `count` networks, and the solve inside them.

        The rows of the solve are those of the first network, then those of the second, ..
        """
        weights = self._weights(self.flat[:count])
        num_networks = len(weights[0])
        z = x.expand(num_networks, *x.shape)
        if self.layer is not None:
            free, inject, bias, readout, last = weights
            solution = self.layer.solve(z.flatten(0, 1), free, inject, bias)
            hidden = solution.value.view(num_networks, len(x), -1)
            return _affine(hidden, readout, last), solution
        *hidden_layers, readout, last = weights
        for weight, bias in zip(hidden_layers[::2], hidden_layers[1::2], strict=True):
            z = _affine(z, weight, bias).relu()
        return _affine(z, readout, last), None

    def network(self, index: int) -> nn.Sequential:
        """Return one of the networks by itself."""
        network = deepcopy(self._network[0])
        vector_to_parameters(self.flat[index].detach(), network.parameters())
        return network

    def _weights(self, flat: Float[Tensor, "S P"]) -> list[Tensor]:
        """Return the parameters of the network in their order, each with S in front."""
        shapes = [parameter.shape for parameter in self._network[0].parameters()]
        parts = flat.split([shape.numel() for shape in shapes], dim=1)
        return [part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


class Together(Cell[Tensor]):
    """f of S `DenseCell`s, whose weights are inputs of the solve.

    Its rows are those of the first network, then those of the second, ..

    Args:
        cell: One of them; its own weights are not used.
    """

    def __init__(self, cell: DenseCell) -> None:
        super().__init__()
        self.width, self.activation = cell.width, cell.activation
        self.constraint = torch.vmap(cell.constraint)

    @override
    def initial(self, x: Float[Tensor, "N p"], *weights: Tensor) -> Float[Tensor, "N m"]:
        return x.new_zeros(len(x), self.width)

    @override
    def prepare(
        self,
        x: Float[Tensor, "N p"],
        free: Float[Tensor, "S m m"],
        inject: Float[Tensor, "S m p"],
        bias: Float[Tensor, "S m"],
    ) -> Prepared:
        injected = _affine(x.view(len(free), -1, x.shape[1]), inject, bias)
        return Prepared(shared=(self.constraint(free).mT, injected))

    @override
    def update(
        self,
        z: Float[Tensor, "N m"],
        shared: tuple[Float[Tensor, "S m m"], Float[Tensor, "S B m"]],
        rows: None,
    ) -> Float[Tensor, "N m"]:
        weight, injected = shared
        image = torch.baddbmm(injected, z.view(injected.shape), weight)
        return self.activation(image).flatten(0, 1)


class AdamByRow(torch.optim.Optimizer):
    """Adam where each row of a matrix is a network: with its own rate, cosine and clipping.

    Row s takes the steps that `torch.optim.Adam` takes with the learning rate

        rates[s] (1 + cos(pi t / steps[s])) / 2    at step t = 0 .. steps[s] - 1,

    on a gradient whose norm is at most `clip`; after them it stands still.

    Args:
        flat: The matrix.
        rates: The initial learning rate of each row.
        steps: The number of steps of each row.
        clip: The largest norm of the gradient of a row.
    """

    def __init__(
        self, flat: nn.Parameter, *, rates: Sequence[float], steps: Sequence[int], clip: float
    ) -> None:
        super().__init__([flat], {"clip": clip, "betas": (0.9, 0.999), "eps": 1e-8})
        self._rates = torch.tensor(rates, dtype=flat.dtype)[:, None]
        self._steps = torch.tensor(steps, dtype=flat.dtype)[:, None]
        self._flat = flat
        zeros = torch.zeros_like(flat, requires_grad=False)
        self.state[flat] = {"taken": 0, "mean": zeros, "square": zeros.clone()}

    @torch.no_grad()
    @override
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        group, state, grad = self.param_groups[0], self.state[self._flat], self._flat.grad
        assert grad is not None
        (b1, b2), taken = group["betas"], state["taken"] + 1
        norm = torch.linalg.vector_norm(grad, dim=1, keepdim=True)
        grad = grad * (group["clip"] / (norm + 1e-6)).clamp_max(1)  # as clip_grad_norm_
        state["taken"] = taken
        state["mean"].lerp_(grad, 1 - b1)
        state["square"].mul_(b2).addcmul_(grad, grad, value=1 - b2)
        part = ((taken - 1) / self._steps).clamp_max(1)
        rate = self._rates * (1 + torch.cos(torch.pi * part)) / 2
        size = (state["square"] / (1 - b2**taken)).sqrt_().add_(group["eps"])
        # A row that has ended stands still, whatever its mean is: nan times 0 is nan.
        move = torch.where(part < 1, rate / (1 - b1**taken) * state["mean"] / size, 0)
        self._flat.sub_(move)


def _together(layer: DEQ[Tensor]) -> DEQ[Tensor]:
    """Return the same layer, solver and gradient, of S cells."""
    assert isinstance(layer.cell, DenseCell)
    return DEQ(
        Together(layer.cell), solver=layer.solver, gradient=layer.gradient, on_failure="ignore"
    )


def _affine(
    x: Float[Tensor, "S B p"], weight: Float[Tensor, "S q p"], bias: Float[Tensor, "S q"]
) -> Float[Tensor, "S B q"]:
    return torch.baddbmm(bias[:, None], x, weight.mT)
