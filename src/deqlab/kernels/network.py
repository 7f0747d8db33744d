"""Finite networks whose kernels, as their width grows, are those of this package.

    explicit    h_l = phi_l(W_l h_(l-1)) / sqrt(m),    h_0 = x
    implicit    z   = phi(sigma_a A z + sigma_b B x) / sqrt(m),    z* its fixed point

with all weights iid N(0, 1), and the output V h_L or V z*. The random layers are buffers: as in
Ling et al. (2024, arXiv:2402.02697) only the readout is trained.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deqlab.activations.base import Activation
from deqlab.errors import OnFailure
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.solution import Solution
from deqlab.solve import fixed_point
from deqlab.solvers.anderson import Anderson
from deqlab.solvers.base import Solver


def gaussian(
    rows: int, columns: int, generator: torch.Generator | None, dtype: torch.dtype
) -> Float[Tensor, "rows columns"]:
    """Return a matrix of iid standard normal numbers."""
    return torch.randn(rows, columns, generator=generator, dtype=dtype)


class ExplicitNetwork(nn.Module):
    """Random layers of one width, and a linear readout.

    Attributes:
        activations: One a layer, centred.
        weights: W_1, ..., W_L.
        readout: From width to outputs; it starts at zero. The only parameters.
    """

    def __init__(
        self,
        activations: Sequence[Activation],
        in_features: int,
        width: int,
        outputs: int = 1,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        _check_sizes(in_features=in_features, width=width, outputs=outputs)
        self.activations = tuple(activations)
        for i in range(len(self.activations)):
            before = width if i else in_features
            self.register_buffer(f"weight{i + 1}", gaussian(width, before, generator, dtype))
        self.readout = _readout(width, outputs, dtype)

    @property
    def weights(self) -> list[Tensor]:
        """W_1, ..., W_L."""
        return [self.get_buffer(f"weight{i + 1}") for i in range(len(self.activations))]

    def features(self, x: Float[Tensor, "n p"]) -> Float[Tensor, "n m"]:
        """Return h_L of each row, whose inner products are the CK as the width grows."""
        for phi, weight in zip(self.activations, self.weights, strict=True):
            x = phi(x @ weight.T) / len(weight) ** 0.5
        return x

    def forward(self, x: Float[Tensor, "n p"]) -> Float[Tensor, "n k"]:
        """Return the readout of the features."""
        result: Tensor = self.readout(self.features(x))
        return result


class ImplicitNetwork(nn.Module):
    """A deep equilibrium layer with random weights, and a linear readout.

    Attributes:
        phi: The activation, centred.
        recurrent: sigma_a A.
        inward: sigma_b B.
        readout: From width to outputs; it starts at zero. The only parameters.
    """

    def __init__(
        self,
        activation: Activation,
        in_features: int,
        width: int,
        outputs: int = 1,
        *,
        sigma_a2: float,
        sigma_b2: float,
        solver: Solver[Any] = Anderson(),
        gradient: Gradient = Implicit(),
        on_failure: OnFailure = "warn",
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        _check_sizes(in_features=in_features, width=width, outputs=outputs)
        self.phi, self.solver, self.gradient = activation, solver, gradient
        self.on_failure: OnFailure = on_failure
        recurrent = sigma_a2**0.5 * gaussian(width, width, generator, dtype)
        inward = sigma_b2**0.5 * gaussian(width, in_features, generator, dtype)
        self.register_buffer("recurrent", recurrent)
        self.register_buffer("inward", inward)
        self.readout = _readout(width, outputs, dtype)

    def features(
        self, x: Float[Tensor, "n p"], shift: Float[Tensor, "n m"] | None = None
    ) -> Float[Tensor, "n m"]:
        """Return z* of each row; `shift` is added to the pre-activations."""
        value = self.solve(x, shift).value
        assert isinstance(value, Tensor)
        return value

    def solve(self, x: Float[Tensor, "n p"], shift: Float[Tensor, "n m"] | None = None) -> Solution:
        """Return the solve of each row: z*, and how far it can be trusted."""
        recurrent, inward = self.get_buffer("recurrent"), self.get_buffer("inward")
        width = len(recurrent)
        driven = x @ inward.T
        if shift is not None:
            driven = driven + shift

        def f(z: Tensor, driven: Tensor) -> Tensor:
            z_next: Tensor = self.phi(torch.addmm(driven, z, recurrent.T)) / width**0.5
            return z_next

        return fixed_point(
            f,
            torch.zeros_like(driven),
            driven,
            solver=self.solver,
            gradient=self.gradient,
            on_failure=self.on_failure,
        )

    def forward(self, x: Float[Tensor, "n p"]) -> Float[Tensor, "n k"]:
        """Return the readout of the fixed points."""
        result: Tensor = self.readout(self.features(x))
        return result


def _readout(width: int, outputs: int, dtype: torch.dtype) -> nn.Linear:
    readout = nn.Linear(width, outputs, dtype=dtype)
    nn.init.zeros_(readout.weight)
    nn.init.zeros_(readout.bias)
    return readout


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
